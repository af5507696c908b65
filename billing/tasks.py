"""Periodic tasks of payments."""

from __future__ import annotations

from celery import shared_task

from billing.payments import reconciliation, webhooks


@shared_task(ignore_result=True)
def apply_events() -> None:
    """Retry the webhook events that are due."""
    webhooks.apply_due()


@shared_task(ignore_result=True)
def reconcile_payments() -> None:
    """Ask the providers about overdue orders and refunds."""
    reconciliation.reconcile_due()
