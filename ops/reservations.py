"""The report of reservations, with the job that each one was made for."""

from __future__ import annotations

from django.db.models import F, QuerySet
from django.db.models.functions import Now

from billing.models import CoinReservation
from billing.reservations import release_overdue
from relivchats import durations
from relivchats.staff.bulk_actions import BATCH_SIZE, ActionContext, batch_report
from relivchats.staff.reports import Level, Line, Report, Table, count, format_count

COLUMNS = ("reservation", "wallet", "coins", "overdue for", "job", "job's status")


def overdue() -> QuerySet[CoinReservation]:
    """Return overdue reservations with their jobs, the longest overdue first."""
    return CoinReservation.objects.overdue().select_related("job").order_by("expires_at")


def report(*, stuck: bool) -> Report:
    """Return the active reservations, or only the overdue ones."""
    reservations = overdue() if stuck else CoinReservation.objects.active().select_related("job").order_by("expires_at")
    rows = []
    for reservation in reservations.annotate(overdue_for=Now() - F("expires_at"))[:BATCH_SIZE]:
        job = getattr(reservation, "job", None)
        overdue_for = vars(reservation)["overdue_for"]
        rows.append(
            (
                reservation.pk,
                reservation.wallet_id,
                reservation.coins,
                durations.format_short(overdue_for) if overdue_for.total_seconds() > 0 else None,
                job and job.pk,
                job and job.status,
            )
        )
    number = count(overdue(), limit=BATCH_SIZE)
    line = Line("reservations", Level.FINE, "none overdue", data={"overdue": 0})
    if number:
        remedy = "manage.py reservations --stuck --release"
        text = f"{format_count(number, limit=BATCH_SIZE)} overdue"
        line = Line("reservations", Level.WARNING, text, remedy, {"overdue": number})
    title = "Overdue reservations" if stuck else "Active reservations"
    return Report(title, (line,), Table(COLUMNS, tuple(rows)))


def release(*, context: ActionContext) -> Report:
    """Release every overdue reservation, and return the results."""
    return batch_report("Released", release_overdue(overdue(), context=context), remedy="manage.py jobs --stuck")
