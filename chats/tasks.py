"""Wake-up calls. Arguments are ids only; what is to be done stands in the database."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from chats import indexing


@shared_task
def index_chat(chat_id: str) -> None:
    indexing.index_chat(UUID(chat_id))


@shared_task(ignore_result=True)
def dispatch() -> None:
    indexing.dispatch()
