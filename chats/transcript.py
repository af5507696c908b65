"""Messages at rest: sealed blocks of 500, written in file order and read by message number.

A block is a JSON object of columns (`seconds` as steps from the one before),
packed by zstd and sealed under the chat's key for its place, so that a block
opens only as the one that begins with its number in its chat. No other module
knows where or how messages lie.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate
from operator import sub
from typing import Protocol

import orjson
import zstandard
from django.utils.functional import cached_property

from chats.exports.parsed import Batch, Message, writable
from chats.models import Chat, TranscriptBlock
from chats.projection import Projection
from relivchats.crypto import DataKey

BLOCK_MESSAGES = 500
ZSTD_LEVEL = 3

#: A block's columns, for COPY.
BLOCK_TYPES = {"chat_id": "uuid", "first_number": "int4", "last_number": "int4", "sealed": "bytea"}

_BLOCKS_A_QUERY = 40
_BLOCKS_KEPT = 64


SealedBlock = tuple[int, int, bytes]


class Digest(Protocol):
    def update(self, content: bytes, /) -> None: ...


def seal_batches(
    key: DataKey, chat_context: str, batches: Iterable[Batch], *, digest: Digest | None = None
) -> Iterator[SealedBlock]:
    """First number, last number and sealed bytes of each block; batches may be of any length.

    `digest` is shown all that is sealed: equal messages make equal digests.
    """
    compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
    for block in _blocks(batches):
        columns = _pack(block)
        if digest is not None:
            digest.update(columns)
        sealed = key.seal(compressor.compress(columns), context=_context(chat_context, block.first_number))
        yield block.first_number, block.first_number + len(block) - 1, sealed


def open_block(key: DataKey, chat_context: str, *, first_number: int, sealed: bytes | memoryview) -> Batch:
    """Raises CannotOpen when the block was changed, or sealed for another chat or place."""
    packed = key.open(sealed, context=_context(chat_context, first_number))
    return _unpack(zstandard.decompress(packed), first_number)


def _context(chat_context: str, first_number: int) -> str:
    return f"{chat_context}:block:{first_number}"


def _blocks(batches: Iterable[Batch]) -> Iterator[Batch]:
    """The same messages in blocks of BLOCK_MESSAGES, whatever the batches' lengths."""
    rest: Batch | None = None
    for batch in batches:
        joined = batch if rest is None else _joined(rest, batch)
        full = len(joined) - len(joined) % BLOCK_MESSAGES
        for start in range(0, full, BLOCK_MESSAGES):
            yield _slice(joined, start, start + BLOCK_MESSAGES)
        rest = _slice(joined, full, len(joined)) if full < len(joined) else None
    if rest is not None:
        yield rest


def _joined(one: Batch, other: Batch) -> Batch:
    if other.first_number != one.first_number + len(one):
        raise ValueError(f"message {other.first_number} follows {one.first_number + len(one) - 1}")
    return Batch(
        one.first_number,
        one.seconds + other.seconds,
        one.senders + other.senders,
        one.kinds + other.kinds,
        one.texts + other.texts,
        one.edited | {len(one) + position for position in other.edited},
    )


def _slice(batch: Batch, start: int, stop: int) -> Batch:
    return Batch(
        batch.first_number + start,
        batch.seconds[start:stop],
        batch.senders[start:stop],
        batch.kinds[start:stop],
        batch.texts[start:stop],
        frozenset(position - start for position in batch.edited if start <= position < stop),
    )


def _between(batch: Batch, first: int, last: int) -> Batch:
    """The messages of the batch that are numbered first to last."""
    start, stop = max(0, first - batch.first_number), last + 1 - batch.first_number
    return batch if start == 0 and stop >= len(batch) else _slice(batch, start, stop)


def _pack(block: Batch) -> bytes:
    columns = {
        # Steps are small numbers and repeat, which packs to a third of the instants.
        "seconds": [block.seconds[0], *map(sub, block.seconds[1:], block.seconds)],
        "senders": block.senders,
        "kinds": block.kinds,
        "texts": block.texts,
        "edited": sorted(block.edited),
    }
    try:
        return orjson.dumps(columns)
    except orjson.JSONEncodeError:
        return orjson.dumps(columns | {"texts": list(map(writable, block.texts))})


def _unpack(packed: bytes, first_number: int) -> Batch:
    columns = orjson.loads(packed)
    return Batch(
        first_number,
        list(accumulate(columns["seconds"])),
        columns["senders"],
        columns["kinds"],
        columns["texts"],
        frozenset(columns["edited"]),
    )


class TranscriptReader:
    """The transcript of one chat; keeps the blocks it opened last. For one thread.

    Messages are read as the chat's owner wants to see them (`Chat.projection`), or `as_stored`: with the
    export's own senders and instants. Those that were added to the chat since it was loaded are not seen.
    """

    def __init__(self, chat: Chat, *, as_stored: bool = False) -> None:
        self.chat = chat
        self._projection = Projection() if as_stored else chat.projection
        self._kept: OrderedDict[int, Batch] = OrderedDict()

    def batches(self, *, first: int = 1) -> Iterator[Batch]:
        """All messages in order, from the number `first`. Holds no transaction or connection between two batches."""
        firsts = [number for number in self._firsts if number <= self.chat.line_count]
        firsts = firsts[max(0, bisect_right(firsts, first) - 1) :]
        for start in range(0, len(firsts), _BLOCKS_A_QUERY):
            for batch in self._opened(firsts[start : start + _BLOCKS_A_QUERY]):
                yield _between(batch, first, self.chat.line_count)

    def samples(self, blocks: int) -> list[Batch]:
        """Some blocks from all over the transcript, the last among them."""
        firsts = [number for number in self._firsts if number <= self.chat.line_count]
        step = max(1, len(firsts) // blocks)
        return [_between(batch, 1, self.chat.line_count) for batch in self._opened(firsts[::-step][:blocks])]

    def messages(self, first: int, last: int) -> list[Message]:
        """Messages numbered first to last, both included, as far as there are such."""
        last = min(last, self.chat.line_count)
        read = self.get(range(max(first, 1), last + 1))
        return [read[number] for number in sorted(read)]

    def get(self, numbers: Collection[int]) -> dict[int, Message]:
        """The messages with these numbers; a number that no message has is left out."""
        wanted: dict[int, set[int]] = {}
        for number in numbers:
            if 1 <= number <= self.chat.line_count and self._firsts:
                first = self._firsts[bisect_right(self._firsts, number) - 1]
                wanted.setdefault(first, set()).add(number)
        found: dict[int, Message] = {}
        for batch in self._blocks_of(list(wanted)):
            numbers_here = wanted[batch.first_number]
            start, stop = min(numbers_here) - batch.first_number, max(numbers_here) - batch.first_number + 1
            read = _slice(batch, start, stop).messages(self.chat.participants)
            found.update((message.number, message) for message in read if message.number in numbers_here)
        return found

    @cached_property
    def _firsts(self) -> list[int]:
        blocks = TranscriptBlock.objects.filter(chat=self.chat.pk).order_by("first_number")
        return list(blocks.values_list("first_number", flat=True))

    def _blocks_of(self, firsts: list[int]) -> Iterator[Batch]:
        missing = [first for first in firsts if first not in self._kept]
        for first in firsts:
            if first in self._kept:
                self._kept.move_to_end(first)
                yield self._kept[first]
        for start in range(0, len(missing), _BLOCKS_A_QUERY):
            for batch in self._opened(missing[start : start + _BLOCKS_A_QUERY]):
                self._keep(batch)
                yield batch

    def _opened(self, firsts: list[int]) -> list[Batch]:
        rows = TranscriptBlock.objects.filter(chat=self.chat.pk, first_number__in=firsts).order_by("first_number")
        return [
            self._projection.apply(
                open_block(self.chat.key, context_of(self.chat), first_number=first_number, sealed=sealed)
            )
            for first_number, sealed in rows.values_list("first_number", "sealed")
        ]

    def _keep(self, batch: Batch) -> None:
        self._kept[batch.first_number] = batch
        if len(self._kept) > _BLOCKS_KEPT:
            self._kept.popitem(last=False)


def read_page(chat: Chat, *, after: int = 0, limit: int) -> list[Message]:
    """Up to `limit` messages that follow the one numbered `after`, read from the blocks that hold them."""
    return TranscriptReader(chat).messages(after + 1, after + limit)


def context_of(chat: Chat) -> str:
    return f"chat:{chat.pk}"
