"""Stripe: PaymentIntents in US dollars, through its SDK. See https://docs.stripe.com/api."""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from billing.payments.models import PaymentOrder, PaymentRefund
from billing.payments.providers import payload
from billing.payments.providers.base import (
    BadSignature,
    Checkout,
    EventKind,
    Provider,
    ProviderEvent,
    ProviderRefused,
    ProviderUnavailable,
    RefundStatus,
    Setting,
    UnreadableEvent,
    is_signed,
    refusal_means_unavailable,
    register,
)
from relivchats.environment import words

if TYPE_CHECKING:
    import stripe
    from stripe.params import PaymentIntentCreateParams, RefundCreateParams

# Below this level the SDK logs response bodies, which contain the secrets that pay an order.
logging.getLogger("stripe").setLevel(logging.WARNING)

#: Stripe's own default for the age of a signature: https://docs.stripe.com/webhooks/signature
TOLERANCE_SECONDS = 300

_INTENT_EVENTS = {
    "payment_intent.succeeded": EventKind.PAID,
    "payment_intent.processing": EventKind.PROCESSING,
    "payment_intent.payment_failed": EventKind.FAILED,
    "payment_intent.canceled": EventKind.FAILED,
}
# In every other state, such as requires_payment_method, nobody has paid yet.
_INTENT_STATES = {"succeeded": EventKind.PAID, "processing": EventKind.PROCESSING, "canceled": EventKind.FAILED}
_REFUND_EVENTS = ("refund.created", "refund.updated", "refund.failed", "charge.refund.updated")
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
    # An inquiry that was closed before it became a dispute.
    "warning_closed": PaymentOrder.Dispute.WON,
}


@register
class Stripe(Provider):
    """PaymentIntents, refunds and disputes of Stripe. Its webhooks are signed with scheme v1."""

    name, label, currency = "stripe", "Stripe", "USD"
    signature_header = "Stripe-Signature"

    secret_key = Setting("STRIPE_SECRET_KEY", str, default="")
    publishable_key = Setting("STRIPE_PUBLISHABLE_KEY", str, default="", required=True)
    webhook_secrets = Setting[list[str]]("STRIPE_WEBHOOK_SECRETS", words, default=[], required=True)
    api_base = Setting("STRIPE_API_BASE", str, default="https://api.stripe.com")

    def is_configured(self) -> bool:
        """Return whether a secret key is set."""
        return bool(self.secret_key)

    def is_live(self) -> bool:
        """Return whether the secret or restricted key is one of live mode."""
        return self.secret_key.startswith(("sk_live_", "rk_live_"))

    def create_order(self, order: PaymentOrder) -> Checkout:
        """Create the intent, or retrieve a known one. Stripe keeps the idempotency key for at least a day."""
        with self._client() as client:
            if order.provider_order_id:
                intent = client.v1.payment_intents.retrieve(order.provider_order_id)
            else:
                parameters: PaymentIntentCreateParams = {
                    "amount": order.amount,
                    "currency": order.currency.lower(),
                    "automatic_payment_methods": {"enabled": True},
                    "description": f"{order.coins} coins",
                    "metadata": {"order_id": str(order.pk)},
                }
                intent = client.v1.payment_intents.create(parameters, {"idempotency_key": f"order-{order.pk}"})
            return Checkout(intent.id, client_secret=intent.client_secret or "", key_id=self.publishable_key)

    def fetch_status(self, order: PaymentOrder) -> Sequence[ProviderEvent]:
        """Return the intent's state, and its refunds if it is paid."""
        with self._client() as client:
            intent = client.v1.payment_intents.retrieve(order.provider_order_id or "").to_dict()
            kind = _INTENT_STATES.get(intent.get("status", ""))
            if kind is None:
                return []
            refunds = _fetch_refunds(client, order) if kind is EventKind.PAID else []
            return [_intent_event(kind, intent), *refunds]

    def refund(self, refund: PaymentRefund, *, requested_before: bool) -> ProviderEvent:
        """Refund the intent under an idempotency key; after an earlier request, look for its refund first."""
        parameters: RefundCreateParams = {
            "payment_intent": refund.order.provider_order_id or "",
            "amount": refund.amount,
            "metadata": {"refund_id": str(refund.pk), "order_id": str(refund.order_id)},
        }
        with self._client() as client:
            if requested_before:
                # The idempotency key alone is not enough: Stripe may forget it after a day.
                with refusal_means_unavailable(), self._client() as lookup_client:
                    refunds = _fetch_refunds(lookup_client, refund.order)
                for event in refunds:
                    if event.refund_reference == str(refund.pk):
                        return event
            created = client.v1.refunds.create(parameters, {"idempotency_key": f"refund-{refund.pk}"})
            return _refund_event(created.to_dict())

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Return the event of a webhook. Raise BadSignature or UnreadableEvent."""
        self._check_signature(body, headers.get(self.signature_header, ""))
        event = payload.parse_object(body)
        type, event_id = payload.to_text(event.get("type")), payload.to_text(event.get("id"))
        if not event_id:
            raise UnreadableEvent
        return dataclasses.replace(
            _webhook_event(type, payload.get_object(event, "data", "object")),
            type=type,
            event_id=event_id,
            occurred_at=payload.to_datetime(event.get("created")),
        )

    def _check_signature(self, body: bytes, header: str) -> None:
        """Check `t=TIME,v1=SIGNATURE`, where the time, a dot and the body are signed. Raise BadSignature.

        A time too far in the future is rejected as well: it would be a signature that stays valid.
        """
        parts = [part.strip().partition("=") for part in header.split(",")]
        times = [value for name, _, value in parts if name == "t"]
        # The length is limited before int(), which raises ValueError for more than 4,300 digits.
        if len(times) != 1 or not times[0].isascii() or not times[0].isdigit() or len(times[0]) > 12:
            raise BadSignature
        signatures = [value for name, _, value in parts if name == "v1"]
        valid = is_signed(times[0].encode() + b"." + body, signatures, self.webhook_secrets)
        if not valid or abs(time.time() - int(times[0])) > TOLERANCE_SECONDS:
            raise BadSignature

    @contextmanager
    def _client(self) -> Iterator[stripe.StripeClient]:
        """Yield a client with timeouts and without retries, and translate the SDK's errors."""
        # With its HTTP clients, the SDK takes 0.1 s to import, and most processes call nobody.
        import stripe

        from billing.payments.providers import http

        client = stripe.StripeClient(
            self.secret_key,
            base_addresses={"api": self.api_base},
            # The SDK's retries would multiply the timeout of a request. Reconciliation repeats it later instead.
            max_network_retries=0,
            http_client=stripe.RequestsClient(session=http.Session()),
        )
        try:
            yield client
        except (stripe.InvalidRequestError, stripe.CardError) as error:
            raise ProviderRefused(error.code or type(error).__name__) from None
        except (stripe.StripeError, AttributeError, KeyError, TypeError):
            # The last three: JSON of another shape than Stripe's.
            raise ProviderUnavailable from None


def _webhook_event(type: str, subject: dict[str, Any]) -> ProviderEvent:
    if type in _INTENT_EVENTS:
        return _intent_event(_INTENT_EVENTS[type], subject)
    if type in _REFUND_EVENTS:
        return _refund_event(subject)
    if type == "charge.refunded":
        # It carries the sum of all refunds, not the refunds: reconciliation fetches them.
        return ProviderEvent(
            EventKind.REFUNDS_CHANGED, provider_order_id=payload.to_text(subject.get("payment_intent"))
        )
    if type.startswith("charge.dispute."):
        return ProviderEvent(
            EventKind.DISPUTE,
            provider_order_id=payload.to_text(subject.get("payment_intent")),
            provider_refund_id=payload.to_text(subject.get("id")),
            amount=payload.to_amount(subject.get("amount")),
            currency=payload.to_currency(subject.get("currency")),
            state=_DISPUTE_STATES.get(payload.to_text(subject.get("status")), PaymentOrder.Dispute.OPEN),
        )
    return ProviderEvent(EventKind.UNKNOWN)


def _intent_event(kind: EventKind, intent: dict[str, Any]) -> ProviderEvent:
    # Of a paid intent, the money that arrived counts, not the amount that was requested.
    amount = intent.get("amount_received" if kind is EventKind.PAID else "amount")
    failure = (
        payload.to_text(payload.get_object(intent, "last_payment_error").get("code"))
        or payload.to_text(intent.get("cancellation_reason"))
        or "failed"
    )
    return ProviderEvent(
        kind,
        order_reference=payload.to_text(payload.get_object(intent, "metadata").get("order_id")),
        provider_order_id=payload.to_text(intent.get("id")),
        provider_payment_id=payload.to_text(intent.get("latest_charge")),
        amount=payload.to_amount(amount),
        currency=payload.to_currency(intent.get("currency")),
        state=failure[:40] if kind is EventKind.FAILED else "",
    )


def _refund_event(refund: dict[str, Any]) -> ProviderEvent:
    return ProviderEvent(
        EventKind.REFUND,
        provider_order_id=payload.to_text(refund.get("payment_intent")),
        provider_payment_id=payload.to_text(refund.get("charge")),
        provider_refund_id=payload.to_text(refund.get("id")),
        refund_reference=payload.to_text(payload.get_object(refund, "metadata").get("refund_id")),
        amount=payload.to_amount(refund.get("amount")),
        currency=payload.to_currency(refund.get("currency")),
        state=_REFUND_STATES.get(payload.to_text(refund.get("status")), RefundStatus.PROCESSING),
    )


def _fetch_refunds(client: stripe.StripeClient, order: PaymentOrder) -> list[ProviderEvent]:
    # 100 is Stripe's maximum for one page. The iterator below fetches the following pages.
    page = client.v1.refunds.list({"payment_intent": order.provider_order_id or "", "limit": 100})
    return [_refund_event(refund.to_dict()) for refund in page.auto_paging_iter()]
