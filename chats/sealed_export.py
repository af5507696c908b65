"""An export that was read to its end and sealed. Memory holds the compressed blocks, never all messages at once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID, uuid4

import orjson

from chats.exports.errors import OnlySystemMessages
from chats.exports.parsed import Batch, ParsedExport
from chats.transcript import BlockSealer, SealedBlock, chat_context, open_block
from relivchats.crypto import DataKey, new_data_key


@dataclass(frozen=True)
class SealedExport:
    """An export sealed under its own data key, for the id that it will have if it becomes a new chat.

    `participants` are the export's names in order of first appearance. `digest` identifies the content: the same
    messages from the same people on the same platform have the same digest.
    """

    export: ParsedExport
    chat_id: UUID
    key: DataKey
    blocks: list[SealedBlock]
    participants: list[str]
    digest: bytes

    @property
    def line_count(self) -> int:
        """Return the number of messages and system lines."""
        return self.blocks[-1].last_number

    def batches(self) -> Iterator[Batch]:
        """Yield all messages again, one block at a time."""
        context = chat_context(self.chat_id)
        for block in self.blocks:
            yield open_block(self.key, context, first_number=block.first_number, sealed=block.sealed)


class ExportSealer:
    """Seals an export while it is read: call `add` with every batch, then `finish`."""

    def __init__(self, export: ParsedExport) -> None:
        self._export = export
        self._chat_id = uuid4()
        self._key = new_data_key()
        self._blocks = BlockSealer(self._key, chat_context(self._chat_id))

    def add(self, batch: Batch) -> None:
        """Seal the messages of one batch."""
        self._blocks.add(batch)

    def finish(self) -> SealedExport:
        """Return the sealed export. Raise OnlySystemMessages if no person sent a message."""
        blocks = self._blocks.finish()
        # The counts and the names of an export are complete once all its batches were read.
        if not self._export.n_messages:
            raise OnlySystemMessages
        participants = list(self._export.participants)
        digest = self._blocks.digest.copy()
        digest.update(orjson.dumps([self._export.platform, participants]))
        return SealedExport(self._export, self._chat_id, self._key, blocks, participants, digest.digest())
