"""The result of applying one provider event to an order."""

from __future__ import annotations

from typing import NamedTuple

from billing.payments.models import WebhookEvent


class Outcome(NamedTuple):
    """The event's new status and a sentence for staff. RECEIVED means that the event is retried later."""

    status: WebhookEvent.Status
    text: str
