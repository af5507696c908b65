"""Providers' events: stored first, then applied under the order's lock. What cannot be applied now is tried again."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import Error, transaction
from django.db.models import F
from django.db.models.functions import Now

from billing.models import PaymentOrder, WebhookEvent
from billing.payments import providers, settling
from billing.payments.models import EventQuerySet
from billing.payments.providers.base import Kind, Report
from billing.payments.settling import Outcome
from relivchats import clock
from relivchats.errors import Conflict, DomainError

logger = logging.getLogger(__name__)

Status = WebhookEvent.Status

#: An event waits 10 s after the first attempt, then three times as long each time, up to this.
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 10, 600
#: What still waits then is for a person to look at.
PATIENCE = timedelta(days=2)
BATCH = 200

_COPIED = tuple(name for name in Report.__dataclass_fields__)
#: What makes two reports say the same of an order.
_TOLD = ("kind", "provider_payment_id", "provider_refund_id", "amount", "currency")


def receive(*, provider: str, body: bytes, headers: Mapping[str, str]) -> bool:
    """Keep an event, and apply it if that can be done now. False: it was here before.

    Once it is stored, nothing raises: what goes wrong in applying it is mended by
    the next round, or by the provider's sending it again. Raises BadSignature,
    UnreadableEvent; then nothing is stored.
    """
    report = providers.ALL[provider].read(body, headers)
    event, new = WebhookEvent.objects.get_or_create(
        provider=provider,
        event_id=report.event_id,
        defaults={name: value for name, value in vars(report).items() if name != "event_id"},
    )
    try:
        if not new:
            WebhookEvent.objects.filter(pk=event.pk).update(replays=F("replays") + 1)
        _try(event.pk)
        _apply_what_waited(event)
    except Error as error:
        logger.warning("an event waits", extra={"webhook_event": event.pk, "error": type(error).__name__})
    return new


def apply_due() -> int:
    """Apply what waits and is due. Returns how many were tried."""
    due = list(WebhookEvent.objects.due().order_by("next_attempt_at").values_list("pk", flat=True)[:BATCH])
    for pk in due:
        _try(pk)
    return len(due)


def apply(event_id: int) -> Outcome:
    """Apply one event now, in a transaction of its own. Raises whatever stands in the way."""
    with transaction.atomic():
        found = _order_of(WebhookEvent.objects.get(pk=event_id))
        # Locked in one order everywhere: order, event, wallet.
        order = settling.lock(found) if found else None
        event = WebhookEvent.objects.select_for_update(no_key=True).get(pk=event_id)
        if event.status != Status.RECEIVED:
            return Outcome(Status(event.status), event.outcome)
        outcome = _settle(order, event)
        _write(event, order, outcome)
        if order is not None:
            _nothing_left_to_look_at(order)
    return outcome


def hear(order_id: UUID, report: Report) -> Outcome:
    """Bring an order to what its provider said when asked. What is held of it is kept like an event, for a person."""
    with transaction.atomic():
        order = settling.lock(order_id)
        outcome = settling.settle(order, report)
        if outcome.status == Status.HELD:
            _keep(order, report, outcome)
            _nothing_left_to_look_at(order)
        else:
            # An event that said so before, and was held until somebody asked, has its answer.
            _saying_the_same(order, report).held().wake()
    return outcome


@transaction.atomic
def set_aside(event: WebhookEvent) -> None:
    """A person has looked at a held event and dealt with it."""
    order = settling.lock(event.order_id) if event.order_id else None
    held = WebhookEvent.objects.held().filter(pk=event.pk)
    if not held.update(status=Status.SET_ASIDE, outcome="a person dealt with it", applied_at=Now()):
        raise Conflict("This event is not held. Nothing was changed.")
    if order is not None:
        _nothing_left_to_look_at(order)


@transaction.atomic
def set_order_aside(order: PaymentOrder) -> None:
    """A person has looked at an order and dealt with all that was held of it."""
    order = settling.lock(order.pk)
    order.events.held().update(status=Status.SET_ASIDE, outcome="a person dealt with it", applied_at=Now())
    _nothing_left_to_look_at(order)


def try_again(event: WebhookEvent) -> Outcome:
    """Apply a held event once more, since what held it may be mended."""
    WebhookEvent.objects.held().filter(pk=event.pk).wake()
    return apply(event.pk)


@transaction.atomic
def were_answered(order_id: UUID, event_ids: Sequence[int]) -> None:
    """Of these only asking the provider could tell what they mean; that was done, also for those held by then."""
    order = settling.lock(order_id)
    asked = order.events.open().filter(pk__in=event_ids)
    asked.update(status=Status.APPLIED, outcome="the provider was asked, and its refunds applied", applied_at=Now())
    _nothing_left_to_look_at(order)


def _keep(order: PaymentOrder, report: Report, outcome: Outcome) -> None:
    """Once, whether an event or an answer told of it first: what a person set aside stays aside."""
    if not _saying_the_same(order, report).filter(status__in=[Status.HELD, Status.SET_ASIDE]).exists():
        order.events.create(
            **{**vars(report), "event_id": f"asked {uuid.uuid4()}", "type": "asked"},
            provider=order.provider,
            status=outcome.status,
            outcome=outcome.text[:200],
            applied_at=Now(),
        )


def _saying_the_same(order: PaymentOrder, report: Report) -> EventQuerySet:
    return order.events.filter(**{name: getattr(report, name) for name in _TOLD})


def _nothing_left_to_look_at(order: PaymentOrder) -> None:
    if order.attention and not order.events.held().exists():
        order.attention = ""
        order.save(update_fields=["attention"])


def _try(event_id: int) -> None:
    try:
        apply(event_id)
    except (DomainError, Error) as error:
        logger.warning("an event waits", extra={"webhook_event": event_id, "error": type(error).__name__})
        _postpone(event_id, type(error).__name__)
    except Exception as error:
        # It is stored, which is what the provider needs to hear; a fault of ours must not lose or double it.
        logger.exception("an event could not be applied", extra={"webhook_event": event_id})
        _postpone(event_id, type(error).__name__)


def _settle(order: PaymentOrder | None, event: WebhookEvent) -> Outcome:
    if event.kind == Kind.UNKNOWN:
        return Outcome(Status.IGNORED, "not a kind of event that changes anything here")
    if order is None:
        return Outcome(Status.HELD, "no order of ours has these ids")
    outcome = settling.settle(order, Report(**{name: getattr(event, name) for name in _COPIED}))
    if outcome.status == Status.RECEIVED and event.received_at < clock.now() - PATIENCE:
        return Outcome(Status.HELD, f"{outcome.text}, for two days")
    return outcome


def _write(event: WebhookEvent, order: PaymentOrder | None, outcome: Outcome) -> None:
    event.order = order
    event.outcome = outcome.text[:200]
    event.attempts += 1
    event.status = outcome.status
    if outcome.status == Status.RECEIVED:
        event.next_attempt_at = clock.now() + _wait(event.attempts)
    else:
        event.applied_at = clock.now()
    event.save(update_fields=["order", "outcome", "attempts", "status", "next_attempt_at", "applied_at"])


def _wait(attempts: int) -> timedelta:
    return timedelta(seconds=min(FIRST_WAIT_SECONDS * 3 ** (min(attempts, 10) - 1), LONGEST_WAIT_SECONDS))


def _postpone(event_id: int, error: str) -> None:
    event = WebhookEvent.objects.get(pk=event_id)
    WebhookEvent.objects.waiting().filter(pk=event_id).update(
        attempts=F("attempts") + 1, outcome=error[:200], next_attempt_at=Now() + _wait(event.attempts + 1)
    )


def _apply_what_waited(event: WebhookEvent) -> None:
    """A payment makes the refunds and disputes due that came before it. Dying here leaves them to the next round."""
    of_its_order = WebhookEvent.objects.due().filter(order__events=event)
    for pk in of_its_order.order_by("pk").values_list("pk", flat=True):
        _try(pk)


def _order_of(event: WebhookEvent) -> Any:
    """The id of the order that the event is about: by our id if the provider gives it back, else by theirs."""
    orders = PaymentOrder.objects.filter(provider=event.provider)
    try:
        named = orders.filter(pk=uuid.UUID(event.order_reference))
    except ValueError:
        named = orders.none()
    by_order = orders.filter(provider_order_id=event.provider_order_id) if event.provider_order_id else orders.none()
    by_payment = (
        orders.filter(provider_payment_id=event.provider_payment_id) if event.provider_payment_id else orders.none()
    )
    found = (rows.values_list("pk", flat=True).first() for rows in (named, by_order, by_payment))
    return next((pk for pk in found if pk is not None), None)
