"""Whether insights can be unlocked now: the engine is configured, its models are called, and staff paused nothing.

`unlocking` asks before it reserves coins, and a quote says the same. Nothing is asked of the provider here.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from insights import engines
from insights.engines.base import Engine, EngineUnavailable
from insights.models import DispatchPause, UnlockPause
from relivchats.errors import DomainError
from relivchats.language_models import quota

PAUSED = "paused"

#: When to try again, in seconds, if nothing says how long it takes.
RETRY_SECONDS = 300

#: What a person reads, by the reason. None says what the provider answered.
_DETAILS = {
    PAUSED: "New insights are paused for the moment. Your coins are untouched; please try again later.",
    "quota_exhausted": "The language model that writes insights has no calls left for now. Your coins are untouched;"
    " please try again later.",
    EngineUnavailable.code: "The language model that writes insights does not answer at the moment. Your coins are"
    " untouched; please try again in a few minutes.",
}
_OTHER_DETAIL = (
    "Insights cannot be written at the moment, because of a fault on our side. Your coins are untouched; please try"
    " again later."
)


class UnlocksUnavailable(DomainError):
    """No insight can be unlocked now (503). `reason` is a code, `retry_after_seconds` a guess. Nothing was reserved."""

    code, status, title = "ERR_4000", 503, "Insights cannot be unlocked now"


@dataclass(frozen=True)
class Unavailability:
    """Why insights cannot be unlocked now: `paused` or an error code of the engine, and a sentence for the customer.

    `retry_after_seconds` is 0 if waiting does not help.
    """

    reason: str
    detail: str
    retry_after_seconds: int


def require_available() -> None:
    """Return if insights can be unlocked. Raise UnlocksUnavailable."""
    if unavailability := find_unavailability():
        raise UnlocksUnavailable(
            unavailability.detail,
            reason=unavailability.reason,
            retry_after_seconds=unavailability.retry_after_seconds,
        )


def find_unavailability(*, for_question: bool = False) -> Unavailability | None:
    """Return why no insight can be unlocked, or no question be asked, now; None if they can be."""
    # While no insight is given to a worker, coins would be reserved for work that does not start, and released later.
    # A pause of insights does not concern questions: they are dispatched apart.
    if UnlockPause.objects.active().exists() or (not for_question and DispatchPause.objects.active().exists()):
        return _unavailability(PAUSED)
    engine = engines.get_engine()
    if reason := configuration_fault(engine):
        return _unavailability(reason)
    for model in models_of(engine):
        breaker = quota.breaker_state(model)
        # The next call of a half-open breaker probes, so there must be one. But a key does not become right by itself.
        if breaker.state == "open" or (breaker.state == "half_open" and breaker.reason not in quota.TEMPORARY):
            return _unavailability(breaker.reason, seconds=breaker.retry_after_seconds)
    return None


def configuration_fault(engine: Engine) -> str:
    """Return the error code of what is missing in the engine's configuration, or an empty string."""
    return getattr(engine, "unavailable_reason", None) or ""


def models_of(engine: Engine) -> Iterator[str]:
    """Return the models that the engine calls through the quota gate; none for an engine that counts."""
    if engine.method == "read":
        yield from dict.fromkeys(filter(None, (getattr(engine, "reading_model", ""), engine.model)))


def _unavailability(reason: str, *, seconds: float = 0) -> Unavailability:
    return Unavailability(reason, _DETAILS.get(reason, _OTHER_DETAIL), math.ceil(seconds) or RETRY_SECONDS)
