"""A chat is read once, window by window: nothing that was read is read again, and what cannot be read is left out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from django.db import OperationalError, connection, transaction
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats import erasure, indexing
from chats.editing import edit_chat
from chats.exports.parsed import MessageKind
from chats.importing import ImportOptions, import_upload
from chats.models import Chat
from chats.people import Person
from chats.pseudonyms import Pseudonyms
from chats.transcript import TranscriptReader
from insights import dispatch, engines, reading, recovery, unlocking
from insights.engines.base import (
    EngineError,
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
    UnusableAnswer,
)
from insights.episodes import Danger, Relationship, Window, WindowReading
from insights.models import ChatReading, GenerationJob, Insight, ReadWindow
from insights.reading import queue, stage
from insights.reading.threads import SharedThreads
from relivchats.accounts.models import User
from relivchats.leases import Lease
from tests import exports
from tests.concurrency import BackgroundCall, is_a_lock_awaited
from tests.fakes.reader import FakeReader, find_one_episode
from tests.processes import PATIENCE_SECONDS, eventually

pytestmark = pytest.mark.django_db(transaction=True)

TYPES = ["communication_basics"]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """The engine of this process, which reads chats."""
    reader = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: reader)
    return reader


@pytest.fixture(autouse=True)
def published(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Any]]:
    """The wake-ups that were sent. No worker receives them."""
    sent: list[tuple[str, Any]] = []

    def publish(task: str, row_id: UUID) -> bool:
        sent.append((task, row_id))
        return True

    monkeypatch.setattr("relivchats.leases.publish", publish)
    return sent


@pytest.fixture
def unlocked(engine: FakeReader, person: User, chat: Chat) -> ChatReading:
    """The reading of a chat of 300 messages with an unlocked insight."""
    unlocking.unlock(user=person, chat=chat, type_ids=TYPES)
    return ChatReading.objects.get(chat=chat)


def text_numbers(chat: Chat, *, first: int = 1) -> list[int]:
    """Return the numbers of the messages that are shown."""
    chat = Chat.objects.get(pk=chat.pk)
    return [
        message.number
        for message in TranscriptReader(chat).messages(first, chat.line_count)
        if message.kind == MessageKind.TEXT and message.text.strip()
    ]


def make_due(row: ChatReading) -> None:
    ChatReading.objects.filter(pk=row.pk).update(next_attempt_at=Now())


def expire_lease(row: ChatReading) -> None:
    ChatReading.objects.filter(pk=row.pk).update(lease_expires_at=Now() - timedelta(seconds=1))


def state(row: ChatReading) -> tuple[str, int, str]:
    row.refresh_from_db()
    return row.status, row.attempt, row.error_code


def extend(chat: Chat, *, messages: int) -> Chat:
    import_upload(owner=chat.owner, upload=exports.text(messages), options=ImportOptions(extend=chat.pk))
    indexing.index_chat(chat.pk)
    return Chat.objects.get(pk=chat.pk)


def read_chat(chat: Chat) -> None:
    """Unlock an insight of the chat and read it."""
    unlocking.unlock(user=chat.owner, chat=chat, type_ids=TYPES)
    stage.run(ChatReading.objects.get(chat=chat).pk)


def failing(error: EngineError, *, when: Callable[[Window], bool] = lambda window: True) -> Callable[[Window], Any]:
    """Return answers that fail for the windows that satisfy the condition."""

    def answer(window: Window) -> WindowReading:
        if when(window):
            raise error
        return find_one_episode(window)

    return answer


def test_an_unlock_reads_the_whole_chat_once(engine: FakeReader, unlocked: ChatReading, chat: Chat) -> None:
    for _ in range(3):
        stage.run(unlocked.pk)
    assert engine.numbers == text_numbers(chat), "every text message, once"
    assert len(engine.windows) > 3
    found = reading.load(chat)
    assert found is not None
    assert (found.messages_read, found.messages_total) == (len(engine.numbers), len(engine.numbers))
    assert (found.windows_read, found.windows_failed) == (len(engine.windows), 0)
    assert len(found.episodes) == len(engine.windows)
    assert {found.relationship, *found.languages} == {Relationship.COUPLE, "English"}
    assert (found.tokens_in, found.dropped) == (100 * len(engine.windows), len(engine.windows))
    assert (found.engine, found.model, found.up_to_message) == ("fake", "fake-1", chat.line_count)
    assert all(month.read == month.total for month in found.months.values())
    assert found.episodes[0].subject.startswith("about ")


def test_an_engine_that_counts_requests_no_reading(person: User, chat: Chat) -> None:
    unlocking.unlock(user=person, chat=chat, type_ids=TYPES)
    assert not ChatReading.objects.exists()
    assert reading.load(chat) is None
    assert dispatch.ready().exists()


def test_insights_wait_until_their_chat_is_read(unlocked: ChatReading, published: list[tuple[str, Any]]) -> None:
    assert dispatch.dispatch() == 0
    assert queue.dispatch() <= 1
    assert ("insights.tasks.read_chat", unlocked.pk) in published
    stage.run(unlocked.pk)
    dispatch.dispatch()
    assert ("insights.tasks.generate_insight", Insight.objects.get().pk) in published


def test_a_second_unlock_reads_nothing(engine: FakeReader, unlocked: ChatReading, person: User, chat: Chat) -> None:
    stage.run(unlocked.pk)
    read = list(engine.windows)
    reading.request(chat)
    stage.run(unlocked.pk)
    assert engine.windows == read
    assert state(unlocked) == ("completed", 1, "")


def test_a_reading_is_dispatched_only_while_an_insight_waits(unlocked: ChatReading) -> None:
    Insight.objects.update(status="failed", finished_at=Now(), error_code="deadline_passed")
    assert not queue.due().exists()


class _Killed(BaseException):
    """Ends a worker as a kill would: nothing catches it."""


def test_a_reading_stops_when_its_job_is_over_and_keeps_what_was_read(
    engine: FakeReader, unlocked: ChatReading, person: User, chat: Chat
) -> None:
    def answer(window: Window) -> WindowReading:
        if len(engine.windows) == 2:
            GenerationJob.objects.update(deadline_at=Now() - timedelta(seconds=1))
            # Past the latest deadline too: before it, a job whose chat is being read goes on.
            CoinReservation.objects.update(expires_at=Now())
            recovery.recover()
            connection.close()
        return find_one_episode(window)

    engine.parallel_windows, engine.window_tokens = 1, 300
    engine.answers = answer
    stage.run(unlocked.pk)
    assert not Insight.objects.open().exists()
    assert len(engine.windows) == 2
    assert unlocked.windows.filter(status="read").count() == 2
    assert state(unlocked) == ("pending", 0, "")
    assert not queue.due().exists()
    unlocking.unlock(user=person, chat=chat, type_ids=TYPES)
    assert queue.due().exists()
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    assert engine.numbers == text_numbers(chat), "nothing is read twice"


def test_a_worker_killed_between_windows_reads_none_again(
    engine: FakeReader, unlocked: ChatReading, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.parallel_windows = 1
    update = stage._update_window
    recorded: list[ReadWindow] = []

    def kill_after_two(lease: Any, row: ReadWindow, **columns: Any) -> None:
        update(lease, row, **columns)
        recorded.append(row)
        if len(recorded) == 2:
            raise _Killed

    monkeypatch.setattr(stage, "_update_window", kill_after_two)
    with pytest.raises(_Killed):
        stage.run(unlocked.pk)
    monkeypatch.undo()
    monkeypatch.setattr(engines, "get_engine", lambda: engine)
    assert state(unlocked)[0] == "reading"
    expire_lease(unlocked)
    assert recovery.recover().readings == 1
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    assert engine.numbers == text_numbers(chat), "no message was shown twice"


def test_two_workers_never_read_a_window_twice(engine: FakeReader, unlocked: ChatReading, chat: Chat) -> None:
    calls = [BackgroundCall(lambda: stage.run(unlocked.pk)) for _ in range(2)]
    assert [call.result() for call in calls] == [None, None]
    assert engine.numbers == text_numbers(chat)


def test_a_lost_lease_cannot_write(engine: FakeReader, unlocked: ChatReading, chat: Chat) -> None:
    gate, started = threading.Event(), threading.Event()

    def wait(window: Window) -> WindowReading:
        started.set()
        assert gate.wait(PATIENCE_SECONDS)
        return find_one_episode(window)

    engine.parallel_windows = 1
    engine.answers = wait
    stale = BackgroundCall(lambda: stage.run(unlocked.pk))
    assert started.wait(PATIENCE_SECONDS)
    expire_lease(unlocked)
    assert recovery.recover_reading(unlocked.pk)
    engine.answers = failing(EngineUnavailable())
    fresh = queue.queue.claim(unlocked.pk)
    assert fresh is not None
    gate.set()
    stale.result()
    assert not ReadWindow.objects.exclude(status="pending").exists(), "the answer was discarded"
    assert len(engine.windows) == 1, "and no further window was sent"
    assert queue.queue.held(fresh).exists(), "the other worker still has its lease"


def test_a_window_is_recorded_under_the_lock_of_its_reading(unlocked: ChatReading) -> None:
    lease = queue.queue.claim(unlocked.pk)
    assert lease is not None
    row = ReadWindow.objects.create(reading=unlocked, first_number=1, last_number=9)
    with transaction.atomic():
        ReadWindow.objects.select_for_update().get(pk=row.pk)
        recording = BackgroundCall(lambda: stage._update_window(lease, row, status="failed"))
        eventually(is_a_lock_awaited)
        with pytest.raises(OperationalError), transaction.atomic():
            list(ChatReading.objects.select_for_update(nowait=True))
    assert recording.result() is None
    row.refresh_from_db()
    assert row.status == "failed"


def test_a_plan_is_stored_completely_or_not_at_all(unlocked: ChatReading, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(rows: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(ReadWindow.objects, "bulk_create", fail)
    stage.run(unlocked.pk)
    assert state(unlocked) == ("pending", 1, "internal_error")
    assert unlocked.up_to_message is None


def test_a_rate_limit_waits_as_the_provider_says_uses_no_attempt_and_keeps_what_was_read(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    engine.parallel_windows = 1
    engine.answers = failing(EngineRateLimited(retry_after_seconds=40), when=lambda window: len(engine.windows) > 2)
    stage.run(unlocked.pk)
    assert state(unlocked) == ("pending", 0, "rate_limited")
    assert ReadWindow.objects.filter(status="read").count() == 2
    assert len(engine.windows) == 3, "no other window was sent"
    assert ChatReading.objects.filter(next_attempt_at__gt=Now() + timedelta(seconds=20)).exists()
    limited = engine.windows.pop()
    engine.answers = find_one_episode
    make_due(unlocked)
    stage.run(unlocked.pk)
    assert engine.numbers == text_numbers(chat)
    assert limited in engine.windows


def test_a_wrong_key_uses_no_attempt(engine: FakeReader, unlocked: ChatReading) -> None:
    engine.answers = failing(EngineMisconfigured())
    for _ in range(4):
        stage.run(unlocked.pk)
        assert state(unlocked) == ("pending", 0, "engine_misconfigured")
        make_due(unlocked)


def test_an_unavailable_provider_is_called_in_three_attempts_and_then_the_insights_fail(
    engine: FakeReader, unlocked: ChatReading
) -> None:
    engine.answers = failing(EngineUnavailable())
    for attempt in (1, 2):
        stage.run(unlocked.pk)
        assert state(unlocked) == ("pending", attempt, "engine_unavailable")
        make_due(unlocked)
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "failed"
    assert len(engine.windows) <= 3 * (stage.MAX_UNAVAILABLE + engine.parallel_windows)
    insight = Insight.objects.get()
    assert (insight.status, insight.error_code) == ("failed", "reading_failed")
    insight.job.reservation.refresh_from_db()
    assert insight.job.reservation.status == "released"


def test_a_failed_reading_gets_all_attempts_again_with_the_next_unlock(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    engine.answers = failing(EngineUnavailable())
    for _ in range(3):
        stage.run(unlocked.pk)
        make_due(unlocked)
    engine.answers = find_one_episode
    engine.windows.clear()
    unlocking.retry(Insight.objects.get())
    assert state(unlocked) == ("pending", 0, "")
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    assert engine.numbers == text_numbers(chat)


def test_an_internal_error_is_attempted_again_and_contains_no_text(
    engine: FakeReader, unlocked: ChatReading, logged: Any
) -> None:
    def fail(window: Window) -> WindowReading:
        raise ValueError(window.messages[0].text)

    engine.answers = fail
    stage.run(unlocked.pk)
    assert state(unlocked) == ("pending", 1, "internal_error")
    assert "window not read" in logged.getvalue()
    assert engine.windows[0].messages[0].text not in logged.getvalue()


def test_a_window_with_a_truncated_answer_is_divided(engine: FakeReader, unlocked: ChatReading, chat: Chat) -> None:
    engine.answers = failing(UnusableAnswer("truncated_answer"), when=lambda window: len(window.messages) > 12)
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    found = reading.load(chat)
    assert found is not None
    assert found.messages_read == found.messages_total, "everything was read in the end"
    assert found.windows_failed == 0


def test_a_window_that_is_blocked_is_divided_once_and_the_rest_is_read(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    blocked = text_numbers(chat)[20]
    engine.answers = failing(
        EngineRefused("blocked"), when=lambda window: blocked in [message.number for message in window.messages]
    )
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    (failed,) = ReadWindow.objects.filter(status="failed")
    assert failed.first_number <= blocked <= failed.last_number
    assert failed.error_code == "blocked"
    found = reading.load(chat)
    assert found is not None
    assert 0 < found.messages_total - found.messages_read == failed.message_count
    assert sum(month.read for month in found.months.values()) == found.messages_read


def test_an_unusable_answer_is_requested_once_more(engine: FakeReader, unlocked: ChatReading) -> None:
    calls: dict[int, int] = {}

    def answer(window: Window) -> WindowReading:
        first = window.messages[0].number
        calls[first] = calls.get(first, 0) + 1
        if first == min(calls) or calls[first] == 1:
            raise UnusableAnswer("malformed_answer")
        return find_one_episode(window)

    engine.answers = answer
    stage.run(unlocked.pk)
    assert set(calls.values()) == {2}
    assert ReadWindow.objects.get(status="failed").error_code == "malformed_answer"
    assert state(unlocked)[0] == "completed"


def test_a_reading_fails_if_most_of_the_chat_cannot_be_read(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    engine.answers = failing(EngineRefused("blocked"), when=lambda window: window.messages[0].number > 60)
    stage.run(unlocked.pk)
    assert state(unlocked) == ("failed", 1, "blocked")
    assert Insight.objects.get().error_code == "reading_failed"
    assert reading.load(chat) is None


def test_after_an_extension_only_the_new_part_is_read(
    engine: FakeReader, unlocked: ChatReading, person: User, chat: Chat, make_chat: Callable[..., Chat]
) -> None:
    make_chat(person, messages=450)
    stage.run(unlocked.pk)
    before = reading.load(chat)
    assert before is not None
    engine.windows.clear()
    grown = extend(chat, messages=500)
    assert state(unlocked)[0] == "pending", "an insight waits, so the new part is requested"
    assert dispatch.ready().count() == 0
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    conversation = grown.chunks.filter(first_number__lte=chat.line_count).order_by("number").last()
    assert conversation is not None
    continued = grown.chunks.filter(conversation=conversation.conversation).order_by("number")
    assert engine.numbers == text_numbers(grown, first=continued.first().first_number)  # type: ignore[union-attr]
    after = reading.load(grown)
    assert after is not None
    assert after.messages_read == after.messages_total == len(text_numbers(grown))
    assert all(month.read == month.total for month in after.months.values())
    assert after.up_to_message == grown.line_count
    spans = [span for window in unlocked.windows.all() for span in window.spans]
    assert all(end < start for (_, end), (start, _) in pairwise(spans)), "no message is in two"
    assert dispatch.ready().count() == 1


def test_a_failed_window_is_shortened_by_an_extension_and_stays_failed(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    last = text_numbers(chat)[-1]
    engine.answers = failing(EngineRefused("blocked"), when=lambda window: window.messages[-1].number == last)
    stage.run(unlocked.pk)
    failed = unlocked.windows.get(status="failed")
    engine.answers = find_one_episode
    grown = extend(chat, messages=500)
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "completed"
    found = reading.load(grown)
    assert found is not None
    remaining = unlocked.windows.filter(status="failed")
    assert sum(window.message_count for window in remaining) == found.messages_total - found.messages_read
    assert all(window.last_number < failed.last_number for window in remaining)


def test_of_a_conversation_without_an_end_only_the_last_window_is_read_again(engine: FakeReader, person: User) -> None:
    def export(messages: int) -> bytes:
        lines = (
            f"14/03/2024, {9 + number // 60:02}:{number % 60:02} - {('Asha', 'Ravi')[number % 2]}: message {number}"
            for number in range(messages)
        )
        return "\n".join(lines).encode()

    engine.window_tokens = 600
    chat = import_upload(owner=person, upload=export(200)).chat
    unlocking.unlock(user=person, chat=chat, type_ids=TYPES)
    indexing.index_chat(chat.pk)
    row = ChatReading.objects.get(chat=chat)
    stage.run(row.pk)
    assert len(engine.windows) > 3
    last = row.windows.order_by("first_number").last()
    assert last is not None
    engine.windows.clear()
    import_upload(owner=person, upload=export(260), options=ImportOptions(extend=chat.pk))
    indexing.index_chat(chat.pk)
    stage.run(row.pk)
    grown = Chat.objects.get(pk=chat.pk)
    assert engine.numbers == text_numbers(grown, first=last.first_number)
    found = reading.load(grown)
    assert found is not None
    assert found.messages_read == found.messages_total == 260


def test_an_extension_while_a_chat_is_read_is_read_afterwards(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    extended = threading.Event()

    def answer(window: Window) -> WindowReading:
        if not extended.is_set():
            extended.set()
            extend(chat, messages=350)
            connection.close()
        return find_one_episode(window)

    engine.parallel_windows = 1
    engine.answers = answer
    stage.run(unlocked.pk)
    assert state(unlocked)[0] == "pending"
    stage.run(unlocked.pk)
    found = reading.load(Chat.objects.get(pk=chat.pk))
    assert found is not None
    assert found.messages_read == found.messages_total == len(text_numbers(chat))


@pytest.mark.parametrize("change", ["name", "reading_model"])
def test_another_model_reads_the_chat_from_the_start(
    engine: FakeReader, unlocked: ChatReading, chat: Chat, change: str
) -> None:
    stage.run(unlocked.pk)
    setattr(engine, change, "another")
    assert reading.load(chat) is None
    engine.windows.clear()
    assert recovery.recover().readings == 1, "insights wait, so recovery requests it"
    stage.run(unlocked.pk)
    assert engine.numbers == text_numbers(chat)
    assert reading.load(chat) is not None


def test_a_model_that_replaces_another_takes_its_lease_away(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    lease = queue.queue.claim(unlocked.pk)
    assert lease is not None
    engine.reading_model = "another"
    reading.request(chat)
    assert not queue.queue.held(lease).exists()
    assert state(unlocked)[0] == "pending"


def test_a_worker_with_other_settings_leaves_a_reading_alone(engine: FakeReader, unlocked: ChatReading) -> None:
    engine.reading_model = "another"
    stage.run(unlocked.pk)
    assert engine.windows == []
    assert state(unlocked)[:2] == ("pending", 0)


def test_a_chat_that_is_being_indexed_again_is_read_afterwards(
    engine: FakeReader, unlocked: ChatReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = stage._read

    def read_after_an_extension(lease: Lease, row: ChatReading, reader: Any) -> None:
        row.chat.vector_status = "pending"
        read(lease, row, reader)

    monkeypatch.setattr(stage, "_read", read_after_an_extension)
    stage.run(unlocked.pk)
    assert engine.windows == []
    assert state(unlocked) == ("pending", 0, "")


def test_deleting_a_chat_destroys_its_reading_even_while_it_is_read(
    engine: FakeReader, unlocked: ChatReading, chat: Chat
) -> None:
    erased = threading.Event()

    def answer(window: Window) -> WindowReading:
        if not erased.is_set():
            erased.set()
            erasure.erase(Chat.objects.get(pk=chat.pk))
            connection.close()
        return find_one_episode(window)

    engine.parallel_windows = 1
    engine.answers = answer
    stage.run(unlocked.pk)
    assert len(engine.windows) == 1
    assert not ChatReading.objects.exists()
    assert not ReadWindow.objects.exists()


def test_deleting_a_chat_and_recording_a_window_never_wait_for_each_other(unlocked: ChatReading, chat: Chat) -> None:
    lease = queue.queue.claim(unlocked.pk)
    assert lease
    stage._plan(lease, unlocked, queue.get_reading_engine() or pytest.fail("no engine"))
    window = unlocked.windows.first()
    assert window
    with transaction.atomic():
        # As a worker does when it records a window: the reading, and then the window.
        assert queue.queue.held(lease).update(attempt=1)
        erasing = BackgroundCall(lambda: erasure.erase(Chat.objects.get(pk=chat.pk)))
        eventually(is_a_lock_awaited)
        ReadWindow.objects.filter(pk=window.pk).update(error_code="recorded")
    erasing.result()
    assert not ReadWindow.objects.exists()


def test_a_worker_that_dies_three_times_without_progress_fails_the_reading(
    unlocked: ChatReading,
) -> None:
    for _ in range(3):
        assert queue.queue.claim(unlocked.pk)
        expire_lease(unlocked)
        recovery.recover()
    assert state(unlocked) == ("failed", 3, "worker_lost")
    assert Insight.objects.get().error_code == "reading_failed"


def test_no_connection_is_held_while_the_model_reads(
    engine: FakeReader, unlocked: ChatReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    others: list[int] = []
    application = "reading-test"
    monkeypatch.setitem(connection.settings_dict["OPTIONS"], "application_name", application)

    def answer(window: Window) -> WindowReading:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE application_name = %s AND pid <> pg_backend_pid()",
                [application],
            )
            others.append(cursor.fetchone()[0])
        connection.close()
        return find_one_episode(window)

    engine.parallel_windows = 1
    engine.answers = answer
    connection.close()
    BackgroundCall(lambda: stage.run(unlocked.pk)).result()
    assert len(others) > 1
    assert set(others) == {0}, "a connection that is held would be counted during each call"


def test_the_readings_of_a_process_share_a_limited_number_of_threads(
    engine: FakeReader, unlocked: ChatReading, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedThreads(4, name="shared")
    monkeypatch.setattr(stage, "window_threads", shared)
    engine.parallel_windows, engine.window_tokens = 64, 300
    begun: set[str] = set()
    lock, at_once = threading.Lock(), [0]
    both = threading.Barrier(2, timeout=PATIENCE_SECONDS)

    def answer(window: Window) -> WindowReading:
        begun.add(threading.current_thread().name)
        with lock:
            at_once.append(at_once[-1] + 1)
        if len(engine.windows) <= 2:
            both.wait()
        with lock:
            at_once.append(at_once[-1] - 1)
        return find_one_episode(window)

    engine.answers = answer
    with shared.used():
        assert shared.share == 4
        # With this reading there are two users, so each has two threads.
        stage.run(unlocked.pk)
    assert engine.numbers == text_numbers(chat)
    assert len(engine.windows) > 10
    assert all(name.startswith("shared") for name in begun)
    assert max(at_once) == 2


def test_a_reading_that_ends_early_makes_no_calls_that_wait_for_a_thread(
    engine: FakeReader, unlocked: ChatReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = SharedThreads(1, name="shared")
    monkeypatch.setattr(stage, "window_threads", shared)
    monkeypatch.setattr(SharedThreads, "share", 3)
    engine.window_tokens = 300
    calls: list[Future[Any]] = []
    submit = shared.submit

    def record_call(*arguments: Any) -> Future[Any]:
        calls.append(submit(*arguments))
        return calls[-1]

    monkeypatch.setattr(shared, "submit", record_call)

    def answer(window: Window) -> WindowReading:
        if len(engine.windows) == 1:
            # The lease is lost while two more calls wait for the only thread.
            eventually(lambda: len(calls) == 3)
            ChatReading.objects.update(lease_token="00000000-0000-0000-0000-000000000001")
            connection.close()
        else:
            # The thread takes the second call at once, before the reading can see that the lease was lost.
            eventually(calls[2].cancelled)
        return find_one_episode(window)

    engine.answers = answer
    stage.run(unlocked.pk)
    assert len(engine.windows) <= 2
    assert calls[2].cancelled()


def test_people_and_times_are_those_that_the_chat_shows_now(
    engine: FakeReader, person: User, make_chat: Callable[..., Chat]
) -> None:
    engine.window_tokens = 300
    chat = make_chat(person, people=3)
    read_chat(chat)
    before = reading.load(chat)
    assert before is not None
    assert {person for episode in before.episodes for person in episode.roles} == {0, 1, 2}
    first, *others = chat.participants
    chat = edit_chat(chat, people=[Person(name="One", aliases=[first]), Person(name="Two", aliases=others)])
    after = reading.load(chat)
    assert after is not None
    name_of = {episode.first: chat.participants[next(iter(episode.roles))] for episode in after.episodes}
    for episode in before.episodes:
        assert name_of[episode.first] == ("One" if set(episode.roles) == {0} else "Two")
    Chat.objects.filter(pk=chat.pk).update(clock="utc", time_zone="Asia/Kolkata")
    moved = reading.load(Chat.objects.get(pk=chat.pk))
    assert moved is not None
    offsets = {new.started_at - old.started_at for old, new in zip(before.episodes, moved.episodes, strict=True)}
    assert offsets == {timedelta(hours=5.5)}


def test_people_who_are_separated_keep_what_each_of_them_did(
    engine: FakeReader, person: User, make_chat: Callable[..., Chat]
) -> None:
    engine.window_tokens = 300
    chat = make_chat(person, people=3)
    first, second, third = chat.participants
    merged = [Person(name="One", aliases=[first, second]), Person(name="Two", aliases=[third])]
    chat = edit_chat(chat, people=merged)

    def answer(window: Window) -> WindowReading:
        message = window.messages[0]
        danger = Danger("violence", (message.number,), message.person, current=False)
        return replace(find_one_episode(window), dangers=(danger,))

    engine.answers = answer
    read_chat(chat)
    chat = edit_chat(chat, people=[])
    found = reading.load(chat)
    assert found is not None
    written = TranscriptReader(chat).get([episode.first for episode in found.episodes])
    does = {episode.first: [chat.participants[person] for person in episode.roles] for episode in found.episodes}
    assert {name for names in does.values() for name in names} == {first, second, third}
    assert all(does[number] == [message.sender] for number, message in written.items())
    assert len(found.dangers) == len(written)
    for danger in found.dangers:
        assert danger.person is not None
        assert [chat.participants[danger.person]] == does[danger.numbers[0]]


def test_a_name_that_the_owner_changes_later_is_in_no_prompt(
    engine: FakeReader, person: User, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = chat.participants
    chat = edit_chat(chat, people=[Person(name="Snugglebear", aliases=[first])])

    def answer(window: Window) -> WindowReading:
        found = find_one_episode(window)
        (episode,) = found.episodes
        return replace(found, episodes=(replace(episode, subject="P1 forgot P2's birthday in P-1"),))

    engine.answers = answer
    read_chat(chat)
    found = reading.load(chat)
    assert found is not None
    assert found.episodes[0].subject == f"Snugglebear forgot {second}'s birthday in P1"
    chat = edit_chat(chat, people=[Person(name="Asha Rao", aliases=[first])])
    found = reading.load(chat)
    assert found is not None
    subject = found.episodes[0].subject
    assert subject == f"Asha Rao forgot {second}'s birthday in P1"
    pseudonyms = Pseudonyms(chat.participants, chat.person_of_name)
    assert pseudonyms.mask(subject).startswith("P1 forgot P2's birthday")


def test_a_large_chat_is_read_within_the_budget(
    engine: FakeReader, unlocked: ChatReading, chat: Chat, settings: Any
) -> None:
    settings.READING_TOKEN_BUDGET = 4_000
    stage.run(unlocked.pk)
    planned = sum(unlocked.windows.values_list("token_count", flat=True))
    assert 0.95 * 4_000 <= planned <= 4_000
    found = reading.load(chat)
    assert found is not None
    assert found.messages_read == len(engine.numbers) < found.messages_total == len(text_numbers(chat))
    assert all(month.read for month in found.months.values()), "every month is represented"


def test_rates_of_a_chat_that_is_read_in_part_are_those_of_its_sample(
    engine: FakeReader, unlocked: ChatReading, chat: Chat, settings: Any
) -> None:
    settings.READING_TOKEN_BUDGET = 4_000
    engine.answers = failing(UnusableAnswer("truncated_answer"), when=lambda window: len(window.messages) > 20)
    stage.run(unlocked.pk)
    found = reading.load(chat)
    assert found is not None
    assert found.sample is not None
    assert found.sample_messages is not None
    sampled = {number for first, last in found.sample for number in range(first, last + 1)}
    assert found.sample_messages == len(sampled.intersection(engine.numbers))
    assert 0.4 * found.messages_read <= found.sample_messages < found.messages_read
    assert [found.is_in_sample(episode) for episode in found.episodes] == [
        episode.first in sampled for episode in found.episodes
    ]
    assert {found.is_in_sample(episode) for episode in found.episodes} == {True, False}


def test_of_a_chat_that_is_read_completely_everything_counts_in_rates(unlocked: ChatReading, chat: Chat) -> None:
    stage.run(unlocked.pk)
    found = reading.load(chat)
    assert found is not None
    assert (found.sample, found.sample_share) == (None, 1.0)
    assert all(map(found.is_in_sample, found.episodes))
