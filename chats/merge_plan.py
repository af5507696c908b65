"""Decide what a chat contains after the new messages of a newer export are added. No database.

For a large chat this takes seconds, so it runs in a process of its own, like the parsing of a large upload.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from chats import people
from chats.counting import ChatCounter, in_large_batches
from chats.exports.parsed import SYSTEM_SENDER, Batch, Detail, Details
from chats.models import Chat
from chats.overlap import LineIndex, Overlap
from chats.parsing import ParseReport
from chats.people import People, Person, default_title
from chats.projection import Projection
from chats.sealed_export import SealedExport
from chats.transcript import BLOCK_MESSAGES, BlockSealer, LoadedTranscript, SealedBlock, StoredBlock, chat_context


class PreparedMerge(NamedTuple):
    """What to store: new values of the chat's columns, and the blocks that replace those from the first one on.

    Both are empty if the chat has all messages. The counts are without system lines.
    """

    columns: dict[str, Any]
    blocks: list[SealedBlock]
    new_messages: int
    older_messages: int


@dataclass(frozen=True)
class MergePlan:
    """What the chat will contain. `export_names` and `chosen_people` are the chat's, including the people who joined.

    `stored_senders` maps a sender of the upload to a sender of the chat. Its last item is SYSTEM_SENDER, which is -1
    and so maps to itself. `stored_numbers` maps a number in the upload to a number in the chat, or to 0.
    """

    chat: Chat
    sealed: SealedExport
    overlap: Overlap
    stored_senders: list[int]
    stored_numbers: list[int]
    export_names: list[str]
    chosen_people: list[Person]

    def new_batches(self) -> Iterator[Batch]:
        """Yield the new lines with the chat's senders, numbered from the chat's last number on."""
        number = self.chat.line_count + 1
        for batch in self.sealed.batches():
            start = batch.first_number - 1
            lines = np.flatnonzero(self.overlap.is_new[start : start + len(batch)]).tolist()
            if not lines:
                continue
            utc_offsets = batch.utc_offsets
            yield Batch(
                number,
                [batch.seconds[line] for line in lines],
                [self.stored_senders[batch.senders[line]] for line in lines],
                [batch.kinds[line] for line in lines],
                [batch.texts[line] for line in lines],
                frozenset(position for position, line in enumerate(lines) if line in batch.edited),
                {
                    position: self._stored(batch.details[line])
                    for position, line in enumerate(lines)
                    if line in batch.details
                },
                None if utc_offsets is None else [utc_offsets[line] for line in lines],
            )
            number += len(lines)

    def _stored(self, details: Details) -> Details:
        """Return the details with the chat's numbers, senders and names."""
        if details.reply_to is not None:
            details = details._replace(
                reply_to=self.stored_numbers[details.reply_to],
                reply_to_sender=self.stored_senders[details.reply_to_sender],
            )
        return details.with_names(self.stored_names)

    @cached_property
    def stored_names(self) -> dict[str, str]:
        """The chat's export name of each person of the upload whom the chat knows, by the upload's name."""
        pairs = zip(self.sealed.participants, self.stored_senders, strict=False)
        return {name: self.export_names[sender] for name, sender in pairs if sender != SYSTEM_SENDER}


def prepare(chat: Chat, sealed: SealedExport, stored: list[StoredBlock], report: ParseReport) -> PreparedMerge | None:
    """Return what to store, or None if the upload and the chat have too few messages in common.

    `stored` are all blocks of the chat. The report gets the seconds of each stage.
    """
    transcript = LoadedTranscript(chat, stored)
    newer = LineIndex.from_batches(sealed.batches())
    overlap = Overlap.compare(stored=LineIndex.from_batches(transcript.batches()), newer=newer)
    report.end_stage("compare")
    if not overlap.is_same_chat(shares_a_name=not set(chat.export_names).isdisjoint(sealed.participants)):
        return None
    if not overlap.is_new.any():
        return PreparedMerge({}, [], 0, overlap.older_messages)
    plan = _assign_senders(chat, sealed, overlap)
    columns = _merged_columns(plan, transcript)
    report.end_stage("count")

    # The chat's last block may be shorter than BLOCK_MESSAGES. It is sealed again together with the new messages.
    first_number = chat.line_count + 1 - chat.line_count % BLOCK_MESSAGES
    sealer = BlockSealer(chat.key, chat_context(chat.pk))
    if first_number <= chat.line_count:
        for batch in transcript.batches(first=first_number):
            sealer.add(batch)
    for batch in plan.new_batches():
        sealer.add(batch)
    blocks = sealer.finish()
    report.end_stage("seal")
    return PreparedMerge(columns, blocks, overlap.new_messages, overlap.older_messages)


def prepare_packed(content: bytes, report: ParseReport) -> PreparedMerge | None:
    """Do the same for the pickled first three arguments, in a child process."""
    chat, sealed, stored = pickle.loads(content)  # noqa: S301 - from our own process
    return prepare(chat, sealed, stored, report)


def _assign_senders(chat: Chat, sealed: SealedExport, overlap: Overlap) -> MergePlan:
    """Decide who wrote the new messages: by the messages that both exports have, and else by name.

    A name that is new to the chat becomes another name of the person who wrote the same messages, or a new person.
    """
    export_names, chosen_people = list(chat.export_names), chat.chosen_people
    sender_by_name = {name: sender for sender, name in enumerate(export_names)}
    matches = overlap.match_senders()
    # People without new messages can only be the senders of messages that new ones reply to.
    stored_senders = [matches.newer_to_stored.get(sender, SYSTEM_SENDER) for sender in range(len(sealed.participants))]
    for sender in sorted(set(overlap.newer.senders[overlap.is_new].tolist()) - {SYSTEM_SENDER}):
        name = sealed.participants[sender]
        by_name, by_messages = sender_by_name.get(name), matches.find_stored(sender)
        if by_name is not None and matches.can_be_same(sender, by_name):
            stored_senders[sender] = by_name
        elif by_name is not None and by_messages is not None:
            stored_senders[sender] = by_messages
        else:
            if by_name is not None:
                # Somebody else in the chat has this name: the contact was renamed, and another took over its name.
                name = people.unique_name(name, taken={*export_names, *sealed.participants})
            stored_senders[sender] = len(export_names)
            export_names.append(name)
            if by_messages is None:
                chosen_people = people.add_person(chosen_people, export_names=export_names)
            else:
                shown = chat.participants[chat.people.person_of_sender[by_messages]]
                known_name = chat.export_names[by_messages]
                chosen_people = people.add_alias(chosen_people, alias=name, export_name=known_name, shown_name=shown)
    stored_numbers = [0]
    if Detail.REPLIES in sealed.export.records:
        stored_numbers += overlap.stored_numbers(first_new=chat.line_count + 1)
    return MergePlan(
        chat,
        sealed,
        overlap,
        [*stored_senders, SYSTEM_SENDER],
        stored_numbers,
        export_names,
        chosen_people,
    )


def _merged_columns(plan: MergePlan, transcript: LoadedTranscript) -> dict[str, Any]:
    """Return the new values of the chat's columns. All messages are counted again, stored and new."""
    chat, overlap, key = plan.chat, plan.overlap, plan.chat.key
    who = People.resolve(plan.export_names, chosen=plan.chosen_people)
    counter = ChatCounter(
        Projection.for_people(who, export_names=plan.export_names, clock=chat.clock, time_zone=chat.time_zone)
    )
    for batch in in_large_batches(chain(transcript.batches(), plan.new_batches())):
        counter.add(batch)

    has_default_title = chat.title == default_title(chat.participants)
    title = default_title(who.names) if has_default_title else chat.title
    # A figure about all messages needs the details of all of them.
    recorded = sorted(plan.sealed.export.records.intersection(chat.recorded_details))
    sealed_people = None
    if plan.chosen_people:
        sealed_people = key.seal(orjson.dumps(plan.chosen_people), context=chat.context("people"))
    return {
        "message_count": chat.message_count + overlap.new_messages,
        "line_count": chat.line_count + int(np.count_nonzero(overlap.is_new)),
        "participant_count": len(who.names),
        "ambiguous_dates": chat.ambiguous_dates and plan.sealed.export.ambiguous_dates,
        "sealed_title": key.seal(title.encode(), context=chat.context("title")),
        "sealed_participants": key.seal(orjson.dumps(plan.export_names), context=chat.context("participants")),
        "sealed_people": sealed_people,
        "unreadable_count": max(chat.unreadable_count, plan.sealed.export.n_unreadable),
        "future_count": max(chat.future_count, plan.sealed.export.n_future),
        **counter.columns(chat, who.names, recorded=recorded),
        "recorded_details": recorded,
    }
