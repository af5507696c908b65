"""Erase a chat: its rows and its data key are deleted in one transaction, and then its key in the key store.

Every way of deleting a chat (this module, the admin, the deletion of its owner) sends Django's `pre_delete` in the
deleting transaction. The receiver below locks the row and sends `chat_erasing`, so that other apps settle and delete
what depends on the chat first. After the commit, the deleting process destroys the key in the key store
(chats/data_keys.py), and a worker removes the vectors in Qdrant: without the chat they lead to nothing, so the deletion
does not wait for them.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from chats import data_keys, points
from chats.models import Chat
from chats.signals import chat_erasing
from relivchats.accounts.erasure import account_erasing
from relivchats.accounts.models import User

logger = logging.getLogger(__name__)


@transaction.atomic
def erase(chat: Chat) -> None:
    """Delete the chat with its transcript, chunks and vectors. Its data key is in the same row, so it is gone too."""
    chat_id = chat.pk
    chat.delete()
    transaction.on_commit(lambda: logger.info("chat erased", extra={"chat": str(chat_id)}))


@receiver(pre_delete, sender=Chat)
def prepare_erasure(*, instance: Chat, **_: Any) -> None:
    """Lock the chat and send `chat_erasing`, unless the chat is already deleted."""
    # Robust: the deletion is committed, and an error must not skip what follows. No partial: Django logs its name.
    chat_id = instance.pk
    transaction.on_commit(lambda: points.request_removal(chat_id), robust=True)
    # Lock first: an unlock or an indexer that holds the row finishes before this; one that comes later finds no chat.
    chat = Chat.objects.select_for_update().filter(pk=instance.pk).only("pk", "wrapped_key").first()
    if chat is not None:
        # Of the locked row: a rotation may have moved the key since the instance was loaded.
        data_keys.request_destruction(chat)
        # The ChatUpload rows stay, but must not reveal anything about the content.
        instance.uploads.update(content_fingerprint=None)
        chat_erasing.send(sender=Chat, chat=instance)


@receiver(account_erasing)
def lock_chats(*, user: User, **_: Any) -> None:
    """Lock the chats of a user who is deleted."""
    list(Chat.objects.owned_by(user).order_by("pk").select_for_update().values_list("pk"))
