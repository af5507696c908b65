"""Whether an upload is a chat that its owner has already: the same content, or much of the same messages."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import numpy as np

from chats.models import Chat, ChatUpload
from chats.overlap import Overlap, Trace
from chats.sealed_export import SealedExport, Span
from chats.transcript import TranscriptReader
from relivchats.accounts.models import User
from relivchats.crypto import keyring
from relivchats.errors import Conflict

#: The newest chats of the same time and platform that an upload is compared with: some 8 ms for each that is another.
MOST_CANDIDATES = 200

_SAMPLED_BLOCKS = 8
#: So many lines of the sample from the upload's time, and hardly one known: another chat, without reading all of it.
_TELLING_LINES = 50
_HARDLY = 0.1


class ChatRecognised(Conflict):
    """The upload is a newer or older export of a chat that is here. Names it by its id."""

    title = "You have this chat already"

    def __init__(self, chat: Chat, overlap: Overlap) -> None:
        fresh = overlap.fresh_messages
        news = f"its {fresh:,} new message{'s' * (fresh != 1)}" if fresh else "what is new (nothing, this time)"
        older = overlap.older_messages
        lost = f" {older:,} older one{'s' * (older != 1)} that it lacks would be left out." if older else ""
        super().__init__(
            f"Most of it stands in a chat of yours. Send the file again with extend={chat.pk} to add {news} to that"
            f" chat, or with separate=true to make another chat of it.{lost}",
            candidate={
                "id": str(chat.pk),
                "message_count": chat.message_count,
                "first_message_on": chat.first_message_on.isoformat(),
                "last_message_on": chat.last_message_on.isoformat(),
            },
            new_messages=fresh,
            older_messages_left_out=older,
        )


def fingerprints(owner: User, received: SealedExport) -> list[bytes]:
    """Of the content, under each key of the keyring; alike for this owner only."""
    return keyring().fingerprints(received.digest, context=f"chats of {owner.pk}")


def identical(owner: User, received: SealedExport) -> Chat | None:
    """The owner's chat that was made from this very content, or else the last that was extended by it."""
    known, chats = fingerprints(owner, received), Chat.objects.owned_by(owner)
    made = chats.filter(content_fingerprint__in=known).first()
    if made is not None:
        return made
    uploads = ChatUpload.objects.filter(owner=owner, content_fingerprint__in=known)
    return chats.filter(pk__in=uploads.order_by("-pk").values("chat")[:1]).first()


def must_be_another(owner: User, received: SealedExport, span: Span) -> None:
    """Raises ChatRecognised when one of the owner's chats has most of these messages."""
    newer: Trace | None = None
    for chat in _candidates(owner, received, span):
        newer = newer or Trace.of(received.batches())
        if not _may_be(chat, newer):
            continue
        overlap = Overlap.of(stored=stored_trace(chat), newer=newer)
        if overlap.is_of_one_chat(share_a_name=share_a_name(chat, received)):
            raise ChatRecognised(chat, overlap)


def stored_trace(chat: Chat) -> Trace:
    return Trace.of(TranscriptReader(chat, as_stored=True).batches())


def share_a_name(chat: Chat, received: SealedExport) -> bool:
    return not set(chat.export_names).isdisjoint(received.participants)


def _candidates(owner: User, received: SealedExport, span: Span) -> Iterator[Chat]:
    first, last = span.days
    # A chat with a time zone of its own may have other days than the export's instants.
    a_day = timedelta(days=1)
    chats = Chat.objects.owned_by(owner).filter(
        platform=received.export.platform, last_message_on__gte=first - a_day, first_message_on__lte=last + a_day
    )
    yield from chats.defer("sealed_statistics").order_by("-created_at")[:MOST_CANDIDATES]


def _may_be(chat: Chat, newer: Trace) -> bool:
    """From some blocks of the chat; whoever has many chats of the same years pays little for each."""
    sample = Trace.of(TranscriptReader(chat, as_stored=True).samples(_SAMPLED_BLOCKS))
    beside = sample.written & (sample.minutes >= newer.minutes.min()) & (sample.minutes <= newer.minutes.max())
    lines = np.count_nonzero(beside)
    known = np.count_nonzero(np.isin(sample.keys[beside], newer.keys))
    return bool(lines < _TELLING_LINES or known > lines * _HARDLY)
