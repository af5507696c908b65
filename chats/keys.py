"""The keys of the keyring and of the key store: which are in use, whether they open the chats, and rotation."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from uuid import UUID, uuid4

from django.db import connection, transaction
from django.db.models import BinaryField, F
from django.db.models.functions import Now, Substr

from chats import data_keys
from chats.erasure import erase
from chats.key_models import KeyDestruction, is_file_gone
from chats.models import Chat
from relivchats.crypto import CannotOpen, keyring
from relivchats.errors import Conflict, DomainError
from relivchats.key_store import KeyFileGone, KeyFileMissing, KeyStore, StoreUnavailable, is_in_store, key_store
from relivchats.staff.bulk_actions import ActionContext, ActionResult, record
from relivchats.staff.models import AuditEntry

logger = logging.getLogger(__name__)

BATCH_ROWS = 500
#: Chats that are opened: the newest, and for `sample` also the oldest, and as many anywhere.
SAMPLE_ROWS = 20
#: Of a wrapped key: the length and the name of a key of the keyring, or a byte that says that the key store wraps it.
_START_BYTES = 129
_START = Substr("wrapped_key", 1, _START_BYTES, output_field=BinaryField())


#: The action of the audit entry about a key's first use.
FIRST_USED = "first use of key"


class WrongKeys(DomainError):
    """The stored chats do not open (503). Nothing is sealed under other keys until they do."""

    code, status, title = "ERR_2002", 503, "Uploads are paused"

    def __init__(self) -> None:
        super().__init__(data_keys.PAUSED_TEXT, retry_after_seconds=data_keys.RETRY_SECONDS)


class _Checked:
    """Whether this process has seen that the keyring opens one of the newest chats."""

    done = False


def check_before_sealing() -> None:
    """Raise WrongKeys if the keyring opens none of the newest chats, StorageUnavailable if the key store is not there.

    Otherwise a wrong key would seal new chats, and the right one would not open them later. Several are tried: one of
    them may be damaged. Chats whose file is gone say nothing about the keyring: after a restore of the database, these
    may be all of the newest. Checked until it succeeds once: the keyring of a process never changes. The first call of
    an installation creates the key store.
    """
    try:
        data_keys.open_store(create=True)
    except StoreUnavailable as error:
        raise data_keys.refuse_upload(error) from None
    if not _Checked.done:
        newest = Chat.objects.only("pk", "wrapped_key").order_by("-created_at")[:SAMPLE_ROWS]
        failures = [failure for chat in newest if not isinstance(failure := _failure(chat), KeyFileGone)]
        if failures and all(failures):
            logger.error("ENCRYPTION_KEYS opens none of the newest chats")
            raise WrongKeys
        _Checked.done = True


@dataclass(frozen=True, slots=True)
class Sample:
    """How many chats were opened, and which of them did not open, and why.

    `unreadable`: because of the keyring. `without_file`: their file is not in the key store. `closed_file`: it is not
    known whether it is there, or it cannot be read.
    """

    size: int
    unreadable: list[UUID]
    without_file: list[UUID]
    closed_file: list[UUID]


def sample() -> Sample:
    """Open the oldest, the newest and random chats, and return the result."""
    rows = Chat.objects.only("pk", "wrapped_key")
    chats = {chat.pk: chat for order in ("created_at", "-created_at") for chat in rows.order_by(order)[:SAMPLE_ROWS]}
    # From a random id on: a random order would sort the whole table.
    chats |= {chat.pk: chat for chat in rows.filter(pk__gte=uuid4()).order_by("pk")[:SAMPLE_ROWS]}
    failures = {pk: failure for pk, chat in sorted(chats.items()) if (failure := _failure(chat))}
    without_file = [pk for pk, failure in failures.items() if isinstance(failure, KeyFileGone)]
    missing = [pk for pk, failure in failures.items() if isinstance(failure, KeyFileMissing)]
    return Sample(
        len(chats),
        [pk for pk in failures if pk not in missing],
        without_file,
        [pk for pk in missing if pk not in without_file],
    )


@dataclass(frozen=True, slots=True)
class KeyUse:
    """A key of the keyring, by name. `chats` is the number of chats that do not open without it."""

    name: str
    chats: int
    is_current: bool
    is_known: bool


@dataclass(slots=True)
class Survey:
    """Where the keys of all chats are.

    `uses` are the keys of the keyring, the current one first, and others that are needed. `in_store` and `outside` are
    the numbers of chats whose keys are in the key store, and of those that the keyring alone wraps. `without_file` are
    chats whose file is missing in the key store, `closed_file` those whose file is there and cannot be read, and
    `unused_files` are of no chat.
    """

    has_store: bool = False
    uses: list[KeyUse] = field(default_factory=list)
    in_store: int = 0
    outside: int = 0
    without_file: list[UUID] = field(default_factory=list)
    closed_file: list[UUID] = field(default_factory=list)
    unused_files: list[UUID] = field(default_factory=list)

    @property
    def is_lost(self) -> bool:
        """Return whether most files are missing. Then the store was lost, and a restored database is not the cause."""
        return 2 * len(self.without_file) > self.in_store


@dataclass(slots=True)
class Rotation:
    """What a rotation did: chats whose keys were wrapped again, and chats that do not open."""

    rotated: int = 0
    unreadable: int = 0


def survey() -> Survey:
    """Return where the keys of all chats are. Reads all chats and all files. Raise StoreUnavailable."""
    store, keys, counts = data_keys.open_store(), keyring(), Counter[str]()
    found = Survey(has_store=key_store() is not None)
    for digit in "0123456789abcdef":
        # Files first. An import commits its KeyDestruction before its file, and one query reads both tables: a file
        # that neither knows belongs to no import either.
        files = store.key_names(digit) if store else {}
        for chat_id, start in _rows_of(digit):
            name = files.pop(chat_id, None)
            if start is None:
                continue
            if not is_in_store(start):
                found.outside += 1
                counts[keys.name_of(bytes(start))] += 1
                continue
            found.in_store += 1
            # Its file may be newer than the list.
            name = name or (store.key_name(chat_id) if store else None)
            if name is not None:
                counts[name] += 1
            elif store is None or store.lacks(chat_id):
                found.without_file.append(chat_id)
            else:
                found.closed_file.append(chat_id)
        found.unused_files.extend(files)
    names = [*keys.keys, *sorted(counts.keys() - keys.keys.keys())]
    found.uses = [KeyUse(name, counts[name], name == keys.current, name in keys.keys) for name in names]
    return found


def rotate(*, progress: Callable[[int], None] = lambda done: None) -> Rotation:
    """Seal the files of the key store by the current key of the keyring, and move other data keys into the store.

    Without a key store, the current key wraps the data keys. Each chat is committed, so a rotation that was killed can
    be repeated. Raise StoreUnavailable.
    """
    store, keys, done = data_keys.open_store(create=True), keyring(), Rotation()
    after = UUID(int=0)
    while True:
        rows = Chat.objects.filter(pk__gt=after).order_by("pk").values_list("pk", _START)
        batch = list(rows[:BATCH_ROWS])
        if not batch:
            return done
        for chat_id, start in batch:
            is_stored = is_in_store(start)
            if store and is_stored:
                is_current = store.key_name(chat_id) == keys.current
            else:
                is_current = not store and keys.name_of(bytes(start)) == keys.current
            if is_current:
                continue
            try:
                done.rotated += _wrap_again(chat_id, store)
            except CannotOpen:
                logger.warning("data key not rotated", extra={"chat": str(chat_id)})
                done.unreadable += 1
        after = batch[-1][0]
        progress(done.rotated + done.unreadable)


def remove_unused(*, confirmed: int | None = None) -> int:
    """Destroy the files of the key store that belong to no chat, and return their number. Raise StoreUnavailable.

    Raise Conflict if these are most files, unless `confirmed` is their number.
    """
    found = survey()
    unused = found.unused_files
    if len(unused) > found.in_store - len(found.without_file) and len(unused) != confirmed:
        raise Conflict(
            f"{len(unused)} files, which are most of the key store, belong to no chat of this database. Nothing was"
            " removed. Is it the right key store, and the right database? If no newer copy of the database will be"
            f" restored: manage.py keys --remove-unused --files {len(unused)}"
        )
    KeyDestruction.objects.bulk_create(
        [KeyDestruction(chat_id=chat_id, due_at=Now()) for chat_id in unused], ignore_conflicts=True
    )
    removed = 0
    while destroyed := data_keys.destroy_due():
        removed += destroyed
    return removed


@transaction.atomic
def erase_without_file(chat: Chat) -> str:
    """Erase the chat, whose file is not in the key store, and return the outcome. Raise Conflict if it is there."""
    # Locked: a rotation may move the key of the chat into the store meanwhile.
    locked = Chat.objects.select_for_update().filter(pk=chat.pk).only("pk", "wrapped_key").first()
    if locked is None:
        return "it was deleted meanwhile"
    if not is_in_store(locked.wrapped_key) or not is_file_gone(locked.pk):
        raise Conflict("Its file is there, or the key store is not: nothing was erased.")
    erase(locked)
    return "erased"


@transaction.atomic
def _wrap_again(chat_id: UUID, store: KeyStore | None) -> bool:
    # Locked: its owner may delete the chat meanwhile, and a file that was destroyed must not be written again.
    chat = Chat.objects.select_for_update(no_key=True).only("pk", "wrapped_key").filter(pk=chat_id).first()
    if chat is None:
        return False
    if is_in_store(chat.wrapped_key):
        if store is None:
            raise KeyFileMissing("there is no key store")
        return store.seal_again(chat_id)
    if store:
        chat.wrapped_key = store.wrap(chat.key, chat_id=chat_id, context=chat.context("key"))
        # A newer copy of the database stored the file, perhaps under an earlier key.
        store.seal_again(chat_id)
    else:
        chat.wrapped_key = keyring().wrap(chat.key, context=chat.context("key"))
    chat.save(update_fields=["wrapped_key"])
    return True


def _rows_of(digit: str) -> list[tuple[UUID, memoryview | None]]:
    """Return the chats whose ids start with the digit, each with the start of its wrapped key.

    Keys that will be destroyed are included, with None.
    """
    first, last = UUID(digit.ljust(32, "0")), UUID(digit.ljust(32, "f"))
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT id, substr(wrapped_key, 1, %(bytes)s) FROM chats WHERE id BETWEEN %(first)s AND %(last)s
            UNION ALL SELECT chat_id, NULL FROM key_destructions WHERE chat_id BETWEEN %(first)s AND %(last)s
            """,
            {"bytes": _START_BYTES, "first": first, "last": last},
        )
        rows: list[tuple[UUID, memoryview | None]] = cursor.fetchall()
    return rows


def _failure(chat: Chat) -> CannotOpen | None:
    """Return why the key of the chat does not open, or None if it does."""
    try:
        _ = chat.key
    except CannotOpen as error:
        return error
    return None


def note_current() -> None:
    """Write an audit entry when the current key of the keyring is used for the first time. Beat calls this."""
    used = AuditEntry.objects.filter(object_id=_current_id(), action=FIRST_USED)
    if not used.exists():
        result = ActionResult(_current_id(), done=True, outcome="the current key of ENCRYPTION_KEYS")
        record(FIRST_USED, result, context=ActionContext(actor="beat"))


def current_age() -> tuple[str, timedelta | None]:
    """Return the name of the current key, and for how long it has been in use; None if that was not noted yet."""
    used = AuditEntry.objects.filter(object_id=_current_id(), action=FIRST_USED)
    first = used.annotate(age=Now() - F("created_at")).order_by("created_at").first()
    return keyring().current, vars(first)["age"] if first else None


def ids() -> tuple[str, ...]:
    """Return the id of each key of the keyring, the current one first: its name, and a hash in hexadecimal digits.

    The hash is there because a name can be used for another key later. It is a keyed one, and says nothing about the
    key.
    """
    hashes = keyring().fingerprints(b"", context="age of a key")
    return tuple(f"{name} {each.hex()[:16]}" for name, each in zip(keyring().keys, hashes, strict=True))


def _current_id() -> str:
    return ids()[0]
