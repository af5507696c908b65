"""The client of Gemini: one structured call, and a distinct error for every answer that cannot be used.

relivchats/language_models/gemini.py has the connection.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from django.conf import settings

from insights.engines.base import EngineMisconfigured, EngineRefused, UnusableAnswer
from insights.engines.client import ModelAnswer, ModelRequest
from insights.engines.model_engine import ModelEngine
from relivchats.language_models.gemini import GeminiConnection, SDKResponse, objects

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
        self._connection = GeminiConnection()

    @property
    def address(self) -> str:
        """The address of Gemini's API."""
        return self._connection.address

    def missing_settings(self) -> tuple[str, ...]:
        """Return GEMINI_API_KEY if it is not set."""
        return self._connection.missing_settings()

    def generate(self, request: ModelRequest) -> ModelAnswer:
        """Return the model's answer. Raise as `ModelClient.generate` says. Make exactly one request."""

        def send(client: genai.Client) -> SDKResponse:
            from google.genai import types

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
                should_return_http_response=True,
                http_options=types.HttpOptions(timeout=round(request.timeout_seconds * 1000)),
            )
            return client.models.generate_content(model=request.model, contents=request.content, config=config)

        return _parse(self._connection.call(send, timeout_seconds=request.timeout_seconds), request)


def _parse(response: Mapping[str, Any], request: ModelRequest) -> ModelAnswer:
    """Return the answer in a response with status 200. Raise EngineError if there is none, or only a part of one."""
    from relivchats.language_models import http

    feedback = response.get("promptFeedback")
    if isinstance(feedback, dict) and feedback.get("blockReason"):
        raise EngineRefused("blocked_prompt")
    candidate = next(objects(response.get("candidates")), None)
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
    parts = objects(content.get("parts") if isinstance(content, dict) else None)
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
