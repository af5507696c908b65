"""`manage.py engine` and the health check: what is missing, where texts go, and whether a real call is answered."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db.models.functions import Now

from chats import embedding
from chats.models import Chat
from insights import availability, engines
from insights.availability import UnlocksUnavailable
from insights.engines import state
from insights.models import ChatReading, Insight, InsightAttempt
from ops import engine
from ops.checks.engine import engine as engine_check
from relivchats import clock
from relivchats.language_models import quota
from relivchats.staff.reports import Level
from tests.fakes import gemini
from tests.fakes.chat_completions import MODEL, FakeChatCompletions
from tests.fakes.gemini import FakeGemini
from tests.fakes.model_server import Reply
from tests.ops import rows
from tests.processes import BrokerHandle

pytestmark = pytest.mark.django_db

READY = {"word": "ready"}
TODAY = datetime(2026, 9, 1, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def fresh(broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[None]:
    """Make the engine of this test, with closed breakers and patience for a slow broker."""
    monkeypatch.setattr(quota, "BROKER_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(quota, "LOOK_TIMEOUT_SECONDS", 30.0)
    monkeypatch.setattr(clock, "now", lambda: TODAY)
    settings.MODEL_REQUESTS_PER_MINUTE = settings.MODEL_TOKENS_PER_MINUTE = 0
    quota._outages.clear()
    engines.get_engine.cache_clear()
    yield
    engines.get_engine.cache_clear()


@pytest.fixture
def server(settings: Any) -> Iterator[FakeGemini]:
    settings.INSIGHT_ENGINE = "gemini"
    with FakeGemini(lambda asked: READY).serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        yield fake


def run(*arguments: str) -> tuple[int, dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Return the command's exit status, its JSON, and its lines by name."""
    printed = io.StringIO()
    status = 0
    try:
        call_command("engine", *arguments, "--json", stdout=printed)
    except SystemExit as exited:
        status = int(exited.code or 0)
    answer: dict[str, Any] = json.loads(printed.getvalue())
    lines: dict[str, list[dict[str, Any]]] = {}
    for line in answer["lines"]:
        lines.setdefault(line["name"], []).append(line)
    return status, answer, lines


def test_the_local_engine_has_nothing_to_check() -> None:
    for arguments in ((), ("--check",)):
        status, answer, _ = run(*arguments)
        assert (status, answer["host"], answer["models"]) == (0, "", {})
    assert engine_check().level is Level.FINE


def test_the_report_says_where_texts_go_and_calls_nobody(server: FakeGemini, settings: Any) -> None:
    status, answer, lines = run()
    assert status == 0
    assert answer["models"] == {"writing": "gemini-3.8-flash", "reading": "gemini-3.5-flash-lite"}
    assert answer["host"] == "127.0.0.1"
    assert "with pseudonyms" in lines["texts"][0]["text"]
    settings.PSEUDONYMS = False
    assert "without pseudonyms" in run()[2]["texts"][0]["text"]
    assert server.requests == []


@pytest.mark.parametrize(
    ("address", "level", "words"),
    [
        ("https://generativelanguage.googleapis.com", "fine", "a third party"),
        ("http://models.example.org/v1", "warning", "unencrypted"),
        ("http://192.168.1.7:11434/v1", "fine", "your own network"),
        ("http://ollama:11434/v1", "fine", "your own network"),
    ],
)
def test_texts_that_leave_the_network_unencrypted_are_a_warning(
    settings: Any, address: str, level: str, words: str
) -> None:
    settings.INSIGHT_ENGINE, settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = "openai", address, MODEL
    (line,) = run()[2]["texts"]
    assert line["level"] == level
    assert words in line["text"]


def test_a_missing_key_is_named_and_refuses_unlocks(server: FakeGemini, settings: Any) -> None:
    settings.GEMINI_API_KEY = ""
    for arguments in ((), ("--check",)):
        status, answer, lines = run(*arguments)
        assert status == 2
        assert answer["missing"] == ["GEMINI_API_KEY"]
        assert "GEMINI_API_KEY is not set" in lines["engine"][0]["text"]
    check = engine_check()
    assert check.level is Level.CRITICAL
    assert "GEMINI_API_KEY" in check.text
    with pytest.raises(UnlocksUnavailable):
        rows.job()
    assert server.requests == []


def test_all_missing_settings_are_named(settings: Any) -> None:
    settings.INSIGHT_ENGINE, settings.OPENAI_BASE_URL, settings.OPENAI_MODEL = "openai", "", ""
    assert "OPENAI_BASE_URL and OPENAI_MODEL are not set" in run()[2]["engine"][0]["text"]


def test_a_check_calls_each_model_once_and_reports_its_tokens(server: FakeGemini) -> None:
    status, _, lines = run("--check")
    assert status == 0
    reading, writing = sorted(lines["model"], key=lambda line: line["data"]["model"])
    assert (reading["data"]["model"], writing["data"]["model"]) == ("gemini-3.5-flash-lite", "gemini-3.8-flash")
    assert writing["data"]["answered_by"] == "gemini-3.8-flash"
    assert writing["data"]["milliseconds"] >= 0
    assert writing["data"]["tokens_in"] > 0
    assert len(server.requests) == 2
    assert all(body["store"] is False for body in server.bodies)


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (gemini.error(400, "INVALID_ARGUMENT", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}), "invalid_key"),
        (gemini.error(404, "NOT_FOUND"), "unknown_model"),
        (gemini.quota_error("GenerateRequestsPerDayPerProjectPerModel"), "quota_exhausted"),
        (gemini.quota_error("SpendLimitPerMonth"), "spend_limit_reached"),
        (gemini.error(503, "UNAVAILABLE"), "provider_error"),
        (Reply(b"<html>SECRET TEXT</html>"), "malformed_response"),
        (Reply(gemini.response("I am ready!")), "schema_ignored"),
        (Reply(gemini.response('{"word": "set"}')), "schema_ignored"),
    ],
)
def test_a_problem_is_reported_with_what_to_do(server: FakeGemini, reply: Reply, code: str) -> None:
    server.answer = lambda asked: reply
    status, _, lines = run("--check")
    assert status == 2
    for line in lines["model"]:
        assert line["data"]["error_code"] == code
        assert line["remedy"] == state.advice_for(code)
        assert line["remedy"] != state.advice_for("unknown code")
        assert "SECRET" not in json.dumps(line)


def test_a_wrong_key_refuses_unlocks_until_a_check_succeeds(server: FakeGemini) -> None:
    answer = server.answer
    server.answer = lambda asked: gemini.error(403, "PERMISSION_DENIED")
    assert run("--check")[0] == 2
    with pytest.raises(UnlocksUnavailable):
        rows.job()
    assert engine_check().level is Level.CRITICAL
    (breaker, *_) = run()[2]["breaker"]
    assert re.search(
        r" is not called: invalid_key, for another \d+ s, until 2026-09-01 12:0[45]:\d\d UTC", breaker["text"]
    )
    server.answer = answer
    assert run("--check")[0] == 0
    assert rows.job().is_open
    assert engine_check().level is Level.FINE
    assert "breaker" not in run()[2]


@pytest.mark.parametrize(("delay", "level"), [("5s", Level.FINE), ("600s", Level.WARNING)])
def test_a_long_pause_that_the_provider_asks_for_is_reported_with_its_end(
    server: FakeGemini, delay: str, level: Level
) -> None:
    answer = server.answer
    server.answer = lambda asked: gemini.quota_error("PerMinute", retry_delay=delay)
    run("--check")
    line = engine_check()
    assert line.level is level
    if level is Level.WARNING:
        assert "is not called: rate_limited, for another 9 min" in line.text
        assert "unlocks" not in line.text, "they are accepted, and wait"
    server.answer = answer
    assert run("--check")[0] == 0
    assert engine_check().level is Level.FINE


def test_a_limit_on_spending_is_critical_because_only_a_person_can_raise_it(server: FakeGemini) -> None:
    answer = server.answer
    server.answer = lambda asked: gemini.quota_error("SpendLimitPerMonth", retry_delay="600s")
    run("--check")
    line = engine_check()
    assert line.level is Level.CRITICAL
    assert "is not called: spend_limit_reached, for another 9 min; unlocks are refused" in line.text
    assert line.text.endswith("A limit on spending is reached at the provider, or the paid credit is used up")
    status, _, lines = run()
    assert (status, {breaker["level"] for breaker in lines["breaker"]}) == (2, {"critical"}), "as `health` says"
    assert line.remedy.startswith("manage.py engine --check  # after you raised the limit or added funds")
    with pytest.raises(UnlocksUnavailable):
        rows.job()
    server.answer = answer
    assert run("--check")[0] == 0
    assert engine_check().level is Level.FINE


@pytest.fixture
def embedding_server(server: FakeGemini, settings: Any) -> Iterator[FakeGemini]:
    """Embed with the provider, too."""
    settings.EMBEDDING_ENGINE = "gemini"
    embedding.get_engine.cache_clear()
    yield server
    embedding.get_engine.cache_clear()


def wait_after_an_error() -> Chat:
    """Make two insights and a reading wait for an hour after an error, and a chat, which is returned."""
    later = Now() + timedelta(hours=1)
    job, chat = rows.job(), rows.chat(rows.person(), vector_status="pending")
    job.insights.update(error_code="quota_exhausted", next_attempt_at=later)
    ChatReading.objects.update(error_code="quota_exhausted", next_attempt_at=later)
    Chat.objects.filter(pk=chat.pk).update(
        index_error_code="quota_exhausted", index_requested_at=Now(), index_not_before=later
    )
    return chat


def test_a_check_that_is_answered_continues_what_waits_after_an_error(embedding_server: FakeGemini) -> None:
    chat, server = wait_after_an_error(), embedding_server
    answer, embedding_reply = server.answer, server.embedding_reply
    server.answer = lambda asked: gemini.quota_error("PerDay")
    server.embedding_reply = lambda texts: gemini.quota_error("PerDay")
    run("--check")
    assert not Insight.objects.due().exists(), "nothing is tried while the quota is used up"
    assert not Chat.objects.index_due().exists()
    server.answer, server.embedding_reply = answer, embedding_reply
    _, _, lines = run("--check")
    assert lines["waiting"][0]["data"]["retried"] == 4
    assert Insight.objects.due().count() == 2
    assert ChatReading.objects.due().count() == 1
    assert Chat.objects.index_due().get().pk == chat.pk


def test_a_check_continues_no_insight_while_the_models_that_write_cannot_be_called(
    embedding_server: FakeGemini, settings: Any
) -> None:
    chat = wait_after_an_error()
    settings.INSIGHT_ENGINE, settings.OPENAI_BASE_URL = "openai", ""
    engines.get_engine.cache_clear()
    _, answer, lines = run("--check")
    assert ("OPENAI_BASE_URL" in answer["missing"], "model" in lines) == (True, False)
    assert not Insight.objects.due().exists()
    assert not ChatReading.objects.due().exists()
    assert lines["waiting"][0]["data"]["retried"] == 1
    assert Chat.objects.index_due().get().pk == chat.pk, "the model that embeds has answered"


@pytest.mark.parametrize("is_called", [False, True])
def test_a_check_continues_no_indexing_unless_the_model_that_embeds_answers(
    embedding_server: FakeGemini, settings: Any, is_called: bool
) -> None:
    wait_after_an_error()
    embedding_server.embedding_reply = lambda texts: gemini.error(503, "UNAVAILABLE")
    if not is_called:
        settings.EMBEDDING_ENGINE = "local"
        embedding.get_engine.cache_clear()
    _, _, lines = run("--check")
    assert not Chat.objects.index_due().exists()
    assert [line["data"]["retried"] for line in lines.get("waiting", [])] == ([] if is_called else [3])


def test_a_corrected_key_is_found_by_the_probe(server: FakeGemini) -> None:
    answer = server.answer
    server.answer = lambda asked: gemini.error(401, "UNAUTHENTICATED")
    assert run("--check")[0] == 2
    with pytest.raises(UnlocksUnavailable):
        availability.require_available()
    assert engine.probe() == 0, "the key is still wrong"
    server.answer = answer
    assert engine.probe() == 2
    availability.require_available()
    n_calls = len(server.bodies)
    assert engine.probe() == 0, "a model that is called needs no probe"
    assert len(server.bodies) == n_calls


def test_a_model_that_another_one_answers_for_is_a_warning(server: FakeGemini) -> None:
    server.model_version = "gemini-2.5-flash"
    status, _, lines = run("--check")
    assert status == 1
    assert all(line["data"]["answered_by"] == "gemini-2.5-flash" for line in lines["model"])
    server.model_version = ""
    assert run("--check")[0] == 0


@pytest.mark.parametrize(
    ("model", "today", "words"),
    [
        ("gemini-2.5-pro", datetime(2026, 10, 15, tzinfo=UTC), "will be retired on 2026-12-01"),
        ("gemini-2.5-pro-002", datetime(2026, 10, 15, tzinfo=UTC), "will be retired on 2026-12-01"),
        ("gemini-2.5-flash", datetime(2026, 12, 1, tzinfo=UTC), "was retired on 2026-12-01"),
        ("gemini-2.5-pro", datetime(2026, 6, 1, tzinfo=UTC), ""),
        ("gemini-2.5-flash-lite", datetime(2026, 12, 1, tzinfo=UTC), ""),
        ("gemini-3.8-flash", datetime(2026, 12, 1, tzinfo=UTC), ""),
    ],
)
def test_a_retirement_is_reported_two_months_before(
    server: FakeGemini, settings: Any, monkeypatch: pytest.MonkeyPatch, model: str, today: datetime, words: str
) -> None:
    settings.GEMINI_LLM_MODEL = model
    monkeypatch.setattr(clock, "now", lambda: today)
    lines = run()[2].get("retirement", [])
    assert len(lines) == bool(words)
    assert all(words in line["text"] for line in lines)


def test_the_check_works_with_any_server_of_chat_completions(settings: Any) -> None:
    settings.INSIGHT_ENGINE = "openai"
    with FakeChatCompletions(lambda asked: READY).serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        status, _, lines = run("--check")
        assert status == 0
        assert len(lines["model"]) == len(fake.requests) == 1, "one model reads and writes"


def test_health_counts_the_attempts_of_the_last_hour(server: FakeGemini) -> None:
    job = rows.job()
    insight = Insight.objects.filter(job=job).first()
    assert insight

    def attempt(code: str) -> None:
        InsightAttempt.objects.create(
            insight=insight,
            number=1,
            engine="gemini",
            model="gemini-3.8-flash",
            milliseconds=1,
            outcome=InsightAttempt.Outcome.FAILED if code else InsightAttempt.Outcome.COMPLETED,
            error_code=code,
        )

    attempt("provider_error")
    assert engine_check().level is Level.WARNING
    attempt("")
    check = engine_check()
    assert check.level is Level.FINE
    assert (check.data["answered"], check.data["failed"]) == (1, 1)
    assert server.requests == [], "health calls no provider"
