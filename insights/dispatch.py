"""The lease queue of insights, and the dispatch of due insights to workers, fairly between users."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

from django.conf import settings
from django.db.models import Max, OuterRef, QuerySet
from django.db.models.functions import Now

from chats.models import Chat
from insights.models import DispatchPause, Insight
from insights.reading.queue import current_reader, is_read_by
from relivchats.leases import LeaseQueue, LeaseRenewer, take_turns
from relivchats.wakeups import CoalescingThread

queue = LeaseQueue(
    model=Insight,
    task="insights.tasks.generate_insight",
    status_column="status",
    pending=Insight.Status.PENDING,
    leased=Insight.Status.GENERATING,
    due=Insight.objects.due,
    lease_expired=Insight.objects.lease_expired,
    due_at="next_attempt_at",
    max_attempts=settings.INSIGHT_MAX_ATTEMPTS,
)
lease_renewer = LeaseRenewer(queue)

#: Jobs that can still be open were created within this time.
_RECENT = timedelta(seconds=settings.INSIGHT_START_TIMEOUT + settings.INSIGHT_GENERATION_TIMEOUT)


def ready() -> QuerySet[Insight]:
    """Return the due insights whose chats are searchable, and completely read if the engine reads chats."""
    searchable = Insight.objects.due().filter(chat__vector_status=Chat.VectorStatus.COMPLETED)
    reader = current_reader()
    return searchable.filter(is_read_by(reader, chat="chat")) if reader else searchable


def dispatch() -> int:
    """Publish the ids of the insights that are ready, at most one per free lease, and return their number.

    While staff have paused it, publish none. Recovery and deadlines go on.
    """
    if DispatchPause.objects.active().exists():
        return 0
    # Published insights that no worker has claimed yet count too. Otherwise one large job would fill the broker's
    # queue, and the users after it would wait.
    published = Insight.objects.filter(
        status=Insight.Status.PENDING, dispatched_at__gte=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS)
    )
    # One query: this runs after every unlock.
    in_flight = Counter((published | Insight.objects.leased()).values_list("job__user", flat=True))
    # An older job is over: what its user got from it does not matter to the order of today's queue.
    recent = Insight.objects.filter(job__user=OuterRef("job__user"), job__created_at__gte=Now() - _RECENT)
    due = take_turns(
        ready(),
        owner="job__user",
        in_flight=in_flight,
        order=("next_attempt_at", "pk"),
        served=recent.order_by().values("job__user").values(latest=Max("started_at")),
        arrived="job__created_at",
    )
    return queue.dispatch(due, limit=settings.MAX_CONCURRENT_INSIGHTS - in_flight.total())


dispatch_soon = CoalescingThread(dispatch, name="dispatch-insights").run_soon
