"""The interface of a language model's client: one structured call. `gemini` and `openai` implement it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One call. `instructions` come first and are the same for many calls; `content` is the material.

    `schema` is the JSON schema of the answer (insights/engines/answers.py). `timeout_seconds` limits the whole call.
    """

    model: str
    instructions: str
    content: str
    schema: Mapping[str, Any]
    max_output_tokens: int
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """A complete answer: its text, the provider's token counts, and the model as the provider names it."""

    text: str
    tokens_in: int
    tokens_out: int
    model: str


class ModelClient(Protocol):
    """Calls one provider. All threads of a process share one instance."""

    name: str

    @property
    def address(self) -> str:
        """The URL below which it sends all requests, or an empty string if it is not set."""
        ...

    def missing_settings(self) -> tuple[str, ...]:
        """Return the names of required settings that are not set. With one missing, `generate` sends nothing."""
        ...

    def generate(self, request: ModelRequest) -> ModelAnswer:
        """Return the model's answer.

        Raise EngineRateLimited, EngineUnavailable, EngineMisconfigured (key or model), EngineRefused (blocked, or the
        request is too large) or UnusableAnswer("truncated_answer" or "empty_answer"). No error contains text of the
        request or of the answer. It makes exactly one request: no retries, no redirects, no continuation.
        """
        ...
