"""The client of servers with chat completions and `json_schema`: Ollama, llama.cpp, vLLM, LM Studio, OpenAI …"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from django.conf import settings

from insights.engines.base import EngineError, EngineMisconfigured, EngineRefused, EngineUnavailable, UnusableAnswer
from insights.engines.client import ModelAnswer, ModelRequest
from insights.engines.model_engine import ModelEngine

if TYPE_CHECKING:
    import httpx2

logger = logging.getLogger(__name__)

#: No tokeniser needs fewer tokens than one per eight characters for the lines of a chat: a server that counts fewer cut
#: the request without saying so. Ollama does, at 4,096 tokens unless OLLAMA_CONTEXT_LENGTH is set.
MAX_CHARACTERS_PER_TOKEN = 8


#: Tokens of a prompt besides the messages and episodes: instructions, schema, facts and questions.
FIXED_TOKENS = 2_500
#: Tokens are estimated, and the tokenisers of small models need more of them for Indian languages and for numbers.
ESTIMATE_MARGIN = 0.8
MAX_WINDOW_TOKENS, MAX_WRITE_TOKENS = 8_000, 24_000


class OpenAIEngine(ModelEngine):
    """Reads and writes with the models of any server with chat completions, in parts that fit into their context."""

    def __init__(self) -> None:
        # A quarter of the context is for the answer.
        tokens = round((settings.OPENAI_CONTEXT_TOKENS * 0.75 - FIXED_TOKENS) * ESTIMATE_MARGIN)
        super().__init__(
            OpenAIClient(),
            name="openai",
            model=settings.OPENAI_MODEL,
            reading_model=settings.OPENAI_READING_MODEL,
            window_tokens=min(tokens, MAX_WINDOW_TOKENS),
            parallel_windows=settings.OPENAI_PARALLEL_CALLS,
            parallel_calls=settings.OPENAI_PARALLEL_CALLS,
            # The list of episodes takes almost half as much again.
            write_tokens=min(round(tokens / 1.5), MAX_WRITE_TOKENS),
        )


class OpenAIClient:
    """Calls the server of the settings. All threads of a process share one instance."""

    name = "openai"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._client: httpx2.Client | None = None
        self._process = 0

    @property
    def address(self) -> str:
        """The address of the server, with its version such as `/v1`."""
        return str(settings.OPENAI_BASE_URL)

    def missing_settings(self) -> tuple[str, ...]:
        """Return those of OPENAI_BASE_URL and OPENAI_MODEL that are not set."""
        return tuple(name for name in ("OPENAI_BASE_URL", "OPENAI_MODEL") if not getattr(settings, name))

    def generate(self, request: ModelRequest) -> ModelAnswer:
        """Return the model's answer. Raise as `ModelClient.generate` says. Make exactly one request."""
        import httpx2

        from relivchats.language_models import http

        if self.missing_settings():
            raise EngineMisconfigured("not_configured")
        base_url = self.address.rstrip("/")
        # OpenAI's own models reject the older name, which is the only one that some other servers know.
        limit = "max_completion_tokens" if urlsplit(base_url).hostname == "api.openai.com" else "max_tokens"
        body = {
            "model": request.model,
            "messages": [
                {"role": "system", "content": request.instructions},
                {"role": "user", "content": request.content},
            ],
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "answer", "strict": True, "schema": request.schema},
            },
            # A server rejects a request whose answer would not fit into its context.
            limit: min(request.max_output_tokens, settings.OPENAI_CONTEXT_TOKENS // 4),
            "stream": False,
            "store": False,
        }
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if settings.OPENAI_API_KEY:
            headers["Authorization"] = f"Bearer {settings.OPENAI_API_KEY}"
        try:
            with http.deadline(request.timeout_seconds):
                response = self._open().post(
                    f"{base_url}/chat/completions", content=orjson.dumps(body), headers=headers
                )
        # Not chained: the text of an error can quote the request.
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise http.transport_error(error) from None
        if response.status_code != 200:
            raise _error_of(response.status_code, response.content, headers=response.headers)
        return _parse(http.parse_object(response.content), request)

    def _open(self) -> httpx2.Client:
        """Return this process's client. A forked process does not use the connections of its parent."""
        from relivchats.language_models import http

        with self._lock:
            if self._client is None or self._process != os.getpid():
                self._client, self._process = http.make_client(), os.getpid()
            return self._client


def _parse(response: Mapping[str, Any], request: ModelRequest) -> ModelAnswer:
    """Return the answer in a response with status 200. Raise EngineError if there is none, or only a part of one."""
    from relivchats.language_models import http

    choices = response.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    # OpenRouter reports the errors of the provider that it chose with status 200, in either of these places.
    if error := response.get("error") or choice.get("error"):
        code = error.get("code") if isinstance(error, dict) else None
        raise _error_of(code if isinstance(code, int) else 500, {"error": error}, headers={})
    message = choice.get("message")
    message = message if isinstance(message, dict) else {}
    reason = choice.get("finish_reason")
    if reason == "length":
        raise UnusableAnswer("truncated_answer")
    if reason == "content_filter" or message.get("refusal"):
        raise EngineRefused("blocked_answer")
    text = _text_of(message.get("content"))
    if not text.strip():
        raise UnusableAnswer("empty_answer")
    if reason != "stop":
        raise UnusableAnswer("unfinished_answer")
    usage = response.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    tokens_in = http.token_count(counts.get("prompt_tokens"))
    if tokens_in and tokens_in * MAX_CHARACTERS_PER_TOKEN < len(request.content):
        raise UnusableAnswer("truncated_prompt")
    return ModelAnswer(
        text=text,
        tokens_in=tokens_in,
        tokens_out=http.token_count(counts.get("completion_tokens")),
        model=http.model_name(response.get("model"), requested=request.model),
    )


def _text_of(content: Any) -> str:
    """Return a message's text, which some servers give in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _error_of(status: int, body: bytes | Mapping[str, Any], *, headers: Mapping[str, str]) -> EngineError:
    """Return the engine's error for an error response, or for an error in a response with status 200."""
    from relivchats.language_models import http

    try:
        document = http.parse_object(body) if isinstance(body, bytes) else body
    except EngineUnavailable:
        document = {}
    error = document.get("error")
    error = error if isinstance(error, dict) else {}
    named = f"{error.get('code')} {error.get('type')}"
    if status in (402, 429):
        # 402 and insufficient_quota: the account's credit is used up.
        return http.rate_limited(
            retry_after_seconds=http.retry_after_header(headers),
            spending=status == 402 or "insufficient_quota" in named or "billing" in named,
        )
    if "context_length_exceeded" in named or "exceed_context_size" in named:
        return EngineRefused("request_too_large")
    metadata = error.get("metadata")
    if status == 403 and isinstance(metadata, dict) and "flagged_input" in metadata:
        return EngineRefused("blocked_prompt")
    if status == 404 and not document:
        # Not a missing model but a missing path, such as a base URL without /v1.
        return EngineMisconfigured("invalid_base_url")
    return http.status_error(status)
