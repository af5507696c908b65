"""The lease queue of readings: request one, and dispatch those that insights wait for.

Postgres is the queue (relivchats/leases.py). A reading is locked after all other rows, and alone while it is read.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any, NamedTuple, cast

from django.conf import settings
from django.db import transaction
from django.db.models import Exists, F, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Now

from chats.models import Chat
from insights import engines
from insights.engines.base import ReadingEngine
from insights.episodes import READING_VERSION
from insights.models import ChatReading, Insight, ReadWindow
from relivchats.errors import Conflict
from relivchats.leases import LeaseQueue, LeaseRenewer, take_turns
from relivchats.wakeups import CoalescingThread

queue = LeaseQueue(
    model=ChatReading,
    task="insights.tasks.read_chat",
    status_column="status",
    pending=ChatReading.Status.PENDING,
    leased=ChatReading.Status.READING,
    due=ChatReading.objects.due,
    lease_expired=ChatReading.objects.lease_expired,
    due_at="next_attempt_at",
    max_attempts=settings.INSIGHT_MAX_ATTEMPTS,
)
lease_renewer = LeaseRenewer(queue)


class Reader(NamedTuple):
    """What reads a chat. The columns of ChatReading have the same names."""

    engine: str
    model: str
    version: int


def get_reading_engine() -> ReadingEngine | None:
    """Return this process's engine if it reads chats, or None."""
    engine = engines.get_engine()
    return cast(ReadingEngine, engine) if engine.method == "read" else None


def current_reader() -> Reader | None:
    """Return what reads chats in this process, or None if the engine does not read."""
    engine = get_reading_engine()
    return Reader(engine.name, engine.reading_model, READING_VERSION) if engine else None


def is_read_by(reader: Reader, *, chat: str) -> Q:
    """Return the condition that a row's chat is read completely by this reader. `chat` is the path to the chat."""
    reading = f"{chat}__reading__"
    conditions: dict[str, Any] = {f"{reading}{column}": value for column, value in reader._asdict().items()}
    conditions[f"{reading}status"] = ChatReading.Status.COMPLETED
    conditions[f"{reading}up_to_message__gte"] = F(f"{chat}__line_count")
    return Q(**conditions)


@transaction.atomic
def request(chat: Chat) -> None:
    """Request that the chat be read by the current engine. Does nothing if it is read, or if the engine reads nothing.

    What another engine, model or version read is deleted. A failed reading gets all attempts again. If messages were
    added, the earlier windows are kept.
    """
    reader = current_reader()
    if reader is None:
        return
    ChatReading.objects.bulk_create([ChatReading(chat=chat, **reader._asdict())], ignore_conflicts=True)
    reading = ChatReading.objects.select_for_update(no_key=True).get(chat=chat.pk)
    if Reader(reading.engine, reading.model, reading.version) != reader:
        _start_again(reading, reader)
    elif reading.status == ChatReading.Status.FAILED:
        failed = reading.windows.filter(status=ReadWindow.Status.FAILED)
        failed.update(status=ReadWindow.Status.PENDING, error_code="")
        _make_pending(reading)
    elif reading.status == ChatReading.Status.COMPLETED and (reading.up_to_message or 0) < chat.line_count:
        _make_pending(reading)
    # Otherwise it is due, being read, or complete. One that is being read is requested again when it is finished.


@transaction.atomic
def request_again(reading: ChatReading) -> None:
    """Discard what was read, and request it by the current engine. Raise Conflict if that engine reads no chats."""
    reader = current_reader()
    if reader is None:
        raise Conflict("The engine that is configured counts words and reads no chats.")
    locked = ChatReading.objects.select_for_update(no_key=True).filter(pk=reading.pk).first()
    if locked is None:
        raise Conflict("The chat of this reading was just deleted.")
    _start_again(locked, reader)


def _start_again(reading: ChatReading, reader: Reader) -> None:
    reading.windows.all().delete()
    _make_pending(reading, up_to_message=None, sealed_totals=None, sealed_summary=None, **reader._asdict())


def _make_pending(reading: ChatReading, **columns: Any) -> None:
    """Make a locked reading due with all attempts."""
    ChatReading.objects.filter(pk=reading.pk).update(
        status=ChatReading.Status.PENDING,
        attempt=0,
        next_attempt_at=Now(),
        dispatched_at=None,
        # Takes the lease away from a worker that reads with another model.
        lease_token=None,
        lease_expires_at=None,
        finished_at=None,
        error_code="",
        **columns,
    )
    transaction.on_commit(dispatch_soon)


def due() -> QuerySet[ChatReading]:
    """Return the due readings of this process's engine that an open insight waits for."""
    reader = current_reader()
    if reader is None:
        return ChatReading.objects.none()
    # Reading costs money. After the job's deadline nobody pays for it, until the next unlock.
    waiting = Insight.objects.open().filter(chat=OuterRef("chat"))
    return ChatReading.objects.due().filter(Exists(waiting), **reader._asdict())


def dispatch() -> int:
    """Publish the ids of due readings, fairly between users, at most as many as insights may be generated at once.

    Return their number.
    """
    published = ChatReading.objects.filter(
        status=ChatReading.Status.PENDING, dispatched_at__gte=Now() - timedelta(seconds=settings.REDISPATCH_SECONDS)
    )
    leased = ChatReading.objects.filter(status=ChatReading.Status.READING, lease_expires_at__gte=Now())
    in_flight = Counter((published | leased).values_list("chat__owner", flat=True))
    served = ChatReading.objects.filter(chat__owner=OuterRef("chat__owner")).order_by().values("chat__owner")
    rows = take_turns(
        due(),
        owner="chat__owner",
        in_flight=in_flight,
        order=("next_attempt_at", "pk"),
        served=served.values(latest=Max("started_at")),
        arrived="next_attempt_at",
    )
    return queue.dispatch(rows, limit=settings.MAX_CONCURRENT_INSIGHTS - in_flight.total())


dispatch_soon = CoalescingThread(dispatch, name="dispatch-readings").run_soon


def unrequested_chats() -> QuerySet[Chat]:
    """Return the indexed chats with waiting insights that this engine was not requested to read as they are now."""
    reader = current_reader()
    if reader is None:
        return Chat.objects.none()
    waiting = Insight.objects.filter(chat=OuterRef("pk"), status=Insight.Status.PENDING)
    requested = ChatReading.objects.filter(chat=OuterRef("pk"), **reader._asdict()).exclude(
        status=ChatReading.Status.COMPLETED, up_to_message__lt=OuterRef("line_count")
    )
    return Chat.objects.filter(Exists(waiting), ~Exists(requested), vector_status=Chat.VectorStatus.COMPLETED)
