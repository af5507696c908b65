"""An unlock that cannot start in time is refused before coins are reserved, with a time to try again."""

from __future__ import annotations

import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from django.db.models.functions import Now

from billing.models import CoinReservation
from chats import indexing
from chats.models import Chat
from insights import admission, dispatch, engines, operations, recovery, settlement, unlocking
from insights.admission import Backlog, TooManyOpenInsights
from insights.availability import UnlocksUnavailable
from insights.models import ChatReading, GenerationJob, Insight, InsightAttempt
from insights.reading import queue as readings
from ops import unlocks
from relivchats.accounts.models import User
from relivchats.language_models.errors import EngineRateLimited
from relivchats.staff.bulk_actions import ActionContext
from tests.concurrency import call_at_once
from tests.fakes.reader import FakeReader
from tests.ops import rows

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _idle(monkeypatch: pytest.MonkeyPatch, settings: Any) -> None:
    """Two places, 100 seconds to start in, and nothing that is dispatched in the background."""
    for module in (dispatch, readings, indexing):
        monkeypatch.setattr(module, "dispatch_soon", lambda: None)
    settings.MAX_CONCURRENT_INSIGHTS = 2
    settings.INSIGHT_START_TIMEOUT = 100


def unlock(user: User, *, chat: Chat | None = None) -> unlocking.UnlockResult:
    return unlocking.unlock(user=user, chat=chat or rows.chat(user), type_ids=["communication_basics"])


def refusal(user: User, *, chat: Chat | None = None) -> UnlocksUnavailable:
    """Check that an unlock is refused, that nothing was reserved, and that the quote says the same."""
    chat = chat or rows.chat(user)
    before = CoinReservation.objects.count(), GenerationJob.objects.count()
    with pytest.raises(UnlocksUnavailable) as refused:
        unlock(user, chat=chat)
    assert (CoinReservation.objects.count(), GenerationJob.objects.count()) == before
    quote = unlocking.quote(user=user, chat=chat, type_ids=["communication_basics"])
    assert not quote.can_unlock
    assert quote.unavailability
    assert quote.unavailability.reason == refused.value.extra["reason"]
    return refused.value


def insights_take(seconds: int, *, of: GenerationJob) -> None:
    insight = of.insights.first()
    assert insight is not None
    InsightAttempt.objects.create(
        insight=insight, number=1, engine="x", model="x", milliseconds=seconds * 1000, outcome="completed"
    )


def age(**lookups: Any) -> None:
    """Let the insights have been due for a minute, more than half of the time to start in."""
    Insight.objects.filter(**lookups).update(next_attempt_at=Now() - timedelta(minutes=1))


# The estimate

BACKLOG = Backlog(waiting={"a": 50, "b": 1}, running={"a": 1, "c": 1})


@pytest.mark.parametrize(
    ("user", "backlog", "seconds"),
    [
        ("new", Backlog({}, {}), 0),
        ("new", Backlog({}, {"a": 1}), 0),
        # Both places are taken: until one of them is free.
        ("new", Backlog({}, {"a": 2}), 5),
        # One of b's is before it. None of a's 50: a has had its turn.
        ("new", BACKLOG, 10),
        # Of b's own, one is before it; one of a's.
        ("b", BACKLOG, 15),
        # All own 50, and the one of b.
        ("a", BACKLOG, 260),
        # Many users with one each are all before a newcomer.
        ("new", Backlog(dict.fromkeys(range(100), 1), {"a": 2}), 505),
    ],
)
def test_the_estimate_is_of_the_users_own_turn(user: str, backlog: Backlog, seconds: float) -> None:
    assert backlog.seconds_until_turn(user, places=2, seconds_each=10) == seconds


def test_an_unlock_that_cannot_start_in_time_is_refused_and_one_of_another_user_is_accepted() -> None:
    busy, other = rows.person(coins=100_000), rows.person()
    insights_take(60, of=unlock(busy).job)
    while admission.find_refusal(user=busy) is None:
        unlock(busy)
    # Two places end an insight every 30 seconds on average: a sixth one would start after 120 seconds.
    assert Insight.objects.count() == 5
    refused = refusal(busy)
    assert refused.extra["reason"] == "busy"
    assert 1 <= refused.extra["retry_after_seconds"] <= 60
    assert "coins are untouched" in refused.detail
    assert unlock(other).created


def test_a_retry_that_cannot_start_in_time_is_refused() -> None:
    failed = rows.failed_job()
    insight = failed.insights.first()
    assert insight is not None
    assert insight.job.user is not None
    insights_take(1000, of=failed)
    for _ in range(2):
        unlock(insight.job.user)
    with pytest.raises(UnlocksUnavailable):
        unlocking.retry(insight)
    context = ActionContext(actor="user 7", reason="a test")
    assert operations.retry_insights(Insight.objects.filter(pk=insight.pk), context=context).refused == 1
    assert GenerationJob.objects.count() == 3


def test_beyond_the_limit_of_the_queue_unlocks_are_refused(settings: Any) -> None:
    settings.MAX_QUEUED_INSIGHTS = 2
    unlock(rows.person())
    unlock(rows.person())
    assert refusal(rows.person()).extra["reason"] == "busy"


def test_without_places_unlocks_are_accepted_and_fail_at_their_deadline(settings: Any) -> None:
    settings.MAX_CONCURRENT_INSIGHTS = 0
    unlock(rows.person())
    age()
    assert unlock(rows.person()).created


# Chats that are not ready


def test_a_chat_is_not_read_for_an_unlock_that_would_wait_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: reader)
    busy, other = rows.person(), rows.person()
    read = unlock(busy).job.chat
    assert read is not None
    # It took five minutes. Two more readings are pending, but their insights are over.
    past = Now() - timedelta(minutes=5)
    ChatReading.objects.update(status="completed", up_to_message=5000, started_at=past, finished_at=Now())
    unlock(busy)
    unlock(busy)
    Insight.objects.update(status="completed", finished_at=Now())
    Insight.objects.filter(chat=read).update(status="pending", finished_at=None)
    unlock(busy)
    waiting = unlock(busy).job.chat
    assert waiting is not None
    assert refusal(busy).extra["reason"] == "busy"
    assert admission.find_refusal(user=busy, chat=waiting), "it is requested, but not read"
    assert admission.find_refusal(user=busy, chat=read) is None, "it is read already"
    assert unlock(other).created


def test_a_reading_that_waited_for_a_provider_does_not_keep_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: reader)
    busy = rows.person()
    for hours in (0, 0, 5):
        assert unlock(busy).created
        past = Now() - timedelta(hours=hours, seconds=5)
        columns = {"status": "completed", "up_to_message": 5000, "started_at": past, "finished_at": Now()}
        ChatReading.objects.filter(finished_at=None).update(**columns)
    Insight.objects.update(status="completed", finished_at=Now())
    for _ in range(3):
        assert unlock(busy).created


def test_a_chat_is_not_indexed_for_an_unlock_that_would_wait_too_long() -> None:
    person, late, busy = rows.person(), rows.person(), rows.person()
    unindexed = rows.chat(person, vector_status="pending")

    def request(user: User) -> None:
        chat = rows.chat(user, vector_status="pending")
        Chat.objects.filter(pk=chat.pk).update(index_requested_at=Now() - timedelta(seconds=101))

    request(busy)
    until = Now() + timedelta(minutes=1)
    Chat.objects.filter(pk=rows.chat(busy).pk).update(
        vector_status="indexing", index_lease_token=uuid.uuid4(), index_lease_expires_at=until
    )
    assert admission.find_refusal(user=person, chat=unindexed) is None, "one is indexed: the other waits for its turn"
    request(late)
    assert admission.find_refusal(user=person, chat=unindexed), "as the other, it would wait for its first turn"
    assert unlock(person).created, "what is indexed already does not wait"


@pytest.mark.parametrize("ended_by", ["rate limit", "error", "lost worker", "ended worker"])
def test_a_chat_that_is_tried_again_keeps_nobody_out(ended_by: str) -> None:
    person, late = rows.person(), rows.chat(rows.person(), vector_status="pending")
    chat, unindexed = rows.chat(person), rows.chat(person, vector_status="pending")
    Chat.objects.update(indexed_at=Now() - timedelta(hours=1))
    Chat.objects.filter(pk=late.pk).update(index_requested_at=Now() - timedelta(seconds=101))
    assert admission.find_refusal(user=person, chat=chat)
    lease = indexing.queue.claim(late.pk)
    assert lease
    if ended_by == "rate limit":
        late.refresh_from_db()
        build = SimpleNamespace(chat=late, parts=[], is_worth_keeping=False)
        # The time of the next attempt has just come.
        limited = EngineRateLimited(retry_after_seconds=-5)
        indexing._release_or_fail_after(limited, lease, build)  # type: ignore[arg-type]
    elif ended_by == "error":
        assert indexing._release_or_fail(lease, error_code="internal_error")
    elif ended_by == "lost worker":
        Chat.objects.filter(pk=late.pk).update(index_lease_expires_at=Now() - timedelta(seconds=1))
        assert indexing.recover() == 1
    else:
        indexing.queue.give_back([lease])
    assert Chat.objects.index_due().filter(pk=late.pk).exists()
    assert admission.find_refusal(user=person, chat=chat) is None, "nothing has waited for a worker for long"
    assert admission.find_refusal(user=person, chat=unindexed) is None


# Workers


def test_while_no_worker_takes_what_is_due_unlocks_are_refused() -> None:
    assert unlocks.line().text == "accepted"
    job = unlock(rows.person()).job
    assert job.chat is not None
    person = rows.person()
    chat = rows.chat(person)
    # What workers did long ago, or did not end, shows nothing.
    Chat.objects.update(indexed_at=Now() - timedelta(hours=1))
    Chat.objects.filter(pk=rows.chat(person, vector_status="pending").pk).update(
        vector_status="indexing", index_lease_token=uuid.uuid4(), index_lease_expires_at=Now() - timedelta(hours=1)
    )
    columns: dict[str, Any] = {"engine": "x", "model": "x", "version": 1}
    expired = {"lease_token": uuid.uuid4(), "lease_expires_at": Now() - timedelta(hours=1)}
    ChatReading.objects.create(chat=job.chat, status="reading", **columns, **expired)
    ChatReading.objects.create(chat=chat, status="completed", finished_at=Now() - timedelta(hours=1), **columns)
    assert unlocks.line().text == "accepted"
    age()
    refused = refusal(person, chat=chat)
    assert refused.extra["reason"] == "not_started"
    assert unlocks.line().text == "refused: not_started"


@pytest.mark.parametrize("what", ["indexing", "reading"])
def test_what_was_requested_just_now_is_not_overdue(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    due: Any
    if what == "reading":
        reader = FakeReader()
        monkeypatch.setattr(engines, "get_engine", lambda: reader)
        unlock(rows.person())
        Chat.objects.update(indexed_at=Now() - timedelta(hours=1))
        due, column = ChatReading.objects.all(), "next_attempt_at"
    else:
        chat = rows.chat(rows.person(), vector_status="pending")
        due, column = Chat.objects.filter(pk=chat.pk), "index_requested_at"
    due.update(**{column: Now()})
    assert unlocks.line().text == "accepted"
    due.update(**{column: Now() - timedelta(minutes=1)})
    assert unlocks.line().text == "refused: not_started"


@pytest.mark.parametrize("sign", ["insight", "finished", "reading", "read", "indexing", "indexed"])
def test_any_work_shows_that_workers_are_alive(sign: str) -> None:
    unlock(rows.person())
    age()
    other = unlock(rows.person()).job
    assert other.chat is not None
    person = rows.person()
    chat = rows.chat(person)
    token, until = uuid.uuid4(), Now() + timedelta(minutes=1)
    insights, chats = other.insights.all(), Chat.objects.filter(pk=other.chat.pk)
    Chat.objects.update(indexed_at=Now() - timedelta(hours=1))
    reading: dict[str, Any] = {"chat": other.chat, "engine": "x", "model": "x", "version": 1}
    if sign == "insight":
        insights.update(status="generating", lease_token=token, lease_expires_at=until)
    elif sign == "finished":
        insights.update(status="completed", finished_at=Now())
    elif sign == "reading":
        ChatReading.objects.create(**reading, status="reading", lease_token=token, lease_expires_at=until)
    elif sign == "read":
        ChatReading.objects.create(**reading, status="completed", finished_at=Now())
    elif sign == "indexing":
        chats.update(vector_status="indexing", index_lease_token=token, index_lease_expires_at=until)
    else:
        chats.update(indexed_at=Now())
    assert unlock(person, chat=chat).created


def test_a_chat_whose_indexing_ended_three_workers_fails_and_keeps_nobody_out() -> None:
    person = rows.person()
    chat, hostile = rows.chat(person), rows.chat(rows.person(), vector_status="pending")
    waiting = unlock(hostile.owner, chat=hostile).job
    Chat.objects.exclude(pk=hostile.pk).update(indexed_at=Now() - timedelta(hours=1))
    long_ago = Now() - timedelta(hours=1)
    Chat.objects.filter(pk=hostile.pk).update(index_requested_at=long_ago)
    while (lease := indexing.queue.claim(hostile.pk)) is not None:
        assert indexing.queue.give_back([lease]) == 1
    assert recovery.recover().indexing == 1
    hostile.refresh_from_db()
    waiting.refresh_from_db()
    assert (hostile.vector_status, hostile.index_error_code) == ("failed", "worker_lost")
    assert (waiting.status, waiting.reservation.status) == ("failed", "released")
    assert unlock(person, chat=chat).created
    # What an earlier version left behind.
    Chat.objects.filter(pk=hostile.pk).update(vector_status="pending")
    assert admission.find_refusal(user=person, chat=chat) is None
    assert unlock(person, chat=rows.chat(person, vector_status="pending")).created


# The limit of one user


def test_a_user_has_so_many_unfinished_insights_at_most(settings: Any) -> None:
    settings.MAX_OPEN_INSIGHTS_PER_USER = 2
    person, other = rows.person(), rows.person()
    first = unlock(person).job
    chat = rows.chat(person)
    held = person.wallet.reservations.count()
    with pytest.raises(TooManyOpenInsights, match="choose fewer") as refused:
        unlocking.unlock(user=person, chat=chat, category_id="romantic")
    # Waiting would never help.
    assert "retry_after_seconds" not in refused.value.extra
    quote = unlocking.quote(user=person, chat=chat, category_id="romantic")
    assert quote.unavailability
    assert (quote.can_unlock, quote.unavailability.reason) == (False, "too_many_open")
    assert person.wallet.reservations.count() == held
    unlock(person)
    with pytest.raises(TooManyOpenInsights, match="At most 2") as refused:
        unlock(person)
    assert refused.value.extra["retry_after_seconds"]
    assert unlock(other).created
    settlement.fail_open_insights(first.pk, error_code="test", error_message="")
    assert unlock(person).created


@pytest.mark.django_db(transaction=True)
def test_two_unlocks_at_once_cannot_pass_the_limit_together(settings: Any) -> None:
    settings.MAX_OPEN_INSIGHTS_PER_USER = 1
    person = rows.person()
    chats = [rows.chat(person) for _ in range(2)]
    results = call_at_once([lambda chat=chat: unlock(person, chat=chat) for chat in chats])  # type: ignore[misc]
    assert {type(result) for result in results} == {unlocking.UnlockResult, TooManyOpenInsights}
    assert Insight.objects.open().count() == 1
