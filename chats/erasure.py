"""Erasing a chat: its rows and its data key go in one transaction.

There is one mechanism for every way a chat can go (this function, the admin,
the deletion of its owner): Django's `pre_delete`, sent within the deleting
transaction. Its receiver locks the row and passes `chat_erasing` on, so that
what depends on the chat is settled and wiped before the rows are gone.
"""

from __future__ import annotations

import logging
from typing import Any

from django.db import transaction
from django.db.models.signals import pre_delete
from django.dispatch import receiver

from chats.models import Chat
from chats.signals import chat_erasing

logger = logging.getLogger(__name__)


@transaction.atomic
def erase(chat: Chat) -> None:
    """Delete the chat, its transcript, chunks and vectors, and with its row the only key that opens them."""
    chat_id = chat.pk
    chat.delete()
    transaction.on_commit(lambda: logger.info("chat erased", extra={"chat": str(chat_id)}))


@receiver(pre_delete, sender=Chat)
def announce(*, instance: Chat, **_: Any) -> None:
    # The lock comes first: an unlock or an indexer that holds it finishes before; one that comes later finds no chat.
    if Chat.objects.select_for_update().filter(pk=instance.pk).only("pk").first() is not None:
        # The records of its uploads stay, and nothing in them tells what was in it.
        instance.uploads.update(content_fingerprint=None)
        chat_erasing.send(sender=Chat, chat=instance)
