"""A stub server of OpenAI's `/v1/chat/completions`, as Ollama, llama.cpp and vLLM implement it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.fakes.model_server import Asked, ModelServer, Reply

MODEL = "stub-model:1b"


class FakeChatCompletions(ModelServer):
    """Answers in the protocol of chat completions."""

    def parse(self, path: str, body: Mapping[str, Any]) -> Asked:
        texts = {message["role"]: message["content"] for message in body["messages"]}
        return Asked(
            model=body["model"],
            instructions=texts.get("system", ""),
            content=texts.get("user", ""),
            schema=body.get("response_format", {}).get("json_schema", {}).get("schema", {}),
            max_output_tokens=body.get("max_tokens", 0),
            body=body,
            path=path,
        )

    def wrap(self, text: str, asked: Asked) -> dict[str, Any]:
        return response(
            text,
            model=asked.model,
            tokens_in=len(asked.instructions + asked.content) // 4,
            tokens_out=len(text) // 4,
        )

    def describe(self, path: str) -> Any:
        return {"object": "list", "data": [{"id": MODEL, "object": "model"}]}

    def settings(self) -> dict[str, Any]:
        return {
            "OPENAI_BASE_URL": f"{self.address}/v1",
            "OPENAI_API_KEY": "",
            "OPENAI_MODEL": MODEL,
            "OPENAI_READING_MODEL": MODEL,
        }


def response(
    content: Any,
    *,
    model: str = MODEL,
    finish: str | None = "stop",
    tokens_in: int = 0,
    tokens_out: int = 0,
    **message: Any,
) -> dict[str, Any]:
    """Return a response with one choice; other keywords become fields of its message."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": model,
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
        ],
        "usage": {
            "prompt_tokens": tokens_in,
            "completion_tokens": tokens_out,
            "total_tokens": tokens_in + tokens_out,
        },
    }


def error(status: int, *, code: Any = None, kind: str = "", headers: Mapping[str, str] | None = None) -> Reply:
    """Return an error response."""
    document = {"error": {"message": "The request said: SECRET TEXT", "type": kind, "code": code}}
    return Reply(document, status, headers or {})
