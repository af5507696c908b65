"""Which bodies are WhatsApp's own words and not a person's: phrases.toml, read once and made quick to ask."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from chats.exports.marks import MARK, MARKS, without_leading_marks, without_marks
from chats.exports.parsed import Kind

_HEAD_BYTES = 3  # of a mark
# A byte is found by its number in a sixth of the time that a bytes object of length one takes.
_LINE_FEED = 0x0A


class Reading(NamedTuple):
    kind: Kind
    text: bytes
    edited: bool


class Phrases:
    """Every language's phrases together: an export names its language nowhere."""

    def __init__(self, languages: dict[str, dict[str, Any]]) -> None:
        self.whole: dict[bytes, Kind] = {}
        self.begins: list[tuple[bytes, Kind]] = []
        self.ends: list[tuple[bytes, Kind]] = []
        self.edited: list[bytes] = []
        self.system: list[str] = []
        for phrases in languages.values():
            self._add(phrases)
        # Nearly all bodies begin and end otherwise, and are not looked at again.
        self._placeholders = {
            lead + phrase: Reading(kind, phrase, edited=False)
            for phrase, kind in self.whole.items()
            for lead in (b"", MARK)
        }
        ends = [end for end, _ in self.ends] + self.edited
        self.tail_bytes = min(map(len, ends))
        self.heads = {begin[:_HEAD_BYTES] for begin, _ in self.begins} | set(MARKS)
        self.tails = {end[-self.tail_bytes :] for end in ends}

    def _add(self, phrases: dict[str, Any]) -> None:
        for kind, texts in phrases["whole"].items():
            self.whole.update((text.encode(), Kind[kind.upper()]) for text in texts)
        for field, places in (("begins", self.begins), ("ends", self.ends)):
            for kind, texts in phrases[field].items():
                places.extend((text.encode(), Kind[kind.upper()]) for text in texts)
        self.edited += [text.encode() for text in phrases["edited"]]
        self.system += phrases["system"]

    def notable(self, bodies: list[bytes]) -> list[int]:
        """Positions of the bodies that `read` may find to be more than plain text."""
        whole, heads, tails, tail = self.whole, self.heads, self.tails, -self.tail_bytes
        return [
            position
            for position, body in enumerate(bodies)
            if body in whole or body[:_HEAD_BYTES] in heads or body[tail:] in tails or _LINE_FEED in body
        ]

    def read(self, body: bytes) -> Reading:
        """Kind, text without the marks around WhatsApp's own words, and whether it was edited."""
        if (placeholder := self._placeholders.get(body)) is not None:
            return placeholder
        text = without_leading_marks(body)
        edited = False
        for end in self.edited:
            if text.endswith(end):
                text, edited = without_marks(text[: -len(end)]).rstrip(), True
        head, newline, caption = text.partition(b"\n")
        kind = self._kind(text, head, captioned=bool(newline))
        if kind is Kind.POLL:
            text = without_marks(text)
        elif kind is not Kind.TEXT:
            text = without_marks(head).strip() + newline + caption
        return Reading(kind, text, edited)

    def captioned(self, text: bytes) -> Reading | None:
        """iPhones print the caption first: `at the beach <mark>image omitted`. Here it stands below, as everywhere."""
        caption, _, placeholder = text.rpartition(MARK)
        reading = self.read(placeholder)
        if reading.kind is Kind.MEDIA and caption.strip() and b"\n" not in placeholder:
            return Reading(Kind.MEDIA, reading.text + b"\n" + caption.strip(), edited=False)
        return None

    def is_call(self, text: str) -> bool:
        return self.read(text.encode()).kind is Kind.CALL

    def _kind(self, text: bytes, head: bytes, *, captioned: bool) -> Kind:
        plain = without_marks(head).strip()
        kind = self.whole.get(plain)
        if kind is Kind.MEDIA or (kind is not None and not captioned):
            return kind
        if head[-self.tail_bytes :] in self.tails:
            for end, kind in self.ends:
                if head.endswith(end) and b"." in plain:
                    return kind
        if text[:_HEAD_BYTES] in self.heads:
            for begin, kind in self.begins:
                if text.startswith(begin):
                    return kind
        return Kind.TEXT


PHRASES = Phrases(tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8")))
