"""The quota gate admits no more than the limits over all workers, is fair between groups, and shares what 429s say."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from insights.engines.base import (
    EngineError,
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
    UnusableAnswer,
)
from insights.engines.client import ModelAnswer, ModelRequest
from relivchats.language_models import quota
from relivchats.language_models.quota import Clock, Gate, Limits, Ticket
from tests.concurrency import call_at_once
from tests.processes import REPOSITORY, BrokerHandle

NOWHERE = "redis://127.0.0.1:1/0"
MODEL = "a-model"
REQUEST = ModelRequest(model=MODEL, instructions="", content="", schema={}, max_output_tokens=10, timeout_seconds=20)
ids = count()

# No test here may use the database: pytest-django refuses it, and so a call that waits holds no connection.


class ManualClock(Clock):
    """Time passes only when a call sleeps."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0
        self._lock = threading.Lock()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        with self._lock:
            self.now += seconds

    def broker_milliseconds(self) -> int:
        return round(self.now * 1000)


@pytest.fixture(autouse=True)
def fresh(broker: BrokerHandle, settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start with an empty broker that has time to answer, a limit of five requests, and none of tokens."""
    monkeypatch.setattr(quota, "BROKER_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(quota, "LOOK_TIMEOUT_SECONDS", 30.0)
    settings.MODEL_REQUESTS_PER_MINUTE, settings.MODEL_TOKENS_PER_MINUTE = 5, 0
    _forget_outages()
    yield
    _forget_outages()


def _forget_outages() -> None:
    quota._outages.clear()
    quota._safe_share.cache_clear()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def answer(request: ModelRequest = REQUEST, *, tokens: int = 10) -> ModelAnswer:
    return ModelAnswer("{}", tokens, 0, request.model)


def failing(error: EngineError) -> Callable[[ModelRequest], ModelAnswer]:
    def send(request: ModelRequest) -> ModelAnswer:
        raise error

    return send


def call(
    clock: Clock,
    send: Callable[[ModelRequest], ModelAnswer] = answer,
    *,
    patience: float = 0,
    tokens: int = 10,
    group: str = "",
    probe: bool = False,
) -> ModelAnswer:
    return quota.call(
        REQUEST,
        send=send,
        estimated_tokens=tokens,
        give_up_at=clock.monotonic() + patience,
        group=group,
        probe=probe,
        clock=clock,
    )


def attempt(clock: Clock, send: Callable[[ModelRequest], ModelAnswer] = answer, **options: Any) -> Any:
    """Return the answer of a call, or the error that it raised."""
    try:
        return call(clock, send, **options)
    except EngineError as error:
        return error


def gate(clock: Clock, *, requests: int = 5, tokens: int = 0) -> Gate:
    return Gate(MODEL, Limits(requests, tokens), clock, timeout_seconds=30)


def ticket(group: str, *, tokens: int = 10) -> Ticket:
    return Ticket(f"{next(ids):08}", group, tokens, 20, probe=False)


# Limits


def test_threads_get_no_more_requests_than_the_limit_together(settings: Any) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 20

    def try_ten() -> list[Any]:
        return [attempt(quota.SYSTEM_CLOCK) for _ in range(10)]

    results = [result for results in call_at_once([try_ten] * 8) for result in results]
    assert sum(isinstance(result, ModelAnswer) for result in results) == 20
    refused = [result for result in results if not isinstance(result, ModelAnswer)]
    assert all(isinstance(error, EngineRateLimited) and 0 < error.retry_after_seconds <= 60 for error in refused)


def test_processes_get_no_more_requests_than_the_limit_together() -> None:
    code = """
import django; django.setup()
from tests.insights.test_quota import attempt, quota, ModelAnswer
quota.BROKER_TIMEOUT_SECONDS = 30.0
print(sum(isinstance(attempt(quota.SYSTEM_CLOCK), ModelAnswer) for _ in range(15)))
"""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "relivchats.settings",
        "MODEL_REQUESTS_PER_MINUTE": "20",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    assert sum(int(process.communicate()[0]) for process in processes) == 20


def test_no_minute_has_more_requests_than_the_limit_and_none_waits_longer_than_needed(clock: ManualClock) -> None:
    started, times = clock.now, []
    for _ in range(12):
        call(clock, patience=1000)
        times.append(clock.now - started)
    assert all(sum(start <= other < start + 60 for other in times) <= 5 for start in times)
    assert 120 <= times[-1] < 123


def test_tokens_are_limited_too(clock: ManualClock, settings: Any) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE, settings.MODEL_TOKENS_PER_MINUTE = 0, 100
    results = [attempt(clock, lambda _: answer(tokens=30), tokens=30) for _ in range(4)]
    assert [isinstance(result, ModelAnswer) for result in results] == [True, True, True, False]


def test_estimated_tokens_are_replaced_by_the_real_ones(clock: ManualClock, settings: Any) -> None:
    settings.MODEL_TOKENS_PER_MINUTE = 100
    call(clock, lambda _: answer(tokens=10), tokens=90)
    assert quota.observed(MODEL, clock=clock).tokens == 10
    call(clock, lambda _: answer(tokens=95), tokens=90)
    assert isinstance(attempt(clock, tokens=90), EngineRateLimited)
    clock.sleep(60)
    assert quota.observed(MODEL, clock=clock).tokens == 0


def test_tokens_of_the_last_minute_are_those_of_its_calls(clock: ManualClock) -> None:
    for tokens in (10, 20):
        call(clock, lambda _, tokens=tokens: answer(tokens=tokens))  # type: ignore[misc]
        clock.sleep(30)
    assert quota.observed(MODEL, clock=clock).tokens == 20


def test_a_call_that_is_larger_than_the_limit_is_made_alone(clock: ManualClock, settings: Any) -> None:
    settings.MODEL_TOKENS_PER_MINUTE = 100
    call(clock, lambda _: answer(tokens=500), tokens=500)
    assert isinstance(attempt(clock), EngineRateLimited)
    clock.sleep(60)
    call(clock)
    assert isinstance(attempt(clock, tokens=500), EngineRateLimited)


def test_a_limit_of_zero_is_no_limit(clock: ManualClock, settings: Any) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 0
    started = clock.now
    for _ in range(50):
        call(clock, tokens=10_000_000)
    assert clock.now == started


def test_a_call_gives_up_in_time_and_says_when_to_come_back(clock: ManualClock) -> None:
    for _ in range(5):
        call(clock)
    started = clock.now
    with pytest.raises(EngineRateLimited) as refused:
        call(clock, patience=30)
    assert clock.now == started, "it need not wait to know"
    assert 59 < refused.value.retry_after_seconds <= 60
    assert quota.observed(MODEL, clock=clock).waiting == 0
    call(clock, patience=61)


def test_each_model_has_limits_of_its_own(clock: ManualClock) -> None:
    for _ in range(5):
        call(clock)
    assert gate(clock).ask(ticket("a"), 0)[0] == "refused"
    assert Gate("another", Limits(5, 0), clock, timeout_seconds=30).ask(ticket("a"), 0)[0] == "admitted"


# Fairness


def test_a_job_of_many_calls_delays_another_by_one_call_per_turn(clock: ManualClock) -> None:
    for _ in range(5):
        call(clock)
    model = gate(clock)
    large = [ticket("large") for _ in range(50)]
    small = [ticket("small") for _ in range(2)]
    for waiting in (*large, *small):
        assert model.ask(waiting, 1000)[0] == "wait"
    for _ in range(8):
        # They ask regularly; a process that does not is considered dead.
        clock.sleep(7.5)
        asked = [(waiting.group, model.ask(waiting, 1000)[0]) for waiting in (*large, *small)]
    # All of the large job ask first, and still leave two of the five calls to the small one.
    assert [group for group, status in asked if status == "admitted"] == ["large"] * 3 + ["small"] * 2


def test_a_group_that_always_asks_again_takes_turns_with_one_that_waits(clock: ManualClock) -> None:
    model = gate(clock, requests=1)
    assert model.ask(ticket("busy"), 0)[0] == "admitted"
    asking = [ticket("busy"), *(ticket("patient") for _ in range(10))]
    admitted = []
    for _ in range(48):
        clock.sleep(7.5)
        # The busy one asks first each time, and asks again as soon as it is admitted.
        for one in asking.copy():
            if model.ask(one, 10_000)[0] == "admitted":
                admitted.append(one.group)
                asking.remove(one)
                if one.group == "busy":
                    asking.insert(0, ticket("busy"))
    assert sorted(admitted) == ["busy"] * 3 + ["patient"] * 3


def test_tokens_that_are_free_are_kept_for_the_earlier_turn(clock: ManualClock) -> None:
    model = gate(clock, requests=0, tokens=100)
    assert model.ask(ticket("a", tokens=60), 0)[0] == "admitted"
    assert model.ask(ticket("b", tokens=50), 1000)[0] == "wait"
    assert model.ask(ticket("c", tokens=40), 1000)[0] == "wait", "small calls would keep a large one waiting forever"


def test_a_call_that_cannot_wait_is_refused_if_what_is_left_belongs_to_an_earlier_turn(clock: ManualClock) -> None:
    model = gate(clock, requests=1)
    model.ask(ticket("a"), 0)
    clock.sleep(55)
    model.ask(ticket("b"), 1000)
    clock.sleep(5)
    assert model.ask(ticket("c"), 0)[0] == "refused"


def test_a_waiting_call_whose_process_died_holds_nobody_up(clock: ManualClock) -> None:
    model = gate(clock, requests=1)
    model.ask(ticket("a"), 0)
    model.ask(ticket("dead"), 1000)
    clock.sleep(60)
    assert model.ask(ticket("b"), 1000)[0] == "admitted"


# What the provider says


def test_a_429_makes_all_workers_wait_and_the_call_is_sent_again(
    clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    started = clock.now
    sent: list[float] = []

    def send(request: ModelRequest) -> ModelAnswer:
        sent.append(clock.now - started)
        if len(sent) == 1:
            error = EngineRateLimited(retry_after_seconds=7)
            assert isinstance(attempt(clock), ModelAnswer), "the others are not blocked yet"
            raise error
        return answer(request)

    assert isinstance(call(clock, send, patience=20), ModelAnswer)
    assert sent[0] == 0
    assert 7 <= sent[1] < 9
    # Operators search for it.
    assert "RESOURCE_EXHAUSTED" in caplog.text


def test_a_429_of_one_worker_blocks_the_others_until_its_time(clock: ManualClock) -> None:
    limited = attempt(clock, failing(EngineRateLimited(retry_after_seconds=40)), patience=10)
    assert isinstance(limited, EngineRateLimited)
    assert not limited.exhausted
    other = attempt(clock, patience=10)
    assert isinstance(other, EngineRateLimited)
    assert 39 < other.retry_after_seconds <= 40
    assert quota.observed(MODEL, clock=clock).blocked_seconds == 40
    clock.sleep(40)
    call(clock)


def test_a_check_is_sent_during_a_pause_and_its_answer_ends_it(clock: ManualClock) -> None:
    limit = failing(EngineRateLimited(retry_after_seconds=40))
    attempt(clock, limit)
    assert attempt(clock, limit, probe=True).retry_after_seconds == 40
    assert isinstance(attempt(clock), EngineRateLimited)
    call(clock, probe=True)
    assert quota.observed(MODEL, clock=clock).blocked_seconds == 0
    call(clock)


@pytest.mark.parametrize(("given", "seconds"), [(0, 1), (1_000_000, 3600)])
def test_a_429_blocks_for_a_second_at_least_and_for_an_hour_at_most(
    clock: ManualClock, given: float, seconds: float
) -> None:
    limited = attempt(clock, failing(EngineRateLimited(retry_after_seconds=given)))
    assert limited.retry_after_seconds == quota.observed(MODEL, clock=clock).blocked_seconds == seconds


@pytest.mark.parametrize(("spending", "code"), [(False, "quota_exhausted"), (True, "spend_limit_reached")])
def test_a_used_up_quota_opens_the_breaker_and_one_probe_closes_it(
    clock: ManualClock, spending: bool, code: str
) -> None:
    rejected = EngineRateLimited(retry_after_seconds=7200, exhausted=True, spending=spending)
    exhausted = attempt(clock, failing(rejected), patience=60)
    assert (exhausted.exhausted, exhausted.code) == (True, code)
    state = quota.breaker_state(MODEL, clock=clock)
    assert (state.state, state.reason, state.retry_after_seconds) == ("open", code, 7200)
    refused = attempt(clock, failing(AssertionError("sent")), patience=60)  # type: ignore[arg-type]
    assert (refused.exhausted, refused.code) == (True, code)
    clock.sleep(7200)
    assert quota.breaker_state(MODEL, clock=clock).state == "half_open"

    def probe(request: ModelRequest) -> ModelAnswer:
        assert isinstance(attempt(clock), EngineRateLimited), "two calls probed"
        return answer(request)

    call(clock, probe)
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"
    call(clock)


@pytest.mark.parametrize("exhausted", [True, False])
def test_of_several_429s_the_longest_wait_counts(clock: ManualClock, exhausted: bool) -> None:
    model = gate(clock)
    tickets = [ticket("a") for _ in range(2)]
    for one in tickets:
        model.ask(one, 0)
    for one, seconds in zip(tickets, (1800, 100), strict=True):
        model.reject(one, EngineRateLimited(retry_after_seconds=seconds, exhausted=exhausted))
    refused = attempt(clock)
    assert (refused.retry_after_seconds, refused.exhausted) == (1800, exhausted)


@pytest.mark.parametrize(("hour", "seconds"), [(12, 3600), (7.75, 900)])
def test_a_used_up_quota_without_a_time_is_probed_in_an_hour_or_at_midnight(
    clock: ManualClock, hour: float, seconds: int
) -> None:
    clock.now += -clock.now % 86_400 + hour * 3600
    attempt(clock, failing(EngineRateLimited(retry_after_seconds=0, exhausted=True)))
    assert quota.breaker_state(MODEL, clock=clock).retry_after_seconds == seconds


def test_a_probe_that_fails_or_dies_leaves_the_breaker_to_the_next_one(clock: ManualClock) -> None:
    attempt(clock, failing(EngineRateLimited(retry_after_seconds=100, exhausted=True)))
    clock.sleep(100)
    attempt(clock, failing(EngineRateLimited(retry_after_seconds=50, exhausted=True)))
    assert quota.breaker_state(MODEL, clock=clock).retry_after_seconds == 50
    clock.sleep(50)
    with pytest.raises(KeyError):
        call(clock, failing(KeyError("a bug")))  # type: ignore[arg-type]
    assert quota.breaker_state(MODEL, clock=clock).state == "half_open"
    call(clock)
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"


def test_the_lock_of_a_probe_expires_after_its_time_limit(clock: ManualClock, broker: BrokerHandle) -> None:
    attempt(clock, failing(EngineRateLimited(retry_after_seconds=100, exhausted=True)))
    clock.sleep(100)
    assert gate(clock).ask(ticket("a"), 0)[0] == "admitted"
    with broker.client as client:
        (key,) = client.keys("*:probe")
        assert 0 < client.pttl(key) <= (20 + quota.PROBE_MARGIN_SECONDS) * 1000


def test_a_wrong_key_opens_the_breaker_with_its_reason_and_nobody_waits(clock: ManualClock) -> None:
    with pytest.raises(EngineMisconfigured):
        call(clock, failing(EngineMisconfigured("unknown_model")))
    started = clock.now
    with pytest.raises(EngineMisconfigured) as refused:
        call(clock, patience=1000)
    assert refused.value.code == "unknown_model"
    assert clock.now == started
    state = quota.breaker_state(MODEL, clock=clock)
    assert (state.reason, state.retry_after_seconds) == ("unknown_model", quota.MISCONFIGURED_SECONDS)


def test_an_operator_may_probe_at_once(clock: ManualClock) -> None:
    attempt(clock, failing(EngineMisconfigured()))
    call(clock, probe=True)
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"


def test_a_probe_that_is_rejected_is_not_sent_again(clock: ManualClock) -> None:
    sent = []

    def send(request: ModelRequest) -> ModelAnswer:
        sent.append(request)
        raise EngineRateLimited(retry_after_seconds=100, exhausted=True)

    for _ in range(2):
        assert attempt(clock, send, patience=1000, probe=True).exhausted
    assert len(sent) == 2


def test_five_calls_without_an_answer_open_the_breaker_longer_each_time(clock: ManualClock, settings: Any) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 0
    for _ in range(4):
        attempt(clock, failing(EngineUnavailable()))
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"
    pauses = []
    for _ in range(6):
        attempt(clock, failing(EngineUnavailable()))
        state = quota.breaker_state(MODEL, clock=clock)
        assert state.reason == "engine_unavailable"
        pauses.append(state.retry_after_seconds)
        clock.sleep(state.retry_after_seconds)
    assert pauses == [30, 60, 120, 240, 300, 300]
    call(clock)
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"


def test_calls_that_were_under_way_do_not_prolong_the_pause(clock: ManualClock) -> None:
    model = gate(clock, requests=0)
    tickets = [ticket("a") for _ in range(10)]
    for one in tickets:
        model.ask(one, 0)
    for number, one in enumerate(tickets):
        model.settle(one, "unavailable")
        if number == 4:
            clock.sleep(10)
    assert quota.breaker_state(MODEL, clock=clock).retry_after_seconds == 20


def test_any_call_that_waits_may_be_the_probe(clock: ManualClock) -> None:
    model = gate(clock, requests=1)
    attempt(clock, failing(EngineRateLimited(retry_after_seconds=100, exhausted=True)))
    clock.sleep(95)
    waiting = [ticket("a") for _ in range(2)]
    assert [model.ask(one, 1000)[0] for one in waiting] == ["wait", "wait"]
    clock.sleep(5)
    assert model.ask(waiting[1], 1000)[0] == "admitted", "the first one may sleep for another two seconds"


def test_a_call_during_an_outage_waits_or_is_rescheduled_without_using_an_attempt(
    clock: ManualClock, settings: Any
) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 0
    for _ in range(5):
        attempt(clock, failing(EngineUnavailable()))
    refused = attempt(clock, patience=20)
    assert (refused.code, refused.uses_attempt, refused.retry_after_seconds) == ("engine_unavailable", False, 30)
    call(clock, patience=40)


@pytest.mark.parametrize("outcome", [None, EngineRefused(), UnusableAnswer()])
def test_an_answer_restarts_the_count_of_failures(
    clock: ManualClock, outcome: EngineError | None, settings: Any
) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 0
    for _ in range(3):
        for _ in range(4):
            attempt(clock, failing(EngineUnavailable()))
        attempt(clock, failing(outcome) if outcome else answer)
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"


def test_calls_that_were_under_way_do_not_close_the_breaker(clock: ManualClock) -> None:
    def send(request: ModelRequest) -> ModelAnswer:
        attempt(clock, failing(EngineRateLimited(retry_after_seconds=7200, exhausted=True)))
        return answer(request)

    call(clock, send)
    assert quota.breaker_state(MODEL, clock=clock).state == "open"


# Without the broker


def test_without_the_broker_a_process_gets_a_tenth_of_the_limits(clock: ManualClock, settings: Any) -> None:
    settings.REDIS_URL = NOWHERE
    settings.MODEL_REQUESTS_PER_MINUTE, settings.MODEL_TOKENS_PER_MINUTE = 20, 1000
    results = [attempt(clock) for _ in range(3)]
    assert [isinstance(result, ModelAnswer) for result in results] == [True, True, False]
    started = clock.now
    call(clock, patience=70, tokens=90)
    assert 60 <= clock.now - started < 70
    assert isinstance(attempt(clock, tokens=90), EngineRateLimited), "tokens are limited too"
    assert quota.breaker_state(MODEL, clock=clock).state == "closed"
    assert not quota.observed(MODEL, clock=clock).broker


def test_without_the_broker_a_small_limit_still_lets_one_call_through(clock: ManualClock, settings: Any) -> None:
    settings.REDIS_URL = NOWHERE
    settings.MODEL_TOKENS_PER_MINUTE = 50
    call(clock, tokens=1000)
    assert isinstance(attempt(clock), EngineRateLimited)


def test_without_the_broker_a_429_is_honoured_by_the_process(clock: ManualClock, settings: Any) -> None:
    settings.REDIS_URL = NOWHERE
    settings.MODEL_REQUESTS_PER_MINUTE = 1000
    attempt(clock, failing(EngineRateLimited(retry_after_seconds=40)))
    refused = attempt(clock)
    assert isinstance(refused, EngineRateLimited)
    assert 39 < refused.retry_after_seconds <= 40


def test_a_frozen_broker_is_asked_once_and_used_again_when_it_returns(
    clock: ManualClock, broker: BrokerHandle, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 100
    call(clock)
    monkeypatch.setattr(quota, "BROKER_TIMEOUT_SECONDS", 0.3)
    with broker.paused():
        started = time.monotonic()
        results = [attempt(clock) for _ in range(12)]
        assert time.monotonic() - started < 12 * 0.3, "each call waited for the broker"
    assert sum(isinstance(result, ModelAnswer) for result in results) == 10
    monkeypatch.setattr(quota, "BROKER_TIMEOUT_SECONDS", 30.0)
    clock.sleep(quota.BROKER_RETRY_SECONDS)
    call(clock)
    assert quota.observed(MODEL, clock=clock).requests == 2


def test_a_killed_broker_stops_no_call(clock: ManualClock, broker: BrokerHandle, settings: Any) -> None:
    settings.MODEL_REQUESTS_PER_MINUTE = 100
    call(clock)
    with broker.down():
        assert isinstance(attempt(clock), ModelAnswer)


# Privacy


def test_the_broker_learns_no_group(clock: ManualClock, broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch) -> None:
    contents: list[bytes] = []

    def sleep(seconds: float) -> None:
        with broker.client as client:
            contents.extend(b"%s %s" % (key, client.dump(key)) for key in client.keys("quota:*"))
        clock.now += seconds

    monkeypatch.setattr(clock, "sleep", sleep)
    for _ in range(6):
        call(clock, group="job-1234", patience=100)
    assert contents, "the sixth call waits"
    assert b"job-1234" not in b" ".join(contents)


def test_the_broker_forgets_every_key(clock: ManualClock, broker: BrokerHandle) -> None:
    call(clock)
    attempt(clock, failing(EngineUnavailable()))
    model = gate(clock, requests=2)
    assert model.ask(ticket("a"), 1000)[0] == "wait"
    model.reject(ticket("b"), EngineRateLimited(retry_after_seconds=10, exhausted=True))
    clock.sleep(10)
    assert gate(clock).ask(ticket("c"), 1000)[0] == "admitted"
    with broker.client as client:
        ages = {key.decode().rpartition(":")[2]: client.pttl(key) for key in client.keys("quota:*")}
    assert ages.keys() >= {"calls", "state", "breaker", "probe", "failures"}
    assert all(age > 0 for age in ages.values())
    assert ages["failures"] <= 60_000
