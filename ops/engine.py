"""The engine as operators see it: its state, a check by real calls, and the line in `health`."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Count, Max, Q
from django.db.models.functions import Now

from chats import indexing
from insights import recovery
from insights.engines import get_engine
from insights.engines.base import EngineError, EngineRateLimited, UnusableAnswer
from insights.engines.client import ModelAnswer, ModelClient, ModelRequest
from insights.engines.state import (
    EngineState,
    advice_for,
    describe_engine,
    get_client,
    remedy_for,
    retirement_of,
)
from insights.models import ChatReading, Insight, InsightAttempt
from ops import embeddings
from relivchats import clock, durations
from relivchats.language_models import quota
from relivchats.language_models.errors import SPEND_LIMIT_REACHED
from relivchats.staff.reports import Level, Line, Report, Table, count, format_count
from relivchats.terminal import plural

#: A retirement is reported this long before its day.
_WARNING_BEFORE_RETIREMENT = timedelta(days=60)
_RECENT = timedelta(hours=1)
#: A provider asks for short pauses all the time, and calls wait for them. A longer one is reported.
_MIN_REPORTED_PAUSE_SECONDS = 15
#: A check does not wait longer than this for the quota of its model.
_MAX_QUOTA_WAIT_SECONDS = 5

_SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string", "enum": ["ready"]}},
    "required": ["word"],
    "additionalProperties": False,
}


def report() -> Report:
    """Return the engine, its models, where texts go, what is missing, and its quota. Call no provider."""
    state = describe_engine()
    return Report(
        "Engine", (*_state_lines(state), *embeddings.state_lines()), _quota_table(state), data=_as_data(state)
    )


def check() -> Report:
    """Make one small structured call per model, and report each. A success closes the model's circuit breaker."""
    state = describe_engine()
    client = get_client(get_engine())
    models: list[Line] = []
    if client is not None and not state.missing:
        models = [_check_model(client, model) for model in dict.fromkeys(state.models.values())]
    embedding_models = embeddings.check_lines()
    checked = (*models, *embedding_models)
    # Only the work of models that were called and answered: the rest would fail again. Insights also need embeddings.
    retried = 0
    if models and all(line.level is not Level.CRITICAL for line in checked):
        retried += recovery.retry_waiting()
    if embedding_models and all(line.level is not Level.CRITICAL for line in embedding_models):
        retried += indexing.retry_waiting()
    if retried:
        waited = plural(retried, "insight, reading or chat", "insights, readings or chats")
        text = f"tried again now, after an error: {waited}"
        checked = (*checked, Line("waiting", Level.FINE, text, data={"retried": retried}))
    # The state of the breakers after the calls.
    lines = (*_state_lines(state), *embeddings.state_lines(), *checked)
    return Report("Engine check", lines, _quota_table(state), data=_as_data(state))


def probe() -> int:
    """Make one small call of each model that is not called because of a fault on our side. Return how many answered.

    A wrong key is corrected by an operator. Without a probe, unlocks would stay refused until somebody checks.
    """
    client = get_client(get_engine())
    models = set(describe_engine().models.values()) if client is not None else ()
    answered = 0
    for model in models:
        breaker = quota.breaker_state(model)
        if client is not None and breaker.state != "closed" and breaker.reason not in quota.TEMPORARY:
            answered += _check_model(client, model).level is not Level.CRITICAL
    return answered


def health_line() -> Line:
    """Return the last known state of the engine: what is missing, its breakers, and the attempts of the last hour."""
    state = describe_engine()
    if not state.models:
        return Line("engine", Level.FINE, f"{state.name}: counts, and calls nothing", data={"engine": state.name})
    attempts = InsightAttempt.objects.filter(engine=state.name, created_at__gte=Now() - _RECENT).aggregate(
        answered=Count("pk", filter=Q(error_code="")),
        failed=Count("pk", filter=~Q(error_code="")),
        last_answer_at=Max("created_at", filter=Q(error_code="")),
        last_failure_at=Max("created_at", filter=~Q(error_code="")),
    )
    readings = ChatReading.objects.filter(engine=state.name, finished_at__gte=Now() - _RECENT).aggregate(
        read=Count("pk", filter=Q(status=ChatReading.Status.COMPLETED)),
        not_read=Count("pk", filter=Q(status=ChatReading.Status.FAILED)),
    )
    data: dict[str, Any] = {**_as_data(state), **attempts, **readings}
    if state.missing:
        return Line("engine", Level.CRITICAL, state.advice, "manage.py engine", data)
    for model in dict.fromkeys(state.models.values()):
        breaker, paused_seconds = quota.breaker_state(model), quota.observed(model).blocked_seconds
        if breaker.state != "closed":
            reason, seconds = breaker.reason, breaker.retry_after_seconds
        elif paused_seconds >= _MIN_REPORTED_PAUSE_SECONDS:
            reason, seconds = EngineRateLimited.code, paused_seconds
        else:
            continue
        text = f"{model} is not called: {reason}"
        if seconds:
            text += f", for another {durations.format_seconds(seconds)}"
        waiting = count(Insight.objects.filter(status=Insight.Status.PENDING))
        unlocks = "; unlocks are refused;" if breaker.state != "closed" else ";"
        text += f"{unlocks} {format_count(waiting, 'insight')} waiting"
        if reason == SPEND_LIMIT_REACHED:
            text += ". A limit on spending is reached at the provider, or the paid credit is used up"
        data |= {"reason": reason, "retry_after_seconds": seconds, "waiting": waiting}
        return Line("engine", _level_of(reason), text, remedy_for(reason), data, reason, is_cause=True)
    text = (
        f"{state.name}: in an hour {format_count(attempts['answered'], 'attempt')} answered, {attempts['failed']}"
        f" failed; {format_count(readings['read'], 'chat')} read, {readings['not_read']} failed"
    )
    if attempts["failed"] and not attempts["answered"]:
        return Line("engine", Level.WARNING, text, "manage.py engine --check", data)
    return Line("engine", Level.FINE, text, data=data)


def retirement_line() -> Line:
    """Return the model that its provider retires within 60 days, or retired, if one is used."""
    state = describe_engine()
    for model in dict.fromkeys(filter(None, state.models.values())):
        if line := _retirement_line(state.name, model):
            return line
    threshold = f"{_WARNING_BEFORE_RETIREMENT.days} days before warns"
    return Line("retirement", Level.FINE, "no model in use is about to be retired", threshold=threshold)


def _level_of(reason: str) -> Level:
    """Return the level of a model that is not called. Insights and unlocks wait even if the reason passes by itself."""
    return Level.WARNING if reason in (*quota.PASSING, EngineRateLimited.code) else Level.CRITICAL


def _state_lines(state: EngineState) -> tuple[Line, ...]:
    lines = []
    if not state.models:
        lines.append(Line("engine", Level.FINE, f"{state.name}: counts, and calls nothing"))
        return tuple(lines)
    models = ", ".join(f"{model or 'no model'} for {use}" for use, model in state.models.items())
    if state.missing:
        lines.append(
            Line("engine", Level.CRITICAL, f"{state.name}: {state.advice}", f"set {' and '.join(state.missing)}")
        )
    else:
        lines.append(Line("engine", Level.FINE, f"{state.name}: {models}"))
    if state.host:
        where = "your own network" if state.is_own_network else "a third party"
        text = f"texts are sent to {state.host}, {where}, {'with' if settings.PSEUDONYMS else 'without'} pseudonyms"
        if not state.is_encrypted and not state.is_own_network:
            lines.append(Line("texts", Level.WARNING, f"{text}, unencrypted", "use an address that starts with https"))
        else:
            lines.append(Line("texts", Level.FINE, text))
    for model in dict.fromkeys(filter(None, state.models.values())):
        if line := _retirement_line(state.name, model):
            lines.append(line)
        breaker = quota.breaker_state(model)
        if breaker.state != "closed":
            text = f"{model} is not called: {breaker.reason}"
            if breaker.retry_after_seconds:
                until = clock.now() + timedelta(seconds=breaker.retry_after_seconds)
                text += f", for another {round(breaker.retry_after_seconds)} s, until {until:%Y-%m-%d %H:%M:%S} UTC"
            lines.append(Line("breaker", _level_of(breaker.reason), text, remedy_for(breaker.reason)))
    return tuple(lines)


def _retirement_line(engine: str, model: str) -> Line | None:
    retires_on = retirement_of(engine, model)
    if retires_on is None or retires_on > (clock.now() + _WARNING_BEFORE_RETIREMENT).date():
        return None
    verb = "was retired" if retires_on <= clock.now().date() else "will be retired"
    text = f"{model} {verb} on {retires_on}; from that day another model answers, or none"
    return Line("retirement", Level.WARNING, text, "set another model (docs/engines.md)", {"retires_on": retires_on})


def _quota_table(state: EngineState) -> Table | None:
    rows = []
    for model in dict.fromkeys(filter(None, state.models.values())):
        used = quota.observed(model)
        limits = used.limits
        rows.append((model, used.requests, limits.requests or None, used.tokens, limits.tokens or None, used.waiting))
    if not rows:
        return None
    columns = ("model", "requests in a minute", "limit", "tokens in a minute", "limit of tokens", "waiting")
    return Table(columns, tuple(rows))


def _as_data(state: EngineState) -> dict[str, Any]:
    return {
        "engine": state.name,
        "models": dict(state.models),
        "host": state.host,
        "own_network": state.is_own_network,
        "missing": list(state.missing),
        "pseudonyms": settings.PSEUDONYMS,
    }


def _check_model(client: ModelClient, model: str) -> Line:
    """Return how the model answered one small call."""
    request = ModelRequest(
        model=model,
        instructions="Answer with the JSON object that the schema describes.",
        content="Say that you are ready.",
        schema=_SCHEMA,
        # Models that think count their thoughts as output.
        max_output_tokens=1_000,
        timeout_seconds=settings.MODEL_TIMEOUT_SECONDS,
    )
    data: dict[str, Any] = {"model": model}

    def send(request: ModelRequest) -> ModelAnswer:
        started = time.monotonic()
        try:
            return client.generate(request)
        finally:
            data["milliseconds"] = round((time.monotonic() - started) * 1000)

    try:
        answer = quota.call(
            request,
            send=send,
            estimated_tokens=200,
            give_up_at=time.monotonic() + _MAX_QUOTA_WAIT_SECONDS,
            probe=True,
        )
        data |= {"answered_by": answer.model, "tokens_in": answer.tokens_in, "tokens_out": answer.tokens_out}
        _require_schema(answer.text)
    except EngineError as error:
        data["error_code"] = error.code
        return Line("model", Level.CRITICAL, f"{model}: {error.code}", advice_for(error.code), data)
    text = f"{model} answered in {data['milliseconds']} ms, {answer.tokens_in} tokens in and {answer.tokens_out} out"
    if answer.model != model and not answer.model.startswith(f"{model.removeprefix('models/')}-"):
        text += f"; the answer is from {answer.model}"
        return Line("model", Level.WARNING, text, "set the model that you want (docs/engines.md)", data)
    return Line("model", Level.FINE, text, data=data)


def _require_schema(text: str) -> None:
    """Raise UnusableAnswer if the answer does not follow the schema, as with servers that ignore it."""
    try:
        followed = orjson.loads(text) == {"word": "ready"}
    except orjson.JSONDecodeError:
        followed = False
    if not followed:
        raise UnusableAnswer("schema_ignored")
