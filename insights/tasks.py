"""Wake-up calls. Arguments are ids only."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from insights import dispatch as dispatching
from insights import generation, recovery


@shared_task
def generate_insight(insight_id: str) -> None:
    generation.run(UUID(insight_id))


@shared_task(ignore_result=True)
def dispatch() -> None:
    dispatching.dispatch()


@shared_task(ignore_result=True)
def recover() -> None:
    recovery.recover()
