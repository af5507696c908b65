"""A newer export of a chat that is here: what is new in it is added, and every message keeps its number."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson
from django.db import transaction

from chats import deduplication, indexing, people
from chats.bulk_copy import copy_rows
from chats.exports.parsed import SYSTEM_SENDER, Batch
from chats.models import Chat, ChatUpload, TranscriptBlock
from chats.overlap import Overlap, Trace
from chats.people import People, Person, default_title
from chats.projection import Projection
from chats.sealed_export import SealedExport, Span
from chats.statistics import StatisticsCounter
from chats.transcript import BLOCK_MESSAGES, BLOCK_TYPES, SealedBlock, TranscriptReader, context_of, seal_batches
from chats.upload_log import UploadLog
from relivchats.errors import Conflict, NotFound

_TRIES = 3
_NAMES = {"whatsapp": "WhatsApp", "telegram": "Telegram", "instagram": "Instagram"}
_ALONE = "Leave out `extend` to make a chat of its own of it."


class NotThisChat(Conflict):
    """Too few of the upload's messages stand in the chat that it should extend."""

    title = "This is not an export of that chat"


class ChatChanges(Conflict):
    title = "The chat is being changed"


class Extension(NamedTuple):
    """`added` new messages, and how many that the chat lacks from before its last were left out."""

    chat: Chat
    added: int
    older_left_out: int
    added_lines: int = 0


@dataclass(frozen=True)
class _Plan:
    """What the chat becomes. `senders` leads from the upload's senders to the chat's; its last place is for nobody."""

    chat: Chat
    received: SealedExport
    overlap: Overlap
    senders: list[int]
    export_names: list[str]
    chosen: list[Person]

    @property
    def people(self) -> People:
        return People.resolve(self.export_names, chosen=self.chosen)

    def fresh(self) -> Iterator[Batch]:
        """The new lines, numbered after the chat's last."""
        number = self.chat.line_count + 1
        for batch in self.received.batches():
            start = batch.first_number - 1
            chosen = np.flatnonzero(self.overlap.fresh[start : start + len(batch)]).tolist()
            if chosen:
                yield self._added(batch, chosen, number)
                number += len(chosen)

    def _added(self, batch: Batch, chosen: Sequence[int], first_number: int) -> Batch:
        return Batch(
            first_number,
            [batch.seconds[place] for place in chosen],
            [self.senders[batch.senders[place]] for place in chosen],
            [batch.kinds[place] for place in chosen],
            [batch.texts[place] for place in chosen],
            frozenset(place for place, before in enumerate(chosen) if before in batch.edited),
        )


def merge_export(chat: Chat, received: SealedExport, receipt: UploadLog) -> Extension:
    """Add what is new. Raises NotThisChat, NotFound when the chat was deleted meanwhile, and ChatChanges when others
    change it all the time."""
    if received.export.platform != chat.platform:
        raise NotThisChat(
            f"It comes from {_NAMES[received.export.platform]}, and that chat from {_NAMES[chat.platform]}. {_ALONE}"
        )
    newer = Trace.of(received.batches())
    for _ in range(_TRIES):
        overlap = Overlap.of(stored=deduplication.stored_trace(chat), newer=newer)
        if not overlap.is_of_one_chat(share_a_name=deduplication.share_a_name(chat, received)):
            raise NotThisChat(_advice(_as_it_is(chat), received))
        if not overlap.fresh.any():
            return Extension(chat, 0, overlap.older_messages)
        receipt.lap("compare")
        plan = _plan(chat, received, overlap)
        columns = _columns(plan)
        receipt.lap("count")
        first, blocks = _sealed(plan)
        receipt.lap("seal")
        if _write(plan, first, blocks, receipt=receipt, **columns):
            grown = _as_it_is(chat)
            lines = grown.line_count - chat.line_count
            return Extension(grown, overlap.fresh_messages, overlap.older_messages, lines)
        # Somebody changed the chat meanwhile, perhaps by this very file: look again.
        chat = _as_it_is(chat)
    raise ChatChanges("Others are changing this chat just now. Send the file again in a moment.")


def _as_it_is(chat: Chat) -> Chat:
    found = Chat.objects.filter(pk=chat.pk).first()
    if found is None:
        raise NotFound(
            "The chat that `extend` names was deleted just now. Leave out `extend` to make a chat of the file."
        )
    return found


def _advice(chat: Chat, received: SealedExport) -> str:
    if chat.date_order != received.export.date_order:
        return (
            f"Its dates are read as {received.export.date_order}, and that chat's as {chat.date_order}. If it is the"
            " same chat, send the file with separate=true and delete the one whose dates are wrong."
        )
    return f"Too few of its messages stand in that chat. {_ALONE}"


def _plan(chat: Chat, received: SealedExport, overlap: Overlap) -> _Plan:
    """Who wrote the new messages, by what both exports have of them, and by the name where nothing speaks against it.

    A name that is new to the chat joins it: as another name of the person who wrote the same messages, or as a new one.
    """
    names, chosen = list(chat.export_names), chat.chosen_people
    numbers = {name: number for number, name in enumerate(names)}
    known = overlap.senders()
    senders = [0] * len(received.participants)
    for sender in sorted(set(overlap.newer.senders[overlap.fresh].tolist()) - {SYSTEM_SENDER}):
        name = received.participants[sender]
        number, same = numbers.get(name), known.same(sender)
        if number is not None and known.agree(sender, number):
            senders[sender] = number
        elif number is not None and same is not None:
            senders[sender] = same
        else:
            senders[sender] = len(names)
            names.append(name if number is None else people.unique_name(name, taken={*names, *received.participants}))
            chosen = _joined(chat, chosen, names, same)
    return _Plan(chat, received, overlap, [*senders, SYSTEM_SENDER], names, chosen)


def _joined(chat: Chat, chosen: list[Person], names: list[str], same: int | None) -> list[Person]:
    """The choice when the last of `names` joins, as a name of the chat's sender `same` or as somebody's own."""
    if same is None:
        return people.add_person(chosen, export_names=names)
    shown = chat.participants[chat.people.person_of_sender[same]]
    return people.add_alias(chosen, alias=names[-1], of=chat.export_names[same], shown=shown)


def _columns(plan: _Plan) -> dict[str, Any]:
    """The chat's columns as they will be; every message is counted again."""
    chat, who = plan.chat, plan.people
    projection = Projection.for_people(who, clock=chat.clock, time_zone=chat.time_zone)
    statistics, span = StatisticsCounter(), Span()
    for batch in chain(TranscriptReader(chat, as_stored=True).batches(), plan.fresh()):
        read = projection.apply(batch)
        statistics.add(read)
        span.add(read)
    first, last = span.days
    title = default_title(who.names) if chat.title == default_title(chat.participants) else chat.title
    key = chat.key
    return {
        "message_count": chat.message_count + plan.overlap.fresh_messages,
        "line_count": chat.line_count + int(np.count_nonzero(plan.overlap.fresh)),
        "participant_count": len(who.names),
        "first_message_on": first,
        "last_message_on": last,
        "ambiguous_dates": chat.ambiguous_dates and plan.received.export.ambiguous_dates,
        "sealed_title": key.seal(title.encode(), context=chat.context("title")),
        "sealed_participants": key.seal(orjson.dumps(plan.export_names), context=chat.context("participants")),
        "sealed_people": key.seal(orjson.dumps(plan.chosen), context=chat.context("people")) if plan.chosen else None,
        "sealed_statistics": key.seal(orjson.dumps(statistics.result(who.names)), context=chat.context("statistics")),
    }


@transaction.atomic
def _write(plan: _Plan, first: int, blocks: list[SealedBlock], *, receipt: UploadLog, **columns: Any) -> bool:
    """False when the chat changed since the columns were made."""
    chat = plan.chat
    unchanged = Chat.objects.select_for_update(no_key=True).unchanged_since(chat)
    if unchanged.only("pk").first() is None:
        return False
    TranscriptBlock.objects.filter(chat=chat.pk, first_number__gte=first).delete()
    copy_rows("transcript_blocks", BLOCK_TYPES, ((chat.pk, *block) for block in blocks))
    Chat.objects.filter(pk=chat.pk).update(**columns)
    indexing.request_rest(chat.pk, first_number=chat.line_count + 1)
    receipt.accept(
        ChatUpload.Outcome.EXTENDED,
        chat=chat,
        messages=plan.overlap.fresh_messages,
        older_left_out=plan.overlap.older_messages,
        content_fingerprint=deduplication.fingerprints(chat.owner, plan.received)[0],
    )
    return True


def _sealed(plan: _Plan) -> tuple[int, list[SealedBlock]]:
    """The new lines' blocks, the first of which takes over what a last block with room held."""
    chat = plan.chat
    room = chat.line_count % BLOCK_MESSAGES
    first = chat.line_count + 1 - room
    kept = TranscriptReader(chat, as_stored=True).batches(first=first) if room else iter(())
    return first, list(seal_batches(chat.key, context_of(chat), chain(kept, plan.fresh())))
