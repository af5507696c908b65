"""The client of Gemini: the real SDK over HTTP against a stub server. Every case of a response has its own error."""

from __future__ import annotations

import io
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from insights.engines.base import (
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
    UnusableAnswer,
)
from insights.engines.gemini import GeminiClient
from tests.fakes.gemini import KEY, FakeGemini, error, quota_error, response
from tests.fakes.model_server import Reply
from tests.insights.model_calls import CANARIES, CONTENT, INSTRUCTIONS, SCHEMA, call_at_once, error_of, make_request

MODEL = "gemini-3.8-flash"
ANSWER = '{"word": "yes"}'
#: Sentences of Gemini about billing: answers with them have no details. That of a quota speaks of billing too.
SPENDING_CAP = "Your project has exceeded its monthly spending cap. Please go to AI Studio to manage it."
PREPAYMENT = "Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing."
CURRENT_QUOTA = "You exceeded your current quota, please check your plan and billing details."


@pytest.fixture
def server(settings: Any) -> Iterator[FakeGemini]:
    with FakeGemini(lambda asked: ANSWER).serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        yield fake


@pytest.fixture
def client() -> GeminiClient:
    return GeminiClient()


def replying(server: FakeGemini, reply: Any) -> None:
    server.answer = lambda asked: reply if isinstance(reply, Reply) else Reply(reply)


def test_an_answer_has_its_text_its_tokens_and_its_model(server: FakeGemini, client: GeminiClient) -> None:
    document = response(ANSWER, model="gemini-3.8-flash-001", tokens_in=120, tokens_out=30)
    document["usageMetadata"]["thoughtsTokenCount"] = 12
    document["candidates"][0]["content"]["parts"].insert(0, {"text": "I think", "thought": True})
    document["fieldOfNextYear"] = {"unknown": True}
    replying(server, document)
    answer = client.generate(make_request(MODEL))
    assert answer.text == ANSWER
    assert (answer.tokens_in, answer.tokens_out) == (120, 42)
    assert answer.model == "gemini-3.8-flash-001"


def test_a_request_asks_for_what_was_measured_to_be_right(server: FakeGemini, client: GeminiClient) -> None:
    client.generate(make_request(MODEL))
    assert server.requests == [f"POST /v1/models/{MODEL}:generateContent"]
    (body,) = server.bodies
    assert body["store"] is False
    config = body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"] == SCHEMA
    assert config["maxOutputTokens"] == 500
    thinking = {name.replace("_", "").lower(): value for name, value in config["thinkingConfig"].items()}
    assert thinking == {"thinkinglevel": "LOW"}
    assert not {"temperature", "topP", "topK", "top_p", "top_k"} & config.keys()
    assert body["systemInstruction"]["parts"] == [{"text": INSTRUCTIONS}]
    assert body["contents"] == [{"role": "user", "parts": [{"text": CONTENT}]}]
    (headers,) = server.headers
    assert headers["x-goog-api-key"] == KEY
    assert KEY not in server.requests[0]
    assert headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("reply", [response(ANSWER), error(400, "INVALID_ARGUMENT"), error(503, "UNAVAILABLE")])
def test_every_request_says_that_nothing_is_stored(server: FakeGemini, client: GeminiClient, reply: Any) -> None:
    replying(server, reply)
    for _ in range(3):
        try:
            client.generate(make_request(MODEL))
        except (EngineRefused, EngineUnavailable):
            continue
    assert [body["store"] for body in server.bodies] == [False] * 3
    assert all('"store": false' in json.dumps(body) for body in server.bodies)


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, EngineRefused, "blocked_prompt"),
        (
            {**response(ANSWER), "promptFeedback": {"blockReason": "A_REASON_OF_NEXT_YEAR"}},
            EngineRefused,
            "blocked_prompt",
        ),
        (response(None, finish="SAFETY"), EngineRefused, "blocked_answer"),
        (response('{"wo', finish="PROHIBITED_CONTENT"), EngineRefused, "blocked_answer"),
        (response(None, finish="SPII"), EngineRefused, "blocked_answer"),
        (response(None, finish="BLOCKLIST"), EngineRefused, "blocked_answer"),
        (response('{"word": "y', finish="MAX_TOKENS"), UnusableAnswer, "truncated_answer"),
        (response(ANSWER, finish="MAX_TOKENS"), UnusableAnswer, "truncated_answer"),
        (response(None, finish="RECITATION"), UnusableAnswer, "recitation"),
        (response(ANSWER, finish="OTHER"), UnusableAnswer, "unfinished_answer"),
        (response(ANSWER, finish="A_REASON_OF_NEXT_YEAR"), UnusableAnswer, "unfinished_answer"),
        (response(ANSWER, finish=None), UnusableAnswer, "unfinished_answer"),
        (response(None, finish="PUP_LIMITED_DISABLED"), EngineMisconfigured, "account_disabled"),
        (response(None), UnusableAnswer, "empty_answer"),
        (response("  \n"), UnusableAnswer, "empty_answer"),
        ({"usageMetadata": {}}, UnusableAnswer, "empty_answer"),
        ({"candidates": []}, UnusableAnswer, "empty_answer"),
        ({"candidates": "none"}, UnusableAnswer, "empty_answer"),
        ({"candidates": [{"finishReason": "STOP", "content": None}]}, UnusableAnswer, "empty_answer"),
        ({"candidates": [{"finishReason": "STOP", "content": {"parts": [7, {}]}}]}, UnusableAnswer, "empty_answer"),
        (Reply(b""), EngineUnavailable, "malformed_response"),
        (Reply(b"{}"), UnusableAnswer, "empty_answer"),
        (Reply(b"[]"), EngineUnavailable, "malformed_response"),
        (Reply(b'{"candidates": ['), EngineUnavailable, "malformed_response"),
        (
            Reply(b"<html>SECRET TEXT</html>", headers={"Content-Type": "text/html"}),
            EngineUnavailable,
            "malformed_response",
        ),
        (Reply(b"\xff\xfe\x00"), EngineUnavailable, "malformed_response"),
        (Reply(b"[" * 100_000), EngineUnavailable, "malformed_response"),
        ({"error": {"code": 503, "message": "SECRET TEXT"}}, EngineUnavailable, "provider_error"),
        ({"error": {"code": 403, "message": "SECRET TEXT"}}, EngineMisconfigured, "invalid_key"),
        ({"error": "SECRET TEXT"}, EngineUnavailable, "provider_error"),
        (error(400, "INVALID_ARGUMENT"), EngineRefused, "request_rejected"),
        (
            error(400, "INVALID_ARGUMENT", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}),
            EngineMisconfigured,
            "invalid_key",
        ),
        (error(400, "FAILED_PRECONDITION"), EngineMisconfigured, "account_not_eligible"),
        (error(401, "UNAUTHENTICATED"), EngineMisconfigured, "invalid_key"),
        (error(403, "PERMISSION_DENIED"), EngineMisconfigured, "invalid_key"),
        (error(404, "NOT_FOUND"), EngineMisconfigured, "unknown_model"),
        (error(413, "INVALID_ARGUMENT"), EngineRefused, "request_too_large"),
        (error(500, "INTERNAL"), EngineUnavailable, "provider_error"),
        (error(503, "UNAVAILABLE"), EngineUnavailable, "provider_error"),
        (error(504, "DEADLINE_EXCEEDED"), EngineUnavailable, "provider_error"),
        (Reply(b"<html>SECRET TEXT</html>", 502), EngineUnavailable, "provider_error"),
        (Reply(b"{\x80\x81 SECRET TEXT", 502), EngineUnavailable, "malformed_response"),
        (Reply(b"[" * 100_000, 502), EngineUnavailable, "malformed_response"),
        (Reply({"error": None}, 500), EngineUnavailable, "provider_error"),
        (Reply([], 500), EngineUnavailable, "provider_error"),
        (Reply({}, 204), EngineUnavailable, "provider_error"),
        (Reply(fault="drop"), EngineUnavailable, "connection_lost"),
        (Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"}), EngineUnavailable, "connection_lost"),
        (Reply(b" " * (9 * 1024 * 1024)), EngineUnavailable, "connection_lost"),
    ],
)
def test_each_case_of_a_response_has_its_own_error_after_one_request(
    server: FakeGemini, client: GeminiClient, reply: Any, kind: type[Exception], code: str
) -> None:
    replying(server, reply)
    raised = error_of(client, make_request(MODEL))
    assert type(raised) is kind
    assert raised.code == code
    assert len(server.requests) == 1


def test_an_answer_to_be_continued_is_truncated_and_costs_one_request(server: FakeGemini, client: GeminiClient) -> None:
    document = response('{"word": "y', finish="CONTINUATION")
    document["candidates"][0]["continuationToken"] = "dG9rZW4="
    document["continuationToken"] = "dG9rZW4="
    replying(server, document)
    assert error_of(client, make_request(MODEL)).code == "truncated_answer"
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "seconds", "exhausted"),
    [
        (quota_error("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", retry_delay="53s"), 53, False),
        (quota_error("GenerateContentInputTokensPerModelPerMinute-PaidTier", retry_delay="12.5s"), 12.5, False),
        (quota_error("GenerateRequestsPerDayPerProjectPerModel-FreeTier", retry_delay="41s"), 41, True),
        (quota_error("GenerateRequestsPerDayPerProjectPerModel-FreeTier"), 0, True),
        (
            quota_error(
                "GenerateRequestsPerMinutePerProjectPerModel",
                "GenerateRequestsPerDayPerProjectPerModel",
                retry_delay="20s",
            ),
            20,
            True,
        ),
        (quota_error("ProjectSpendLimitPerBillingAccount", retry_delay="900s"), 900, True),
        (error(429, "RESOURCE_EXHAUSTED", {"@type": "ErrorInfo", "reason": "SPEND_LIMIT_EXCEEDED"}), 0, True),
        (error(429, "RESOURCE_EXHAUSTED", message=SPENDING_CAP), 0, True),
        (error(429, "RESOURCE_EXHAUSTED", message=PREPAYMENT), 0, True),
        (error(402, "RESOURCE_EXHAUSTED", message=PREPAYMENT), 0, True),
        (quota_error(), 30, False),
        (error(429, "RESOURCE_EXHAUSTED", message=CURRENT_QUOTA), 30, False),
        (quota_error(retry_delay="-5s"), 30, False),
        (quota_error(retry_delay="tomorrow"), 30, False),
        (quota_error(retry_delay="999999999s"), 86_400, False),
        (quota_error(retry_delay="0s"), 30, False),
        (Reply({}, 429, {"Retry-After": "17"}), 17, False),
        (Reply(b"<html>SECRET TEXT</html>", 429), 30, False),
    ],
)
def test_a_rejected_call_says_when_to_call_again_and_whether_the_quota_is_used_up(
    server: FakeGemini, client: GeminiClient, reply: Reply, seconds: float, exhausted: bool
) -> None:
    replying(server, reply)
    raised = error_of(client, make_request(MODEL))
    assert isinstance(raised, EngineRateLimited)
    assert raised.retry_after_seconds == pytest.approx(seconds)
    assert raised.exhausted is exhausted
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (quota_error("GenerateRequestsPerMinutePerProjectPerModel", retry_delay="20s"), "rate_limited"),
        (error(429, "RESOURCE_EXHAUSTED", message=CURRENT_QUOTA), "rate_limited"),
        (quota_error("GenerateRequestsPerDayPerProjectPerModel", retry_delay="20s"), "quota_exhausted"),
        (quota_error("ProjectSpendLimitPerBillingAccount", retry_delay="900s"), "spend_limit_reached"),
        (
            error(429, "RESOURCE_EXHAUSTED", {"@type": "ErrorInfo", "reason": "SPEND_LIMIT_EXCEEDED"}),
            "spend_limit_reached",
        ),
        (error(429, "RESOURCE_EXHAUSTED", message=SPENDING_CAP), "spend_limit_reached"),
        (error(429, "RESOURCE_EXHAUSTED", message=PREPAYMENT), "spend_limit_reached"),
        (error(402, "RESOURCE_EXHAUSTED", message=PREPAYMENT), "spend_limit_reached"),
    ],
)
def test_a_limit_on_spending_is_no_quota(server: FakeGemini, client: GeminiClient, reply: Reply, code: str) -> None:
    replying(server, reply)
    assert error_of(client, make_request(MODEL)).code == code


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(server: FakeGemini, client: GeminiClient, status: int) -> None:
    with FakeGemini(lambda asked: ANSWER).serving() as elsewhere:
        replying(server, Reply({}, status, {"Location": f"{elsewhere.address}/v1/models/{MODEL}:generateContent"}))
        raised = error_of(client, make_request(MODEL))
        assert isinstance(raised, EngineMisconfigured)
        assert raised.code == "redirected"
        assert elsewhere.requests == []
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["trickle_head", "trickle_body", "hang"])
def test_a_response_that_never_ends_is_cut_off_at_the_deadline(
    server: FakeGemini, client: GeminiClient, fault: Any
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


@pytest.mark.parametrize("bytes_at_a_time", [0, 65_536])
def test_a_server_that_reads_nothing_or_slowly_is_cut_off_at_the_deadline(
    settings: Any, client: GeminiClient, bytes_at_a_time: int
) -> None:
    ended = threading.Event()

    def read_slowly() -> None:
        connection, _ = listening.accept()
        with connection:
            while not ended.wait(0.02):
                if bytes_at_a_time:
                    connection.recv(bytes_at_a_time)

    with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
        reader = threading.Thread(target=read_slowly)
        reader.start()
        settings.GEMINI_API_KEY = KEY
        settings.GEMINI_BASE_URL = f"http://127.0.0.1:{listening.getsockname()[1]}"
        started = time.monotonic()
        try:
            raised = error_of(client, make_request(MODEL, content="x" * 20_000_000, timeout_seconds=0.8))
        finally:
            seconds = time.monotonic() - started
            ended.set()
            reader.join()
    assert raised.code == "timeout"
    assert seconds < 4


def test_a_refused_connection_and_a_wrong_certificate_are_unavailable(
    settings: Any, client: GeminiClient, certificate: ssl.SSLContext
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    settings.GEMINI_API_KEY = KEY
    settings.GEMINI_BASE_URL = f"http://127.0.0.1:{port}"
    raised = error_of(client, make_request(MODEL))
    assert isinstance(raised, EngineUnavailable)
    assert raised.code == "connection_refused"
    with FakeGemini(lambda asked: ANSWER).serving(tls=certificate) as fake:
        settings.GEMINI_BASE_URL = fake.address
        raised = error_of(GeminiClient(), make_request(MODEL))
        assert isinstance(raised, EngineUnavailable)
        assert raised.code == "tls_failed"
        assert fake.requests == []


def test_300_calls_at_once_wait_for_the_model_and_not_for_each_other(server: FakeGemini, client: GeminiClient) -> None:
    server.barrier = threading.Barrier(300, timeout=45)
    answers = call_at_once(300, lambda: client.generate(make_request(MODEL, timeout_seconds=60)))
    assert len(answers) == 300
    assert server.max_waiting == 300
    assert not server.barrier.broken


def test_connections_are_kept(server: FakeGemini, client: GeminiClient) -> None:
    for _ in range(5):
        client.generate(make_request(MODEL))
    assert server.connections == 1


ENVIRONMENT: dict[str, Callable[[str], str]] = {
    "GOOGLE_API_KEY": lambda address: "another-key",
    "GEMINI_API_KEY": lambda address: "another-key",
    "GOOGLE_GENAI_USE_VERTEXAI": lambda address: "true",
    "GOOGLE_GENAI_USE_ENTERPRISE": lambda address: "true",
    "GOOGLE_GEMINI_BASE_URL": lambda address: address,
    "GOOGLE_VERTEX_BASE_URL": lambda address: address,
    "GOOGLE_GENAI_API_VERSION": lambda address: "v9",
    "GOOGLE_GENAI_CLIENT_MODE": lambda address: "replay",
    "GOOGLE_GENAI_REPLAYS_DIRECTORY": lambda address: "/nonexistent",
    "GOOGLE_GENAI_HTTP_CLIENT": lambda address: "httpx",
    "GOOGLE_CLOUD_PROJECT": lambda address: "another-project",
    "GOOGLE_CLOUD_LOCATION": lambda address: "mars",
    "GOOGLE_API_USE_CLIENT_CERTIFICATE": lambda address: "true",
    "SSL_CERT_FILE": lambda address: "/nonexistent",
    "SSL_CERT_DIR": lambda address: "/nonexistent",
    "HTTP_PROXY": lambda address: address,
    "HTTPS_PROXY": lambda address: address,
    "ALL_PROXY": lambda address: address,
    "http_proxy": lambda address: address,
    "all_proxy": lambda address: address,
}


@pytest.mark.parametrize("names", [*([name] for name in ENVIRONMENT), list(ENVIRONMENT)], ids=lambda names: names[0])
def test_no_environment_variable_changes_where_or_how_the_sdk_calls(
    server: FakeGemini, client: GeminiClient, monkeypatch: pytest.MonkeyPatch, names: list[str]
) -> None:
    with FakeGemini(lambda asked: ANSWER).serving() as elsewhere:
        for name in names:
            monkeypatch.setitem(os.environ, name, ENVIRONMENT[name](elsewhere.address))
        assert client.generate(make_request(MODEL)).text == ANSWER
        assert elsewhere.requests == []
    assert server.requests == [f"POST /v1/models/{MODEL}:generateContent"]
    assert server.headers[0]["x-goog-api-key"] == KEY


def test_another_model_that_answers_is_named_in_the_answer_and_logged(
    server: FakeGemini, client: GeminiClient, logged: io.StringIO
) -> None:
    server.model_version = "gemini-2.5-flash"
    assert client.generate(make_request(MODEL)).model == "gemini-2.5-flash"
    line = next(json.loads(line) for line in logged.getvalue().splitlines() if "another model" in line)
    assert (line["requested_model"], line["answering_model"]) == (MODEL, "gemini-2.5-flash")


@pytest.mark.parametrize("version", ["gemini-3.8-flash", "gemini-3.8-flash-001", "", None, 7, "it said: SECRET TEXT"])
def test_a_version_of_the_requested_model_is_not_logged(
    server: FakeGemini, client: GeminiClient, logged: io.StringIO, version: Any
) -> None:
    replying(server, {**response(ANSWER), "modelVersion": version})
    assert client.generate(make_request(MODEL)).model.startswith(MODEL)
    assert "another model" not in logged.getvalue()


@pytest.mark.parametrize("usage", [{}, None, {"promptTokenCount": "many"}, {"promptTokenCount": -1}])
def test_missing_token_counts_are_zero(server: FakeGemini, client: GeminiClient, usage: Any) -> None:
    replying(server, {**response(ANSWER), "usageMetadata": usage})
    answer = client.generate(make_request(MODEL))
    assert (answer.tokens_in, answer.tokens_out) == (0, 0)


def test_no_log_line_at_any_level_contains_text_or_the_key(
    server: FakeGemini, client: GeminiClient, logged: io.StringIO
) -> None:
    client.generate(make_request(MODEL))
    for reply in (
        error(400, "INVALID_ARGUMENT"),
        Reply(b"SECRET TEXT", 500),
        Reply(b"<html>SECRET TEXT"),
        Reply(fault="drop"),
    ):
        replying(server, reply)
        error_of(client, make_request(MODEL))
    assert not any(canary in logged.getvalue() for canary in CANARIES)


def test_without_a_key_nothing_is_sent(server: FakeGemini, client: GeminiClient, settings: Any) -> None:
    settings.GEMINI_API_KEY = ""
    raised = error_of(client, make_request(MODEL))
    assert isinstance(raised, EngineMisconfigured)
    assert raised.code == "not_configured"
    assert server.requests == []
