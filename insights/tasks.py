"""Celery tasks of insights. Their arguments are ids only."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from insights import answering, generation, questions, recovery
from insights import dispatch as insight_dispatch
from insights.reading import queue as reading_queue
from insights.reading import stage


@shared_task
def generate_insight(insight_id: str) -> None:
    """Generate one insight if it is due."""
    generation.run(UUID(insight_id))


@shared_task
def read_chat(reading_id: str) -> None:
    """Read a chat if its reading is due."""
    stage.run(UUID(reading_id))


@shared_task(ignore_result=True)
def answer_question(question_id: str) -> None:
    """Answer one question if it is due."""
    answering.run(UUID(question_id))


@shared_task(ignore_result=True)
def dispatch_questions() -> None:
    """Publish due questions. Beat sends this every few seconds."""
    questions.dispatch()


@shared_task(ignore_result=True)
def dispatch_readings() -> None:
    """Publish due readings. Beat sends this every few seconds."""
    reading_queue.dispatch()


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Publish due insights. Beat sends this every few seconds."""
    insight_dispatch.dispatch()


@shared_task(ignore_result=True)
def recover() -> None:
    """Recover stuck work. Beat sends this every RECOVERY_SECONDS."""
    recovery.recover()
