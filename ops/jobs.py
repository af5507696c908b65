"""Jobs: what runs, what is stuck, and putting it right."""

from __future__ import annotations

from dataclasses import asdict

from django.db.models import QuerySet

from insights import recovery, standing
from insights.models import GenerationJob
from ops import deeds
from ops.deeds import Deed, Deeds, Order
from ops.report import Level, Line, Report, Table
from relivchats import spans

COLUMNS = ("job", "status", "done", "failed", "of", "age", "standing")


def report(*, stuck: bool, recover: bool, order: Order) -> Report:
    if recover:
        return recovered(order=order)
    jobs = standing.stuck_jobs() if stuck else GenerationJob.objects.open()
    table = _table(jobs)
    number = standing.stuck_jobs()[: deeds.BATCH + 1].count()
    if number:
        found = f"more than {deeds.BATCH}" if number > deeds.BATCH else str(number)
        line = Line("jobs", Level.WARNING, f"{found} stuck", "manage.py jobs --recover", {"stuck": number})
    else:
        line = Line("jobs", Level.FINE, "none stuck", data={"stuck": 0})
    return Report("Stuck jobs" if stuck else "Open jobs", (line,), table)


def recovered(*, order: Order) -> Report:
    """One round of recovery over everything that can be stuck, as beat asks for every 15 s."""
    done = recovery.recover()
    deeds.record("recover", Deed("everything", done=True, outcome=str(done)), order=order)
    table = Table(("put right", "how many"), tuple((name.replace("_", " "), n) for name, n in asdict(done).items()))
    left = standing.stuck_jobs()[: deeds.BATCH + 1].count()
    level = Level.WARNING if left else Level.FINE
    line = Line(
        "jobs", level, f"{left} still stuck" if left else "none stuck", "manage.py jobs --recover" if left else ""
    )
    return Report("Recovered", (line,), table)


def recover_some(jobs: QuerySet[GenerationJob], *, order: Order) -> Deeds:
    return deeds.carry_out("recover job", jobs, _recover, order=order)


def _recover(job: GenerationJob) -> str:
    changed = recovery.recover_job(job.pk)
    job.refresh_from_db(fields=["status", "completed_insights", "failed_insights"])
    done = f"{job.completed_insights} completed, {job.failed_insights} failed of {job.total_insights}"
    return f"{'put right' if changed else 'nothing was stuck'}; {job.status}: {done}"


def _table(jobs: QuerySet[GenerationJob]) -> Table:
    newest = standing.with_job_standing(jobs).order_by("-created_at")[: deeds.BATCH]
    return Table(COLUMNS, tuple(_row(job) for job in newest))


def _row(job: GenerationJob) -> tuple[object, ...]:
    age = spans.short(vars(job)["looked_at"] - job.created_at)
    counts = (job.completed_insights, job.failed_insights, job.total_insights)
    return (job.pk, job.status, *counts, age, standing.of_job(job))
