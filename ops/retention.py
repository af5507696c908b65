"""What is deleted after a time, by which setting, and how much the latest runs deleted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db.models import F, Min, Model, Sum
from django.db.models.functions import Now

from ops import errors, heartbeats, history, requests, samples
from ops.models import CheckState, Heartbeat
from ops.monitoring_models import ErrorEvent, RequestCount, Sample
from relivchats import durations, idempotency
from relivchats.accounts.models import IdempotencyKey
from relivchats.staff.reports import Level, Line, Report, Table

#: Beat prunes every hour.
LATE_AFTER = timedelta(hours=3)
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Kept:
    """Rows that are kept for a time. `prune` deletes the others and returns their number."""

    model: type[Model]
    time: str
    kept_for: str
    prune: Callable[[], int]

    @property
    def sample(self) -> str:
        """Return the name of the sample with the number of deleted rows."""
        return f"pruned_{self.model._meta.db_table}"


KEPT = (
    Kept(ErrorEvent, "at", "MONITORING_DAYS", errors.prune),
    Kept(RequestCount, "at", "MONITORING_DAYS", requests.prune),
    Kept(Sample, "at", "MONITORING_DAYS", samples.prune),
    Kept(CheckState, "since", "MONITORING_DAYS", history.prune),
    Kept(Heartbeat, "beat_at", "an hour after the last one", heartbeats.prune),
    Kept(IdempotencyKey, "created_at", "until they expire", idempotency.prune),
)


def prune() -> dict[str, int]:
    """Delete what is kept no longer, and return the number of rows by sample, which is stored too."""
    removed = {kept.sample: kept.prune() for kept in KEPT}
    samples.write({name: float(number) for name, number in removed.items()})
    heartbeats.write_heartbeat(name=heartbeats.RETENTION_NAME, kind=Heartbeat.Kind.RETENTION)
    return removed


def report() -> Report:
    """Return what is kept for how long, the oldest row, and how many rows were deleted last and within a day."""
    day = Sample.objects.filter(at__gte=Now() - DAY, name__startswith="pruned_")
    in_a_day = dict(day.values_list("name").annotate(total=Sum("value")))
    last = dict(day.order_by("name", "-at").distinct("name").values_list("name", "value"))
    rows = []
    for kept in KEPT:
        oldest = kept.model._base_manager.aggregate(oldest=Min(kept.time))["oldest"]
        counts = (int(found[kept.sample]) if kept.sample in found else None for found in (last, in_a_day))
        rows.append((kept.model._meta.db_table, kept.kept_for, oldest, *counts))
    table = Table(("table", "kept for", "oldest row", "deleted last", "deleted in a day"), tuple(rows))
    run = Heartbeat.objects.filter(kind=Heartbeat.Kind.RETENTION).annotate(age=Now() - F("beat_at")).first()
    if run is None or vars(run)["age"] > LATE_AFTER:
        when = f"the last run was {durations.format_short(vars(run)['age'])} ago" if run else "no run yet"
        return Report("Retention", (Line("retention", Level.WARNING, when, "manage.py queue --schedule"),), table)
    text = f"the last run was {durations.format_short(vars(run)['age'])} ago"
    return Report("Retention", (Line("retention", Level.FINE, text),), table)
