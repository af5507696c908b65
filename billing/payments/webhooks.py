"""Store the providers' events, then apply each one under its order's lock. Retry what cannot be applied yet."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from django.db import Error, transaction
from django.db.models import F
from django.db.models.functions import Now

from billing.models import PaymentOrder, WebhookEvent
from billing.payments import event_application, providers
from billing.payments.models import EventQuerySet
from billing.payments.outcomes import Outcome
from billing.payments.providers.base import EventKind, ProviderEvent
from relivchats import clock
from relivchats.errors import Conflict, DomainError

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status

#: The delay before the first retry of an event; each further delay is three times as long, up to the maximum.
FIRST_RETRY_SECONDS, MAX_RETRY_SECONDS = 10, 600
#: An event that still waits after this time needs review.
MAX_WAIT = timedelta(days=2)
BATCH = 200
DISMISSED = {"status": Status.DISMISSED, "outcome": "dismissed by staff"}

_EVENT_FIELDS = tuple(ProviderEvent.__dataclass_fields__)
#: Two events of one order with the same values in these columns report the same fact.
_IDENTITY_FIELDS = ("kind", "provider_payment_id", "provider_refund_id", "amount", "currency")


def receive(*, provider: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Store an event and try to apply it. Return False if it was already stored.

    After the event is stored, nothing is raised: the next round, or the provider's next delivery, applies it. Raise
    BadSignature or UnreadableEvent before that; nothing is stored then.
    """
    received = providers.REGISTRY[provider].parse_webhook(body, headers)
    # Committed before it is applied: an error or a crash from here on cannot lose the event. Of two concurrent
    # deliveries, the unique constraint on provider and event id lets one create the row.
    event, new = WebhookEvent.objects.get_or_create(
        provider=provider,
        event_id=received.event_id,
        defaults={name: value for name, value in vars(received).items() if name != "event_id"},
    )
    try:
        if not new:
            WebhookEvent.objects.filter(pk=event.pk).update(replays=F("replays") + 1)
        # Also after a replay: the first attempt may have failed, or its process may have died.
        _try_apply(event.pk)
        _apply_due_of_same_order(event)
    except Error as error:
        logger.warning("webhook event postponed", extra={"webhook_event": event.pk, "error": type(error).__name__})
    return new


def apply_due() -> int:
    """Try to apply each due event once. Return how many were tried."""
    due = list(WebhookEvent.objects.due().order_by("next_attempt_at").values_list("pk", flat=True)[:BATCH])
    for event_id in due:
        _try_apply(event_id)
    return len(due)


def apply(event_id: int) -> Outcome:
    """Apply one stored event in its own transaction. Raise any error that occurs."""
    with transaction.atomic():
        order_id = _find_order_id(WebhookEvent.objects.get(pk=event_id))
        # Lock order, everywhere in payments: order, event, wallet.
        order = PaymentOrder.objects.lock(order_id) if order_id else None
        event = WebhookEvent.objects.select_for_update(no_key=True).get(pk=event_id)
        # Another process may have applied the event, or staff dismissed it, while this one waited for the lock.
        if event.status != Status.RECEIVED:
            return Outcome(Status(event.status), event.outcome)
        outcome = _decide(order, event)
        event.order = order
        event.outcome = outcome.text[:200]
        event.attempts += 1
        event.status = outcome.status
        if outcome.status == Status.RECEIVED:
            event.next_attempt_at = clock.now() + _retry_delay(event.attempts)
        else:
            event.applied_at = clock.now()
        event.save(update_fields=["order", "outcome", "attempts", "status", "next_attempt_at", "applied_at"])
        if order is not None:
            _clear_review_reason(order)
    return outcome


def apply_report(order_id: UUID, event: ProviderEvent) -> Outcome:
    """Apply a provider's answer to its order. An answer that needs review is stored like an event."""
    with transaction.atomic():
        order = PaymentOrder.objects.lock(order_id)
        outcome = event_application.apply_event(order, event)
        if outcome.status == Status.NEEDS_REVIEW:
            _hold_for_review(order, event, outcome)
            _clear_review_reason(order)
        else:
            # The answer may resolve an event under review that said the same: apply that one again.
            _same_events(order, event).needing_review().make_due()
    return outcome


@transaction.atomic
def dismiss(event: WebhookEvent) -> None:
    """Close an event under review that a person dealt with. Raise Conflict if it is not under review."""
    # The order before its event, as in `apply`. The reverse order could deadlock with a webhook.
    order = PaymentOrder.objects.lock(event.order_id) if event.order_id else None
    under_review = WebhookEvent.objects.needing_review().filter(pk=event.pk)
    # The status is checked in the UPDATE: another person may have retried the event since the page was loaded.
    if not under_review.update(**DISMISSED, applied_at=Now()):
        raise Conflict("This event is not under review. Nothing was changed.")
    if order is not None:
        _clear_review_reason(order)


@transaction.atomic
def dismiss_order(order: PaymentOrder) -> None:
    """Close every event under review of an order that a person dealt with."""
    order = PaymentOrder.objects.lock(order.pk)
    order.events.needing_review().update(**DISMISSED, applied_at=Now())
    _clear_review_reason(order)


def retry(event: WebhookEvent) -> Outcome:
    """Apply an event that is under review or waiting, now. A closed event is unchanged; return its outcome."""
    WebhookEvent.objects.needing_review().filter(pk=event.pk).make_due()
    return apply(event.pk)


@transaction.atomic
def mark_answered(order_id: UUID, event_ids: Sequence[int]) -> None:
    """Close open "refunds changed" events after the provider listed the refunds, including those under review."""
    order = PaymentOrder.objects.lock(order_id)
    order.events.open().filter(pk__in=event_ids).update(
        status=Status.APPLIED, outcome="the refunds were fetched from the provider and applied", applied_at=Now()
    )
    _clear_review_reason(order)


def _hold_for_review(order: PaymentOrder, event: ProviderEvent, outcome: Outcome) -> None:
    """Store the answer as an event, unless an event that reports the same fact is under review or was dismissed."""
    if not _same_events(order, event).filter(status__in=[Status.NEEDS_REVIEW, Status.DISMISSED]).exists():
        order.events.create(
            **{**vars(event), "event_id": f"asked {uuid.uuid4()}", "type": "asked"},
            provider=order.provider,
            status=outcome.status,
            outcome=outcome.text[:200],
            applied_at=Now(),
        )


def _same_events(order: PaymentOrder, event: ProviderEvent) -> EventQuerySet:
    return order.events.filter(**{name: getattr(event, name) for name in _IDENTITY_FIELDS})


def _clear_review_reason(order: PaymentOrder) -> None:
    """Clear the reason once no event of the order is under review. The order is locked, so none can be added."""
    if order.review_reason and not order.events.needing_review().exists():
        order.review_reason = ""
        order.save(update_fields=["review_reason"])


def _try_apply(event_id: int) -> None:
    """Apply an event, or postpone it after any error.

    The event is stored and the provider gets its 2xx. An error here, even a bug, must neither lose nor repeat it.
    """
    try:
        apply(event_id)
    except Exception as error:
        name = type(error).__name__
        if isinstance(error, DomainError | Error):
            logger.warning("webhook event postponed", extra={"webhook_event": event_id, "error": name})
        else:
            logger.exception("webhook event could not be applied", extra={"webhook_event": event_id})
        _postpone(event_id, name)


def _postpone(event_id: int, error: str) -> None:
    """Set the next attempt, unless another process has applied the event by now."""
    attempts = WebhookEvent.objects.values_list("attempts", flat=True).get(pk=event_id)
    WebhookEvent.objects.waiting().filter(pk=event_id).update(
        attempts=F("attempts") + 1, outcome=error[:200], next_attempt_at=Now() + _retry_delay(attempts + 1)
    )


def _apply_due_of_same_order(event: WebhookEvent) -> None:
    """Apply refunds and disputes that arrived before their payment, which has now made them due.

    If the process dies before this, the next round of `apply_due` applies them.
    """
    due = WebhookEvent.objects.due().filter(order__events=event)
    for event_id in due.order_by("pk").values_list("pk", flat=True):
        _try_apply(event_id)


def _decide(order: PaymentOrder | None, event: WebhookEvent) -> Outcome:
    if event.kind == EventKind.UNKNOWN:
        return Outcome(Status.IGNORED, "this type of event changes nothing")
    if order is None:
        return Outcome(Status.NEEDS_REVIEW, "no order has these ids")
    outcome = event_application.apply_event(
        order, ProviderEvent(**{name: getattr(event, name) for name in _EVENT_FIELDS})
    )
    if outcome.status == Status.RECEIVED and event.received_at < clock.now() - MAX_WAIT:
        return Outcome(Status.NEEDS_REVIEW, f"{outcome.text}, for more than two days")
    return outcome


def _retry_delay(attempts: int) -> timedelta:
    return timedelta(seconds=min(FIRST_RETRY_SECONDS * 3 ** (min(attempts, 10) - 1), MAX_RETRY_SECONDS))


def _find_order_id(event: WebhookEvent) -> UUID | None:
    """Return the id of the event's order: by our id in its metadata, else by the provider's order or payment id."""
    orders = PaymentOrder.objects.filter(provider=event.provider)
    try:
        reference = UUID(event.order_reference)
    except ValueError:
        reference = None
    lookups = {
        "pk": reference,
        "provider_order_id": event.provider_order_id,
        "provider_payment_id": event.provider_payment_id,
    }
    # An empty id must not be looked up: every unpaid order has an empty payment id.
    matches = (
        orders.filter(**{column: value}).values_list("pk", flat=True).first()
        for column, value in lookups.items()
        if value
    )
    return next((order_id for order_id in matches if order_id is not None), None)
