"""What insights do when their chat changes. Chats know nothing of insights, so they only announce it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.dispatch import receiver

from chats.models import Chat
from chats.signals import chat_erasing, index_settled
from insights import dispatch, recovery, settlement
from insights.models import GenerationJob, Insight


@receiver(index_settled)
def go_on(*, chat_id: UUID, **_: Any) -> None:
    """The chat became searchable, or never will."""
    recovery.fail_unindexable(chat_id)
    dispatch.wake()


@receiver(chat_erasing)
def settle_and_wipe(*, chat: Chat, **_: Any) -> None:
    """In the transaction that erases the chat: give back what is held, destroy what was written."""
    for job_id in GenerationJob.objects.open().filter(chat=chat).values_list("pk", flat=True):
        settlement.fail_open(job_id, error_code="chat_deleted", error_message="The chat was deleted.")
    Insight.objects.filter(chat=chat).update(sealed_document=None)
