"""Stored messages: sealed blocks of 500 messages, written in file order and read by message number.

A block is a JSON object of columns, compressed with zstd and sealed under the chat's data key. The context of the seal
names the chat and the block's first message number, so a block that is moved to another chat or number does not open.
No other module depends on where or how messages are stored.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from itertools import accumulate, groupby
from operator import sub
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import zstandard
from django.db.models import Q
from django.utils.functional import cached_property

from chats.exports.parsed import Batch, Details, MediaKind, Message, Reaction, writable
from chats.models import Chat, TranscriptBlock
from chats.projection import Projection
from relivchats.crypto import DataKey

BLOCK_MESSAGES = 500
DAY_SECONDS = 86_400
ZSTD_LEVEL = 3

#: The columns of a block for COPY, and their types.
BLOCK_TYPES = {
    "chat_id": "uuid",
    "first_number": "int4",
    "last_number": "int4",
    "min_day": "int4",
    "max_day": "int4",
    "sealed": "bytea",
}

#: A query returns about 0.4 MB of blocks.
MAX_BLOCKS_PER_QUERY = 40
#: The blocks that one reader keeps open: 32,000 messages.
MAX_CACHED_BLOCKS = 64


class SealedBlock(NamedTuple):
    """A block, as it is stored: the numbers of its first and last message, its earliest and latest day, its bytes."""

    first_number: int
    last_number: int
    min_day: int
    max_day: int
    sealed: bytes


def count_bytes(blocks: Iterable[SealedBlock]) -> int:
    """Return the number of sealed bytes of these blocks."""
    return sum(len(block.sealed) for block in blocks)


#: The number of a block's first message, and its bytes.
StoredBlock = tuple[int, bytes]


def chat_context(chat_id: UUID) -> str:
    """Return the first part of the seal context of every block of a chat."""
    return f"chat:{chat_id}"


def _block_context(context: str, first_number: int) -> str:
    return f"{context}:block:{first_number}"


class BlockSealer:
    """Seals messages into blocks: accepts batches of any length, yields blocks of BLOCK_MESSAGES.

    `context` is the chat's `chat_context`. `digest` is the SHA-256 of the packed blocks, so equal messages have equal
    digests under any key, whatever their details. The digest is stored (as an HMAC): do not change how the columns are
    packed.
    """

    def __init__(self, key: DataKey, context: str) -> None:
        self.digest = hashlib.sha256()
        self._key = key
        self._context = context
        self._compressor = zstandard.ZstdCompressor(level=ZSTD_LEVEL)
        self._blocks: list[SealedBlock] = []
        self._rest: Batch | None = None

    def add(self, batch: Batch) -> None:
        """Seal all blocks that are complete now. Raise ValueError if the batch does not follow the previous one."""
        if self._rest is not None:
            batch = self._rest.followed_by(batch)
        full = len(batch) - len(batch) % BLOCK_MESSAGES
        for start in range(0, full, BLOCK_MESSAGES):
            self._seal(batch.slice(start, start + BLOCK_MESSAGES))
        self._rest = batch.slice(full, len(batch)) if full < len(batch) else None

    def finish(self) -> list[SealedBlock]:
        """Seal the remaining messages as a shorter block and return all blocks."""
        if self._rest is not None:
            self._seal(self._rest)
            self._rest = None
        return self._blocks

    def _seal(self, block: Batch) -> None:
        columns = {
            # Differences are small and repeat: they compress to a third of the size of the timestamps.
            "seconds": [block.seconds[0], *map(sub, block.seconds[1:], block.seconds)],
            "senders": block.senders,
            "kinds": block.kinds,
            "texts": block.texts,
            "edited": sorted(block.edited),
        }
        try:
            packed = orjson.dumps(columns)
        except orjson.JSONEncodeError:
            # A lone surrogate is not UTF-8. Checking every text first costs more than packing such a block twice.
            packed = orjson.dumps(columns | {"texts": list(map(writable, block.texts))})
        self.digest.update(packed)
        if details := _packed_details(block):
            packed = packed[:-1] + b"," + orjson.dumps(details)[1:]
        context = _block_context(self._context, block.first_number)
        sealed = self._key.seal(self._compressor.compress(packed), context=context)
        last_number = block.first_number + len(block) - 1
        min_day, max_day = (seconds // DAY_SECONDS for seconds in (min(block.seconds), max(block.seconds)))
        self._blocks.append(SealedBlock(block.first_number, last_number, min_day, max_day, sealed))


def open_block(key: DataKey, context: str, *, first_number: int, sealed: bytes | memoryview) -> Batch:
    """Return the messages of a block. Raise CannotOpen if it was changed, or sealed for another chat or number."""
    packed = zstandard.decompress(key.open(sealed, context=_block_context(context, first_number)))
    columns = orjson.loads(packed)
    return Batch(
        first_number,
        list(accumulate(columns["seconds"])),
        columns["senders"],
        columns["kinds"],
        columns["texts"],
        frozenset(columns["edited"]),
        {position: _unpacked(*values) for position, *values in columns.get("details", ())},
        [offset for offset, count in columns["utc_offsets"] for _ in range(count)]
        if "utc_offsets" in columns
        else None,
    )


def _packed_details(block: Batch) -> dict[str, Any]:
    """Return what a block stores besides its columns; empty for most blocks, and for all of earlier versions."""
    packed: dict[str, Any] = {}
    if block.details:
        packed["details"] = [
            [position, *details[:-1], [list(reaction) for reaction in details.reactions]]
            for position, details in sorted(block.details.items())
        ]
    if block.utc_offsets is not None:
        packed["utc_offsets"] = [[offset, len(list(same))] for offset, same in groupby(block.utc_offsets)]
    return packed


def _unpacked(media: str | None, *others: Any) -> Details:
    """Return the details that `_packed_details` stored."""
    details = Details(MediaKind(media) if media else None, *others)
    return details._replace(
        reactions=tuple(Reaction(emoji, total, tuple(who)) for emoji, total, who in details.reactions)
    )


def _limit_to(batch: Batch, first: int, last: int) -> Batch:
    """Return the messages of the batch whose numbers are from `first` to `last`."""
    start, stop = max(0, first - batch.first_number), last + 1 - batch.first_number
    return batch if start == 0 and stop >= len(batch) else batch.slice(start, stop)


class TranscriptReader:
    """Reads the messages of one chat and caches the blocks that it opened last. Not thread-safe.

    Messages are returned as their owner sees them (`Chat.projection`), or with `as_stored` with the export's own
    senders and times. Messages that were added after the chat was loaded are not returned: their senders may be
    people whom this `Chat` instance does not know.
    """

    def __init__(self, chat: Chat, *, as_stored: bool = False) -> None:
        self.chat = chat
        self._projection = Projection() if as_stored else chat.projection
        self._cache: OrderedDict[int, Batch] = OrderedDict()

    def batches(self, *, first: int = 1) -> Iterator[Batch]:
        """Yield all messages from number `first`, in order. No transaction or connection is held between batches."""
        starts = self._starts_until_end()
        starts = starts[max(0, bisect_right(starts, first) - 1) :]
        for position in range(0, len(starts), MAX_BLOCKS_PER_QUERY):
            for batch in self._load(starts[position : position + MAX_BLOCKS_PER_QUERY]):
                yield _limit_to(batch, first, self.chat.line_count)

    def batches_between(self, start: int, end: int) -> Iterator[Batch]:
        """Yield the messages with `start` <= seconds < `end` as shown, in order. Only their blocks are opened.

        Blocks of earlier versions do not record their days, so all of them are opened.
        """
        blocks = TranscriptBlock.objects.filter(chat=self.chat.pk, first_number__lte=self.chat.line_count)
        # Stored times differ from shown ones by the offset of the chat's time zone, which is less than a day.
        first_day, last_day = start // DAY_SECONDS - 1, end // DAY_SECONDS + 1
        may_contain = Q(min_day=None) | Q(min_day__lte=last_day, max_day__gte=first_day)
        starts = list(blocks.filter(may_contain).order_by("first_number").values_list("first_number", flat=True))
        for position in range(0, len(starts), MAX_BLOCKS_PER_QUERY):
            for batch in self._load(starts[position : position + MAX_BLOCKS_PER_QUERY]):
                yield _limit_to(batch, 1, self.chat.line_count).between(start, end)

    def samples(self, blocks: int) -> list[Batch]:
        """Return about this many blocks, spread evenly over the transcript, including the last."""
        starts = self._starts_until_end()
        step = max(1, len(starts) // blocks)
        return [_limit_to(batch, 1, self.chat.line_count) for batch in self._load(starts[::-step][:blocks])]

    def messages(self, first: int, last: int) -> list[Message]:
        """Return the messages with the numbers `first` to `last`, inclusive; numbers that do not exist are skipped."""
        messages = self.get(range(max(first, 1), min(last, self.chat.line_count) + 1))
        return [messages[number] for number in sorted(messages)]

    def get(self, numbers: Collection[int]) -> dict[int, Message]:
        """Return messages by number; numbers that do not exist are skipped."""
        numbers_by_start: dict[int, set[int]] = {}
        for number in numbers:
            if 1 <= number <= self.chat.line_count and self._starts:
                start = self._starts[bisect_right(self._starts, number) - 1]
                numbers_by_start.setdefault(start, set()).add(number)
        messages: dict[int, Message] = {}
        for block in self._load_cached(list(numbers_by_start)):
            wanted = numbers_by_start[block.first_number]
            batch = _limit_to(block, min(wanted), max(wanted))
            for message in batch.messages(self.chat.participants):
                if message.number in wanted:
                    messages[message.number] = message
        return messages

    def get_senders(self, numbers: Collection[int]) -> dict[int, int]:
        """Return the senders of messages by number; with `as_stored`, the export's own."""
        wanted = set(numbers)
        starts = sorted({self._starts[bisect_right(self._starts, number) - 1] for number in wanted if number >= 1})
        return {
            number: sender
            for block in self._load_cached(starts)
            for number, sender in enumerate(block.senders, start=block.first_number)
            if number in wanted
        }

    @cached_property
    def _starts(self) -> list[int]:
        """The first message number of every block, in order."""
        blocks = TranscriptBlock.objects.filter(chat=self.chat.pk).order_by("first_number")
        return list(blocks.values_list("first_number", flat=True))

    def _starts_until_end(self) -> list[int]:
        # The chat may have grown since it was loaded.
        return [start for start in self._starts if start <= self.chat.line_count]

    def _load_cached(self, starts: list[int]) -> Iterator[Batch]:
        missing = [start for start in starts if start not in self._cache]
        for start in starts:
            if start in self._cache:
                self._cache.move_to_end(start)
                yield self._cache[start]
        for position in range(0, len(missing), MAX_BLOCKS_PER_QUERY):
            for batch in self._load(missing[position : position + MAX_BLOCKS_PER_QUERY]):
                self._cache[batch.first_number] = batch
                if len(self._cache) > MAX_CACHED_BLOCKS:
                    self._cache.popitem(last=False)
                yield batch

    def _load(self, starts: list[int]) -> list[Batch]:
        rows = TranscriptBlock.objects.filter(chat=self.chat.pk, first_number__in=starts).order_by("first_number")
        key, context = self.chat.key, chat_context(self.chat.pk)
        return [
            self._projection.apply(open_block(key, context, first_number=first_number, sealed=sealed))
            for first_number, sealed in rows.values_list("first_number", "sealed")
        ]


class LoadedTranscript(TranscriptReader):
    """Reads the stored messages of a chat whose blocks are in memory, such as in a process without a database."""

    def __init__(self, chat: Chat, blocks: list[StoredBlock]) -> None:
        super().__init__(chat, as_stored=True)
        self._blocks = dict(blocks)

    @cached_property
    def _starts(self) -> list[int]:
        return sorted(self._blocks)

    def _load(self, starts: list[int]) -> list[Batch]:
        key, context = self.chat.key, chat_context(self.chat.pk)
        return [open_block(key, context, first_number=start, sealed=self._blocks[start]) for start in starts]


def load_blocks(chat: Chat) -> list[StoredBlock]:
    """Return all blocks of a chat, still sealed: 15 MB for a million messages."""
    blocks = TranscriptBlock.objects.filter(chat=chat.pk, first_number__lte=chat.line_count)
    return [(number, bytes(sealed)) for number, sealed in blocks.values_list("first_number", "sealed")]


def read_page(chat: Chat, *, after: int = 0, limit: int) -> list[Message]:
    """Return up to `limit` messages that follow number `after`. Only the blocks that contain them are read."""
    return TranscriptReader(chat).messages(after + 1, after + limit)
