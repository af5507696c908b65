"""Find the chat that an upload belongs to: the same content, or an older or newer export of the same chat."""

from __future__ import annotations

import logging
from datetime import date, timedelta

import numpy as np

from chats.models import Chat, ChatUpload
from chats.overlap import LineIndex, Overlap
from chats.sealed_export import SealedExport
from chats.transcript import TranscriptReader
from relivchats.accounts.models import User
from relivchats.crypto import CannotOpen, keyring
from relivchats.errors import Conflict

logger = logging.getLogger(__name__)

#: An upload is compared with the newest chats of its time and platform. Ruling one out takes about 8 ms.
MAX_CANDIDATES = 200

#: A sample decides whether the whole chat is read. It rules the chat out if at least MIN_SAMPLE_LINES of its lines are
#: from the upload's time and hardly any is in the upload.
SAMPLE_BLOCKS = 8
MIN_SAMPLE_LINES = 50
MIN_KNOWN_SHARE = 0.1


class ChatRecognised(Conflict):
    """The upload is another export of a chat that its owner has; `candidate` contains the id of that chat."""

    title = "You have this chat already"

    def __init__(self, chat: Chat, overlap: Overlap) -> None:
        new, older = overlap.new_messages, overlap.older_messages
        added = f"its {new:,} new message{'s' * (new != 1)}" if new else "its new messages (there are none now)"
        omitted = (
            f" {older:,} older message{'s' * (older != 1)} that the chat lacks would be left out." if older else ""
        )
        super().__init__(
            f"Most of these messages are in one of your chats. Send the file again with extend={chat.pk} to add {added}"
            f" to that chat, or with separate=true to create another chat.{omitted}",
            candidate={
                "id": str(chat.pk),
                "message_count": chat.message_count,
                "first_message_on": chat.first_message_on.isoformat(),
                "last_message_on": chat.last_message_on.isoformat(),
            },
            new_messages=new,
            older_messages_left_out=older,
        )


def content_fingerprints(owner: User, sealed: SealedExport) -> list[bytes]:
    """Return the HMAC of the content under each key of the keyring, current key first. It differs between owners."""
    return keyring().fingerprints(sealed.digest, context=f"chats of {owner.pk}")


def find_identical_chat(owner: User, sealed: SealedExport) -> Chat | None:
    """Return the owner's chat that was made from this content, or else the one that was last extended by it."""
    fingerprints = content_fingerprints(owner, sealed)
    chats = Chat.objects.owned_by(owner)
    chat = chats.filter(content_fingerprint__in=fingerprints).first()
    if chat is not None:
        return chat
    uploads = ChatUpload.objects.filter(owner=owner, content_fingerprint__in=fingerprints)
    return chats.filter(pk__in=uploads.order_by("-pk").values("chat")[:1]).first()


def raise_if_duplicate(owner: User, sealed: SealedExport, *, first_day: date, last_day: date) -> None:
    """Raise ChatRecognised if one of the owner's chats contains most of these messages."""
    # The dates of a chat with a time zone can differ from the export's by a day.
    day = timedelta(days=1)
    candidates = Chat.objects.owned_by(owner).filter(
        platform=sealed.export.platform, last_message_on__gte=first_day - day, first_message_on__lte=last_day + day
    )
    newer: LineIndex | None = None
    for chat in candidates.defer("sealed_statistics").order_by("-created_at")[:MAX_CANDIDATES]:
        if newer is None:
            newer = LineIndex.from_batches(sealed.batches())
        try:
            if not _may_overlap(chat, newer):
                continue
            overlap = Overlap.compare(stored=index_lines(chat), newer=newer)
        except CannotOpen:
            # A chat that does not open must not stop its owner's uploads.
            logger.warning("chat not compared", extra={"chat": str(chat.pk)})
            continue
        if overlap.is_same_chat(shares_a_name=shares_a_name(chat, sealed)):
            raise ChatRecognised(chat, overlap)


def index_lines(chat: Chat) -> LineIndex:
    """Return the index of all lines of a stored chat."""
    return LineIndex.from_batches(TranscriptReader(chat, as_stored=True).batches())


def shares_a_name(chat: Chat, sealed: SealedExport) -> bool:
    """Return whether an export name of the chat is also a name in the upload."""
    return not set(chat.export_names).isdisjoint(sealed.participants)


def _may_overlap(chat: Chat, newer: LineIndex) -> bool:
    """Return False if a sample of the chat's blocks shows that it is another chat."""
    sample = LineIndex.from_batches(TranscriptReader(chat, as_stored=True).samples(SAMPLE_BLOCKS))
    is_concurrent = sample.is_sent & (sample.minutes >= newer.minutes.min()) & (sample.minutes <= newer.minutes.max())
    lines = np.count_nonzero(is_concurrent)
    known = np.count_nonzero(np.isin(sample.keys[is_concurrent], newer.keys))
    return bool(lines < MIN_SAMPLE_LINES or known > lines * MIN_KNOWN_SHARE)
