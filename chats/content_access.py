"""Staff read the messages of one chat: for a limited time, with a reason, and so that its owner can see it."""

from __future__ import annotations

import logging
from datetime import timedelta
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from chats import transcript
from chats.access_models import ContentAccess, ContentRead
from chats.exports.parsed import Message
from chats.models import Chat
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext, ActionResult, record

logger = logging.getLogger(__name__)

DURATION = timedelta(minutes=15)
MIN_REASON_LENGTH = 15
PAGE_MESSAGES = 50


class AccessEnded(Conflict):
    """The access has expired, or it belongs to another member of staff (409)."""


@transaction.atomic
def open_chat(chat: Chat, *, actor_id: UUID, reason: str) -> ContentAccess:
    """Let a member of staff read the chat for DURATION, and write the audit entry. The caller checks the permission."""
    access: ContentAccess = ContentAccess.objects.create(
        chat_id=chat.pk,
        owner_id=chat.owner_id,
        actor_id=actor_id,
        reason=reason,
        expires_at=Now() + DURATION,
    )
    access.refresh_from_db()
    minutes = int(DURATION.total_seconds() // 60)
    result = ActionResult(str(chat.pk), done=True, outcome=f"its messages can be read for {minutes} minutes")
    record("open chat", result, context=ActionContext(actor=f"user {actor_id}", reason=reason))
    return access


def read_page(access_id: UUID, *, actor_id: UUID, after: int) -> tuple[Chat, list[Message]]:
    """Record that the page is opened, then return the chat and up to PAGE_MESSAGES messages that follow `after`.

    Raise AccessEnded if the access has expired, is another person's, or the chat was deleted; CannotOpen if the chat's
    key is not there.
    """
    access = ContentAccess.objects.active().filter(pk=access_id, actor=actor_id).first()
    chat = Chat.objects.filter(pk=access.chat_id).first() if access else None
    if access is None or chat is None:
        raise AccessEnded("This access has ended. Open the chat again, with a reason.")
    messages = transcript.read_page(chat, after=after, limit=PAGE_MESSAGES)
    if messages:
        # Committed before the page is sent: nothing is read that is not recorded.
        ContentRead.objects.create(access=access, first_number=messages[0].number, last_number=messages[-1].number)
        logger.info("chat read by staff", extra={"chat_id": str(chat.pk), "access_id": str(access.pk)})
    return chat, messages
