"""Looks for danger in what no model reads: windows that were refused, and what the budget leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from chats.exports.parsed import MessageKind
from chats.models import Chat
from chats.transcript import TranscriptReader
from insights import safety
from insights.reading import windows
from insights.reading.windows import Span


def find_concerns(chat: Chat, *, read: Iterable[Sequence[Span]], window_tokens: int) -> Mapping[str, list[int]]:
    """Return the numbers of the messages that may speak of each kind of danger, among those that no model was shown.

    `read` has the spans of each window that was read. Of a long message in them, only what was cut off is looked at. As
    in all counts, forwarded words are nobody's. A million unread messages take 20 s.
    """
    was_shown = bytearray(chat.line_count + 1)
    for spans in read:
        for first, last in spans:
            was_shown[first : last + 1] = b"\1" * (last + 1 - first)
    numbers: dict[str, list[int]] = {}
    for batch in TranscriptReader(chat).batches():
        rows = zip(batch.senders, batch.kinds, batch.texts, strict=True)
        for position, (sender, kind, text) in enumerate(rows):
            if kind != MessageKind.TEXT or sender < 0:
                continue
            number = batch.first_number + position
            n_shown = len(windows.cut(text, window_tokens=window_tokens)) if was_shown[number] else 0
            unread = text[n_shown:]
            if not unread or not safety.may_have_concerns(unread):
                continue
            if position in batch.details and batch.details[position].is_forwarded:
                continue
            for concern in safety.find_concerns(unread):
                numbers.setdefault(concern, []).append(number)
    return numbers
