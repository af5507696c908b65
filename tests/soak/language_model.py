"""The language model of the soak test: it answers validly and at once, or fails as one of its faults says."""

from __future__ import annotations

import random
import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from insights.episodes import KINDS, TOPICS
from tests.fakes.gemini import FakeGemini, error, quota_error, response
from tests.fakes.model_server import Asked, Reply
from tests.truth.oracle import ShownLine, parse_lines, parse_sections

_PER_DAY = "GenerateRequestsPerDayPerProjectPerModel"
_PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel"
#: What a fault sends instead of an answer. The provider says when to call again, so that a short fault stays short.
FAULTS: Mapping[str, Callable[[], Reply]] = {
    "429 per minute": lambda: quota_error(_PER_MINUTE, retry_delay="3s"),
    "429 per day": lambda: quota_error(_PER_DAY, retry_delay="5s"),
    "429 spend": lambda: quota_error("SpendLimitPerMonth", retry_delay="5s"),
    "500": lambda: error(500, "INTERNAL"),
    "503": lambda: error(503, "UNAVAILABLE"),
    "garbage": lambda: Reply(response("{]not json")),
    "truncated": lambda: Reply(response('{"episodes": [', finish="MAX_TOKENS")),
    "html": lambda: Reply(b"<html>proxy</html>", headers={"Content-Type": "text/html"}),
    "hang": lambda: Reply(fault="hang"),
    "reset": lambda: Reply(fault="drop"),
    "trickle": lambda: Reply(fault="trickle_body"),
}
#: A share of calls is answered during a fault, so that work is interrupted at every step, not only at the first.
_FAILED_SHARE = 0.7


class SoakModel(FakeGemini):
    """Answers every call about any chat. `fault` is one of FAULTS, or empty.

    `answered` counts the calls that were answered, and `failed` those that were not.
    """

    def __init__(self, *, seed: int) -> None:
        super().__init__(self._answer)
        self.fault = ""
        #: How long it takes to write an insight.
        self.writing_seconds = 0.0
        self.answered = 0
        self.failed = 0
        self._chance = random.Random(f"{seed}/model")
        self.embedding_reply = lambda texts: self._fail()

    def reply(self, path: str, body: Mapping[str, Any] | None) -> Reply:
        """Return the response, and forget the request: an hour of requests would fill the memory."""
        with self.lock:
            for recorded in (self.bodies, self.requests, self.headers, self.embedded):
                recorded.clear()
        return super().reply(path, body)

    def _fail(self) -> Reply | None:
        with self.lock:
            fails = bool(self.fault) and self._chance.random() < _FAILED_SHARE
            self.failed += fails
            self.answered += not fails
            return FAULTS[self.fault]() if fails else None

    def _answer(self, asked: Asked) -> Any:
        if "sections" in asked.schema["properties"]:
            self.closing.wait(self.writing_seconds)
        return self._fail() or answer(asked)


def answer(asked: Asked) -> Any:
    """Return a valid answer. The properties of the schema say what is asked for."""
    properties = asked.schema["properties"]
    lines = [line for line in parse_lines(asked.content) if not line.is_context]
    if "episodes" in properties:
        return {
            "relationship": "unclear",
            "languages": ["English"],
            "episodes": [_describe(lines[start : start + 5], kind=start // 6) for start in range(0, len(lines), 6)],
            "dangers": [],
        }
    if "verdicts" in properties:
        numbers = re.findall(r"^Claim (\d+)", asked.content, re.MULTILINE)
        return {
            "verdicts": [
                {"claim": int(number), "shown": True, "right_person": True, "sincere": True} for number in numbers
            ]
        }
    if "decision" in properties:
        # Of three questions, the chat does not contain the answer of one.
        found = lines and zlib.crc32(asked.content.encode()) % 3
        claims = [make_claim(lines[:1])] if found else []
        return {"decision": "answer" if found else "not_in_chat", "searches": [], "claims": claims}
    return {"can_judge": True, "sections": _write(asked, lines)}


def _describe(lines: Sequence[ShownLine], *, kind: int) -> dict[str, Any]:
    kinds, first = list(KINDS), lines[0]
    return {
        "kind": kinds[kind % len(kinds)],
        "topic": list(TOPICS)[first.number % len(TOPICS)],
        "first": first.number,
        "last": lines[-1].number,
        "roles": [{"person": first.person, "role": "does"}],
        "strength": 1 + first.number % 3,
        "tone": "sincere",
        "subject": "what they plan together",
        "shows": [line.number for line in lines[:2]],
    }


def _write(asked: Asked, lines: Sequence[ShownLine]) -> dict[str, Any]:
    spans = parse_sections(asked.content)
    sections = {}
    for key in asked.schema["properties"]["sections"]["properties"]:
        claims = []
        for first, last in spans.get(key, ()):
            shown = [line for line in lines if first <= line.number <= last]
            if shown:
                claims.append({**make_claim(shown[:3]), "context": "what they plan together"})
        sections[key] = {"can_judge": bool(claims), "claims": claims[:6]}
    return sections


def make_claim(lines: Sequence[ShownLine]) -> dict[str, Any]:
    """Return a claim that these lines show."""
    return {
        "sentence": f"{lines[0].person} writes about it, and the other answers.",
        "numbers": [line.number for line in lines],
        "person": lines[0].person,
    }
