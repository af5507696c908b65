"""Periodic tasks of operations. Beat sends them; see CELERY_BEAT_SCHEDULE."""

from __future__ import annotations

from celery import shared_task

from ops import engine, errors, heartbeats, history, ledger, requests, samples
from ops.models import Heartbeat
from relivchats import idempotency


# No task here stores its result: the canary alone would add 8,640 rows a day.
@shared_task(ignore_result=True)
def canary() -> None:
    """Write the canary's heartbeat. It shows that beat, broker, worker and database work together."""
    heartbeats.write_heartbeat(name=heartbeats.CANARY_NAME, kind=Heartbeat.Kind.CANARY)


@shared_task(ignore_result=True)
def prune() -> None:
    """Remove old heartbeats, expired idempotency keys and old monitoring data."""
    heartbeats.prune()
    history.prune()
    idempotency.prune()
    requests.merge_old()
    requests.prune()
    errors.prune()
    samples.merge_old()
    samples.prune()
    heartbeats.write_heartbeat(name=heartbeats.RETENTION_NAME, kind=Heartbeat.Kind.RETENTION)


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
