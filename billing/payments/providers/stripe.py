"""Stripe: PaymentIntents in US dollars, through its SDK. https://docs.stripe.com/api, webhooks signed as v1."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import stripe
from django.conf import settings

from billing.payments.models import PaymentOrder, PaymentRefund
from billing.payments.providers import reading, wire
from billing.payments.providers.base import (
    BadSignature,
    Kind,
    Placed,
    ProviderRefused,
    ProviderUnavailable,
    RefundStatus,
    Report,
    UnreadableEvent,
    signed_by_one_of,
    unless_refused,
)

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams, RefundCreateParams

TOLERANCE_SECONDS = 300

_INTENTS = {
    "payment_intent.succeeded": Kind.PAID,
    "payment_intent.processing": Kind.PROCESSING,
    "payment_intent.payment_failed": Kind.FAILED,
    "payment_intent.canceled": Kind.FAILED,
}
_REFUNDS = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
_REFUND_STATES = {
    "pending": RefundStatus.PROCESSING,
    "requires_action": RefundStatus.PROCESSING,
    "succeeded": RefundStatus.COMPLETED,
    "failed": RefundStatus.FAILED,
    "canceled": RefundStatus.FAILED,
}
_DISPUTE_STATES = {
    "won": PaymentOrder.Dispute.WON,
    "lost": PaymentOrder.Dispute.LOST,
    # An enquiry that never became a dispute.
    "warning_closed": PaymentOrder.Dispute.WON,
}


class Stripe:
    name = "stripe"
    currency = "USD"

    def offered(self) -> bool:
        return bool(settings.STRIPE_SECRET_KEY)

    def place(self, order: PaymentOrder) -> Placed:
        """The same idempotency key gives the same intent for a day at least; a known one is read."""
        with _errors() as client:
            if order.provider_order_id:
                intent = client.v1.payment_intents.retrieve(order.provider_order_id)
            else:
                asked: PaymentIntentCreateParams = {
                    "amount": order.amount,
                    "currency": order.currency.lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "description": f"{order.coins} coins",
                    "metadata": {"order_id": str(order.pk)},
                }
                intent = client.v1.payment_intents.create(asked, {"idempotency_key": f"order-{order.pk}"})
            return Placed(intent.id, client_secret=intent.client_secret or "", key_id=settings.STRIPE_PUBLISHABLE_KEY)

    def ask(self, order: PaymentOrder) -> Sequence[Report]:
        with _errors() as client:
            intent = _plain(client.v1.payment_intents.retrieve(order.provider_order_id or ""))
            kind = {"succeeded": Kind.PAID, "processing": Kind.PROCESSING, "canceled": Kind.FAILED}.get(
                intent.get("status", "")
            )
            reports = [_of_intent(kind, intent)] if kind else []
            if kind is Kind.PAID:
                reports += _refunds_of(client, order)
            return reports

    def refund(self, refund: PaymentRefund, *, asked_before: bool) -> Report:
        asked: RefundCreateParams = {
            "payment_intent": refund.order.provider_order_id or "",
            "amount": refund.amount,
            "metadata": {"refund_id": str(refund.pk), "order_id": str(refund.order_id)},
        }
        with _errors() as client:
            if asked_before and (made := _made_before(refund)):
                return made
            return _of_refund(_plain(client.v1.refunds.create(asked, {"idempotency_key": f"refund-{refund.pk}"})))

    def read(self, body: bytes, headers: Mapping[str, str]) -> Report:
        _check_signature(body, headers.get("Stripe-Signature", ""))
        event = reading.document(body)
        about = reading.inner(event, "data", "object")
        type = reading.text(event.get("type"))
        report = _of_event(type, about)
        identity = {"event_id": reading.text(event.get("id")), "occurred_at": reading.instant(event.get("created"))}
        if not identity["event_id"]:
            raise UnreadableEvent
        return Report(**{**vars(report), **identity, "type": type})


def _check_signature(body: bytes, header: str) -> None:
    """`t=…,v1=…`: signed is the time, a dot and the body. An event from far ahead is not believed either."""
    parts = [part.strip().partition("=") for part in header.split(",")]
    times = [value for name, _, value in parts if name == "t"]
    if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
        raise BadSignature
    signatures = [value for name, _, value in parts if name == "v1"]
    fits = signed_by_one_of(settings.STRIPE_WEBHOOK_SECRETS, times[0].encode() + b"." + body, signatures)
    if not fits or abs(time.time() - int(times[0])) > TOLERANCE_SECONDS:
        raise BadSignature


def _of_event(type: str, about: dict[str, Any]) -> Report:
    if type in _INTENTS:
        return _of_intent(_INTENTS[type], about)
    if type in _REFUNDS:
        return _of_refund(about)
    if type == "charge.refunded":
        # It tells the sum of all refunds, not which: the provider is asked.
        return Report(Kind.REFUNDS_CHANGED, provider_order_id=reading.text(about.get("payment_intent")))
    if type.startswith("charge.dispute."):
        state = reading.text(about.get("status"))
        return Report(
            Kind.DISPUTE,
            provider_order_id=reading.text(about.get("payment_intent")),
            provider_refund_id=reading.text(about.get("id")),
            amount=reading.whole(about.get("amount")),
            currency=reading.currency(about.get("currency")),
            state=_DISPUTE_STATES.get(state, PaymentOrder.Dispute.OPEN),
        )
    return Report(Kind.UNKNOWN)


def _of_intent(kind: Kind, intent: dict[str, Any]) -> Report:
    paid = kind is Kind.PAID
    failure = reading.text(reading.inner(intent, "last_payment_error").get("code")) or reading.text(
        intent.get("cancellation_reason")
    )
    return Report(
        kind,
        order_reference=reading.text(reading.inner(intent, "metadata").get("order_id")),
        provider_order_id=reading.text(intent.get("id")),
        provider_payment_id=reading.text(intent.get("latest_charge")),
        amount=reading.whole(intent.get("amount_received" if paid else "amount")),
        currency=reading.currency(intent.get("currency")),
        state=(failure or "failed")[:40] if kind is Kind.FAILED else "",
    )


def _of_refund(refund: dict[str, Any]) -> Report:
    metadata = reading.inner(refund, "metadata")
    return Report(
        Kind.REFUND,
        provider_order_id=reading.text(refund.get("payment_intent")),
        provider_payment_id=reading.text(refund.get("charge")),
        provider_refund_id=reading.text(refund.get("id")),
        refund_reference=reading.text(metadata.get("refund_id")),
        amount=reading.whole(refund.get("amount")),
        currency=reading.currency(refund.get("currency")),
        state=_REFUND_STATES.get(reading.text(refund.get("status")), RefundStatus.PROCESSING),
    )


def _made_before(refund: PaymentRefund) -> Report | None:
    """An earlier asking whose answer was lost. The idempotency key alone would be forgotten after a day."""
    with unless_refused(), _errors() as client:
        reports = _refunds_of(client, refund.order)
    return next((report for report in reports if report.refund_reference == str(refund.pk)), None)


def _refunds_of(client: stripe.StripeClient, order: PaymentOrder) -> list[Report]:
    found = client.v1.refunds.list({"payment_intent": order.provider_order_id or "", "limit": 100})
    return [_of_refund(_plain(one)) for one in found.auto_paging_iter()]


def _plain(thing: stripe.StripeObject) -> dict[str, Any]:
    plain: dict[str, Any] = thing.to_dict()
    return plain


@contextmanager
def _errors() -> Iterator[stripe.StripeClient]:
    """A client with time-outs, whose errors are ours."""
    client = stripe.StripeClient(
        settings.STRIPE_SECRET_KEY,
        base_addresses={"api": settings.STRIPE_API_BASE},
        max_network_retries=0,
        http_client=stripe.RequestsClient(session=wire.Session()),
    )
    try:
        yield client
    except (stripe.InvalidRequestError, stripe.CardError) as error:
        raise ProviderRefused(error.code or type(error).__name__) from None
    except (stripe.StripeError, AttributeError, KeyError, TypeError):
        # The last three: JSON of another shape than theirs.
        raise ProviderUnavailable from None
