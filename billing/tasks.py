"""What beat asks of payments."""

from __future__ import annotations

from celery import shared_task

from billing.payments import reconciling, webhooks


@shared_task(ignore_result=True)
def apply_events() -> None:
    webhooks.apply_due()


@shared_task(ignore_result=True)
def reconcile_payments() -> None:
    reconciling.round_of_asking()
