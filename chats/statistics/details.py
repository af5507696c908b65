"""Counts of what an export says about messages besides their texts: media, durations, forwards, replies, reactions."""

from __future__ import annotations

from collections import Counter, defaultdict
from heapq import heappushpop
from typing import NamedTuple

import numpy as np

from chats.exports.parsed import SYSTEM_SENDER, Batch, MediaKind, MessageKind
from chats.statistics.sparse_counts import CountTable

#: Messages with the most reactions that are kept.
MAX_REACTED_MESSAGES = 10
#: Characters of a message with many reactions that the figures quote.
MAX_EXCERPT_CHARS = 500


class ReactedMessage(NamedTuple):
    """A message with reactions. Of two messages, the greater has more reactions, or was sent earlier."""

    reactions: int
    minus_number: int
    person: int
    sent_at: int
    excerpt: str
    emoji: str


class DetailCounter:
    """Counts details by person. Takes batches in file order."""

    def __init__(self) -> None:
        self.totals = CountTable(
            *(kind.value for kind in MediaKind),
            *("call_seconds", "voice_seconds", "forwards", "replies_sent", "replies_received", "reactions_received"),
        )
        #: By the sender of a reply and of the message that it answers.
        self.replies: Counter[tuple[int, int]] = Counter()
        self.reactions: Counter[str] = Counter()
        #: By name: people can react who write nothing.
        self.reactions_given: Counter[str] = Counter()
        self.top_reacted: list[ReactedMessage] = []

    def add(self, batch: Batch) -> None:
        """Count the details of the messages that people sent."""
        amounts: defaultdict[str, Counter[int]] = defaultdict(Counter)
        for position, details in batch.details.items():
            person = batch.senders[position]
            if person == SYSTEM_SENDER:
                continue
            if details.media is not None:
                amounts[details.media][person] += 1
            if details.duration_seconds:
                if batch.kinds[position] == MessageKind.CALL:
                    amounts["call_seconds"][person] += details.duration_seconds
                elif details.media is MediaKind.VOICE:
                    amounts["voice_seconds"][person] += details.duration_seconds
            if details.is_forwarded:
                amounts["forwards"][person] += 1
            if details.reply_to is not None:
                amounts["replies_sent"][person] += 1
                if details.reply_to_sender != SYSTEM_SENDER:
                    amounts["replies_received"][details.reply_to_sender] += 1
                    self.replies[person, details.reply_to_sender] += 1
            if details.reactions:
                amounts["reactions_received"][person] += self._add_reactions(batch, position)
        for name, by_person in amounts.items():
            people = np.fromiter(by_person, np.int64, len(by_person))
            self.totals.ensure_capacity(int(people.max()) + 1)
            self.totals.add(name, people, np.fromiter(by_person.values(), np.int64, len(by_person)))

    def _add_reactions(self, batch: Batch, position: int) -> int:
        """Count the reactions to a message and return their number."""
        reactions = batch.details[position].reactions
        for reaction in reactions:
            self.reactions[reaction.emoji] += reaction.total
            self.reactions_given.update(reaction.people)
        total = sum(reaction.total for reaction in reactions)
        message = ReactedMessage(
            total,
            -batch.number_at(position),
            batch.senders[position],
            batch.seconds[position],
            batch.texts[position][:MAX_EXCERPT_CHARS],
            max(reactions, key=lambda reaction: reaction.total).emoji,
        )
        if len(self.top_reacted) < MAX_REACTED_MESSAGES:
            self.top_reacted.append(message)
            self.top_reacted.sort()
        else:
            heappushpop(self.top_reacted, message)
        return total
