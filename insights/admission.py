"""Admission: whether an unlock can start before its deadline, as the queues are now. It asks before coins are reserved.

The work of all users is dispatched in turns (`take_turns` in relivchats/leases.py), so the estimate is that of the
user's own turn: the long queue of one user does not keep others out. Workers are judged by what they do, not by their
heartbeats: work that was due for long, while nothing is worked on, is work that no worker takes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from statistics import median
from typing import Any, NamedTuple

from django.conf import settings
from django.db.models import Avg, Count, Exists, F, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from chats import indexing
from chats.models import Chat
from insights import dispatch
from insights.availability import Unavailability, UnlocksUnavailable
from insights.models import ChatReading, Insight, InsightAttempt
from insights.reading import queue as readings
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.errors import DomainError
from relivchats.limits import UserLimit, register

BUSY = "busy"
STALLED = "not_started"
TOO_MANY_OPEN = "too_many_open"

#: The duration of an insight or a reading until some were measured, and how many are measured.
DEFAULT_SECONDS = 30.0
_MEASURED = 50
#: Retry-After of a refusal: an estimate within these limits.
_MIN_RETRY_SECONDS, _MAX_RETRY_SECONDS = 30, 3600
#: Work that ended this recently shows that workers are alive.
_RECENTLY = timedelta(minutes=1)


class TooManyOpenInsights(DomainError):
    """The user has as many unfinished insights as one user may have (429). Nothing was reserved."""

    code, status, title = "ERR_1005", 429, "Too many insights at once"


class Backlog(NamedTuple):
    """The rows of a queue that wait and that are worked on, by user."""

    waiting: Mapping[Any, int]
    running: Mapping[Any, int]

    def seconds_until_turn(self, user: Any, *, places: int, seconds_each: float) -> float:
        """Return the estimated wait of one more row of this user, if all take turns; 0 if a place is free for it."""
        own = self.waiting.get(user, 0)
        turn = self.running.get(user, 0) + own + 1
        ahead = own + sum(
            min(number, max(0, turn - self.running.get(other, 0)))
            for other, number in self.waiting.items()
            if other != user
        )
        free = places - sum(self.running.values())
        return 0.0 if ahead < free else (ahead - free + 1) * seconds_each / places


def require_admission(*, user: User, chat: Chat, insights: int) -> None:
    """Return if the user can unlock so many insights of the chat now. Raise UnlocksUnavailable or TooManyOpenInsights.

    Call it with the user locked (relivchats/limits.py): otherwise two unlocks can pass the limit together.
    """
    refusal = find_refusal(user=user, chat=chat, insights=insights)
    if refusal is None:
        return
    if refusal.reason == TOO_MANY_OPEN:
        wait = {"retry_after_seconds": refusal.retry_after_seconds} if refusal.retry_after_seconds else {}
        raise TooManyOpenInsights(refusal.detail, **wait)
    raise UnlocksUnavailable(refusal.detail, reason=refusal.reason, retry_after_seconds=refusal.retry_after_seconds)


def find_refusal(*, user: User | None = None, chat: Chat | None = None, insights: int = 1) -> Unavailability | None:
    """Return why this user cannot unlock so many insights of the chat now, or None.

    Without a user, for one who has no work yet; without a chat, for one that is indexed and read.
    """
    if user is not None and (refusal := _find_limit(user, insights)):
        return refusal
    places = settings.MAX_CONCURRENT_INSIGHTS
    if not places:
        # Nothing is generated, by a setting that is for trying out what happens to jobs that never start.
        return None
    if _is_stalled():
        return Unavailability(
            STALLED,
            "Insights are not being written at the moment, because of a fault on our side. Your coins are untouched;"
            " please try again in a few minutes.",
            settings.INSIGHT_START_TIMEOUT // 2,
        )
    subject = user and user.pk
    backlog = _count(Insight.objects.open(), "job__user", Insight.Status.PENDING)
    queued = sum(backlog.waiting.values())
    wait_seconds = 0.0
    if queued:
        each = _average_milliseconds() / 1000 or DEFAULT_SECONDS
        wait_seconds = backlog.seconds_until_turn(subject, places=places, seconds_each=each)
    if chat is not None:
        wait_seconds = max(wait_seconds, _wait_until_read(chat, subject, places), _wait_until_indexed(chat))
    too_late = wait_seconds - settings.INSIGHT_START_TIMEOUT
    if too_late <= 0 and not 0 < settings.MAX_QUEUED_INSIGHTS <= queued:
        return None
    seconds = math.ceil(min(max(too_late, _MIN_RETRY_SECONDS), _MAX_RETRY_SECONDS))
    wait = f"{round(seconds / 60)} minutes" if seconds >= 90 else "a minute"
    return Unavailability(
        BUSY,
        f"Many insights are being written just now, and yours would wait too long. Your coins are untouched; please"
        f" try again in about {wait}.",
        seconds,
    )


def count_open(user: User) -> int:
    """Return the number of the user's insights that are not finished."""
    return Insight.objects.open().filter(job__user=user).count()


register(UserLimit("open_insights", "MAX_OPEN_INSIGHTS_PER_USER", count_open))


def _find_limit(user: User, insights: int) -> Unavailability | None:
    limit = settings.MAX_OPEN_INSIGHTS_PER_USER
    if not limit or (used := count_open(user)) + insights <= limit:
        return None
    if insights > limit:
        # Waiting does not help.
        return Unavailability(
            TOO_MANY_OPEN,
            f"At most {limit} insights can be unlocked at the same time, and these are {insights}. Your coins are"
            " untouched; please choose fewer.",
            0,
        )
    return Unavailability(
        TOO_MANY_OPEN,
        f"At most {limit} of your insights can be written at the same time; {used} are not finished yet. Your coins are"
        " untouched; please unlock these when the others are done, or fewer at once.",
        _MIN_RETRY_SECONDS,
    )


def _is_stalled() -> bool:
    """Return whether ready work has waited for half of the time to start, and no worker does anything."""
    waited = Now() - timedelta(seconds=settings.INSIGHT_START_TIMEOUT / 2)
    overdue = (
        dispatch.ready().filter(next_attempt_at__lt=waited),
        readings.due().filter(next_attempt_at__lt=waited),
        Chat.objects.index_due().alias(since=indexing.due_since()).filter(since__lt=waited),
    )
    if not any(rows.exists() for rows in overdue):
        return False
    # What became ready just now, such as the insights of a chat that was read for long, is no sign of a fault.
    alive = (
        Insight.objects.leased(),
        Insight.objects.filter(finished_at__gte=Now() - _RECENTLY),
        ChatReading.objects.filter(status=ChatReading.Status.READING, lease_expires_at__gte=Now()),
        ChatReading.objects.filter(finished_at__gte=Now() - _RECENTLY),
        Chat.objects.filter(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__gte=Now()),
        Chat.objects.filter(indexed_at__gte=Now() - _RECENTLY),
    )
    return not any(rows.exists() for rows in alive)


def _wait_until_read(chat: Chat, user: Any, places: int) -> float:
    """Return the estimated seconds until the chat is being read; 0 if the engine does not read it."""
    reader = readings.current_reader()
    if reader is None or ChatReading.objects.filter(readings.is_read_by(reader, chat="chat"), chat=chat.pk).exists():
        return 0.0
    awaited = Exists(Insight.objects.open().filter(chat=OuterRef("chat")))
    unread = ChatReading.objects.filter(awaited, status__in=[ChatReading.Status.PENDING, ChatReading.Status.READING])
    backlog = _count(unread, "chat__owner", ChatReading.Status.PENDING)
    newest = ChatReading.objects.filter(finished_at__isnull=False).order_by("-created_at")[:_MEASURED]
    durations = newest.values_list(F("finished_at") - F("started_at"), flat=True)
    took = [duration.total_seconds() for duration in durations if duration]
    # Not the average: a reading that waited hours for a provider took no place meanwhile.
    each = median(took) if took else DEFAULT_SECONDS
    return backlog.seconds_until_turn(user, places=places, seconds_each=each)


def _wait_until_indexed(chat: Chat) -> float:
    """Return the estimated seconds until the chat is being indexed: as long as others have waited for their turn."""
    if not chat.needs_index:
        return 0.0
    has_turn = Chat.objects.filter(owner=OuterRef("owner"), vector_status=Chat.VectorStatus.INDEXING)
    waiting = Chat.objects.index_due().exclude(Exists(has_turn)).order_by()
    oldest = waiting.aggregate(oldest=Min(indexing.due_since()))["oldest"]
    return (clock.now() - oldest).total_seconds() if oldest else 0.0


def _count(rows: QuerySet[Any], owner: str, pending: str) -> Backlog:
    """Return the backlog of open rows. A row whose lease expired counts as running: it is soon taken over."""
    is_waiting = Q(status=pending)
    numbers = {"waiting": Count("pk", filter=is_waiting), "running": Count("pk", filter=~is_waiting)}
    counted = list(rows.order_by().values_list(owner).annotate(**numbers))
    return Backlog({user: waiting for user, waiting, _ in counted}, {user: running for user, _, running in counted})


def _average_milliseconds() -> float:
    newest = InsightAttempt.objects.order_by("-created_at")[:_MEASURED]
    return float(newest.aggregate(average=Avg("milliseconds"))["average"] or 0)
