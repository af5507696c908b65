"""What the database knows about the key store: which one it is, and which keys are to be destroyed."""

from __future__ import annotations

from uuid import UUID

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from relivchats.key_store import StoreUnavailable, key_store


class KeyStoreIdentity(models.Model):
    """The identity of the key store that belongs to this database. There is at most one row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    identity = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "key_store_identity"
        verbose_name_plural = "key store identity"
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_key_store_per_database")]

    def __str__(self) -> str:
        return f"key store {self.identity}"


class KeyDestruction(models.Model):
    """The key of a chat is destroyed once `due_at` is past.

    The row is committed before an import stores the key, and is deleted in the transaction that stores the chat. So the
    key of an import that fails, or is killed, is destroyed. The transaction that deletes a chat adds the row again.
    """

    chat_id = models.UUIDField(primary_key=True, editable=False)
    due_at = models.DateTimeField()

    class Meta:
        db_table = "key_destructions"
        indexes = [models.Index(fields=["due_at"], name="key_destructions_due")]

    def __str__(self) -> str:
        return f"destruction of the key of chat {self.chat_id}"


def is_file_gone(chat_id: UUID) -> bool:
    """Return whether the key store of this database is there, and has no file of the chat."""
    store, known = key_store(), KeyStoreIdentity.objects.first()
    if store is None or known is None:
        return False
    try:
        # The identity last: if the store is unmounted in between, the file was not looked for in it.
        return store.lacks(chat_id) and store.identity() == known.identity
    except StoreUnavailable:
        return False
