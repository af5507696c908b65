"""The state of the queues: the due rows in Postgres, which is the queue of record, and the messages in the broker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from typing import Any

import redis
from django.conf import settings
from django.db.models import Case, Count, F, OuterRef, QuerySet, Subquery, Value, When
from django.db.models.functions import Coalesce, Now, NullIf
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from chats.models import Chat
from insights import dispatch, pauses
from insights.models import ChatReading, DispatchPause, Insight, InsightAttempt
from insights.recovery import WORKER_LOST
from ops.models import ScheduleEntry
from relivchats import durations
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.reports import Level, Line, Report, Table, format_count

#: Those of work, which a person waits for.
WORK_NAMES = ("insights", "indexing")
#: Messages of periodic tasks expire before the next one is sent: after an outage workers drop them, however many.
NAMES = (*WORK_NAMES, "upkeep")

#: Counting stops here: the exact length of a longer queue does not change what an operator does.
MAX_COUNTED = 10_000

#: Beat writes its schedule every ten seconds.
LATE_AFTER = timedelta(seconds=60)

#: A broker that does not answer for so long is frozen.
TIMEOUT_SECONDS = 0.7


@dataclass(frozen=True)
class QueueState:
    """Counts of rows and messages. `messages` (by queue) and `unacked` are None if the broker does not answer."""

    messages: dict[str, int] | None
    unacked: int | None
    due: int
    oldest_seconds: int
    waiting_for_index: int
    waiting_for_reading: int
    generating: int
    places: int
    chats_due: int
    chats_indexing: int
    paused: str = ""


def client() -> redis.Redis:
    """Return a client of the broker with a short timeout and without retries."""
    # `health` shall answer within two seconds, of which the start takes more than one.
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def fetch_state() -> QueueState:
    """Read the state of the queues from Postgres and from the broker."""
    messages, unacked = _fetch_message_counts()
    due = Insight.objects.due()
    # An insight is due when its job is created, but cannot start before its chat is indexed and, if the engine is a
    # model, read. That is no backlog.
    ready = dispatch.ready()
    searchable = due.filter(chat__vector_status=Chat.VectorStatus.COMPLETED)
    oldest = (
        ready.order_by("next_attempt_at").annotate(late=Now() - F("next_attempt_at")).values_list("late", flat=True)
    )
    indexing = Chat.objects.filter(vector_status=Chat.VectorStatus.INDEXING, index_lease_expires_at__gte=Now())
    return QueueState(
        messages=messages,
        unacked=unacked,
        due=_count(ready),
        oldest_seconds=int((oldest.first() or timedelta()).total_seconds()),
        waiting_for_index=_count(due.exclude(chat__vector_status=Chat.VectorStatus.COMPLETED)),
        waiting_for_reading=_count(searchable.exclude(pk__in=ready.values("pk"))),
        generating=_count(Insight.objects.leased()),
        places=settings.MAX_CONCURRENT_INSIGHTS,
        chats_due=_count(Chat.objects.index_due()),
        chats_indexing=_count(indexing),
        paused=_describe_pause(),
    )


def _describe_pause() -> str:
    pause = pauses.dispatch_pause()
    return f"paused for {durations.format_short(vars(pause)['age'])} by {pause.paused_by}" if pause else ""


def _count(rows: QuerySet[Any]) -> int:
    return rows.order_by()[:MAX_COUNTED].count()


def _fetch_message_counts() -> tuple[dict[str, int] | None, int | None]:
    """Return the messages waiting in each queue, and those delivered to a worker but not acknowledged."""
    try:
        with client() as broker:
            # One round trip. The counts need not be of one instant.
            pipeline = broker.pipeline(transaction=False)
            for name in NAMES:
                pipeline.llen(name)
            # Kombu's Redis transport keeps delivered messages in this hash until the worker acknowledges them.
            pipeline.hlen("unacked")
            *depths, unacked = pipeline.execute()
    except (RedisError, OSError):
        return None, None
    return dict(zip(NAMES, depths, strict=True)), unacked


WAITING, RUNNING, ENDED, UNKNOWN = "waiting", "running", "ended", "unknown"
#: Newer messages are at the start of the list.
_MAX_SEARCHED = 500


def find_message(*, queue: str, task_id: str) -> str:
    """Return whether the message of a task that was just sent is WAITING, RUNNING or ENDED; UNKNOWN without a broker.

    Workers acknowledge a message when its task has ended, however it ended, or drop it if it has expired.
    """
    try:
        with client() as broker:
            # A transaction: the message may move meanwhile.
            pipeline = broker.pipeline(transaction=True)
            pipeline.lrange(queue, 0, _MAX_SEARCHED)
            pipeline.hvals("unacked")
            waiting, running = pipeline.execute()
    except (RedisError, OSError):
        return UNKNOWN
    name = task_id.encode()
    if any(name in message for message in waiting):
        return WAITING
    return RUNNING if any(name in message for message in running) else ENDED


def summary_line(state: QueueState) -> Line:
    """Return the line of the health check: a warning if a queue is long or its oldest row is late."""
    messages = sum((state.messages or {}).get(name, 0) for name in WORK_NAMES)
    due = format_count(state.due, "insight", limit=MAX_COUNTED)
    waiting = format_count(messages, "message", limit=messages)
    data = asdict(state)
    if state.paused:
        text = f"insights are {state.paused}: {due} waiting; unlocks are refused; jobs past their deadline fail"
        return Line("queue", Level.WARNING, text, "manage.py queue --resume insights", data, is_cause=True)
    too_long = max(state.due, messages) > settings.HEALTH_QUEUE_WARNING
    too_late = state.oldest_seconds > settings.HEALTH_QUEUE_AGE_WARNING_SECONDS
    if too_long or too_late:
        late = f", the oldest for {state.oldest_seconds} s" if state.due else ""
        text = f"{due} due{late}; {waiting} of work"
        remedy = "manage.py queue  # then more workers, or a higher MAX_CONCURRENT_INSIGHTS"
        return Line("queue", Level.WARNING, text, remedy, data)
    if state.messages is None:
        text = f"{due} due; messages unknown, the broker does not answer"
        return Line("queue", Level.UNKNOWN, text, "manage.py health", data)
    return Line("queue", Level.FINE, f"{due} due, {waiting} of work", data=data)


def report() -> Report:
    """Return the state of the queues as a table, with what waits after an error, and the schedule in the data."""
    state = fetch_state()
    messages = state.messages or dict.fromkeys(NAMES)
    rows = [
        *(
            (f"messages in {name}" + ("" if name in WORK_NAMES else ", of periodic tasks"), depth)
            for name, depth in messages.items()
        ),
        ("messages not acknowledged: a worker has them and is not done", state.unacked),
        ("insights due", state.due),
        ("oldest due", durations.format_seconds(state.oldest_seconds)),
        ("insights waiting for indexing", state.waiting_for_index),
        ("insights waiting until their chat is read", state.waiting_for_reading),
        ("insights generating", f"{state.generating} of {state.places}"),
        *((f"insights waiting after {code}", number) for code, number in deferred()),
        ("chats waiting for indexing", state.chats_due),
        ("chats indexing", state.chats_indexing),
    ]
    data = {**asdict(state), "deferred": dict(deferred()), "schedule": list(ScheduleEntry.objects.values())}
    return Report("Queue", (summary_line(state),), Table(("what", "how many"), tuple(rows)), data)


def deferred_insights() -> QuerySet[Any]:
    """Return the insights that wait after an error, with its code as `code`: their own, or of the reading they need.

    `deferred_at` is when the wait began: their first failed attempt, the recovery from a lost worker, or the start of
    the reading.
    """
    reading = ChatReading.objects.filter(chat=OuterRef("chat"), status=ChatReading.Status.PENDING)
    code = Coalesce(NullIf("error_code", Value("")), Subquery(reading.values("error_code")), Value(""))
    failed = InsightAttempt.objects.filter(insight=OuterRef("pk"), outcome=InsightAttempt.Outcome.RETRY)
    deferred_at = Case(
        # Recovery makes them due at once, and stores no attempt.
        When(error_code=WORKER_LOST, then=F("next_attempt_at")),
        default=Coalesce(
            Subquery(failed.order_by("created_at").values("created_at")[:1]),
            Subquery(reading.values("started_at")),
            F("created_at"),
        ),
    )
    pending = Insight.objects.filter(status=Insight.Status.PENDING)
    return pending.annotate(code=code, deferred_at=deferred_at).exclude(code="")


def deferred() -> list[tuple[str, int]]:
    """Return the error codes after which insights wait for another attempt, with how many, the most frequent first."""
    counts = deferred_insights().order_by().values_list("code").annotate(number=Count("pk"))
    return list(counts.order_by("-number", "code")[:20])


def schedule_report() -> Report:
    """Return the tasks that beat sends, with their last and next runs. Late is what should have run a while ago."""
    entries = list(ScheduleEntry.objects.annotate(now=Now()).order_by("name"))
    rows = tuple((each.name, each.schedule, each.last_run_at, each.next_run_at, each.runs) for each in entries)
    late = [each.name for each in entries if each.next_run_at and vars(each)["now"] - each.next_run_at > LATE_AFTER]
    if not entries:
        line = Line("schedule", Level.WARNING, "beat has not written its schedule yet", "manage.py workers")
    elif late:
        text = f"{len(late)} of {len(entries)} tasks late: beat does not run, or hangs"
        line = Line("schedule", Level.WARNING, text, "manage.py health", {"late": late})
    else:
        line = Line("schedule", Level.FINE, f"{format_count(len(entries), 'task')}, none is late")
    return Report("Schedule", (line,), Table(("entry", "schedule", "last run", "next run", "runs"), rows))


def pause(*, context: ActionContext) -> Report:
    """Give no more insights to workers, and return the state. Raise Conflict without a reason or if it is paused."""
    pauses.pause_dispatch(context=context)
    return replace(report(), has_changed=True)


def resume(*, context: ActionContext) -> Report:
    """Give insights to workers again, and return the state. Raise Conflict if they are not paused."""
    if not pauses.resume_dispatch(DispatchPause.objects.active(), context=context).done:
        raise Conflict("Insights are not paused.")
    return replace(report(), has_changed=True)
