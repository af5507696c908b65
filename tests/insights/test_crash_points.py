"""A process that is killed at any step between reserving and settling coins leaves nothing that recovery cannot fix."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now

from billing.audit import audit
from billing.models import CoinReservation, CreditTransaction
from chats.models import Chat
from insights import asking, dispatch, engines, generation, recovery, unlocking
from insights.models import ChatReading, GenerationJob, Insight, ReadWindow
from insights.question_models import ChatQuestion
from insights.reading import stage
from relivchats.accounts.models import User
from tests.fakes.crashing import CRASHED, answer_at_once, ask_and_answer
from tests.fakes.reader import FakeReader
from tests.processes import REPOSITORY, process_environment

TYPES = ["communication_basics"]
COINS = 50
ASK_PRICE = 5

#: In the order of an unlock.
POINTS = (
    "billing.ledger.reserve:before",
    "billing.ledger.reserve:after",
    "insights.unlocking._open_job:after",
    "insights.unlocking.unlock:after",
    "insights.generation.claim_insight:before",
    "insights.generation.claim_insight:after",
    "insights.generation._generate:after",
    "insights.settlement.complete:before",
    "insights.settlement._close_if_finished:before",
    "insights.settlement._close_if_finished:after",
    "insights.generation._record:after",
    "billing.ledger.capture:before",
    "billing.ledger._resolve:after",
    "billing.ledger._append:after",
    "billing.ledger.capture:after",
)


#: In the order of a reading.
READING_POINTS = (
    "insights.reading.request:after",
    "insights.reading.stage._plan:before",
    "insights.reading.stage._plan:after",
    "insights.reading.stage._update_window:before",
    "insights.reading.stage._update_window:after",
    "insights.reading.stage._end_attempt:before",
    "insights.reading.stage._end_attempt:after",
    "insights.recovery.continue_after_reading:before",
)


#: In the order of a question.
QUESTION_POINTS = (
    "billing.ledger.reserve:after",
    "insights.questions.ask:after",
    "insights.answering._load_question:before",
    "insights.asking.answer_question:after",
    "insights.answering._settle:before",
    "billing.ledger.capture:after",
    "insights.answering.close:after",
    "insights.answering._settle:after",
)


def crash(users: dict[str, tuple[User, Chat]], **options: bool) -> list[int]:
    """Kill a process at each point, in the middle of an unlock or a question of this user. Return the exit statuses."""
    lines = [
        json.dumps({"point": point, "user": str(user.pk), "chat": str(chat.pk), "types": TYPES, **options})
        for point, (user, chat) in users.items()
    ]
    # The killed processes keep their leases, and the next ones must still get one.
    environment = {
        **process_environment(connection.settings_dict["NAME"]),
        "MAX_CONCURRENT_INSIGHTS": "100",
        "ASK_PRICE_COINS": str(ASK_PRICE),
    }
    ran = subprocess.run(
        [sys.executable, "-m", "tests.fakes.crashing"],
        input="\n".join(lines),
        env=environment,
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return [int(line) for line in ran.stdout.split() if line.isdigit()]


def recover_and_finish() -> None:
    """Do what beat and the other workers do afterwards."""
    Insight.objects.leased().update(lease_expires_at=Now() - timedelta(seconds=1))
    recovery.recover()
    for insight_id in Insight.objects.filter(status="pending").values_list("pk", flat=True):
        generation.run(insight_id)
    recovery.recover()


@pytest.mark.django_db(transaction=True)
def test_a_crash_at_any_step_is_recovered_and_every_coin_is_accounted_for(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    users = {}
    for point in POINTS:
        person = make_person(coins=COINS + 7)
        users[point] = (person, make_chat(person, messages=60))
    assert crash(users) == [CRASHED] * len(POINTS), "every process reached its point"
    assert {invariant.invariant.number for invariant in audit()} <= {"8b"}, "no crash leaves coins unaccounted for"
    recover_and_finish()
    for point, (person, chat) in users.items():
        # A client without an answer sends the request again: its unlock is found, or made now.
        again = unlocking.unlock(user=person, chat=chat, type_ids=TYPES)
        for insight in again.insights:
            generation.run(insight.pk)
        job = GenerationJob.objects.get(user=person)
        assert (job.status, job.completed_insights) == ("completed", 1), point
        assert CoinReservation.objects.get(wallet=person.wallet).captured_coins == COINS, point
        taken = CreditTransaction.objects.filter(wallet=person.wallet, type="insight_unlock")
        assert list(taken.values_list("amount", flat=True)) == [-COINS], point
        person.wallet.refresh_from_db()
        assert (person.wallet.balance, person.wallet.reserved) == (7, 0), point
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_after_a_crash_at_any_step_of_a_reading_no_message_is_read_again(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {}
    for point in READING_POINTS:
        person = make_person(coins=COINS)
        users[point] = (person, make_chat(person, messages=150))
    assert crash(users, reads=True) == [CRASHED] * len(READING_POINTS), "every process reached its point"
    engine = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: engine)
    ChatReading.objects.filter(status="reading").update(lease_expires_at=Now() - timedelta(seconds=1))
    recovery.recover()
    for point, (person, chat) in users.items():
        read_before = dict(ReadWindow.objects.filter(reading__chat=chat, status="read").values_list("pk", "spans"))
        numbers = {n for spans in read_before.values() for first, last in spans for n in range(first, last + 1)}
        assert bool(numbers) == (point in READING_POINTS[4:]), point
        engine.windows.clear()
        unlocking.unlock(user=person, chat=chat, type_ids=TYPES)
        reading = ChatReading.objects.get(chat=chat)
        stage.run(reading.pk)
        reading.refresh_from_db()
        assert reading.status == "completed", point
        assert numbers.isdisjoint(engine.numbers), point
        assert set(read_before) <= set(reading.windows.filter(status="read").values_list("pk", flat=True)), point
        assert not reading.windows.exclude(status="read").exists(), point
        assert dispatch.ready().filter(chat=chat).exists(), point


@pytest.mark.django_db(transaction=True)
def test_after_a_crash_at_any_step_a_question_that_is_sent_again_is_charged_once(
    make_person: Callable[..., User], make_chat: Callable[..., Chat], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    users = {}
    for point in QUESTION_POINTS:
        person = make_person(coins=COINS)
        users[point] = (person, make_chat(person, messages=60))
    assert crash(users, asks=True) == [CRASHED] * len(QUESTION_POINTS), "every process reached its point"
    assert audit() == [], "no crash leaves coins unaccounted for"
    ChatQuestion.objects.filter(status="answering").update(lease_expires_at=Now() - timedelta(seconds=1))
    recovery.recover()
    monkeypatch.setattr(asking, "answer_question", answer_at_once)
    settings.ASK_PRICE_COINS = ASK_PRICE
    for point, (person, chat) in users.items():
        # A client without an answer sends the question again, under its key.
        ask_and_answer(user=str(person.pk), chat=str(chat.pk))
        statuses = sorted(chat.questions.values_list("status", "error_code"))
        is_lost = point in QUESTION_POINTS[2:7]
        assert statuses == [("answered", ""), *([("failed", "worker_lost")] if is_lost else [])], point
        taken = CreditTransaction.objects.filter(wallet=person.wallet, type="insight_unlock")
        assert list(taken.values_list("amount", flat=True)) == [-ASK_PRICE], point
        person.wallet.refresh_from_db()
        assert (person.wallet.balance, person.wallet.reserved) == (COINS - ASK_PRICE, 0), point
    assert audit() == []
