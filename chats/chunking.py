"""Messages to chunks: stretches of a conversation that retrieval finds and shows as one. Pure.

A pause of CONVERSATION_GAP begins a conversation. Within it a chunk grows to
about 250 tokens, and ends earlier at a shorter pause, where a subject often
ends too. Senders' names, system lines and placeholders are left out of what
is embedded: every chunk has them, so they tell none apart.

A chunk is embedded as several short texts and found by the closest of them.
The local engine averages words, and an average over 250 tokens means little:
of passages hidden in 4,000 everyday messages, meaning alone put the right chunk
first for 16 % of the searches with one vector a chunk and for 50 % with texts
of 120 bytes; with the senders' names in them, for 4 %.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chats.exports.parsed import SYSTEM_SENDER, Batch, MessageKind

CONVERSATION_GAP_SECONDS = 3 * 3600
PAUSE_SECONDS = 15 * 60
#: UTF-8 bytes: about 3.5 a token for English and Hinglish, and Devanagari's three bytes a letter fit as well.
FULL_BYTES = 900
#: A pause ends a chunk that holds at least this much.
ENOUGH_BYTES = 300
MESSAGES_LIMIT = 60
TEXT_BYTES = 120
#: A longer message is several texts of this many characters; what exceeds their number is not embedded.
MESSAGE_TEXT_CHARS, MESSAGE_TEXTS_LIMIT = 400, 10
BYTES_A_TOKEN = 3.5

_CAPTIONED = frozenset({MessageKind.MEDIA, MessageKind.POLL})


class ChunkDraft(NamedTuple):
    """A chunk before it is stored. `texts` are what is embedded; none when nobody wrote a word in it."""

    conversation: int
    first_number: int
    last_number: int
    token_count: int
    texts: list[str]


def chunk_messages(batches: Iterable[Batch]) -> Iterator[ChunkDraft]:
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
            written = text if kind == MessageKind.TEXT else written_text(kind, text)
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


def written_text(kind: int, text: str) -> str:
    """What a person wrote in a message: all of a text, the caption below a placeholder, nothing of the rest."""
    if kind == MessageKind.TEXT:
        return text
    return text.partition("\n")[2] if kind in _CAPTIONED else ""


def _piece(conversation: int, first: int, last: int, size: int, texts: list[str]) -> ChunkDraft:
    return ChunkDraft(conversation, first, last, max(1, round(size / BYTES_A_TOKEN)), list(_texts(texts)))


def _texts(messages: list[str]) -> Iterator[str]:
    """Messages that follow each other in texts of about TEXT_BYTES, a long message in several."""
    joined: list[str] = []
    size = 0
    for message in messages:
        added = len(message.encode(errors="replace"))
        if joined and size + added > TEXT_BYTES:
            yield "\n".join(joined)
            joined, size = [], 0
        if len(message) > MESSAGE_TEXT_CHARS:
            most = min(len(message), MESSAGE_TEXT_CHARS * MESSAGE_TEXTS_LIMIT)
            yield from (message[start : start + MESSAGE_TEXT_CHARS] for start in range(0, most, MESSAGE_TEXT_CHARS))
            continue
        joined.append(message)
        size += added + 1
    if joined:
        yield "\n".join(joined)
