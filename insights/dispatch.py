"""The lease queue of insights, and the dispatch of due insights to workers, fairly between jobs."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from django.conf import settings
from django.db.models import Case, Max, OuterRef, QuerySet, Subquery, When, Window
from django.db.models.functions import Coalesce, Now, RowNumber

from chats.models import Chat
from insights.models import Insight
from insights.reading.queue import current_reader, is_read_by
from relivchats.leases import LeaseQueue, LeaseRenewer
from relivchats.wakeups import CoalescingThread

queue = LeaseQueue(
    model=Insight,
    task="insights.tasks.generate_insight",
    status_column="status",
    pending=Insight.Status.PENDING,
    leased=Insight.Status.GENERATING,
    due=Insight.objects.due,
    lease_expired=Insight.objects.lease_expired,
    max_attempts=settings.INSIGHT_MAX_ATTEMPTS,
)
lease_renewer = LeaseRenewer(queue)


def ready() -> QuerySet[Insight]:
    """Return the due insights whose chats are searchable, and completely read if the engine reads chats."""
    searchable = Insight.objects.due().filter(chat__vector_status=Chat.VectorStatus.COMPLETED)
    reader = current_reader()
    return searchable.filter(is_read_by(reader, chat="chat")) if reader else searchable


def dispatch() -> int:
    """Publish the ids of the insights that are ready, at most one per free lease, and return their number."""
    # Published insights that no worker has claimed yet count too. Otherwise one large job would fill the broker's
    # queue, and the jobs after it would wait.
    published = Insight.objects.filter(
        status=Insight.Status.PENDING, dispatched_at__gte=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS)
    )
    # One query: this runs after every unlock.
    in_flight = Counter((published | Insight.objects.leased()).values_list("job", flat=True))
    # The first insight of every job, then the second of every job, and so on. Those in flight have had their turn:
    # otherwise each lease that becomes free would go to the oldest job until that one is finished.
    had = Case(*(When(job=job, then=number) for job, number in in_flight.items()), default=0)
    turn = had + Window(RowNumber(), partition_by="job", order_by=["next_attempt_at", "pk"])
    # Of jobs with the same turn, the one that has waited longest since its latest insight started.
    started_at = Insight.objects.filter(job=OuterRef("job")).order_by().values("job").values(latest=Max("started_at"))
    waiting_since = Coalesce(Subquery(started_at), "job__created_at")
    due = ready().annotate(turn=turn, waiting_since=waiting_since).order_by("turn", "waiting_since", "next_attempt_at")
    return queue.dispatch(due, limit=settings.MAX_CONCURRENT_INSIGHTS - in_flight.total())


dispatch_soon = CoalescingThread(dispatch, name="dispatch-insights").run_soon
