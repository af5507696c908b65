"""Celery tasks. A message contains only an id and wakes a worker; the work to do is read from the database."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from chats import data_keys, indexing, keys, points


@shared_task
def index_chat(chat_id: str) -> None:
    """Index a chat, if it is due, then let the next one be dispatched."""
    indexing.index_chat(UUID(chat_id))
    indexing.dispatch_soon()


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Publish a message for each chat that is due. Chats of another embedding engine become due, a few at a time."""
    indexing.request_outdated()
    indexing.dispatch()


@shared_task(ignore_result=True)
def store_points(chat_id: str) -> None:
    """Store the vectors of a chat in Qdrant, from their sealed copy."""
    points.store_if_possible(UUID(chat_id))


@shared_task(ignore_result=True)
def remove_points(chat_id: str) -> None:
    """Remove the vectors of an erased chat from Qdrant."""
    points.remove_if_possible(UUID(chat_id))


@shared_task(ignore_result=True)
def synchronize_points() -> None:
    """Compare Qdrant with Postgres. Beat sends this every few minutes."""
    points.synchronize_if_possible()


@shared_task(ignore_result=True)
def destroy_keys() -> None:
    """Destroy the keys of chats that were deleted, or whose import failed. Beat sends this every minute."""
    data_keys.destroy_due_if_possible()


@shared_task(ignore_result=True)
def note_current_key() -> None:
    """Write down when the current encryption key was first used. Beat sends this every few minutes."""
    keys.note_current()
