"""An export that was read to its end: sealed batch by batch, so that memory holds the packed messages only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID, uuid4

import orjson

from chats.exports.parsed import Batch, Kind, ParsedExport, wall_clock
from chats.exports.refusals import OnlySystemMessages
from chats.transcript import SealedBlock, open_block, seal_batches
from relivchats.crypto import DataKey, new_data_key


@dataclass
class SealedExport:
    """`blocks` are sealed for the chat `chat_id`, should it become one; `digest` tells equal contents."""

    export: ParsedExport
    chat_id: UUID = field(default_factory=uuid4)
    key: DataKey = field(default_factory=new_data_key)
    blocks: list[SealedBlock] = field(default_factory=list)
    participants: list[str] = field(default_factory=list)
    digest: bytes = b""

    @classmethod
    def of(cls, export: ParsedExport, batches: Iterable[Batch], *, each: Callable[[Batch], None]) -> SealedExport:
        """Read `batches`, the export's, and show them to `each`. Raises ExportRefused."""
        received, digest = cls(export), hashlib.sha256()
        shown = _shown(batches, each)
        received.blocks = list(seal_batches(received.key, received.context, shown, digest=digest))
        if not export.n_messages:
            raise OnlySystemMessages
        received.participants = list(export.participants)
        digest.update(orjson.dumps([export.platform, received.participants]))
        received.digest = digest.digest()
        return received

    @property
    def context(self) -> str:
        return f"chat:{self.chat_id}"

    @property
    def line_count(self) -> int:
        return self.blocks[-1][1]

    def batches(self) -> Iterator[Batch]:
        """All messages once more, a block at a time."""
        for first, _, sealed in self.blocks:
            yield open_block(self.key, self.context, first_number=first, sealed=sealed)


def _shown(batches: Iterable[Batch], each: Callable[[Batch], None]) -> Iterator[Batch]:
    for batch in batches:
        each(batch)
        yield batch


@dataclass
class Span:
    """The instants of the first and last message of a person, in wall-clock seconds."""

    first: int | None = None
    last: int = 0

    def add(self, batch: Batch) -> None:
        seconds = batch.seconds
        if Kind.SYSTEM in batch.kinds:
            pairs = zip(batch.seconds, batch.kinds, strict=True)
            seconds = [instant for instant, kind in pairs if kind != Kind.SYSTEM]
        if seconds:
            first, last = min(seconds), max(seconds)
            self.first = first if self.first is None else min(self.first, first)
            self.last = max(self.last, last)

    @property
    def days(self) -> tuple[date, date]:
        """Of the first and the last message; there must be one."""
        assert self.first is not None
        return wall_clock(self.first).date(), wall_clock(self.last).date()
