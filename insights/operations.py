"""What operators and staff do to jobs and insights: list, recover, retry. Commands and admin actions call this."""

from __future__ import annotations

from dataclasses import asdict

from django.db.models import Count, QuerySet

from insights import recovery, unlocking
from insights.models import ChatReading, GenerationJob, Insight
from insights.reading import queue as readings
from insights.stuck import annotate_jobs, contradictory_jobs, describe_job, failed_insights, stuck_jobs
from relivchats import durations
from relivchats.staff.bulk_actions import (
    BATCH_SIZE,
    ActionContext,
    ActionResult,
    BatchResult,
    batch_report,
    record,
    run_batch,
)
from relivchats.staff.reports import Level, Line, Report, Table, count, format_count


def jobs_report(*, stuck: bool) -> Report:
    """Return the open jobs, or only the stuck ones, newest first."""
    jobs = stuck_jobs() if stuck else GenerationJob.objects.open()
    rows = []
    for job in annotate_jobs(jobs).order_by("-created_at")[:BATCH_SIZE]:
        age = durations.format_short(vars(job)["looked_at"] - job.created_at)
        counts = (job.completed_insights, job.failed_insights, job.total_insights)
        rows.append((job.pk, job.status, *counts, age, describe_job(job)))
    table = Table(("job", "status", "done", "failed", "of", "age", "waiting for"), tuple(rows))
    number = count(stuck_jobs(), limit=BATCH_SIZE)
    if number:
        text = f"{format_count(number, limit=BATCH_SIZE)} stuck"
        line = Line("jobs", Level.WARNING, text, "manage.py jobs --recover", {"stuck": number})
    else:
        line = Line("jobs", Level.FINE, "none stuck", data={"stuck": 0})
    return Report("Stuck jobs" if stuck else "Open jobs", (line, *_contradiction_lines()), table)


def _contradiction_lines() -> list[Line]:
    """Return a line if finished jobs have open insights: SQL made them, and the next recovery fails them."""
    found = [
        str(pk) for pk in contradictory_jobs().order_by("-created_at").values_list("pk", flat=True)[: BATCH_SIZE + 1]
    ]
    if not found:
        return []
    text = f"{format_count(len(found), 'finished job', limit=BATCH_SIZE)} with an open insight, such as {found[0]}"
    return [Line("contradiction", Level.WARNING, text, "manage.py jobs --recover", {"jobs": found})]


def recover_everything(*, context: ActionContext) -> Report:
    """Run one round of recovery over everything that can be stuck, as beat does every 15 s, and return the counts."""
    recovered = recovery.recover()
    record("recover", ActionResult("everything", done=True, outcome=str(recovered)), context=context)
    rows = tuple((name.replace("_", " "), number) for name, number in asdict(recovered).items())
    remaining = count(stuck_jobs(), limit=BATCH_SIZE)
    if remaining:
        line = Line(
            "jobs",
            Level.WARNING,
            f"{format_count(remaining, limit=BATCH_SIZE)} still stuck",
            "manage.py jobs --recover",
        )
    else:
        line = Line("jobs", Level.FINE, "none stuck")
    return Report("Recovered", (line, *_contradiction_lines()), Table(("recovered", "count"), rows))


def recover_jobs(jobs: QuerySet[GenerationJob], *, context: ActionContext) -> BatchResult:
    """Recover each job: free its expired leases, and close it if it is past its deadline."""

    def recover(job: GenerationJob) -> str:
        changed = recovery.recover_job(job.pk)
        job.refresh_from_db(fields=["status", "completed_insights", "failed_insights"])
        counts = f"{job.completed_insights} completed, {job.failed_insights} failed of {job.total_insights}"
        return f"{'recovered' if changed else 'nothing was stuck'}; {job.status}: {counts}"

    return run_batch("recover job", jobs, recover, context=context)


def failed_insights_report() -> Report:
    """Return the failed insights that were not retried, newest first, and the ten most frequent causes."""
    failed = failed_insights()
    causes = list(failed.values("error_code").annotate(count=Count("pk")).order_by("-count")[:10])
    lines = [
        Line(cause["error_code"], Level.WARNING, f"{cause['count']} failed", "manage.py insights --failed --retry")
        for cause in causes
    ]
    rows = tuple(
        (
            insight.pk,
            insight.chat_id,
            insight.insight_type_id,
            insight.error_message or insight.error_code,
            insight.attempt,
            insight.finished_at,
        )
        for insight in failed.order_by("-created_at")[:BATCH_SIZE]
    )
    table = Table(("insight", "chat", "type", "cause", "attempts", "failed at"), rows)
    fine = Line("insights", Level.FINE, "no failed insight waits for a retry")
    return Report("Failed insights", tuple(lines) or (fine,), table)


def retry_failed_insights(*, context: ActionContext) -> Report:
    """Retry every failed insight that was not retried yet."""
    batch = retry_insights(failed_insights(), context=context)
    return batch_report("Retried", batch, remedy="manage.py insights --failed")


def retry_insights(insights: QuerySet[Insight], *, context: ActionContext) -> BatchResult:
    """Retry each insight: a new insight in a new job, for which its own price is reserved in its owner's wallet."""

    def retry(insight: Insight) -> str:
        unlocked = unlocking.retry(insight)
        if not unlocked.created:
            return f"already unlocked again, in job {unlocked.job.pk}"
        return f"job {unlocked.job.pk}, {unlocked.coins} coins held"

    selected = insights.select_related("job__user", "job__category", "chat", "insight_type").defer("sealed_document")
    return run_batch("retry insight", selected, retry, context=context)


def read_again(rows: QuerySet[ChatReading], *, context: ActionContext) -> BatchResult:
    """Discard what was read of each chat and request it again: from the start, by the engine that is configured."""

    def request(reading: ChatReading) -> str:
        readings.request_again(reading)
        return "requested again; it is read when an insight waits for it"

    return run_batch("read chat again", rows, request, context=context)
