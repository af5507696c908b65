"""Messages to chunks: stretches of a conversation that retrieval finds and shows as one. Pure.

A pause of CONVERSATION_GAP begins a conversation. Within it a chunk grows to
about 250 tokens, and ends earlier at a shorter pause, where a subject often
ends too. Senders' names, system lines and placeholders are left out of a
chunk's text: every chunk has them, so they tell none apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chats.exports.parsed import SYSTEM_SENDER, Batch, Kind

CONVERSATION_GAP_SECONDS = 3 * 3600
PAUSE_SECONDS = 15 * 60
#: UTF-8 bytes: about 3.5 a token for English and Hinglish, and Devanagari's three bytes a letter fit as well.
FULL_BYTES = 900
#: A pause ends a chunk that holds at least this much.
ENOUGH_BYTES = 300
MESSAGES_LIMIT = 60
BYTES_A_TOKEN = 3.5

_CAPTIONED = frozenset({Kind.MEDIA, Kind.POLL})


class Piece(NamedTuple):
    """A chunk before it is stored. `text` is what is embedded, empty when nobody wrote a word in it."""

    conversation: int
    first_number: int
    last_number: int
    token_count: int
    text: str


def pieces(batches: Iterable[Batch]) -> Iterator[Piece]:
    """Chunks in order; conversations count from 0. A message longer than a chunk is a chunk by itself."""
    conversation, before = 0, None
    texts: list[str] = []
    first = last = size = count = 0
    for batch in batches:
        rows = zip(batch.seconds, batch.senders, batch.kinds, batch.texts, strict=True)
        for number, (seconds, sender, kind, text) in enumerate(rows, start=batch.first_number):
            if sender == SYSTEM_SENDER:
                continue
            pause = seconds - before if before is not None else 0
            before = seconds
            written = text if kind == Kind.TEXT else written_words(kind, text)
            added = len(written) if written.isascii() else len(written.encode(errors="replace"))
            if count and (
                pause >= CONVERSATION_GAP_SECONDS
                or size + added > FULL_BYTES
                or (pause >= PAUSE_SECONDS and size >= ENOUGH_BYTES)
                or count >= MESSAGES_LIMIT
            ):
                yield _piece(conversation, first, last, size, texts)
                texts, size, count = [], 0, 0
                conversation += pause >= CONVERSATION_GAP_SECONDS
            if not count:
                first = number
            last, count, size = number, count + 1, size + added + 1
            if written:
                texts.append(written)
    if count:
        yield _piece(conversation, first, last, size, texts)


def written_words(kind: int, text: str) -> str:
    """What a person wrote in a message: all of a text, the caption below a placeholder, nothing of the rest."""
    if kind == Kind.TEXT:
        return text
    return text.partition("\n")[2] if kind in _CAPTIONED else ""


def _piece(conversation: int, first: int, last: int, size: int, texts: list[str]) -> Piece:
    return Piece(conversation, first, last, max(1, round(size / BYTES_A_TOKEN)), "\n".join(texts))
