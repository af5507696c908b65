"""What beat asks of operations."""

from __future__ import annotations

from celery import shared_task

from ops import heartbeats, ledger, results
from ops.models import Heartbeat
from relivchats import idempotency


@shared_task(ignore_result=True)
def canary() -> None:
    """Sent by beat, done by a worker: its row proves the way through beat, broker, worker and database."""
    heartbeats.beat(name=heartbeats.CANARY, kind=Heartbeat.Kind.CANARY)


@shared_task(ignore_result=True)
def prune() -> None:
    heartbeats.prune()
    results.prune()
    idempotency.prune()


@shared_task(ignore_result=True)
def audit_ledger() -> None:
    """Moves the horizon up, so that `health` has little to read."""
    ledger.recent_audit()


@shared_task(ignore_result=True)
def audit_ledger_in_full() -> None:
    ledger.full_audit()
