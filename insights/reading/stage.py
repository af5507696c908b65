"""Read a chat: claim its reading, plan the windows, read them at the same time, and record each as it is finished.

Only the thread that claimed the reading uses the database, and it holds no connection while it waits for the model.
"""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error, connection, connections, transaction
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce, Now

from chats.models import Chat
from chats.transcript import TranscriptReader
from insights import recovery
from insights.engines.base import EngineError, EngineRateLimited, ReadingEngine, UnusableAnswer
from insights.episodes import Window, WindowReading
from insights.generation import RECORD_AGAIN_SECONDS, RETRY_AFTER_SECONDS
from insights.models import ChatReading, Insight, ReadWindow
from insights.reading import planning, result, windows
from insights.reading.queue import Reader, current_reader, get_reading_engine, lease_renewer, queue
from insights.reading.threads import window_threads
from insights.tokens import count_message_tokens
from relivchats.leases import Lease

logger = logging.getLogger(__name__)

#: A window of at most so many messages is not divided: it fails.
MIN_DIVIDED_MESSAGES = 10
#: Windows that find the provider unavailable before the others wait for the next attempt.
MAX_UNAVAILABLE = 3
#: A reading fails if more than this share of the messages could not be read.
MAX_FAILED_SHARE = 0.5


class _LeaseLost(Exception):
    """Another worker claimed the reading, it was requested again, or the chat was erased: nothing more is recorded."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a model found in a window, or why it did not, and how long the call took."""

    result: WindowReading | EngineError
    milliseconds: int


def run(reading_id: UUID) -> None:
    """Read a chat if its reading is due. A late or duplicate call does nothing."""
    engine = get_reading_engine()
    lease = queue.claim(reading_id, started_at=Coalesce("started_at", Now())) if engine else None
    if engine is None or lease is None:
        return
    chat_id = None
    with lease_renewer.renewing(lease):
        try:
            reading = queue.held(lease).select_related("chat").first()
            if reading is None:
                raise _LeaseLost
            chat_id = reading.chat_id
            _read(lease, reading, engine)
        except _LeaseLost:
            logger.warning("reading lease lost", extra={"reading": str(reading_id)})
        except EngineError as error:
            _end_attempt(lease, error)
        except Exception:
            # Any exception: otherwise the reading would stay leased until the lease expires.
            logger.exception("chat not read", extra={"reading": str(reading_id)})
            _end_attempt(lease, EngineError("internal_error"))
    if chat_id is not None:
        recovery.continue_after_reading(chat_id)


def _read(lease: Lease, reading: ChatReading, engine: ReadingEngine) -> None:
    """Plan what is not planned, read the windows that are pending, and end the attempt."""
    chat = reading.chat
    if Reader(reading.engine, reading.model, reading.version) != current_reader():
        # Requested by a process with other settings, during a deployment. A worker with these settings reads it.
        queue.release(
            lease, attempt=F("attempt") - 1, next_attempt_at=Now() + timedelta(seconds=RETRY_AFTER_SECONDS[0])
        )
        return
    if chat.vector_status != Chat.VectorStatus.COMPLETED:
        # Messages were added since the claim. It is due again when they are indexed.
        queue.release(lease, attempt=F("attempt") - 1, dispatched_at=None)
        return
    if (reading.up_to_message or 0) < chat.line_count:
        _plan(lease, reading, engine)
    reader = _WindowReader(lease, chat, engine)
    reader.read(reading.windows.filter(status=ReadWindow.Status.PENDING).order_by("first_number"))
    if reader.is_abandoned:
        # What was read stays read. It is due again when an insight of this chat is unlocked.
        queue.release(lease, attempt=F("attempt") - 1, dispatched_at=None)
        logger.info("reading without a waiting insight stopped", extra={"reading": str(reading.pk)})
        return
    summary = None
    if reader.error is None or reader.error.uses_attempt:
        # Before the reading is locked: it looks at all messages that were not read.
        summary = result.summarize(chat, reading, window_tokens=engine.window_tokens)
    _end_attempt(lease, reader.error, sealed_summary=summary)


class _WindowReader:
    """Reads windows of one chat, several at a time. `error` is what kept it from reading some of them, if anything.

    `is_abandoned` if no insight waits for the rest any more.
    """

    def __init__(self, lease: Lease, chat: Chat, engine: ReadingEngine) -> None:
        self.error: EngineError | None = None
        self.is_abandoned = False
        self._lease = lease
        self._chat = chat
        self._engine = engine
        self._transcript = TranscriptReader(chat)
        self._people = tuple(chat.participants)
        self._other_names = chat.person_of_name
        self._unavailable = 0
        self._tried_again = set[int]()

    def read(self, pending: Iterable[ReadWindow]) -> None:
        """Read the windows, and record each at once. Raise _LeaseLost."""
        waiting = deque(pending)
        calls: dict[Future[_Answer], tuple[ReadWindow, Window]] = {}
        with window_threads.used():
            try:
                while True:
                    limit = min(self._engine.parallel_windows, window_threads.share)
                    while waiting and len(calls) < limit and self._may_call():
                        row = waiting.popleft()
                        window = self._load(row)
                        calls[window_threads.submit(self._call, window)] = row, window
                    if not calls:
                        return
                    _close_connection()
                    done, _ = wait(calls, return_when=FIRST_COMPLETED)
                    for call in done:
                        row, window = calls.pop(call)
                        # At the front: what a window was divided into is still in memory.
                        waiting.extendleft(reversed(self._handle(row, window, call.result())))
            finally:
                # After an error, calls that have not begun are not made, and the others end with the reading.
                wait([call for call in calls if not call.cancel()])

    def _call(self, window: Window) -> _Answer:
        """Read one window, in a thread of its own."""
        started = time.monotonic()
        found: WindowReading | EngineError
        try:
            found = self._engine.read(window, people=self._people, other_names=self._other_names)
        except EngineError as error:
            found = error
        except Exception:
            logger.exception("window not read")
            found = EngineError("internal_error")
        finally:
            # An engine needs no database. If it uses one, its connection ends with the call.
            connections.close_all()
        return _Answer(found, round((time.monotonic() - started) * 1000))

    def _may_call(self) -> bool:
        """Return whether another window may be read. Raise _LeaseLost."""
        if self._is_stopped():
            return False
        # A worker that lost its lease must not pay for another call.
        if not queue.held(self._lease).exists():
            raise _LeaseLost
        # Nobody pays after the deadline of the last job that waits.
        self.is_abandoned = not Insight.objects.open().filter(chat=self._chat.pk).exists()
        return not self.is_abandoned

    def _is_stopped(self) -> bool:
        return self.error is not None and (not self.error.uses_attempt or self._unavailable >= MAX_UNAVAILABLE)

    def _load(self, row: ReadWindow) -> Window:
        numbers = [number for first, last in row.spans for number in range(first, last + 1)]
        messages = self._transcript.get(numbers)
        return windows.build_window(
            (messages[number] for number in sorted(messages)),
            people=self._people,
            window_tokens=self._engine.window_tokens,
        )

    def _handle(self, row: ReadWindow, window: Window, answer: _Answer) -> Sequence[ReadWindow]:
        """Record the answer and return the windows to read next: none, this one again, or its halves."""
        found = answer.result
        if isinstance(found, WindowReading):
            self._record(
                row,
                status=ReadWindow.Status.READ,
                sealed_result=result.seal(self._chat, row, found, shown=window),
                message_count=len(window.messages),
                dropped_count=found.dropped,
                model=found.model[:64],
                tokens_in=found.tokens_in,
                tokens_out=found.tokens_out,
                milliseconds=answer.milliseconds,
                error_code="",
            )
            return ()
        can_divide = len(window.messages) > MIN_DIVIDED_MESSAGES
        if not found.uses_attempt:
            # The provider accepts no calls now, or an operator must act: all windows wait.
            self.error = found
            return ()
        if self._is_stopped():
            return ()
        if found.code == "truncated_answer" and can_divide:
            return self._divide(row, window, error_code="")
        if not found.may_retry and can_divide and not row.error_code:
            # The same request would be refused again, but perhaps only one half of it.
            return self._divide(row, window, error_code=found.code)
        if isinstance(found, UnusableAnswer) and found.code != "truncated_answer" and row.pk not in self._tried_again:
            self._tried_again.add(row.pk)
            return (row,)
        if isinstance(found, UnusableAnswer) or not found.may_retry:
            self._record(row, status=ReadWindow.Status.FAILED, error_code=found.code)
            return ()
        self.error, self._unavailable = found, self._unavailable + 1
        return ()

    def _divide(self, row: ReadWindow, window: Window, *, error_code: str) -> Sequence[ReadWindow]:
        """Replace a window by two. Their error code says whether a provider refused the whole."""
        end, start = windows.halve(window)
        halves = []
        for first, last in ((row.first_number, end), (start, row.last_number)):
            messages = [message for message in window.messages if first <= message.number <= last]
            halves.append(
                ReadWindow(
                    reading_id=row.reading_id,
                    first_number=first,
                    last_number=last,
                    spans=windows.clip(row.spans, first=first, last=last),
                    sample_spans=windows.clip_sample(row.sample_spans, first=first, last=last),
                    message_count=len(messages),
                    token_count=count_message_tokens(messages),
                    error_code=error_code,
                )
            )
        with transaction.atomic():
            if not queue.held(self._lease).update(attempt=1):
                raise _LeaseLost
            ReadWindow.objects.filter(pk=row.pk).delete()
            return ReadWindow.objects.bulk_create(halves)

    def _record(self, row: ReadWindow, **columns: Any) -> None:
        """Store the end of a window. Raise _LeaseLost."""
        for wait_seconds in (*RECORD_AGAIN_SECONDS, None):
            try:
                _update_window(self._lease, row, **columns)
                return
            except Error as error:
                # A broken connection or a deadlock must not throw away an answer, which cost a model call.
                if wait_seconds is None:
                    raise
                logger.warning("window not recorded", extra={"error": type(error).__name__})
                _close_connection()
                time.sleep(wait_seconds)


@transaction.atomic
def _update_window(lease: Lease, row: ReadWindow, **columns: Any) -> None:
    # This locks the reading until the commit, so nothing takes the lease away in between. Progress restores the
    # attempts: a long reading survives any number of deployments.
    if not queue.held(lease).update(attempt=1):
        raise _LeaseLost
    ReadWindow.objects.filter(pk=row.pk).update(**columns)


def _plan(lease: Lease, reading: ChatReading, engine: ReadingEngine) -> None:
    """Create the windows of the messages that have none yet. Raise EngineUnavailable if the chat is not searchable."""
    chat = reading.chat
    kept = list(reading.windows.order_by("first_number"))
    plan = planning.plan_new_messages(
        chat, kept, read_before=reading.up_to_message or 0, window_tokens=engine.window_tokens
    )
    first, measured = plan.first, plan.measured
    last_kept = kept[-1] if kept and kept[-1].last_number >= first else None
    shortened = _shorten(chat, last_kept, first=first, engine=engine) if last_kept else {}
    measured.months.update(result.open_totals(chat, reading))
    with transaction.atomic():
        updated = queue.held(lease).update(
            up_to_message=chat.line_count, sealed_totals=result.seal_totals(chat, reading, measured.months)
        )
        if not updated:
            raise _LeaseLost
        if last_kept and shortened:
            ReadWindow.objects.filter(pk=last_kept.pk).update(**shortened)
        elif last_kept:
            ReadWindow.objects.filter(pk=last_kept.pk).delete()
        ReadWindow.objects.bulk_create(
            ReadWindow(
                reading=reading,
                first_number=window.spans[0][0],
                last_number=window.spans[-1][1],
                spans=window.spans,
                sample_spans=window.sample,
                message_count=window.messages,
                token_count=window.tokens,
            )
            for window in plan.windows
        )


def _shorten(chat: Chat, window: ReadWindow, *, first: int, engine: ReadingEngine) -> dict[str, Any]:
    """Return the columns of the window without the messages from `first` on; empty if none remain."""
    spans = windows.clip(window.spans, first=1, last=first - 1)
    if not spans:
        return {}
    numbers = [number for start, end in spans for number in range(start, end + 1)]
    remaining = windows.build_window(
        TranscriptReader(chat).get(numbers).values(), people=chat.participants, window_tokens=engine.window_tokens
    )
    columns: dict[str, Any] = {
        "last_number": spans[-1][1],
        "spans": spans,
        "sample_spans": windows.clip_sample(window.sample_spans, first=1, last=first - 1),
        "message_count": len(remaining.messages),
        "token_count": count_message_tokens(remaining.messages),
    }
    if window.status == ReadWindow.Status.READ:
        window.sample_spans = columns["sample_spans"]
        columns["sealed_result"] = result.seal_shortened(chat, window, remaining=remaining)
    return columns


@transaction.atomic
def _end_attempt(lease: Lease, error: EngineError | None, *, sealed_summary: bytes | None = None) -> None:
    """Complete the reading, make it due again, or fail it.

    `error` is what kept windows from being read, if anything. After the last attempt, the reading is complete without
    them if they are few. Without a summary of the windows that were read, it is never complete.
    """
    # Locked until the commit. Nothing is changed if the lease was lost.
    reading = queue.held(lease).select_for_update(no_key=True).first()
    if reading is None:
        logger.warning("late end of a reading discarded", extra={"reading": str(lease.row_id)})
        return
    if error is not None and (not error.uses_attempt or reading.attempt < settings.INSIGHT_MAX_ATTEMPTS):
        _reschedule(lease, reading, error)
        return
    error_code = error.code if error else ""
    if sealed_summary is not None:
        pending = reading.windows.filter(status=ReadWindow.Status.PENDING)
        pending.update(status=ReadWindow.Status.FAILED, error_code=error_code)
        failed = reading.windows.filter(status=ReadWindow.Status.FAILED)
        counts = reading.windows.aggregate(
            all=Sum("message_count", default=0),
            failed=Sum("message_count", filter=Q(status=ReadWindow.Status.FAILED), default=0),
        )
        if counts["failed"] <= MAX_FAILED_SHARE * counts["all"]:
            queue.finish(
                lease,
                status=ChatReading.Status.COMPLETED,
                finished_at=Now(),
                error_code="",
                sealed_summary=sealed_summary,
            )
            logger.info("chat read", extra={"reading": str(reading.pk), "failed_windows": failed.count()})
            return
        error_code = error_code or failed.values_list("error_code", flat=True)[0]
    queue.finish(lease, status=ChatReading.Status.FAILED, finished_at=Now(), error_code=error_code)
    # Operators search the log for this text.
    logger.error(
        f"failed after {reading.attempt} attempts", extra={"reading": str(reading.pk), "error_code": error_code}
    )


def _reschedule(lease: Lease, reading: ChatReading, error: EngineError) -> None:
    if isinstance(error, EngineRateLimited):
        # The jitter keeps the readings that the provider rejected together from returning together.
        wait_seconds = error.retry_after_seconds + random.uniform(0, 5)
    else:
        wait_seconds = RETRY_AFTER_SECONDS[min(reading.attempt, len(RETRY_AFTER_SECONDS)) - 1]
    queue.release(
        lease,
        attempt=F("attempt") - (0 if error.uses_attempt else 1),
        next_attempt_at=Now() + timedelta(seconds=wait_seconds),
        dispatched_at=None,
        error_code=error.code,
    )
    logger.warning(
        "reading rescheduled",
        extra={"reading": str(reading.pk), "error_code": error.code, "seconds": round(wait_seconds)},
    )


def _close_connection() -> None:
    # Inside a transaction, as in tests, the connection is not this module's to close.
    if not connection.in_atomic_block:
        connection.close()
