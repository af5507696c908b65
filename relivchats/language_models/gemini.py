"""The connection to Gemini through google-genai, and a distinct error for every case of a response.

The SDK reads environment variables, follows redirects, continues answers with calls of its own and raises errors that
quote whole responses. Each of these is turned off here, and each has a test over HTTP.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from django.conf import settings

from relivchats.language_models.errors import EngineError, EngineMisconfigured, EngineUnavailable

if TYPE_CHECKING:
    from google import genai

Response = TypeVar("Response")


class SDKResponse(Protocol):
    """A response of the SDK that was asked for with `should_return_http_response`."""

    @property
    def sdk_http_response(self) -> Any:
        """The HTTP response, with its body."""
        ...


class GeminiConnection:
    """Calls Gemini with the key of the settings. All threads of a process share one instance."""

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

    def call(self, send: Callable[[genai.Client], SDKResponse], *, timeout_seconds: float) -> dict[str, Any]:
        """Return the JSON object that Gemini answered with status 200 and that is no error. Raise EngineError.

        `send` makes one request, with `should_return_http_response`: the SDK's parser takes an error with status 200
        for an answer, and for HTML it quotes the page in its error.
        """
        from relivchats.language_models import http

        raw = self.call_parsed(send, timeout_seconds=timeout_seconds).sdk_http_response
        document = http.parse_object((raw and raw.body) or b"")
        if "error" in document:
            details = document["error"]
            code = details.get("code") if isinstance(details, dict) else None
            raise error_of(code if isinstance(code, int) else 500, document, headers={})
        return document

    def call_parsed(self, send: Callable[[genai.Client], Response], *, timeout_seconds: float) -> Response:
        """Return what `send` returns, which makes one request. Raise EngineError for every error of the SDK."""
        import httpx2
        from google.genai import errors

        from relivchats.language_models import http

        client = self._open()
        try:
            with http.deadline(timeout_seconds):
                return send(client)
        # No error is chained: their texts quote requests and responses.
        except errors.APIError as error:
            raise error_of(error.code, error.response.content, headers=error.response.headers) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise http.transport_error(error) from None
        except (ValueError, RecursionError):
            # The SDK could not decode the body of an error.
            raise EngineUnavailable("malformed_response") from None

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

    from relivchats.language_models import http

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


def error_of(status: int, body: bytes | Mapping[str, Any], *, headers: Mapping[str, str]) -> EngineError:
    """Return the engine's error for a google.rpc.Status: the body of an error, or an error with status 200.

    https://cloud.google.com/apis/design/errors describes its details.
    """
    from relivchats.language_models import http

    try:
        document = http.parse_object(body) if isinstance(body, bytes) else body
    except EngineUnavailable:
        document = {}
    error = document.get("error")
    error = error if isinstance(error, dict) else {}
    details = {str(detail.get("@type", "")).rpartition(".")[2]: detail for detail in objects(error.get("details"))}
    if status in (402, 429):
        names = _names_of_limits(details)
        return http.rate_limited(
            retry_after_seconds=_retry_delay(details.get("RetryInfo", {})) or http.retry_after_header(headers),
            exhausted=any(word in names for word in ("perday", "permonth", "daily", "monthly")),
            spending=status == 402
            or any(word in names for word in ("spend", "credit", "billing"))
            # These answers have no details, only a sentence: "Your project has exceeded its monthly spending cap. …",
            # "Your prepayment credits are depleted. …". That of any quota speaks of billing too.
            or any(words in str(error.get("message")).lower() for words in ("spending cap", "prepayment credits")),
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


def _names_of_limits(details: Mapping[str, Mapping[str, Any]]) -> str:
    """Return the names of the limits that a call exceeded, in small letters without punctuation."""
    named = [str(details.get("ErrorInfo", {}).get("reason", ""))]
    for violation in objects(details.get("QuotaFailure", {}).get("violations")):
        named += [str(violation.get(key, "")) for key in ("quotaId", "quotaMetric", "subject")]
    return " ".join(re.sub(r"[^a-z]", "", name.lower()) for name in named)


def objects(rows: Any) -> Iterator[dict[str, Any]]:
    """Yield the JSON objects of a list; nothing if it is not a list."""
    if isinstance(rows, list):
        yield from (row for row in rows if isinstance(row, dict))
