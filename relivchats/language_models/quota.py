"""The quota gate and the circuit breaker of a language model, for the calls of all workers together.

`call` waits until the limits of requests and tokens per minute allow the request, sends it, and shares what the
provider says about its quota with all workers. The state is in the broker: one atomic script (quota.lua) per step. The
keys name the model, and contain a keyed hash of the group and random ids of calls; nothing of a chat or a person.

A minute is any 60 seconds, not that of a clock, so no provider counts more in a minute of its own.

The breaker is open after a used-up quota or a limit on spending (until the provider's time), after a wrong key or an
unknown model, and for 30 seconds, doubled up to five minutes, after five calls in a row without an answer. When its
time is over, one call of all workers probes. Its answer closes the breaker.

While the broker does not answer, each process limits itself to a tenth of the limits.
"""

from __future__ import annotations

import functools
import logging
import random
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeVar

import redis
from django.conf import settings
from django.utils.crypto import salted_hmac
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from relivchats.language_models.errors import (
    QUOTA_EXHAUSTED,
    SPEND_LIMIT_REACHED,
    EngineError,
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
    UnusableAnswer,
)

logger = logging.getLogger(__name__)

#: How long a call waits for a broker that does not answer; how long its process then does without the broker.
BROKER_TIMEOUT_SECONDS = 2.0
BROKER_RETRY_SECONDS = 5.0
#: The same for a request of a person, who waits for the answer.
LOOK_TIMEOUT_SECONDS = 0.5

#: A waiting call asks again at least this often: tokens are corrected and breakers close in the meantime.
MAX_SLEEP_SECONDS = 2.0
#: The wait after a 429 that names none, and the longest of one that is not about a whole day.
MIN_BLOCK_SECONDS = 1.0
MAX_BLOCK_SECONDS = 3600.0
#: Until the next probe after a wrong key or an unknown model.
MISCONFIGURED_SECONDS = 300.0
#: After a used-up quota: without a time, the script probes after an hour, or at midnight if that is earlier.
EXHAUSTED_SECONDS = 3600.0
MAX_EXHAUSTED_SECONDS = 86_400.0
#: A probe that did not end in this time after its own time limit was that of a process that died.
PROBE_MARGIN_SECONDS = 10.0

#: The share of the limits that one process allows itself while the broker does not answer.
SAFE_SHARE = 10

_KEYS = ("calls", "queue", "waiters", "deadlines", "waiting", "turns", "state", "breaker", "probe", "failures")
_UNAVAILABLE, _EXHAUSTED = EngineUnavailable.code, (QUOTA_EXHAUSTED, SPEND_LIMIT_REACHED)
#: The reasons of an open breaker after which the next call probes.
TEMPORARY = frozenset({_UNAVAILABLE, *_EXHAUSTED})
#: Those that pass without a person.
PASSING = TEMPORARY - {SPEND_LIMIT_REACHED}


class Request(Protocol):
    """What the gate knows of a call: its model, and the time limit of the call itself."""

    @property
    def model(self) -> str:
        """The model whose limits count."""
        ...

    @property
    def timeout_seconds(self) -> float:
        """The time limit of the call itself."""
        ...


class Answer(Protocol):
    """What the gate knows of an answer: the provider's token counts; 0 if it gives none."""

    @property
    def tokens_in(self) -> int:
        """Tokens of the request."""
        ...

    @property
    def tokens_out(self) -> int:
        """Tokens of the answer."""
        ...


RequestType = TypeVar("RequestType", bound=Request)
AnswerType = TypeVar("AnswerType", bound=Answer)


class Limits(NamedTuple):
    """The requests and tokens that a model may get in a minute; 0: no limit."""

    requests: int
    tokens: int

    @classmethod
    def configured(cls) -> Limits:
        """Return the limits of the settings for models that read and write."""
        return cls(settings.MODEL_REQUESTS_PER_MINUTE, settings.MODEL_TOKENS_PER_MINUTE)


@dataclass(frozen=True, slots=True)
class BreakerState:
    """Whether a model is called. `half_open`: the next call probes. `reason` is an error code, empty if closed."""

    state: Literal["closed", "open", "half_open"]
    reason: str = ""
    retry_after_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Observed:
    """The calls of a model in the last minute, over all workers, and the calls that wait.

    `blocked_seconds`: the provider asked for a pause that lasts so much longer. `broker`: False if the broker did not
    answer; the counts are then 0.
    """

    requests: int
    tokens: int
    limits: Limits
    waiting: int
    blocked_seconds: float
    broker: bool = True


class Clock:
    """The time of this process, and that of the broker. Tests replace it."""

    def monotonic(self) -> float:
        """Return time.monotonic()."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)

    def broker_milliseconds(self) -> int:
        """Return the time that the script uses, or 0 for the broker's own clock."""
        return 0


SYSTEM_CLOCK = Clock()


def call(
    request: RequestType,
    *,
    send: Callable[[RequestType], AnswerType],
    estimated_tokens: int,
    give_up_at: float,
    group: str = "",
    probe: bool = False,
    limits: Limits | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> AnswerType:
    """Send the request as soon as the model's limits allow it, and return the answer.

    `give_up_at` is a time of time.monotonic(); the wait ends then at the latest. Calls of one `group`, such as a job,
    share its turns: many calls of one group do not delay the few of another. With `probe`, the call is made although
    the breaker is open or the provider asked for a pause, and ends both if it is answered. `limits` are by default
    those of `Limits.configured()`.

    Raise EngineRateLimited if it would be too late, EngineMisconfigured while the breaker is open for that reason, and
    any error of `send`. After a 429 the request is sent again, if there is time. Holds no database connection of its
    own; close the thread's before.
    """
    gate = Gate(request.model, limits or Limits.configured(), clock, timeout_seconds=BROKER_TIMEOUT_SECONDS)
    # Not the id of a job itself: the broker learns nothing that leads to a person.
    hashed = salted_hmac("quota group", group, algorithm="sha256").hexdigest()[:16]
    while True:
        ticket = Ticket(uuid.uuid4().hex, hashed, max(1, estimated_tokens), request.timeout_seconds, probe)
        gate.wait_for(ticket, give_up_at=give_up_at)
        try:
            answer = send(request)
        except EngineRateLimited as error:
            seconds = gate.reject(ticket, error)
            # A probe does not wait: an open breaker would not stop it from being sent again at once.
            if probe or clock.monotonic() + seconds > give_up_at:
                raise EngineRateLimited(
                    retry_after_seconds=seconds, exhausted=error.exhausted, spending=error.spending
                ) from None
        except EngineMisconfigured as error:
            gate.settle(ticket, "open", seconds=MISCONFIGURED_SECONDS, reason=error.code)
            raise
        except EngineUnavailable:
            gate.settle(ticket, "unavailable")
            raise
        except (EngineRefused, UnusableAnswer):
            # The provider answered, although not what was expected.
            gate.settle(ticket, "answered")
            raise
        except BaseException:
            gate.settle(ticket, "abandoned")
            raise
        else:
            gate.settle(ticket, "answered", tokens=answer.tokens_in + answer.tokens_out)
            return answer


def breaker_state(model: str, *, clock: Clock = SYSTEM_CLOCK) -> BreakerState:
    """Return whether the model is called now; closed if the broker does not answer."""
    state = Gate(model, Limits.configured(), clock, timeout_seconds=LOOK_TIMEOUT_SECONDS).look()
    if state is None or not state[4]:
        return BreakerState("closed")
    seconds = int(state[5]) / 1000
    return BreakerState("open" if seconds else "half_open", str(state[4]), seconds)


def observed(model: str, *, clock: Clock = SYSTEM_CLOCK) -> Observed:
    """Return the calls of the last minute over all workers."""
    limits = Limits.configured()
    state = Gate(model, limits, clock, timeout_seconds=LOOK_TIMEOUT_SECONDS).look()
    if state is None:
        return Observed(0, 0, limits, 0, 0.0, broker=False)
    return Observed(int(state[0]), int(state[1]), limits, int(state[2]), int(state[3]) / 1000)


@dataclass(frozen=True, slots=True)
class Ticket:
    """One call that waits or runs. `probe`: it passes an open breaker and a pause."""

    id: str
    group: str
    tokens: int
    timeout_seconds: float
    probe: bool


class Gate:
    """The gate of one model: the script in the broker or, without a broker, this process's share."""

    def __init__(self, model: str, limits: Limits, clock: Clock, *, timeout_seconds: float) -> None:
        # The braces keep all keys of a model on one node of a cluster.
        self._keys = [f"quota:{{{model}}}:{name}" for name in _KEYS]
        self._model = model
        self._limits = limits
        self._clock = clock
        self._timeout_seconds = timeout_seconds

    def wait_for(self, ticket: Ticket, *, give_up_at: float) -> None:
        """Return when the call may be made. Raise EngineError if that is later than `give_up_at`."""
        while True:
            patience = give_up_at - self._clock.monotonic()
            status, seconds, reason = self.ask(ticket, patience)
            if status == "admitted":
                return
            if status == "refused":
                raise _refusal(seconds, reason)
            # The jitter spreads calls that wait for the same moment.
            wait = min(seconds * random.uniform(1, 1.1) + random.uniform(0, 0.05), MAX_SLEEP_SECONDS)
            self._clock.sleep(max(0.001, min(wait, patience)))

    def ask(self, ticket: Ticket, patience: float) -> tuple[str, float, str]:
        """Return `admitted`, `wait` or `refused`, the seconds to wait, and the reason of an open breaker."""
        answer = self._run(
            "admit",
            ticket.id,
            ticket.group,
            ticket.tokens,
            self._limits.requests,
            self._limits.tokens,
            round(patience * 1000),
            round((ticket.timeout_seconds + PROBE_MARGIN_SECONDS) * 1000),
            int(ticket.probe),
        )
        if answer is not None:
            return str(answer[0]), int(answer[1]) / 1000, str(answer[2])
        seconds = _safe_share(self._model).admit(ticket.tokens, self._limits, self._clock.monotonic())
        if not seconds:
            return "admitted", 0.0, ""
        return ("refused" if seconds > patience else "wait"), seconds, ""

    def reject(self, ticket: Ticket, error: EngineRateLimited) -> float:
        """Share a 429: all workers wait; if the quota of a day is used up, the breaker opens. Return the seconds."""
        if error.exhausted:
            seconds = min(max(error.retry_after_seconds, 0.0), MAX_EXHAUSTED_SECONDS)
            shared = self.settle(ticket, "open", seconds=seconds, reason=error.code)
            seconds = seconds or EXHAUSTED_SECONDS
        else:
            seconds = min(max(error.retry_after_seconds, MIN_BLOCK_SECONDS), MAX_BLOCK_SECONDS)
            shared = self.settle(ticket, "blocked", seconds=seconds)
        if not shared:
            _safe_share(self._model).block(self._clock.monotonic() + seconds)
        # Operators search for Gemini's word for it, whichever the provider is.
        logger.warning(
            "the provider refused a call: RESOURCE_EXHAUSTED",
            extra={"model": self._model, "error_code": error.code, "seconds": round(seconds)},
        )
        return seconds

    def settle(self, ticket: Ticket, outcome: str, *, tokens: int = 0, seconds: float = 0.0, reason: str = "") -> bool:
        """Record how a call ended, with its real tokens if they are known. Return False without a broker."""
        counted = tokens or ticket.tokens
        answer = self._run("settle", ticket.id, outcome, ticket.tokens, counted, round(seconds * 1000), reason)
        return answer is not None

    def look(self) -> list[Any] | None:
        """Return requests, tokens, waiting calls, blocked milliseconds, and the breaker's reason and milliseconds."""
        return self._run("look", "")

    def _run(self, operation: str, *arguments: str | int) -> list[Any] | None:
        """Run the script and return its answer, or None if the broker does not answer."""
        broker = (settings.REDIS_URL, self._timeout_seconds)
        if self._clock.monotonic() < _outages.get(broker, 0.0):
            return None
        try:
            script = _script(*broker)
            answer: list[Any] = script(keys=self._keys, args=[operation, self._clock.broker_milliseconds(), *arguments])
        except (RedisError, OSError) as error:
            # Otherwise hundreds of waiting calls would each wait for the time limit, again and again.
            _outages[broker] = self._clock.monotonic() + BROKER_RETRY_SECONDS
            logger.warning("quota without the broker", extra={"model": self._model, "error": type(error).__name__})
            return None
        return answer


#: Until when this process does without a broker that did not answer, by its address and time limit.
_outages: dict[tuple[str, float], float] = {}


class _SafeShare:
    """The limits of one model in this process alone, while the broker does not answer."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: deque[tuple[float, int]] = deque()
        self._blocked_until = 0.0

    def admit(self, tokens: int, limits: Limits, now: float) -> float:
        """Count a call and return 0, or return the seconds until it may ask again."""
        with self._lock:
            while self._calls and self._calls[0][0] <= now - 60:
                self._calls.popleft()
            if self._blocked_until > now:
                return self._blocked_until - now
            # At least one call a minute, however small the share: nothing waits forever.
            over_requests = limits.requests and len(self._calls) >= max(1, limits.requests // SAFE_SHARE)
            used = sum(counted for _, counted in self._calls)
            over_tokens = limits.tokens and self._calls and used + tokens > limits.tokens // SAFE_SHARE
            if over_requests or over_tokens:
                return self._calls[0][0] + 60 - now
            self._calls.append((now, tokens))
            return 0.0

    def block(self, until: float) -> None:
        """Admit nothing until then, a time of the same clock as `now`."""
        with self._lock:
            self._blocked_until = max(self._blocked_until, until)


@functools.cache
def _safe_share(model: str) -> _SafeShare:
    return _SafeShare()


@functools.cache
def _script(url: str, timeout_seconds: float) -> Callable[..., Any]:
    # A bounded pool: hundreds of calls that wait ask one after another. No retries: a frozen broker is asked once.
    pool = redis.BlockingConnectionPool.from_url(
        url,
        max_connections=32,
        timeout=timeout_seconds,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )
    client = redis.Redis(connection_pool=pool)
    return client.register_script(Path(__file__).with_suffix(".lua").read_text())


def _refusal(seconds: float, reason: str) -> EngineError:
    if reason in ("", *_EXHAUSTED):
        return EngineRateLimited(
            retry_after_seconds=seconds, exhausted=bool(reason), spending=reason == SPEND_LIMIT_REACHED
        )
    if reason == _UNAVAILABLE:
        # The call was not made, so it uses no attempt.
        error = EngineRateLimited(retry_after_seconds=seconds)
        error.code = reason
        return error
    return EngineMisconfigured(reason)
