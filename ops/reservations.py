"""Reservations that outlived their time: there should be none."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from billing.models import CoinReservation
from insights import recovery
from insights.models import GenerationJob
from relivchats import durations
from relivchats.errors import Conflict
from relivchats.staff import bulk_actions
from relivchats.staff.bulk_actions import ActionContext, BatchResult
from relivchats.staff.reports import Level, Line, Report, Table

COLUMNS = ("reservation", "wallet", "coins", "overdue for", "job", "job's status")
_RELEASE = "manage.py reservations --stuck --release"


def overdue() -> QuerySet[CoinReservation]:
    return CoinReservation.objects.overdue().select_related("job").order_by("expires_at")


def report(*, stuck: bool, release: bool, context: ActionContext) -> Report:
    if release:
        return released(context=context)
    shown = overdue() if stuck else CoinReservation.objects.active().select_related("job").order_by("expires_at")
    rows = shown.annotate(late=Now() - F("expires_at"))[: bulk_actions.BATCH_SIZE]
    number = overdue()[: bulk_actions.BATCH_SIZE + 1].count()
    line = Line("reservations", Level.FINE, "none is past its time", data={"overdue": 0})
    if number:
        line = Line("reservations", Level.WARNING, f"{number} past their time", _RELEASE, {"overdue": number})
    title = "Overdue reservations" if stuck else "Active reservations"
    return Report(title, (line,), Table(COLUMNS, tuple(_row(reservation) for reservation in rows)))


def released(*, context: ActionContext) -> Report:
    return bulk_actions.batch_report(
        "Released", release_some(overdue(), context=context), remedy="manage.py jobs --stuck"
    )


def release_some(reservations: QuerySet[CoinReservation], *, context: ActionContext) -> BatchResult:
    chosen = reservations.annotate(late=Now() - F("expires_at"))
    return bulk_actions.run_batch("release reservation", chosen, _release, context=context)


def _release(reservation: CoinReservation) -> str:
    """An open job past its deadline is closed first: what it delivered is paid, the rest is given back."""
    if reservation.status != CoinReservation.Status.ACTIVE:
        return f"is already {reservation.status}"
    if vars(reservation)["late"].total_seconds() < 0:
        raise Conflict("This reservation is not past its time: its job still runs. Nothing was changed.")
    job = GenerationJob.objects.filter(reservation=reservation).first()
    if job is not None and job.is_open:
        recovery.recover_job(job.pk)
    else:
        recovery.release_orphaned_reservation(reservation.pk)
    reservation.refresh_from_db()
    if reservation.status == CoinReservation.Status.ACTIVE:
        raise Conflict("Its job is open and within its deadline; recover the job first: manage.py jobs --stuck")
    back = reservation.coins - reservation.captured_coins
    return f"{reservation.status}: {back} of {reservation.coins} coins given back"


def _row(reservation: CoinReservation) -> tuple[object, ...]:
    job = getattr(reservation, "job", None)
    late = vars(reservation)["late"]
    return (
        reservation.pk,
        reservation.wallet_id,
        reservation.coins,
        durations.format_short(late) if late.total_seconds() > 0 else None,
        job and job.pk,
        job and job.status,
    )
