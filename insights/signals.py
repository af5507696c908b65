"""Receivers of signals. `chats` does not import `insights`, so it announces what happens to a chat."""

from __future__ import annotations

import threading
from typing import Any
from uuid import UUID

from celery.signals import worker_ready
from django.db import connections
from django.dispatch import receiver

from chats.models import Chat
from chats.signals import chat_erasing, indexing_finished
from insights import questions, recovery, settlement
from insights.dispatch import dispatch_soon
from insights.models import ChatReading, GenerationJob, Insight
from insights.question_models import ChatQuestion
from insights.reading.queue import dispatch_soon as dispatch_readings_soon


@receiver(indexing_finished)
def continue_after_indexing(*, chat_id: UUID, **_: Any) -> None:
    """Read the chat or dispatch the insights that wait for it, or fail them if its indexing failed."""
    recovery.fail_unindexable(chat_id)
    recovery.request_readings(chat_id)
    dispatch_readings_soon()
    dispatch_soon()


@receiver(chat_erasing)
def erase_insights(*, chat: Chat, **_: Any) -> None:
    """Settle the chat's open jobs and questions and delete its documents, in the transaction that erases the chat."""
    # All jobs are locked before any wallet, in the lock order of settlement.py. A worker that is finishing an insight
    # holds its job and waits for the wallet; if this held the wallet and waited for the job, both would deadlock.
    jobs = list(GenerationJob.objects.select_for_update().open().filter(chat=chat).order_by("pk"))
    # Before the jobs lock their wallet: a worker that answers a question holds it and waits for the wallet.
    asked = list(questions.lock(ChatQuestion.objects.filter(chat=chat)))
    for job in jobs:
        settlement.fail_open_insights(job.pk, error_code="chat_deleted", error_message="The chat was deleted.")
    questions.delete_locked(asked)
    Insight.objects.filter(chat=chat).update(sealed_document=None)
    # Last in the lock order. The cascade deletes the windows before their reading, while a worker that records a window
    # locks the reading first: without this lock, both would wait for each other.
    list(ChatReading.objects.select_for_update().filter(chat=chat).values_list("pk"))


@receiver(worker_ready)
def recover_at_start(**_: Any) -> None:
    """Recover what an earlier worker left, in a thread, so that the worker starts without waiting for it."""

    def recover() -> None:
        try:
            recovery.recover()
        finally:
            connections.close_all()

    threading.Thread(target=recover, name="recover", daemon=True).start()
