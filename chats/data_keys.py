"""The life of a chat's key in the key store: stored before the chat, destroyed after it.

The database says which keys are to be destroyed (`KeyDestruction`), and nothing else is removed. An import commits
that row first, then stores the key, and deletes the row in the transaction that stores the chat. So whatever is killed
when, each key belongs to a chat or is destroyed later. A file that the database does not know is left alone: it may
belong to a newer backup of the database.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.db import connection, models, transaction
from django.db.models.functions import Now

from chats.key_models import KeyDestruction, KeyStoreIdentity
from chats.models import Chat
from relivchats.crypto import DataKey, keyring
from relivchats.errors import DomainError
from relivchats.key_store import SHARDS, KeyStore, StoreFull, StoreUnavailable, is_in_store, key_store

logger = logging.getLogger(__name__)

#: An import that takes longer fails. Parsing has a limit of `PARSING_CPU_SECONDS`.
MAX_IMPORT_TIME = timedelta(hours=1)
OVERDUE_AFTER = timedelta(minutes=10)
BATCH_ROWS = 500


PAUSED_TEXT = "Uploads are paused because of a fault on our side. Nothing is lost. Please try again later."
#: Clients wait for so long: an operator has to act first.
RETRY_SECONDS = 60


class StorageUnavailable(DomainError):
    """The key store cannot be used now, so no chat can be stored (503)."""

    code, status, title = "ERR_2002", 503, "The storage is not available"

    def __init__(self) -> None:
        super().__init__(PAUSED_TEXT, retry_after_seconds=RETRY_SECONDS)


class StorageFull(StorageUnavailable):
    """The disk of the key store is full (503)."""

    title = "The storage is full"


def refuse_upload(error: StoreUnavailable) -> StorageUnavailable:
    """Log why the key store cannot be used, and return the refusal of the upload."""
    if isinstance(error, StoreFull):
        logger.error("uploads are paused: the disk of the key store is full", extra={"cause": str(error)})
        return StorageFull()
    logger.error("uploads are paused: the key store is not available", extra={"cause": str(error)})
    return StorageUnavailable()


def open_store(*, create: bool = False) -> KeyStore | None:
    """Return the key store that belongs to this database, or None if none is configured or, without `create`, used.

    Raise StoreUnavailable, with the cause, if it is not there or another one is.
    """
    store, known = key_store(), KeyStoreIdentity.objects.first()
    if store is None:
        if known is not None:
            raise StoreUnavailable("KEY_STORE_DIR is not set, and this database has a key store")
        return None
    if known is None:
        if not create and not store.exists():
            return None
        with transaction.atomic(), connection.cursor() as cursor:
            # Processes that start together would create two.
            cursor.execute("LOCK TABLE key_store_identity IN EXCLUSIVE MODE")
            known = KeyStoreIdentity.objects.first()
            if known is None:
                if not store.exists():
                    store.create()
                elif not _belongs_here(store):
                    raise StoreUnavailable(
                        f"{store.directory} has files, but of no chat of this database: it is the key store of another"
                        " one. Set KEY_STORE_DIR to a directory of its own"
                    )
                known = KeyStoreIdentity.objects.create(identity=store.identity())
    if store.identity() != known.identity:
        raise StoreUnavailable(f"{store.directory} is the key store of another database")
    return store


def _belongs_here(store: KeyStore) -> bool:
    """Return whether the store has no files, or one of a chat of this database. Raise StoreUnavailable."""
    is_empty = True
    for shard in SHARDS:
        ids = store.chat_ids(shard)
        is_empty = is_empty and not ids
        if any(model.objects.filter(pk__in=ids).exists() for model in (Chat, KeyDestruction)):
            return True
    return is_empty


def wrap_new(key: DataKey, *, chat_id: UUID, context: str) -> bytes:
    """Return the data key of a chat that is about to be stored, wrapped. Raise StorageUnavailable.

    Without a key store, the keyring wraps it.
    """
    store = key_store()
    if store is None:
        return keyring().wrap(key, context=context)
    # Durable: a key without this row would stay if the import failed.
    with transaction.atomic(durable=True):
        KeyDestruction.objects.create(chat_id=chat_id, due_at=Now() + MAX_IMPORT_TIME)
    try:
        return store.wrap(key, chat_id=chat_id, context=context)
    except StoreUnavailable as error:
        raise refuse_upload(error) from None


def keep(chat: Chat) -> None:
    """Cancel the destruction of the key, in the transaction that stores the chat.

    Raise StorageUnavailable if it is late.
    """
    if not is_in_store(chat.wrapped_key):
        return
    cancelled, _ = KeyDestruction.objects.filter(pk=chat.pk).delete()
    if not cancelled:
        logger.error("import took too long", extra={"chat": str(chat.pk)})
        raise StorageUnavailable


def request_destruction(chat: Chat) -> None:
    """Have the chat's key destroyed after the transaction that deletes the chat. Its row is locked."""
    # Of a damaged row, too: an earlier copy of it opens with the file.
    if not is_in_store(chat.wrapped_key) and not KeyStoreIdentity.objects.exists():
        return
    KeyDestruction.objects.bulk_create(
        [KeyDestruction(chat_id=chat.pk, due_at=Now())],
        update_conflicts=True,
        unique_fields=["chat_id"],
        update_fields=["due_at"],
    )
    # Robust: the deletion is committed, and an error here must not end the other actions after it. Beat repeats this.
    # No partial: to log an error, Django needs the name of a function.
    chat_id = chat.pk
    transaction.on_commit(lambda: destroy_if_possible(chat_id), robust=True)


def destroy_if_possible(chat_id: UUID) -> None:
    """Destroy the key of a deleted chat. If that fails, `destroy_due` does it later."""
    try:
        store = open_store()
        if store is not None:
            _destroy(store, chat_id)
    except StoreUnavailable as error:
        logger.warning("key not destroyed", extra={"chat": str(chat_id), "cause": str(error)})


def destroy_due() -> int:
    """Destroy all keys that are due, and return their number. Beat calls this.

    Raise StoreUnavailable if the store is not there, or, after the others, if a file could not be destroyed.
    """
    store, destroyed = open_store(), 0
    if store is None:
        return 0
    failure: StoreUnavailable | None = None
    due = KeyDestruction.objects.filter(due_at__lte=Now()).order_by("due_at")
    for chat_id in due.values_list("pk", flat=True)[:BATCH_ROWS]:
        try:
            destroyed += _destroy(store, chat_id)
        except StoreUnavailable as error:
            logger.warning("key not destroyed", extra={"chat": str(chat_id), "cause": str(error)})
            failure = error
    if failure:
        raise failure
    return destroyed


def overdue() -> models.QuerySet[KeyDestruction]:
    """Return the keys that should have been destroyed; beat does it every minute."""
    return KeyDestruction.objects.filter(due_at__lt=Now() - OVERDUE_AFTER)


def destroy_due_if_possible() -> None:
    """Destroy all keys that are due, or log why that is not possible."""
    try:
        if destroyed := destroy_due():
            logger.info("keys destroyed", extra={"keys": destroyed})
    except StoreUnavailable as error:
        logger.warning("keys not destroyed", extra={"cause": str(error)})


def _destroy(store: KeyStore, chat_id: UUID) -> bool:
    """Destroy a key that is due, and return whether it was. Raise StoreUnavailable, and the row remains."""
    with transaction.atomic():
        # An import that stores its chat right now holds the row, and deletes it.
        due = KeyDestruction.objects.select_for_update(skip_locked=True).filter(pk=chat_id, due_at__lte=Now()).first()
        if due is None:
            return False
        due.delete()
        if Chat.objects.filter(pk=chat_id).exists():
            logger.error("key of a stored chat not destroyed", extra={"chat": str(chat_id)})
            return False
        # Before the commit: if this process is killed in between, the key is destroyed again.
        store.destroy(chat_id)
    logger.info("key destroyed", extra={"chat": str(chat_id)})
    return True
