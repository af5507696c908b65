"""What waits: in Postgres, which is the queue of record, and as messages in the broker."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.db.models import F, QuerySet
from django.db.models.functions import Now
from redis.exceptions import RedisError

from chats.models import Chat
from insights.models import Insight
from relivchats.staff.reports import Level, Line, Report, Table

NAMES = ("insights", "indexing", "upkeep")

#: Rows are counted up to here: a longer queue is no quicker to mend for being counted.
MOST = 10_000


@dataclass(frozen=True)
class Waiting:
    """`messages` is None when the broker does not answer; `unacked` are in workers' hands."""

    messages: dict[str, int] | None
    unacked: int | None
    due: int
    oldest_seconds: int
    waiting_for_index: int
    generating: int
    places: int
    chats_due: int
    chats_indexing: int


def client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1)


def look() -> Waiting:
    messages, unacked = _messages()
    due = Insight.objects.due()
    ready = due.filter(chat__vector_status=Chat.VectorStatus.COMPLETED)
    oldest = (
        ready.order_by("next_attempt_at").annotate(late=Now() - F("next_attempt_at")).values_list("late", flat=True)
    )
    return Waiting(
        messages=messages,
        unacked=unacked,
        due=_count(ready),
        oldest_seconds=int((oldest.first() or timedelta()).total_seconds()),
        waiting_for_index=_count(due.exclude(chat__vector_status=Chat.VectorStatus.COMPLETED)),
        generating=_count(Insight.objects.leased()),
        places=settings.MAX_CONCURRENT_INSIGHTS,
        chats_due=_count(Chat.objects.index_due()),
        chats_indexing=_count(
            Chat.objects.filter(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__gte=Now())
        ),
    )


def _count(rows: QuerySet[Any]) -> int:
    return rows.order_by()[:MOST].count()


def _messages() -> tuple[dict[str, int] | None, int | None]:
    try:
        with client() as broker:
            pipeline = broker.pipeline(transaction=False)
            for name in NAMES:
                pipeline.llen(name)
            pipeline.hlen("unacked")
            *depths, unacked = pipeline.execute()
    except (RedisError, OSError):
        return None, None
    return dict(zip(NAMES, depths, strict=True)), unacked


def line(waiting: Waiting) -> Line:
    messages = sum((waiting.messages or {}).values())
    data = asdict(waiting)
    text = f"{waiting.due} insights due, {messages} messages"
    deep = max(waiting.due, messages) > settings.HEALTH_QUEUE_WARNING
    late = waiting.oldest_seconds > settings.HEALTH_QUEUE_AGE_WARNING_SECONDS
    if deep or late:
        text += f", the oldest due for {waiting.oldest_seconds} s"
        return Line(
            "queue", Level.WARNING, text, "manage.py queue; more workers, or a higher MAX_CONCURRENT_INSIGHTS", data
        )
    if waiting.messages is None:
        return Line(
            "queue",
            Level.UNKNOWN,
            f"{waiting.due} insights due; the broker's part is not known",
            "manage.py health",
            data,
        )
    return Line("queue", Level.FINE, text, data=data)


def report() -> Report:
    waiting = look()
    messages = waiting.messages or dict.fromkeys(NAMES)
    rows = [(f"messages in {name}", depth) for name, depth in messages.items()]
    rows += [
        ("messages in workers' hands", waiting.unacked),
        ("insights due", waiting.due),
        ("oldest due, seconds", waiting.oldest_seconds),
        ("insights waiting for indexing", waiting.waiting_for_index),
        ("insights generating", f"{waiting.generating} of {waiting.places}"),
        ("chats waiting for indexing", waiting.chats_due),
        ("chats indexing", waiting.chats_indexing),
    ]
    return Report("Queue", (line(waiting),), Table(("what", "how many"), tuple(rows)), asdict(waiting))
