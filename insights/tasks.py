"""Celery tasks of insights. Their arguments are ids only."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from insights import dispatch as insight_dispatch
from insights import generation, recovery


@shared_task
def generate_insight(insight_id: str) -> None:
    """Generate one insight if it is due."""
    generation.run(UUID(insight_id))


@shared_task(ignore_result=True)
def dispatch() -> None:
    """Publish due insights. Beat sends this every few seconds."""
    insight_dispatch.dispatch()


@shared_task(ignore_result=True)
def recover() -> None:
    """Recover stuck work. Beat sends this every 15 s."""
    recovery.recover()
