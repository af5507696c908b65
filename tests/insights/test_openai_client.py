"""The client of chat completions over HTTP against a stub server. Every case of a response has its own error."""

from __future__ import annotations

import io
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from insights.engines.base import (
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
    UnusableAnswer,
)
from insights.engines.openai import OpenAIClient
from tests.fakes.chat_completions import MODEL, FakeChatCompletions, error, response
from tests.fakes.model_server import Reply
from tests.insights.model_calls import CANARIES, CONTENT, INSTRUCTIONS, SCHEMA, call_at_once, error_of, make_request

ANSWER = '{"word": "yes"}'


@pytest.fixture
def server(settings: Any) -> Iterator[FakeChatCompletions]:
    with FakeChatCompletions(lambda asked: ANSWER).serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        yield fake


@pytest.fixture
def client() -> OpenAIClient:
    return OpenAIClient()


def replying(server: FakeChatCompletions, reply: Any) -> None:
    server.answer = lambda asked: reply if isinstance(reply, Reply) else Reply(reply)


def test_an_answer_has_its_text_its_tokens_and_its_model(server: FakeChatCompletions, client: OpenAIClient) -> None:
    replying(server, response(ANSWER, model="llama-3.2:1b", tokens_in=120, tokens_out=30))
    answer = client.generate(make_request(MODEL))
    assert (answer.text, answer.tokens_in, answer.tokens_out, answer.model) == (ANSWER, 120, 30, "llama-3.2:1b")


def test_a_request_follows_the_protocol_and_is_not_stored(server: FakeChatCompletions, client: OpenAIClient) -> None:
    client.generate(make_request(MODEL))
    assert server.requests == ["POST /v1/chat/completions"]
    assert server.bodies == [
        {
            "model": MODEL,
            "messages": [{"role": "system", "content": INSTRUCTIONS}, {"role": "user", "content": CONTENT}],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA},
            },
            "max_tokens": 500,
            "stream": False,
            "store": False,
        }
    ]
    assert server.headers[0]["accept-encoding"] == "identity"


def test_a_key_is_sent_if_there_is_one(server: FakeChatCompletions, client: OpenAIClient, settings: Any) -> None:
    client.generate(make_request(MODEL))
    settings.OPENAI_API_KEY = "stub-openai-key"
    client.generate(make_request(MODEL))
    assert [headers.get("authorization") for headers in server.headers] == [None, "Bearer stub-openai-key"]


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (response('{"word": "y', finish="length"), UnusableAnswer, "truncated_answer"),
        (response(ANSWER, finish="length"), UnusableAnswer, "truncated_answer"),
        (response(None, finish="content_filter"), EngineRefused, "blocked_answer"),
        (response(None, refusal="I cannot: SECRET TEXT"), EngineRefused, "blocked_answer"),
        (response(ANSWER, finish="tool_calls"), UnusableAnswer, "unfinished_answer"),
        (response(ANSWER, finish=None), UnusableAnswer, "unfinished_answer"),
        (response(None), UnusableAnswer, "empty_answer"),
        (response(" "), UnusableAnswer, "empty_answer"),
        (response([{"type": "image"}, 7]), UnusableAnswer, "empty_answer"),
        ({}, UnusableAnswer, "empty_answer"),
        ({"choices": []}, UnusableAnswer, "empty_answer"),
        ({"choices": [None]}, UnusableAnswer, "empty_answer"),
        ({"choices": [{"finish_reason": "stop", "message": None}]}, UnusableAnswer, "empty_answer"),
        (Reply(b""), EngineUnavailable, "malformed_response"),
        (Reply(b"[]"), EngineUnavailable, "malformed_response"),
        (Reply(b'{"choices": ['), EngineUnavailable, "malformed_response"),
        (Reply(b"<html>SECRET TEXT</html>"), EngineUnavailable, "malformed_response"),
        (Reply(b"\x80\x81"), EngineUnavailable, "malformed_response"),
        (Reply(b"[" * 100_000), EngineUnavailable, "malformed_response"),
        ({"error": {"code": 502, "message": "SECRET TEXT"}}, EngineUnavailable, "provider_error"),
        ({"error": {"code": 401, "message": "SECRET TEXT"}}, EngineMisconfigured, "invalid_key"),
        ({"error": "SECRET TEXT"}, EngineUnavailable, "provider_error"),
        (
            {"choices": [{"error": {"code": 502, "message": "SECRET TEXT"}, "finish_reason": "error"}]},
            EngineUnavailable,
            "provider_error",
        ),
        (error(400), EngineRefused, "request_rejected"),
        (error(422), EngineRefused, "request_rejected"),
        (error(400, code="context_length_exceeded"), EngineRefused, "request_too_large"),
        (error(400, code=400, kind="exceed_context_size_error"), EngineRefused, "request_too_large"),
        (error(413), EngineRefused, "request_too_large"),
        (error(401), EngineMisconfigured, "invalid_key"),
        (error(403), EngineMisconfigured, "invalid_key"),
        (Reply({"error": {"metadata": {"flagged_input": "SECRET TEXT"}}}, 403), EngineRefused, "blocked_prompt"),
        (error(404, code="model_not_found"), EngineMisconfigured, "unknown_model"),
        (Reply(b"404 page not found", 404), EngineMisconfigured, "invalid_base_url"),
        (error(500), EngineUnavailable, "provider_error"),
        (error(503), EngineUnavailable, "provider_error"),
        (Reply(b"<html>SECRET TEXT</html>", 502), EngineUnavailable, "provider_error"),
        (Reply(b"{\x80\x81 SECRET TEXT", 502), EngineUnavailable, "provider_error"),
        (Reply({"error": None}, 500), EngineUnavailable, "provider_error"),
        (Reply(fault="drop"), EngineUnavailable, "connection_lost"),
        (Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), EngineUnavailable, "connection_lost"),
        (Reply(b" " * (9 * 1024 * 1024)), EngineUnavailable, "connection_lost"),
    ],
)
def test_each_case_of_a_response_has_its_own_error_after_one_request(
    server: FakeChatCompletions, client: OpenAIClient, reply: Any, kind: type[Exception], code: str
) -> None:
    replying(server, reply)
    raised = error_of(client, make_request(MODEL))
    assert type(raised) is kind
    assert raised.code == code
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "seconds", "exhausted"),
    [
        (error(429), 30, False),
        (error(429, headers={"Retry-After": "7"}), 7, False),
        (error(429, headers={"Retry-After": "Fri, 31 Dec 1999 23:59:59 GMT"}), 1, False),
        (error(429, headers={"Retry-After": "soon"}), 30, False),
        (error(429, headers={"Retry-After": "99999999"}), 86_400, False),
        (error(429, code="insufficient_quota", kind="insufficient_quota"), 0, True),
        (error(429, kind="insufficient_quota", headers={"Retry-After": "60"}), 60, True),
        (error(402), 0, True),
    ],
)
def test_a_rejected_call_says_when_to_call_again_and_whether_the_quota_is_used_up(
    server: FakeChatCompletions, client: OpenAIClient, reply: Reply, seconds: float, exhausted: bool
) -> None:
    replying(server, reply)
    raised = error_of(client, make_request(MODEL))
    assert isinstance(raised, EngineRateLimited)
    assert raised.retry_after_seconds == pytest.approx(seconds)
    assert raised.exhausted is exhausted
    assert raised.code == ("spend_limit_reached" if exhausted else "rate_limited")
    assert len(server.requests) == 1


def test_a_prompt_that_the_server_cut_is_not_taken_for_read(server: FakeChatCompletions, client: OpenAIClient) -> None:
    """Ollama drops the start of a prompt that is longer than its context, and answers as if nothing happened."""
    content = "[#1 2024-03-14 21:05 P1] I am sorry about yesterday\n" * 800
    replying(server, response(ANSWER, tokens_in=4096))
    assert error_of(client, make_request(MODEL, content=content)).code == "truncated_prompt"
    replying(server, response(ANSWER, tokens_in=14_000))
    assert client.generate(make_request(MODEL, content=content)).tokens_in == 14_000


@pytest.mark.parametrize("usage", [{}, None, {"prompt_tokens": "many"}, {"prompt_tokens": -1}])
def test_missing_token_counts_are_zero(server: FakeChatCompletions, client: OpenAIClient, usage: Any) -> None:
    replying(server, {**response(ANSWER), "usage": usage})
    answer = client.generate(make_request(MODEL))
    assert (answer.tokens_in, answer.tokens_out) == (0, 0)


@pytest.mark.parametrize("model", [None, "", 7, "/home/someone/models/llama.gguf", "it said: SECRET TEXT", "x" * 65])
def test_a_model_with_an_unusual_name_is_named_as_requested(
    server: FakeChatCompletions, client: OpenAIClient, model: Any
) -> None:
    replying(server, {**response(ANSWER), "model": model})
    assert client.generate(make_request(MODEL)).model == MODEL


def test_an_answer_in_parts_is_joined(server: FakeChatCompletions, client: OpenAIClient) -> None:
    replying(server, response([{"type": "text", "text": '{"word": '}, {"type": "text", "text": '"yes"}'}]))
    assert client.generate(make_request(MODEL)).text == ANSWER


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: FakeChatCompletions, client: OpenAIClient, status: int) -> None:
    with FakeChatCompletions(lambda asked: ANSWER).serving() as elsewhere:
        replying(server, Reply({}, status, {"Location": f"{elsewhere.address}/v1/chat/completions"}))
        raised = error_of(client, make_request(MODEL))
        assert isinstance(raised, EngineMisconfigured)
        assert raised.code == "redirected"
        assert elsewhere.requests == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["trickle_head", "trickle_body", "hang"])
def test_a_response_that_never_ends_is_cut_off_at_the_deadline(
    server: FakeChatCompletions, client: OpenAIClient, fault: Any
) -> None:
    replying(server, Reply(fault=fault))
    started = time.monotonic()
    raised = error_of(client, make_request(MODEL, timeout_seconds=0.6))
    seconds = time.monotonic() - started
    assert isinstance(raised, EngineUnavailable)
    assert raised.code == "timeout"
    assert 0.5 < seconds < 3
    if fault != "hang":
        assert server.cut_off.wait(10), "the connection is still open"
    assert len(server.requests) == 1


def test_300_calls_at_once_wait_for_the_model_and_not_for_each_other(
    server: FakeChatCompletions, client: OpenAIClient
) -> None:
    server.barrier = threading.Barrier(300, timeout=45)
    answers = call_at_once(300, lambda: client.generate(make_request(MODEL, timeout_seconds=60)))
    assert len(answers) == 300
    assert server.max_waiting == 300
    assert not server.barrier.broken


@pytest.mark.parametrize(
    "name", ["HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy", "OPENAI_BASE_URL", "OPENAI_API_BASE"]
)
def test_no_environment_variable_changes_where_a_call_goes(
    server: FakeChatCompletions, client: OpenAIClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with FakeChatCompletions(lambda asked: ANSWER).serving() as elsewhere:
        monkeypatch.setitem(os.environ, name, elsewhere.address)
        assert client.generate(make_request(MODEL)).text == ANSWER
        assert elsewhere.requests == []
    assert len(server.requests) == 1


def test_no_log_line_at_any_level_contains_text_or_the_key(
    server: FakeChatCompletions, client: OpenAIClient, logged: io.StringIO, settings: Any
) -> None:
    settings.OPENAI_API_KEY = "stub-openai-key"
    client.generate(make_request(MODEL))
    for reply in (error(400), Reply(b"SECRET TEXT", 500), Reply(b"<html>SECRET TEXT"), Reply(fault="drop")):
        replying(server, reply)
        error_of(client, make_request(MODEL))
    assert not any(canary in logged.getvalue() for canary in CANARIES)


@pytest.mark.parametrize("missing", ["OPENAI_BASE_URL", "OPENAI_MODEL"])
def test_without_an_address_or_a_model_nothing_is_sent(
    server: FakeChatCompletions, client: OpenAIClient, settings: Any, missing: str
) -> None:
    setattr(settings, missing, "")
    raised = error_of(client, make_request(MODEL))
    assert isinstance(raised, EngineMisconfigured)
    assert raised.code == "not_configured"
    assert server.requests == []
    assert client.missing_settings() == (missing,)


def test_an_answer_gets_at_most_a_quarter_of_the_context(
    server: FakeChatCompletions, client: OpenAIClient, settings: Any
) -> None:
    settings.OPENAI_CONTEXT_TOKENS = 4096
    client.generate(make_request(MODEL, max_output_tokens=8192))
    assert server.bodies[0]["max_tokens"] == 1024
