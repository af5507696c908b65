"""Insights that failed: why, and trying them again."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from insights import standing, unlocking
from insights.models import Insight
from ops import deeds
from ops.deeds import Deeds, Order
from ops.report import Level, Line, Report, Table

COLUMNS = ("insight", "chat", "type", "cause", "attempts", "failed at")


def report(*, retry: bool, order: Order) -> Report:
    if retry:
        return retried(order=order)
    insights = standing.failed_insights().order_by("-created_at")[: deeds.BATCH]
    causes = list(standing.failed_insights().values("error_code").annotate(count=Count("pk")).order_by("-count")[:10])
    lines = [
        Line(cause["error_code"], Level.WARNING, f"{cause['count']} failed", "manage.py insights --failed --retry")
        for cause in causes
    ] or [Line("insights", Level.FINE, "none failed that was not tried again")]
    return Report("Failed insights", tuple(lines), Table(COLUMNS, tuple(_row(insight) for insight in insights)))


def retried(*, order: Order) -> Report:
    return deeds.report(
        "Tried again", retry_some(standing.failed_insights(), order=order), mend="manage.py insights --failed"
    )


def retry_some(insights: QuerySet[Insight], *, order: Order) -> Deeds:
    """Each becomes a new insight in a new job, paid from its owner's wallet for its own part."""
    chosen = insights.select_related("job__user", "job__category", "chat", "insight_type").defer("sealed_document")
    return deeds.carry_out("retry insight", chosen, _retry, order=order)


def _retry(insight: Insight) -> str:
    unlocked = unlocking.retry(insight)
    if not unlocked.created:
        return f"was unlocked again already, in job {unlocked.job.pk}"
    return f"job {unlocked.job.pk}, {unlocked.coins} coins held"


def _row(insight: Insight) -> tuple[object, ...]:
    return (
        insight.pk,
        insight.chat_id,
        insight.insight_type_id,
        insight.error_message or insight.error_code,
        insight.attempt,
        insight.finished_at,
    )
