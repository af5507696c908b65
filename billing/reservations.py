"""Release overdue reservations. There should be none: recovery ends their jobs.

Coins are reserved for work of another app, which this app must not import. That app registers a handler that ends the
work first, so that delivered results are captured and not given away.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from billing.models import CoinReservation
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext, BatchResult, run_batch

#: Takes the id of an overdue reservation. Settles or releases it if its work has ended or is past its deadline, and
#: leaves it active otherwise.
OverdueHandler = Callable[[UUID], None]

_handlers: list[OverdueHandler] = []


def register_overdue_handler(handler: OverdueHandler) -> None:
    """Call `handler` for each overdue reservation that is to be released."""
    if handler not in _handlers:
        _handlers.append(handler)


def release_overdue(reservations: QuerySet[CoinReservation], *, context: ActionContext) -> BatchResult:
    """Release each reservation that is past its time. Refuse the others."""
    rows = reservations.annotate(overdue_for=Now() - F("expires_at"))
    return run_batch("release reservation", rows, _release, context=context)


def _release(reservation: CoinReservation) -> str:
    if not reservation.is_active:
        return f"unchanged: it is already {reservation.status}"
    if vars(reservation)["overdue_for"].total_seconds() < 0:
        raise Conflict("This reservation is not past its time: its job still runs. Nothing was changed.")
    for handler in _handlers:
        handler(reservation.pk)
    reservation.refresh_from_db()
    if reservation.is_active:
        raise Conflict("Its job is open and within its deadline; recover the job first: manage.py jobs --stuck")
    released = reservation.coins - reservation.captured_coins
    return f"{reservation.status}: {released} of {reservation.coins} coins released"
