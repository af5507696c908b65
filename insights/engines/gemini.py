"""The client of Gemini: one structured call through google-genai, and a distinct error for every case of a response.

The SDK reads environment variables, follows redirects, continues answers with calls of its own and raises errors that
quote whole responses. Each of these is turned off below, and each has a test over HTTP.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings

from insights.engines.base import EngineError, EngineMisconfigured, EngineRefused, EngineUnavailable, UnusableAnswer
from insights.engines.client import ModelAnswer, ModelRequest
from insights.engines.model_engine import ModelEngine

if TYPE_CHECKING:
    from google import genai

logger = logging.getLogger(__name__)

#: Finish reasons with which the provider refuses an answer. There are more than twenty, and new ones appear without
#: notice: whatever is not listed here and is not STOP is an unfinished answer.
_REFUSED = frozenset({"SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "LANGUAGE", "ESCALATION", "MODEL_ARMOR"})
#: CONTINUATION means that another call, which is never made, would continue the answer.
_TRUNCATED = frozenset({"MAX_TOKENS", "CONTINUATION"})


class GeminiEngine(ModelEngine):
    """Reads and writes with Gemini."""

    def __init__(self) -> None:
        super().__init__(
            GeminiClient(),
            name="gemini",
            model=settings.GEMINI_LLM_MODEL,
            reading_model=settings.GEMINI_READING_MODEL,
            # Far below the context of 1,048,576 tokens: what is in the middle of a long prompt is read less well.
            window_tokens=8_000,
            # The quota gate decides how many calls of all chats run at the same time.
            parallel_windows=64,
            write_tokens=24_000,
        )


class GeminiClient:
    """Calls Gemini with the key of the settings. All threads of a process share one instance."""

    name = "gemini"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: genai.Client | None = None
        self._process = 0

    @property
    def address(self) -> str:
        """The address of Gemini's API."""
        return str(settings.GEMINI_BASE_URL)

    def missing_settings(self) -> tuple[str, ...]:
        """Return GEMINI_API_KEY if it is not set."""
        return () if settings.GEMINI_API_KEY else ("GEMINI_API_KEY",)

    def generate(self, request: ModelRequest) -> ModelAnswer:
        """Return the model's answer. Raise as `ModelClient.generate` says. Make exactly one request."""
        import httpx2
        from google.genai import errors, types

        from insights.engines import http

        config = types.GenerateContentConfig(
            system_instruction=request.instructions,
            response_mime_type="application/json",
            response_json_schema=dict(request.schema),
            max_output_tokens=request.max_output_tokens,
            # Temperature, top_p and top_k are deprecated since July 2026.
            thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
            # Projects log prompts and answers by default since October 2026.
            store=False,
            automatic_continuation=False,
            automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True),
            # The SDK's parser takes an error with status 200 for an answer; for HTML, it quotes the page in its error.
            should_return_http_response=True,
            http_options=types.HttpOptions(timeout=round(request.timeout_seconds * 1000)),
        )
        try:
            with http.deadline(request.timeout_seconds):
                response = self._open().models.generate_content(
                    model=request.model, contents=request.content, config=config
                )
        # No error is chained: their texts quote requests and responses.
        except errors.APIError as error:
            raise _error_of(error.code, error.response.content, headers=error.response.headers) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise http.transport_error(error) from None
        except (ValueError, RecursionError):
            # The SDK could not decode the body of an error.
            raise EngineUnavailable("malformed_response") from None
        raw = response.sdk_http_response
        return _parse(http.parse_object((raw and raw.body) or b""), request)

    def _open(self) -> genai.Client:
        """Return this process's client. A forked process does not use the connections of its parent."""
        if self.missing_settings():
            raise EngineMisconfigured("not_configured")
        with self._lock:
            if self._client is None or self._process != os.getpid():
                self._client, self._process = _make_client(), os.getpid()
            return self._client


def _make_client() -> genai.Client:
    from google import genai
    from google.genai import types
    from google.genai.client import DebugConfig

    from insights.engines import http

    # It would select another HTTP library, or prevent the start if that one is not installed.
    os.environ.pop("GOOGLE_GENAI_HTTP_CLIENT", None)
    ssl_context = http.make_ssl_context()
    return genai.Client(
        # Whatever is not given here is read from the environment: the key, the mode, the address, the version.
        api_key=settings.GEMINI_API_KEY,
        vertexai=False,
        http_options=types.HttpOptions(
            base_url=settings.GEMINI_BASE_URL,
            api_version="v1",
            httpx_client=http.make_client(ssl_context=ssl_context),
            # Not used, but made: without a context it would read SSL_CERT_FILE.
            async_client_args={"verify": ssl_context, "ssl": ssl_context, "trust_env": False},
        ),
        debug_config=DebugConfig(client_mode=None, replays_directory=None, replay_id=None),
    )


def _parse(response: Mapping[str, Any], request: ModelRequest) -> ModelAnswer:
    """Return the answer in a response with status 200. Raise EngineError if there is none, or only a part of one."""
    from insights.engines import http

    if "error" in response:
        details = response["error"]
        code = details.get("code") if isinstance(details, dict) else None
        raise _error_of(code if isinstance(code, int) else 500, response, headers={})
    feedback = response.get("promptFeedback")
    if isinstance(feedback, dict) and feedback.get("blockReason"):
        raise EngineRefused("blocked_prompt")
    candidate = next(_objects(response.get("candidates")), None)
    if candidate is None:
        raise UnusableAnswer("empty_answer")
    reason = candidate.get("finishReason")
    if reason in _TRUNCATED:
        raise UnusableAnswer("truncated_answer")
    if reason in _REFUSED:
        raise EngineRefused("blocked_answer")
    if reason == "PUP_LIMITED_DISABLED":
        raise EngineMisconfigured("account_disabled")
    if reason != "STOP":
        raise UnusableAnswer("recitation" if reason == "RECITATION" else "unfinished_answer")
    content = candidate.get("content")
    parts = _objects(content.get("parts") if isinstance(content, dict) else None)
    texts = [part["text"] for part in parts if isinstance(part.get("text"), str) and not part.get("thought")]
    if not (text := "".join(texts)).strip():
        raise UnusableAnswer("empty_answer")
    requested = request.model.removeprefix("models/")
    model = http.model_name(response.get("modelVersion"), requested=requested)
    if model != requested and not model.startswith(f"{requested}-"):
        logger.warning("another model answered", extra={"requested_model": requested, "answering_model": model})
    usage = response.get("usageMetadata")
    counts = usage if isinstance(usage, dict) else {}
    return ModelAnswer(
        text=text,
        tokens_in=http.token_count(counts.get("promptTokenCount")),
        # Thoughts are billed as output.
        tokens_out=http.token_count(counts.get("candidatesTokenCount"))
        + http.token_count(counts.get("thoughtsTokenCount")),
        model=model,
    )


def _error_of(status: int, body: bytes | Mapping[str, Any], *, headers: Mapping[str, str]) -> EngineError:
    """Return the engine's error for a google.rpc.Status: the body of an error, or an error with status 200.

    https://cloud.google.com/apis/design/errors describes its details.
    """
    from insights.engines import http

    try:
        document = http.parse_object(body) if isinstance(body, bytes) else body
    except EngineUnavailable:
        document = {}
    error = document.get("error")
    error = error if isinstance(error, dict) else {}
    details = {str(detail.get("@type", "")).rpartition(".")[2]: detail for detail in _objects(error.get("details"))}
    if status == 429:
        return http.rate_limited(
            retry_after_seconds=_retry_delay(details.get("RetryInfo", {})) or http.retry_after_header(headers),
            exhausted=_is_exhausted(details),
        )
    if status == 400:
        reason = details.get("ErrorInfo", {}).get("reason")
        if reason in ("API_KEY_INVALID", "API_KEY_EXPIRED"):
            return EngineMisconfigured("invalid_key")
        if error.get("status") == "FAILED_PRECONDITION":
            # The account has no billing, or the server is in a country that is not served.
            return EngineMisconfigured("account_not_eligible")
    return http.status_error(status)


def _retry_delay(retry_info: Mapping[str, Any]) -> float | None:
    """Return the seconds of a google.protobuf.Duration such as `53s` or `53.4s`, or None."""
    match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)s", str(retry_info.get("retryDelay", "")))
    return float(match[1]) if match else None


def _is_exhausted(details: Mapping[str, Mapping[str, Any]]) -> bool:
    """Return whether a 429 means that waiting a minute does not help: the quota of a day, or a limit on spending."""
    named = [str(details.get("ErrorInfo", {}).get("reason", ""))]
    for violation in _objects(details.get("QuotaFailure", {}).get("violations")):
        named += [str(violation.get(key, "")) for key in ("quotaId", "quotaMetric", "subject")]
    letters = " ".join(re.sub(r"[^a-z]", "", name.lower()) for name in named)
    return any(word in letters for word in ("perday", "permonth", "daily", "monthly", "spend", "credit", "billing"))


def _objects(rows: Any) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a list; nothing if it is not a list."""
    if isinstance(rows, list):
        yield from (row for row in rows if isinstance(row, dict))
