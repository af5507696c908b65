"""Splits a chat into chunks: ranges of a conversation that are found and shown as one result. Pure.

A pause of CONVERSATION_GAP_SECONDS starts a new conversation. Within a conversation a chunk grows to about 250
tokens, and ends earlier at a shorter pause, where the subject often changes too. Senders' names, system lines
and placeholders are not embedded: they occur in every chunk, so they distinguish none.

A chunk is embedded as one or several texts, and its closest text counts. The local engine averages the vectors
of words, and an average over 250 tokens means little. Of passages hidden in 4,000 everyday messages, vectors
alone ranked the right chunk first in 16 % of the searches with one vector per chunk, in 50 % with texts of 120
bytes, and in 4 % with such texts that include the senders' names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from chats.exports.parsed import SYSTEM_SENDER, Batch, MessageKind

CONVERSATION_GAP_SECONDS = 3 * 3600
PAUSE_SECONDS = 15 * 60
#: UTF-8 bytes of a full chunk. English and Hinglish have about 3.5 per token; Devanagari has more bytes per letter and
#: more tokens per word, so one limit serves both.
MAX_CHUNK_BYTES = 900
#: UTF-8 bytes from which a pause ends a chunk.
MIN_PAUSED_CHUNK_BYTES = 300
MAX_CHUNK_MESSAGES = 60
#: UTF-8 bytes of one text, for an engine that averages the vectors of words.
MAX_TEXT_BYTES = 120
#: A longer message is embedded as several texts of this many characters. Text beyond their number is not embedded.
MAX_MESSAGE_TEXT_CHARS, MAX_MESSAGE_TEXTS = 400, 10
BYTES_PER_TOKEN = 3.5

_CAPTIONED = frozenset({MessageKind.MEDIA, MessageKind.POLL})


class ChunkDraft(NamedTuple):
    """A chunk before it is stored. `texts` are what is embedded: none if no message has words."""

    conversation: int
    first_number: int
    last_number: int
    token_count: int
    texts: list[str]


def chunk_messages(batches: Iterable[Batch], *, text_bytes: int = MAX_TEXT_BYTES) -> Iterator[ChunkDraft]:
    """Yield chunks in message order; conversations count from 0. A message longer than a chunk is a chunk by itself.

    The messages of a chunk are joined to texts of at most `text_bytes` UTF-8 bytes.
    """
    conversation, previous_seconds = 0, None
    messages: list[str] = []
    first = last = size = count = 0
    for batch in batches:
        rows = zip(batch.seconds, batch.senders, batch.kinds, batch.texts, strict=True)
        for number, (seconds, sender, kind, text) in enumerate(rows, start=batch.first_number):
            if sender == SYSTEM_SENDER:
                continue
            pause = seconds - previous_seconds if previous_seconds is not None else 0
            previous_seconds = seconds
            written = text if kind == MessageKind.TEXT else written_text(kind, text)
            # Encoding only to count the bytes is needed for other scripts alone.
            added = len(written) if written.isascii() else len(written.encode(errors="replace"))
            if count and (
                pause >= CONVERSATION_GAP_SECONDS
                or size + added > MAX_CHUNK_BYTES
                or (pause >= PAUSE_SECONDS and size >= MIN_PAUSED_CHUNK_BYTES)
                or count >= MAX_CHUNK_MESSAGES
            ):
                yield _draft(conversation, first, last, size, messages, text_bytes=text_bytes)
                messages, size, count = [], 0, 0
                conversation += pause >= CONVERSATION_GAP_SECONDS
            if not count:
                first = number
            last, count, size = number, count + 1, size + added + 1
            if written:
                messages.append(written)
    if count:
        yield _draft(conversation, first, last, size, messages, text_bytes=text_bytes)


def written_text(kind: int, text: str) -> str:
    """Return what the sender wrote: a whole text, the caption below a placeholder, or an empty string."""
    if kind == MessageKind.TEXT:
        return text
    return text.partition("\n")[2] if kind in _CAPTIONED else ""


def _draft(
    conversation: int, first: int, last: int, size_bytes: int, messages: list[str], *, text_bytes: int
) -> ChunkDraft:
    """Return a chunk whose texts join short messages and split long ones."""
    texts: list[str] = []
    joined: list[str] = []
    joined_bytes = 0
    for message in messages:
        added = len(message.encode(errors="replace"))
        if joined and joined_bytes + added > text_bytes:
            texts.append("\n".join(joined))
            joined, joined_bytes = [], 0
        if len(message) > MAX_MESSAGE_TEXT_CHARS:
            end = min(len(message), MAX_MESSAGE_TEXT_CHARS * MAX_MESSAGE_TEXTS)
            starts = range(0, end, MAX_MESSAGE_TEXT_CHARS)
            texts += [message[start : start + MAX_MESSAGE_TEXT_CHARS] for start in starts]
            continue
        joined.append(message)
        joined_bytes += added + 1
    if joined:
        texts.append("\n".join(joined))
    return ChunkDraft(conversation, first, last, max(1, round(size_bytes / BYTES_PER_TOKEN)), texts)
