"""Questions through the API: whose they are, what they cost, how they fail, and that they can be deleted."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models.functions import Now

from billing import ledger
from billing.audit import audit
from billing.models import CoinReservation, CreditTransaction, Wallet
from chats import indexing
from chats.models import Chat
from insights import answering, asking, availability, pauses, question_views, questions, recovery
from insights.asking import Answer
from insights.engines.base import EngineRefused
from insights.question_models import ChatQuestion
from relivchats import clock
from relivchats.accounts.models import IdempotencyKey, User
from relivchats.staff.bulk_actions import ActionContext
from tests.api.conftest import Api
from tests.asking import DOG, MOVING, QuestionOracle, answering_as, claim, decide, find, make_chat
from tests.fakes.gemini import quota_error

pytestmark = pytest.mark.django_db(transaction=True)

PLANTED = (datetime.fromisoformat("2024-02-20T22:00"), MOVING), (datetime.fromisoformat("2024-01-09T20:00"), DOG)
WHERE = "Where did we want to move to?"
SENTENCE = "Asha and Ravi want to move to Pune in August."


def answer_moving(lines: Any) -> Any:
    numbers = find(lines, "Pune")
    return decide("answer", claims=[claim("P1 and P2 want to move to Pune in August.", *numbers)])


@pytest.fixture
def talk(owner: User) -> Chat:
    return make_chat(owner, *PLANTED)


@pytest.fixture
def path(talk: Chat) -> str:
    return f"/api/chats/{talk.pk}/ask"


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch) -> list[uuid.UUID]:
    """Answer questions as a worker does, in the thread that publishes them. Return the ids that were published."""
    published: list[uuid.UUID] = []

    def publish(task: str, row_id: uuid.UUID) -> bool:
        if task == questions.queue.task:
            published.append(row_id)
            answering.run(row_id)
        return True

    monkeypatch.setattr("relivchats.leases.publish", publish)
    return published


@pytest.fixture
def idle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answer no question, and let no request wait for one."""
    monkeypatch.setattr("relivchats.leases.publish", lambda task, row_id: True)
    monkeypatch.setattr(question_views, "_waiting", threading.Semaphore(0))


@pytest.fixture
def model() -> Iterator[QuestionOracle]:
    oracle = QuestionOracle(answer_moving)
    with answering_as(oracle):
        yield oracle


def wallet_of(user: User) -> tuple[int, int]:
    wallet = Wallet.objects.get(user=user)
    return wallet.balance, wallet.reserved


def test_a_question_is_answered_by_verified_sentences(
    api: Api, path: str, talk: Chat, working: Any, model: QuestionOracle
) -> None:
    asked = api.post(path, {"question": WHERE}, status=200)
    assert (asked["status"], asked["step"], asked["question"]) == ("answered", "done", WHERE)
    assert asked["answer"]["answer"] == SENTENCE
    (only,) = asked["answer"]["claims"]
    assert [message["text"] for message in only["messages"]] == [text for _, text in MOVING[:2]]
    shown = api.get(f"/api/chats/{talk.pk}/messages?around={only['messages'][0]['number']}")["results"]
    assert only["messages"][0]["text"] in [message["text"] for message in shown]
    assert (asked["engine"], asked["price"], asked["error_code"]) == ("gemini", 0, "")


def test_with_the_local_engine_the_answer_is_a_search(api: Api, path: str, working: Any) -> None:
    asked = api.post(path, {"question": "move to Pune in August"}, status=200)
    assert asked["answer"]["outcome"] == "searched"
    assert MOVING[0][1] in str(asked["answer"]["conversations"][0])


def test_clients_of_the_original_api_get_one_text_and_its_sources(
    api: Api, talk: Chat, working: Any, model: QuestionOracle
) -> None:
    for name in ("question", "query"):
        found = api.post("/api/rag/query", {"chat_id": str(talk.pk), name: WHERE}, status=200)
        assert found["answer"] == SENTENCE
        assert [message["text"] for message in found["sources"]] == [text for _, text in MOVING[:2]]
    again = {"chat_id": str(talk.pk), "question": "And when?", "conversation_id": found["conversation_id"]}
    assert api.post("/api/rag/query", again, status=200)["conversation_id"] == found["conversation_id"]
    assert f"An earlier question: {WHERE}" in model.steps[-1].content
    for wrong in ({}, {"question": WHERE, "query": WHERE}):
        api.post("/api/rag/query", {"chat_id": str(talk.pk), **wrong}, status=422)


def test_a_conversation_continues_and_is_listed_newest_first(
    api: Api, path: str, talk: Chat, working: Any, model: QuestionOracle
) -> None:
    first = api.post(path, {"question": WHERE}, status=200)
    second = api.post(path, {"question": "And when?", "conversation": first["conversation"]}, status=200)
    assert second["conversation"] == first["conversation"]
    assert f"Its answer: {SENTENCE}".replace("Asha", "P1").replace("Ravi", "P2") in model.steps[-1].content
    listed = api.get(f"/api/chats/{talk.pk}/questions?limit=1")
    assert [each["question"] for each in listed["results"]] == ["And when?"]
    assert api.get(listed["next"])["results"] == [first]
    assert api.get(f"/api/chats/{talk.pk}/questions/{first['id']}") == first


def test_a_conversation_of_another_chat_is_not_found(
    api: Api, path: str, owner: User, working: Any, model: QuestionOracle
) -> None:
    first = api.post(path, {"question": WHERE}, status=200)
    other = make_chat(owner, PLANTED[0])
    body = {"question": WHERE, "conversation": first["conversation"]}
    api.post(f"/api/chats/{other.pk}/ask", body, status=404)
    api.post(path, {"question": WHERE, "conversation": str(uuid.uuid4())}, status=404)


def test_questions_of_another_user_are_not_found(
    api: Api, stranger: Api, path: str, talk: Chat, working: Any, model: QuestionOracle
) -> None:
    asked = api.post(path, {"question": WHERE}, status=200)
    stranger.post(path, {"question": WHERE}, status=404)
    stranger.post("/api/rag/query", {"chat_id": str(talk.pk), "question": WHERE}, status=404)
    stranger.get(f"/api/chats/{talk.pk}/questions", status=404)
    stranger.delete(f"/api/chats/{talk.pk}/questions", status=404)
    stranger.delete(f"/api/chats/{talk.pk}/questions/{asked['id']}", status=404)
    assert ChatQuestion.objects.count() == 1


def test_questions_are_deleted_one_by_one_all_at_once_and_with_their_chat(
    api: Api, path: str, talk: Chat, working: Any, model: QuestionOracle
) -> None:
    first, *_ = (api.post(path, {"question": WHERE}, status=200) for _ in range(3))
    api.delete(f"/api/chats/{talk.pk}/questions/{first['id']}", status=204)
    api.delete(f"/api/chats/{talk.pk}/questions/{first['id']}", status=404)
    assert ChatQuestion.objects.count() == 2
    api.delete(f"/api/chats/{talk.pk}/questions", status=204)
    assert ChatQuestion.objects.count() == 0
    api.post(path, {"question": WHERE}, status=200)
    api.delete(f"/api/chats/{talk.pk}", status=204)
    assert ChatQuestion.objects.count() == 0


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"question": ""},
        {"question": "   "},
        {"question": "x" * 501},
        {"question": "a\u0000b"},
        {"question": "\ud800"},
        {"question": ["x"]},
        {"question": WHERE, "conversation": 5},
        {"question": WHERE, "unknown": 1},
        {"question": WHERE, "language": "xx"},
        {"question": WHERE, "language": "x" * 900},
    ],
)
def test_a_question_that_is_not_valid_is_refused(api: Api, path: str, idle: None, body: Any) -> None:
    assert api.post(path, body, status=422)["error_code"] == "ERR_1001"
    assert not ChatQuestion.objects.exists()


def test_a_chat_that_is_not_indexed_is_indexed_and_says_when_to_ask_again(api: Api, owner: User, idle: None) -> None:
    chat = make_chat(owner, *PLANTED, searchable=False)
    for _ in range(2):
        response = api.send(
            "POST", f"/api/chats/{chat.pk}/ask", data=b'{"question": "x"}', content_type="application/json"
        )
        assert (response.status_code, response.json()["type"]) == (409, "urn:relivchats:problem:not-searchable")
        assert int(response["Retry-After"]) > 0
    chat.refresh_from_db()
    assert chat.index_requested_at is not None
    assert indexing.index_chat(chat.pk)
    api.post(f"/api/chats/{chat.pk}/ask", {"question": "x"}, status=202)


def test_an_engine_that_is_not_available_refuses_before_a_question_is_stored(
    api: Api, path: str, idle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = availability.Unavailability("invalid_key", "", 300)
    monkeypatch.setattr(availability, "find_unavailability", lambda **_: refusal)
    problem = api.post(path, {"question": WHERE}, status=503)
    assert (problem["error_code"], problem["reason"]) == ("ERR_4000", "invalid_key")
    assert not ChatQuestion.objects.exists()


def test_a_pause_of_insights_does_not_refuse_questions_and_a_pause_of_unlocks_does(
    api: Api, path: str, idle: None
) -> None:
    pauses.pause_dispatch(context=ActionContext(actor="user 7", reason="test"))
    api.post(path, {"question": WHERE}, status=202)
    pauses.pause(context=ActionContext(actor="user 7", reason="test"))
    assert api.post(path, {"question": WHERE}, status=503)["reason"] == "paused"


def test_a_rate_limit_of_the_provider_is_a_503_that_says_when_to_ask_again(api: Api, path: str, working: Any) -> None:
    with answering_as(quota_error(retry_delay="200s"), GEMINI_LLM_MODEL=f"model-{uuid.uuid4().hex}"):
        response = api.send("POST", path, data=b'{"question": "x"}', content_type="application/json")
    assert (response.status_code, response.json()["reason"]) == (503, "rate_limited")
    assert int(response["Retry-After"]) >= 100
    assert ChatQuestion.objects.get().status == "failed"


def test_a_question_that_the_model_refuses_is_a_422(
    api: Api, path: str, working: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Answer:
        raise EngineRefused("blocked_prompt")

    monkeypatch.setattr(asking, "answer_question", refuse)
    assert api.post(path, {"question": WHERE}, status=422)["type"].endswith("question-refused")


def test_a_question_that_takes_long_is_a_202_that_says_where_it_is(
    api: Api, path: str, idle: None, model: QuestionOracle
) -> None:
    response = api.send("POST", path, data=b'{"question": "move to Pune?"}', content_type="application/json")
    assert response.status_code == 202
    assert response.json()["status"] == "pending"
    assert int(response["Retry-After"]) > 0
    answering.run(ChatQuestion.objects.get().pk)
    assert api.get(response["Location"])["answer"]["outcome"] == "answered"


def test_a_replayed_question_is_asked_once(api: Api, path: str, working: Any, model: QuestionOracle) -> None:
    send: Callable[[], Any] = lambda: api.send(  # noqa: E731
        "POST",
        path,
        data=b'{"question": "Where did we want to move to?"}',
        content_type="application/json",
        headers={"Idempotency-Key": "one"},
    )
    first, second = send(), send()
    assert second["Idempotent-Replayed"] == "true"
    assert first.json() == second.json()
    assert len(model.steps) == ChatQuestion.objects.count() == 1


@pytest.mark.parametrize("name", ["ask", "rag"])
def test_a_replayed_question_is_a_202_until_it_is_answered(
    api: Api, path: str, talk: Chat, idle: None, model: QuestionOracle, name: str
) -> None:
    address, body = (path, {}) if name == "ask" else ("/api/rag/query", {"chat_id": str(talk.pk)})

    def send() -> Any:
        data, headers = json.dumps({**body, "question": WHERE}), {"Idempotency-Key": "one"}
        return api.send("POST", address, data=data, content_type="application/json", headers=headers)

    first, open_replay = send(), send()
    assert [(each.status_code, "Retry-After" in each) for each in (first, open_replay)] == [(202, True)] * 2
    answering.run(ChatQuestion.objects.get().pk)
    replay = send()
    assert (replay.status_code, "Retry-After" in replay, replay["Idempotent-Replayed"]) == (200, False, "true")
    assert SENTENCE in str(replay.json()["answer"])


def test_a_question_whose_process_died_is_not_asked_and_charged_again(
    api: Api, path: str, owner: User, priced: int, working: Any, model: QuestionOracle
) -> None:
    def send() -> Any:
        data = b'{"question": "Where did we want to move to?"}'
        return api.send(
            "POST", path, data=data, content_type="application/json", headers={"Idempotency-Key": "one"}
        ).json()

    first = send()
    # The process was killed after it stored the question and before it stored the response.
    IdempotencyKey.objects.update(status=None, sealed_answer=None, lease_expires_at=Now() - timedelta(seconds=1))
    assert send() == first
    assert ChatQuestion.objects.count() == 1
    assert wallet_of(owner) == (400 - priced, 0)


@pytest.mark.parametrize("change", [{"status": "failed"}, {"created_at": Now() - timedelta(hours=25)}])
def test_the_key_of_a_failed_or_old_question_can_be_used_again(
    api: Api, path: str, working: Any, model: QuestionOracle, change: dict[str, Any]
) -> None:
    def send() -> Any:
        data = b'{"question": "Where did we want to move to?"}'
        return api.send(
            "POST", path, data=data, content_type="application/json", headers={"Idempotency-Key": "one"}
        ).json()

    first = send()
    if "status" in change:
        change = {**change, "sealed_answer": None, "error_code": "test"}
    ChatQuestion.objects.update(**change)
    IdempotencyKey.objects.all().delete()
    again = send()
    assert again["status"] == "answered"
    assert again["id"] != first["id"]


# Coins


@pytest.fixture
def priced(settings: Any) -> int:
    settings.ASK_PRICE_COINS = 30
    return 30


def test_an_answer_is_charged_once(
    api: Api, path: str, owner: User, priced: int, working: list[uuid.UUID], model: QuestionOracle
) -> None:
    asked = api.post(path, {"question": WHERE}, status=200)
    assert asked["price"] == priced
    assert wallet_of(owner) == (400 - priced, 0)
    # A message that comes again, and a worker that comes back, change nothing.
    answering.run(working[0])
    recovery.recover()
    assert wallet_of(owner) == (400 - priced, 0)
    assert CreditTransaction.objects.filter(wallet__user=owner, type="insight_unlock").count() == 1
    assert audit() == []


def test_what_is_not_answered_costs_nothing(api: Api, path: str, owner: User, priced: int, working: Any) -> None:
    assert api.post(path, {"question": WHERE}, status=200)["answer"]["outcome"] == "searched"
    with answering_as(QuestionOracle(lambda lines: decide("not_in_chat"))):
        assert api.post(path, {"question": WHERE}, status=200)["answer"]["outcome"] == "not_in_chat"
    with answering_as(QuestionOracle(lambda lines: "no JSON")):
        api.post(path, {"question": WHERE}, status=503)
    assert wallet_of(owner) == (400, 0)
    assert set(CoinReservation.objects.values_list("status", flat=True)) == {"released"}
    assert audit() == []


def test_without_enough_coins_nothing_is_asked(api: Api, path: str, owner: User, idle: None, settings: Any) -> None:
    settings.ASK_PRICE_COINS = 401
    assert api.post(path, {"question": WHERE}, status=402)["deficit"] == 1
    assert not ChatQuestion.objects.exists()
    assert wallet_of(owner) == (400, 0)


def test_a_worker_that_dies_costs_nothing(api: Api, path: str, owner: User, priced: int, idle: None) -> None:
    """It dies after the coins were reserved and before they are captured."""
    asked = api.post(path, {"question": WHERE}, status=202)
    question = ChatQuestion.objects.get(pk=asked["id"])
    assert questions.queue.claim(question.pk) is not None
    assert wallet_of(owner) == (400, priced)
    assert not recovery.recover().questions, "its lease and its deadline have not passed"
    assert wallet_of(owner) == (400, priced)
    ChatQuestion.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    assert recovery.recover().questions == 1
    question.refresh_from_db()
    assert (question.status, question.error_code) == ("failed", "worker_lost")
    assert wallet_of(owner) == (400, 0)
    assert audit() == []


def test_an_orphaned_reservation_is_released_whatever_questions_are_open(
    api: Api, path: str, owner: User, priced: int, idle: None
) -> None:
    api.post(path, {"question": WHERE}, status=202)
    wallet = Wallet.objects.get(user=owner)
    ledger.reserve(wallet=wallet, coins=5, idempotency_key="orphan", expires_at=clock.now(), reason="test")
    assert recovery.recover().reservations == 1
    assert wallet_of(owner) == (400, priced)


def test_staff_release_the_reservation_of_a_lost_question_and_no_other(
    api: Api, path: str, owner: User, priced: int, idle: None
) -> None:
    for _ in range(2):
        api.post(path, {"question": WHERE}, status=202)
    first = ChatQuestion.objects.earliest("created_at")
    assert first.reservation_id is not None
    recovery.recover_reservation(first.reservation_id)
    assert wallet_of(owner) == (400, 2 * priced), "no question is lost"
    ChatQuestion.objects.update(deadline_at=Now() - timedelta(seconds=1))
    recovery.recover_reservation(first.reservation_id)
    first.refresh_from_db()
    assert (first.status, wallet_of(owner)) == ("failed", (400, priced))


def test_a_question_that_no_worker_takes_costs_nothing(
    api: Api, path: str, owner: User, priced: int, idle: None, model: QuestionOracle
) -> None:
    asked = api.post(path, {"question": WHERE}, status=202)
    ChatQuestion.objects.update(deadline_at=Now() - timedelta(seconds=1))
    assert recovery.recover().questions == 1
    assert wallet_of(owner) == (400, 0)
    answering.run(uuid.UUID(asked["id"]))
    assert not model.asked, "nobody waits for it any more"


def test_a_worker_that_comes_back_late_changes_nothing(
    api: Api, path: str, owner: User, priced: int, idle: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    api.post(path, {"question": WHERE}, status=202)
    question = ChatQuestion.objects.get()
    real = asking.answer_question

    def answer(*args: Any, **kwargs: Any) -> Answer:
        result = real(*args, **kwargs)
        ChatQuestion.objects.update(deadline_at=Now() - timedelta(seconds=1))
        assert recovery.recover().questions == 1
        return result

    monkeypatch.setattr(asking, "answer_question", answer)
    with answering_as(QuestionOracle(answer_moving)):
        answering.run(question.pk)
    question.refresh_from_db()
    assert (question.status, question.sealed_answer) == ("failed", None)
    assert wallet_of(owner) == (400, 0)
    assert audit() == []


@pytest.mark.parametrize("what", ["question", "questions", "chat"])
def test_deleting_an_open_question_releases_its_coins(
    api: Api, path: str, talk: Chat, owner: User, priced: int, idle: None, what: str
) -> None:
    asked = api.post(path, {"question": WHERE}, status=202)
    assert wallet_of(owner) == (400, priced)
    paths = {
        "question": f"/api/chats/{talk.pk}/questions/{asked['id']}",
        "questions": f"/api/chats/{talk.pk}/questions",
        "chat": f"/api/chats/{talk.pk}",
    }
    api.delete(paths[what], status=204)
    assert wallet_of(owner) == (400, 0)
    answering.run(uuid.UUID(asked["id"]))
    assert not ChatQuestion.objects.exists()
    assert audit() == []


def test_no_connection_is_held_while_the_model_answers(api: Api, path: str, idle: None) -> None:
    api.post(path, {"question": WHERE}, status=202)
    open_connections: list[bool] = []

    def step(lines: Any) -> Any:
        open_connections.append(connection.connection is not None)
        return answer_moving(lines)

    # Of this thread: the model's stub server answers in another one.
    connection = connections["default"]
    with answering_as(QuestionOracle(step)):
        answering.run(ChatQuestion.objects.get().pk)
    assert ChatQuestion.objects.get().status == "answered"
    assert open_connections == [False]
