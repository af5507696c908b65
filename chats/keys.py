"""The keys of the keyring that wrap data keys: which are in use, and rotation to the current one.

A wrapped key begins with the length and the name of the key that wrapped it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import BinaryField
from django.db.models.functions import Substr

from chats.models import Chat
from relivchats.crypto import CannotOpen, keyring
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
#: Chats that are opened: the newest, and for `find_unreadable` also the oldest, and as many anywhere.
SAMPLE_ROWS = 20


class WrongKeys(DomainError):
    """ENCRYPTION_KEYS does not open what is stored (503). Nothing is sealed under other keys until it does."""

    code, status, title = "ERR_2002", 503, "Uploads are paused"


class _Checked:
    """Whether this process has seen that the keyring opens one of the newest chats."""

    done = False


def check_before_sealing() -> None:
    """Raise WrongKeys if the keyring opens none of the newest chats.

    Otherwise a wrong key would seal new chats, and the right one would not open them later. Several are tried: one of
    them may be damaged. Checked until it succeeds once: the keyring of a process never changes.
    """
    if not _Checked.done:
        newest = Chat.objects.only("pk", "wrapped_key").order_by("-created_at")[:SAMPLE_ROWS]
        if newest and not any(map(_opens, newest)):
            logger.error("ENCRYPTION_KEYS opens none of the newest chats")
            raise WrongKeys(
                "Uploads are paused because of a fault on our side. Nothing is lost. Please try again later."
            )
        _Checked.done = True


def find_unreadable() -> tuple[list[UUID], int]:
    """Return the chats of a sample that do not open, and the size of the sample: the oldest, newest and random ones."""
    rows = Chat.objects.only("pk", "wrapped_key")
    sample = {chat.pk: chat for order in ("created_at", "-created_at") for chat in rows.order_by(order)[:SAMPLE_ROWS]}
    # From a random id on: a random order would sort the whole table.
    sample |= {chat.pk: chat for chat in rows.filter(pk__gte=uuid4()).order_by("pk")[:SAMPLE_ROWS]}
    return sorted(pk for pk, chat in sample.items() if not _opens(chat)), len(sample)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key, by name. `chats` is the number of chats whose data keys it wraps."""

    name: str
    chats: int
    is_current: bool
    is_known: bool


@dataclass(slots=True)
class Rotation:
    """What a rotation did: chats whose data keys were wrapped again, and chats that do not open."""

    rotated: int = 0
    unreadable: int = 0


def list_uses() -> list[KeyUse]:
    """Return the keys of the keyring, the current one first, and others that wrap a data key. Scans all chats."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT substr(wrapped_key, 2, get_byte(wrapped_key, 0)), count(*) FROM chats GROUP BY 1")
        counts = {bytes(name).decode(errors="replace"): count for name, count in cursor.fetchall()}
    keys = keyring()
    names = [*keys.keys, *sorted(counts.keys() - keys.keys.keys())]
    return [KeyUse(name, counts.get(name, 0), name == keys.current, name in keys.keys) for name in names]


def rotate(*, progress: Callable[[int], None] = lambda done: None) -> Rotation:
    """Wrap all data keys by the current key. Each batch is committed, so a rotation that was killed can be repeated."""
    keys, done = keyring(), Rotation()
    name = keys.current.encode()
    current = bytes([len(name)]) + name
    after = UUID(int=0)
    while True:
        with transaction.atomic():
            # Locked, because the owner may delete a chat meanwhile; rows that somebody holds are waited for.
            batch = list(
                Chat.objects.annotate(start=Substr("wrapped_key", 1, len(current), output_field=BinaryField()))
                .exclude(start=current)
                .filter(pk__gt=after)
                .only("pk", "wrapped_key")
                .order_by("pk")
                .select_for_update(no_key=True)[:BATCH_ROWS]
            )
            if not batch:
                return done
            for chat in batch:
                try:
                    chat.wrapped_key = keys.wrap(chat.key, context=chat.context("key"))
                except CannotOpen:
                    logger.warning("data key not rotated", extra={"chat": str(chat.pk)})
                    done.unreadable += 1
                    continue
                chat.save(update_fields=["wrapped_key"])
                done.rotated += 1
        after = batch[-1].pk
        progress(done.rotated + done.unreadable)


def _opens(chat: Chat) -> bool:
    try:
        return bool(chat.key)
    except CannotOpen:
        return False
