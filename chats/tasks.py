"""Celery tasks. A message contains only an id and wakes a worker; the work to do is read from the database."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from chats import indexing


@shared_task
def index_chat(chat_id: str) -> None:
    """Index a chat, if it is due."""
    indexing.index_chat(UUID(chat_id))


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Publish a message for each chat that is due. Chats of another embedding engine become due, a few at a time."""
    indexing.request_outdated()
    indexing.dispatch()
