"""Requests and measurements for the tests of the clients of language models."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from insights.engines.base import EngineError
from insights.engines.client import ModelAnswer, ModelClient, ModelRequest

#: Texts that must appear in no error and in no log line.
INSTRUCTIONS = "Read the conversation INSTRUCTION-CANARY."
CONTENT = "[#1 2024-03-14 21:05 P1] CONTENT-CANARY I am sorry about yesterday"
CANARIES = ("INSTRUCTION-CANARY", "CONTENT-CANARY", "SECRET TEXT", "stub-gemini-key", "stub-openai-key")

SCHEMA = {
    "type": "object",
    "properties": {"word": {"type": "string"}},
    "required": ["word"],
    "additionalProperties": False,
}


def make_request(model: str, **changes: Any) -> ModelRequest:
    values: dict[str, Any] = {
        "model": model,
        "instructions": INSTRUCTIONS,
        "content": CONTENT,
        "schema": SCHEMA,
        "max_output_tokens": 500,
        "timeout_seconds": 30.0,
    }
    return ModelRequest(**(values | changes))


def error_of(client: ModelClient, request: ModelRequest) -> EngineError:
    """Return the error of a call, and assert that neither it nor what it is chained to quotes anything."""
    with pytest.raises(EngineError) as caught:
        client.generate(request)
    error = caught.value
    assert not any(canary in f"{error!r}{error}" for canary in CANARIES)
    # A traceback prints the cause, and the context unless it is suppressed.
    assert error.__cause__ is None
    assert error.__context__ is None or error.__suppress_context__
    return error


def call_at_once(number: int, call: Callable[[], ModelAnswer]) -> list[ModelAnswer]:
    """Make calls from this many threads at the same time. Return their answers."""
    barrier = threading.Barrier(number)

    def wait_and_call() -> ModelAnswer:
        barrier.wait()
        return call()

    with ThreadPoolExecutor(number) as threads:
        futures = [threads.submit(wait_and_call) for _ in range(number)]
        return [future.result() for future in futures]
