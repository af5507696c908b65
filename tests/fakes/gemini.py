"""A stub server of Gemini's `models.generateContent`, `models.batchEmbedContents` and `models.get`."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from tests.fakes.model_server import Answer, Asked, ModelServer, Reply

KEY = "stub-gemini-key-0123456789"


class FakeGemini(ModelServer):
    """Answers in Gemini's protocol. `model_version` is the model that it claims to be; "" is the requested one.

    Texts are embedded by their words: those that share words have similar vectors. The prefix of a text does not count.
    As with the real model, the vectors do not have length 1. A Reply in `embedding_reply` is sent instead.
    """

    model_version = ""
    embedding_reply: Callable[[Sequence[str]], Reply | None] = staticmethod(lambda texts: None)

    def __init__(self, answer: Answer = lambda asked: "") -> None:
        super().__init__(answer)
        #: The texts of each call of `batchEmbedContents` that was answered.
        self.embedded: list[list[str]] = []

    def reply(self, path: str, body: Mapping[str, Any] | None) -> Reply:
        if body is None or not path.endswith(":batchEmbedContents"):
            return super().reply(path, body)
        texts = [_text(request["content"]) for request in body["requests"]]
        if prepared := self.embedding_reply(texts):
            return prepared
        with self.lock:
            self.embedded.append(texts)
        sizes = [request["outputDimensionality"] for request in body["requests"]]
        vectors = [self.embed(text, size) for text, size in zip(texts, sizes, strict=True)]
        return Reply({"embeddings": [{"values": vector} for vector in vectors]})

    def embed(self, text: str, size: int) -> list[float]:
        """Return the vector of a text with its prefix."""
        return embed(text, size)

    def parse(self, path: str, body: Mapping[str, Any]) -> Asked:
        config = body.get("generationConfig", {})
        return Asked(
            model=unquote(path.rpartition("/models/")[2].partition(":")[0]),
            instructions=_text(body.get("systemInstruction", {})),
            content="".join(_text(content) for content in body["contents"]),
            schema=config.get("responseJsonSchema", config.get("response_json_schema", {})),
            max_output_tokens=config.get("maxOutputTokens", 0),
            body=body,
            path=path,
        )

    def wrap(self, text: str, asked: Asked) -> dict[str, Any]:
        return response(
            text,
            model=self.model_version or asked.model,
            tokens_in=len(asked.instructions + asked.content) // 4,
            tokens_out=len(text) // 4,
        )

    def settings(self) -> dict[str, Any]:
        return {"GEMINI_API_KEY": KEY, "GEMINI_BASE_URL": self.address}

    def describe(self, path: str) -> Any:
        name = path.rpartition("/models/")[2].partition("?")[0]
        return {"name": f"models/{name}", "version": "001", "inputTokenLimit": 1_048_576, "outputTokenLimit": 65_536}


def embed(text: str, size: int) -> list[float]:
    """Return a vector of a text's words, of a length other than 1."""
    values = [0.0] * size
    for word in re.findall(r"\w+", text.rpartition(": ")[2].lower()):
        values[zlib.crc32(word.encode()) % size] += 0.5
    values[0] += 0.001
    return values


def response(
    text: str | None,
    *,
    model: str = "gemini-3.8-flash",
    finish: str | None = "STOP",
    tokens_in: int = 0,
    tokens_out: int = 0,
) -> dict[str, Any]:
    """Return a response with one candidate; without a text, its content has no parts."""
    content: dict[str, Any] = {"role": "model"}
    if text is not None:
        content["parts"] = [{"text": text}]
    candidate = {"content": content, "index": 0}
    if finish is not None:
        candidate["finishReason"] = finish
    return {
        "candidates": [candidate],
        "usageMetadata": {
            "promptTokenCount": tokens_in,
            "candidatesTokenCount": tokens_out,
            "totalTokenCount": tokens_in + tokens_out,
        },
        "modelVersion": model,
        "responseId": "stub",
    }


def error(status: int, name: str, *details: Mapping[str, Any], message: str = "The request said: SECRET TEXT") -> Reply:
    """Return an error response. `details` are google.rpc messages with their type's last part as `@type`."""
    typed = [{**detail, "@type": f"type.googleapis.com/google.rpc.{detail['@type']}"} for detail in details]
    return Reply({"error": {"code": status, "message": message, "status": name, "details": typed}}, status)


def quota_error(*quota_ids: str, retry_delay: str = "") -> Reply:
    """Return a 429 that names these quotas and, if given, a delay such as `53s`."""
    violations = [{"quotaMetric": "generativelanguage.googleapis.com/quota", "quotaId": name} for name in quota_ids]
    details: list[dict[str, Any]] = [{"@type": "QuotaFailure", "violations": violations}] if quota_ids else []
    if retry_delay:
        details.append({"@type": "RetryInfo", "retryDelay": retry_delay})
    return error(429, "RESOURCE_EXHAUSTED", *details)


def _text(content: Mapping[str, Any]) -> str:
    return "".join(part.get("text", "") for part in content.get("parts", []))
