"""While insights cannot be unlocked, unlocks and retries are refused before coins are reserved, and quotes say so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from billing.models import CoinReservation
from chats.models import Chat
from insights import engines, generation, operations, pauses, settlement, unlocking
from insights.availability import UnlocksUnavailable
from insights.engines.base import EngineError, EngineMisconfigured, EngineRateLimited, EngineUnavailable
from insights.engines.client import ModelAnswer, ModelRequest
from insights.models import DispatchPause, GenerationJob, Insight, UnlockPause
from ops import errors, unlocks
from ops.monitoring_models import ErrorEvent
from relivchats import error_events
from relivchats.accounts.models import User
from relivchats.error_events import EventQueue
from relivchats.errors import Conflict
from relivchats.language_models import quota
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level
from tests.api.conftest import Api
from tests.concurrency import call_at_once
from tests.processes import BrokerHandle

pytestmark = pytest.mark.django_db

CONTEXT = ActionContext(actor="user 7", reason="a test")


@pytest.fixture
def model_engine(broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[SimpleNamespace]:
    """Replace the engine by one that calls two models."""
    local = engines.get_engine()
    engine = SimpleNamespace(
        name="local",
        model="writer",
        reading_model="reader",
        method="read",
        languages=local.languages,
        chat_languages=None,
        unavailable_reason="",
    )
    monkeypatch.setattr(engines, "get_engine", lambda: engine)
    monkeypatch.setattr(quota, "BROKER_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(quota, "LOOK_TIMEOUT_SECONDS", 30.0)
    settings.MODEL_REQUESTS_PER_MINUTE = settings.MODEL_TOKENS_PER_MINUTE = 0
    quota._outages.clear()
    yield engine
    quota._outages.clear()


def fail_calls(model: str, error: EngineError, *, times: int = 1) -> None:
    """Make calls that the provider answers with this error."""

    def send(request: ModelRequest) -> ModelAnswer:
        raise error

    request = ModelRequest(model, "", "", {}, max_output_tokens=1, timeout_seconds=1)
    for _ in range(times):
        with pytest.raises(EngineError):
            quota.call(request, send=send, estimated_tokens=1, give_up_at=0)


def unlock(chat: Chat) -> unlocking.UnlockResult:
    return unlocking.unlock(user=chat.owner, chat=chat, type_ids=["love_language"])


def refusal(chat: Chat) -> UnlocksUnavailable:
    """Check that an unlock is refused, that nothing was reserved, and that a quote says the same."""
    reservations = CoinReservation.objects.count()
    with pytest.raises(UnlocksUnavailable) as refused:
        unlock(chat)
    assert CoinReservation.objects.count() == reservations
    quoted = unlocking.quote(user=chat.owner, chat=chat, type_ids=["love_language"])
    assert not quoted.can_unlock
    assert quoted.unavailability
    assert quoted.unavailability.reason == refused.value.extra["reason"]
    return refused.value


def test_the_local_engine_asks_no_broker(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quota, "breaker_state", None)
    assert unlock(chat).created


def test_a_model_engine_that_is_well_accepts_unlocks(model_engine: SimpleNamespace, chat: Chat) -> None:
    assert unlock(chat).created


@pytest.mark.parametrize("model", ["reader", "writer"])
def test_a_used_up_quota_of_either_model_refuses_unlocks_until_its_time(
    model_engine: SimpleNamespace, chat: Chat, model: str
) -> None:
    fail_calls(model, EngineRateLimited(retry_after_seconds=7200, exhausted=True))
    refused = refusal(chat)
    assert refused.extra["reason"] == "quota_exhausted"
    assert 7000 < refused.extra["retry_after_seconds"] <= 7200


def test_an_outage_refuses_unlocks_for_a_moment(model_engine: SimpleNamespace, chat: Chat) -> None:
    fail_calls("writer", EngineUnavailable(), times=5)
    assert 0 < refusal(chat).extra["retry_after_seconds"] <= 30


def test_a_wrong_key_refuses_unlocks_until_a_call_is_answered(
    model_engine: SimpleNamespace, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_calls("writer", EngineMisconfigured())
    assert refusal(chat).extra["reason"] == "engine_misconfigured"
    later = quota.BreakerState("half_open", "engine_misconfigured")
    with monkeypatch.context() as patched:
        patched.setattr(quota, "breaker_state", lambda model: later)
        refusal(chat)
    request = ModelRequest("writer", "", "", {}, max_output_tokens=1, timeout_seconds=1)
    quota.call(request, send=lambda _: ModelAnswer("", 1, 1, ""), estimated_tokens=1, give_up_at=0, probe=True)
    assert unlock(chat).created


def test_after_an_outage_the_next_unlock_is_the_probe(
    model_engine: SimpleNamespace, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = quota.BreakerState("half_open", "engine_unavailable")
    monkeypatch.setattr(quota, "breaker_state", lambda model: later)
    assert unlock(chat).created


def test_a_missing_key_refuses_unlocks(model_engine: SimpleNamespace, chat: Chat) -> None:
    model_engine.unavailable_reason = "missing_key"
    assert refusal(chat).extra["reason"] == "missing_key"
    assert "key" not in refusal(chat).detail


def test_while_the_broker_is_down_unlocks_are_accepted(
    model_engine: SimpleNamespace, settings: Any, chat: Chat
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert unlock(chat).created


# The switch of staff


def test_while_unlocks_are_paused_an_unlock_is_refused_and_open_jobs_continue(
    person: User, chat: Chat, make_chat: Callable[..., Chat]
) -> None:
    job = unlock(chat).job
    pauses.pause(context=CONTEXT)
    assert refusal(make_chat(person, messages=301)).extra["reason"] == "paused"
    generation.run(job.insights.get().pk)
    job.refresh_from_db()
    assert job.status == GenerationJob.Status.COMPLETED
    assert not unlock(chat).created, "what is unlocked already costs nothing and stays available"


def test_while_unlocks_are_paused_a_retry_is_refused(chat: Chat) -> None:
    job = unlock(chat).job
    settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    pauses.pause(context=CONTEXT)
    with pytest.raises(UnlocksUnavailable):
        unlocking.retry(Insight.objects.get(job=job))
    assert GenerationJob.objects.count() == 1
    unlocks.resume(context=CONTEXT)
    assert unlocking.retry(Insight.objects.get(job=job)).created


def test_while_insights_are_paused_unlocks_are_refused_before_coins_are_held(
    chat: Chat, make_chat: Callable[..., Chat]
) -> None:
    failed = unlock(chat).job
    settlement.fail_open_insights(failed.pk, error_code="test", error_message="")
    pauses.pause_dispatch(context=CONTEXT)
    refused = refusal(make_chat(chat.owner, messages=301))
    assert (refused.status, refused.extra) == (503, {"reason": "paused", "retry_after_seconds": 300})
    with pytest.raises(UnlocksUnavailable):
        unlocking.retry(Insight.objects.get(job=failed))
    assert unlocks.line().text == "refused: insights are paused for 0 s by user 7"
    assert unlocks.line().remedy == "manage.py queue --resume insights"
    pauses.resume_dispatch(DispatchPause.objects.active(), context=CONTEXT)
    assert unlocking.retry(Insight.objects.get(job=failed)).created


def test_a_pause_and_its_end_are_in_the_audit_log(chat: Chat) -> None:
    created = pauses.pause(context=CONTEXT)
    unlocks.resume(context=CONTEXT)
    assert unlock(chat).created
    entries = AuditEntry.objects.filter(object_id=created.pk).order_by("pk")
    assert [(entry.action, entry.actor, entry.reason, entry.done) for entry in entries] == [
        ("pause unlocks", "user 7", "a test", True),
        ("resume unlocks", "user 7", "a test", True),
    ]
    created.refresh_from_db()
    assert (created.paused_by, created.resumed_by) == ("user 7", "user 7")
    assert created.resumed_at


def test_a_pause_takes_a_reason() -> None:
    with pytest.raises(Conflict, match="reason"):
        pauses.pause(context=ActionContext(reason="  "))
    assert not UnlockPause.objects.exists()


def test_a_second_pause_is_refused_and_so_is_a_second_end() -> None:
    created = pauses.pause(context=CONTEXT)
    with pytest.raises(Conflict, match="paused already"):
        pauses.pause(context=CONTEXT)
    assert pauses.resume(UnlockPause.objects.filter(pk=created.pk), context=CONTEXT).done == 1
    assert pauses.resume(UnlockPause.objects.filter(pk=created.pk), context=CONTEXT).refused == 1
    with pytest.raises(Conflict, match="not paused"):
        unlocks.resume(context=CONTEXT)


@pytest.mark.django_db(transaction=True)
def test_of_two_pauses_at_once_one_is_refused() -> None:
    results = call_at_once([lambda: pauses.pause(context=CONTEXT)] * 2)
    assert {type(result) for result in results} == {Conflict, UnlockPause}
    assert AuditEntry.objects.count() == 1


def test_the_health_check_counts_the_unlocks_that_were_refused_within_the_hour_by_reason(
    chat: Chat, make_chat: Callable[..., Chat], monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    customer = Api(chat.owner)
    failed = unlock(chat).job
    settlement.fail_open_insights(failed.pk, error_code="overdue", error_message="")
    (insight,) = failed.insights.all()
    queue = EventQueue()
    monkeypatch.setattr(error_events, "queue", queue)
    pauses.pause(context=CONTEXT)
    asked = {"chat_id": str(chat.pk), "insight_type_ids": ["love_language"]}
    customer.post("/api/insights/unlock", asked, status=503)
    customer.post(f"/api/insights/{insight.pk}/retry", status=503)
    # What staff retry, from the admin or as a command, turns no customer away.
    assert operations.retry_insights(failed.insights.all(), context=CONTEXT).refused == 1
    unlocks.resume(context=CONTEXT)
    settings.MAX_OPEN_INSIGHTS_PER_USER = 1
    assert unlock(chat).created
    other = make_chat(chat.owner, messages=301)
    customer.post("/api/insights/unlock", {**asked, "chat_id": str(other.pk)}, status=429)
    events = [event for event in queue.take()[0] if event.event == unlocking.REFUSED]
    errors.write(events, role=ErrorEvent.Role.WEB)
    errors.write([replace(events[0], at=events[0].at - timedelta(hours=2))], role=ErrorEvent.Role.WEB)
    line = unlocks.line()
    assert line.text == "accepted; refused within an hour: 2 paused, 1 too_many_open"
    assert (line.level, line.value) == (Level.FINE, 3)
    assert list(errors.select(since=timedelta(days=1))) == [], "they are no errors"


def test_the_health_check_says_since_when_and_by_whom_unlocks_are_paused(model_engine: SimpleNamespace) -> None:
    assert unlocks.line().text == "accepted"
    fail_calls("writer", EngineMisconfigured())
    assert unlocks.line().text == "refused: engine_misconfigured"
    pauses.pause(context=CONTEXT)
    assert unlocks.line().text == "paused for 0 s by user 7"
