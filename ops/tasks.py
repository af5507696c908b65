"""Periodic tasks of operations. Beat sends them; see CELERY_BEAT_SCHEDULE."""

from __future__ import annotations

from celery import shared_task

from ops import engine, heartbeats, ledger, requests, retention, samples
from ops.models import Heartbeat


# No task here stores its result: the canary alone would add 8,640 rows a day.
@shared_task(ignore_result=True)
def canary() -> None:
    """Write the canary's heartbeat. It shows that beat, broker, worker and database work together."""
    heartbeats.write_heartbeat(name=heartbeats.CANARY_NAME, kind=Heartbeat.Kind.CANARY)


@shared_task(ignore_result=True)
def prune() -> None:
    """Remove old heartbeats, expired idempotency keys and old monitoring data."""
    requests.merge_old()
    samples.merge_old()
    retention.prune()


@shared_task(ignore_result=True)
def probe_models() -> None:
    """Call models again that are not called because of a wrong key or model. Beat sends this every minute."""
    engine.probe()


@shared_task(ignore_result=True)
def audit_ledger() -> None:
    """Audit what changed. This moves the horizon, so that `health` has few rows to read."""
    ledger.recent_audit()


@shared_task(ignore_result=True)
def audit_ledger_in_full() -> None:
    """Audit every row of the ledger."""
    ledger.full_audit()
