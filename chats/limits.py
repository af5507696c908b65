"""What one user may store: chats, and bytes of sealed messages. And how many uploads they may send."""

from __future__ import annotations

from django.db.models import Sum

from chats.models import Chat
from relivchats.accounts.models import User
from relivchats.limits import LimitReached, UserLimit, register
from relivchats.throttling import Limit

_MEGABYTE = 1024 * 1024

#: Uploads in an hour of the clock.
UPLOADS = Limit("uploads", "UPLOADS_PER_HOUR", 3600)


def _count_chats(user: User) -> int:
    return Chat.objects.owned_by(user).count()


def _sum_stored_bytes(user: User) -> int:
    total: int = Chat.objects.owned_by(user).aggregate(total=Sum("stored_bytes", default=0))["total"]
    return total


CHATS = register(UserLimit("chats", "MAX_CHATS_PER_USER", _count_chats))
STORED_BYTES = register(UserLimit("stored_bytes", "MAX_STORED_MB_PER_USER", _sum_stored_bytes, unit=_MEGABYTE))
register(UserLimit("uploads_per_hour", "UPLOADS_PER_HOUR", lambda user: UPLOADS.count(user.pk)))


def check_room(owner: User, *, new_chats: int, new_bytes: int) -> None:
    """Return if the owner may store so much more. Raise LimitReached.

    With the owner locked (relivchats/limits.py), until what is new is committed, two uploads cannot pass together.
    """
    if CHATS.allowed is not None and new_chats and (used := CHATS.count_used(owner)) + new_chats > CHATS.allowed:
        raise LimitReached(
            f"You have {used:,} chats, and one account can have {CHATS.allowed:,}. Delete a chat that you no longer"
            " need, or send the file with `extend` to add its new messages to one of your chats.",
            limit=CHATS.name,
            allowed=CHATS.allowed,
            used=used,
        )
    if STORED_BYTES.allowed is not None and (used := STORED_BYTES.count_used(owner)) + new_bytes > STORED_BYTES.allowed:
        advice = "Delete a chat that you no longer need, then send the file again."
        if new_bytes > STORED_BYTES.allowed:
            advice = f"This one takes {new_bytes / _MEGABYTE:,.1f} MB, so it does not fit: export a shorter time."
        raise LimitReached(
            f"Your chats take {used / _MEGABYTE:,.1f} MB, and those of one account can take"
            f" {STORED_BYTES.allowed // _MEGABYTE:,} MB. {advice}",
            limit=STORED_BYTES.name,
            allowed=STORED_BYTES.allowed,
            used=used,
        )
