"""What insights do when their chat changes. Chats know nothing of insights, so they only announce it."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

from celery.signals import worker_ready
from django.db import connections
from django.dispatch import receiver

from chats.models import Chat
from chats.signals import chat_erasing, indexing_finished
from insights import dispatch, recovery, settlement
from insights.models import GenerationJob, Insight


@receiver(indexing_finished)
def go_on(*, chat_id: UUID, **_: Any) -> None:
    """The chat became searchable, or never will."""
    recovery.fail_unindexable(chat_id)
    dispatch.dispatch_soon()


@receiver(chat_erasing)
def settle_and_wipe(*, chat: Chat, **_: Any) -> None:
    """In the transaction that erases the chat: give back what is held, destroy what was written."""
    # All jobs before any wallet: a worker that finishes one of them holds the job and waits for the wallet.
    jobs = list(GenerationJob.objects.select_for_update().open().filter(chat=chat).order_by("pk"))
    for job in jobs:
        settlement.fail_open_insights(job.pk, error_code="chat_deleted", error_message="The chat was deleted.")
    Insight.objects.filter(chat=chat).update(sealed_document=None)


@receiver(worker_ready)
def recover_at_start(**_: Any) -> None:
    """A worker that comes up first puts right what an earlier one left; beside its start, never in its way."""
    threading.Thread(target=_recover, name="recover", daemon=True).start()


def _recover() -> None:
    try:
        recovery.recover()
    finally:
        connections.close_all()
