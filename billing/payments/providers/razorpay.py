"""Razorpay: orders in rupees, through its SDK. See https://razorpay.com/docs/api."""

from __future__ import annotations

import dataclasses
import hashlib
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
    is_signed,
    refusal_means_unavailable,
    register,
)
from relivchats.environment import words

if TYPE_CHECKING:
    import razorpay

# At most 5,000 refunds of one payment: a faulty answer must not make the loop endless.
_PAGE_SIZE, _MAX_PAGES = 100, 50

_PAYMENT_EVENTS = {
    "order.paid": EventKind.PAID,
    "payment.captured": EventKind.PAID,
    # Authorized money can still expire. The coins are granted when it is captured.
    "payment.authorized": EventKind.PROCESSING,
    "payment.failed": EventKind.FAILED,
}
_REFUND_STATES = {
    "pending": RefundStatus.PROCESSING,
    "processed": RefundStatus.COMPLETED,
    "failed": RefundStatus.FAILED,
}
_DISPUTE_EVENTS = {
    "payment.dispute.won": PaymentOrder.Dispute.WON,
    "payment.dispute.lost": PaymentOrder.Dispute.LOST,
}
# Any other event, such as payment.dispute.closed, has its result in the dispute's status only.
_DISPUTE_STATES = {"won": PaymentOrder.Dispute.WON, "lost": PaymentOrder.Dispute.LOST}


@register
class Razorpay(Provider):
    """Orders, payments and refunds of Razorpay. Its webhooks are signed with an HMAC-SHA256 of the body."""

    name, label, currency = "razorpay", "Razorpay", "INR"
    signature_header = "X-Razorpay-Signature"

    key_id = Setting("RAZORPAY_KEY_ID", str, default="")
    key_secret = Setting("RAZORPAY_KEY_SECRET", str, default="", required=True)
    webhook_secrets = Setting[list[str]]("RAZORPAY_WEBHOOK_SECRETS", words, default=[], required=True)
    api_base = Setting("RAZORPAY_API_BASE", str, default="https://api.razorpay.com")

    def is_configured(self) -> bool:
        """Return whether a key id is set."""
        return bool(self.key_id)

    def is_live(self) -> bool:
        """Return whether the key id is one of live mode."""
        return self.key_id.startswith("rzp_live_")

    def create_order(self, order: PaymentOrder) -> Checkout:
        """Create the order, or find it by its receipt, our id: Razorpay's orders have no idempotency keys."""
        provider_order_id = order.provider_order_id
        with self._client() as client:
            if not provider_order_id:
                existing = client.order.all({"receipt": str(order.pk), "count": 1}).get("items") or []
                created = existing[0] if existing else client.order.create(_order_parameters(order))
                provider_order_id = payload.to_text(created.get("id"))
        if not provider_order_id:
            raise ProviderUnavailable
        return Checkout(provider_order_id, key_id=self.key_id)

    def fetch_status(self, order: PaymentOrder) -> Sequence[ProviderEvent]:
        """Return the order's captured payments with their refunds, and its authorized payments."""
        events: list[ProviderEvent] = []
        with self._client() as client:
            for payment in client.order.payments(order.provider_order_id).get("items") or []:
                # "refunded" is a captured payment whose money went back in full.
                if payment.get("status") in ("captured", "refunded"):
                    events.append(_payment_event(EventKind.PAID, payment))
                    events += _fetch_refunds(client, payment)
                elif payment.get("status") == "authorized":
                    events.append(_payment_event(EventKind.PROCESSING, payment))
        return events

    def refund(self, refund: PaymentRefund, *, requested_before: bool) -> ProviderEvent:
        """Refund a payment under an idempotency key; after an earlier request, look for its refund first."""
        order = refund.order
        payment = {"order_id": order.provider_order_id, "id": order.provider_payment_id}
        with self._client() as client:
            if requested_before:
                with refusal_means_unavailable(), self._client() as lookup_client:
                    refunds = _fetch_refunds(lookup_client, payment)
                for event in refunds:
                    if event.refund_reference == str(refund.pk):
                        return event
            answer = client.payment.refund(
                order.provider_payment_id,
                {
                    "amount": refund.amount,
                    "notes": {"refund_id": str(refund.pk), "order_id": str(order.pk)},
                    "receipt": refund.pk.hex,
                },
                headers={"X-Refund-Idempotency": str(refund.pk)},
            )
            return _refund_event(answer, payment)

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Return the event of a webhook. Raise BadSignature or UnreadableEvent."""
        if not is_signed(body, [headers.get(self.signature_header, "")], self.webhook_secrets):
            raise BadSignature
        event = payload.parse_object(body)
        type = payload.to_text(event.get("event"))
        return dataclasses.replace(
            _webhook_event(type, event),
            type=type,
            # X-Razorpay-Event-Id is not signed. With a new id, somebody could replay a body as another event; with the
            # id of a future event, make that one look like a replay. The signed body is the same in each delivery.
            event_id=f"sha256:{hashlib.sha256(body).hexdigest()}",
            occurred_at=payload.to_datetime(event.get("created_at")),
        )

    @contextmanager
    def _client(self) -> Iterator[razorpay.Client]:
        """Yield a client with timeouts, and translate the SDK's errors."""
        # With `requests`, the SDK takes 0.1 s to import, and most processes call nobody.
        import razorpay
        from razorpay.errors import BadRequestError, GatewayError, ServerError

        from billing.payments.providers import http

        with http.Session() as session:
            client = razorpay.Client(session=session, auth=(self.key_id, self.key_secret), base_url=self.api_base)
            try:
                yield client
            except BadRequestError as error:
                raise ProviderRefused(type(error).__name__) from None
            except (GatewayError, ServerError):
                raise ProviderUnavailable from None
            except (AttributeError, KeyError, TypeError):
                # JSON of another shape than Razorpay's.
                raise ProviderUnavailable from None


def _order_parameters(order: PaymentOrder) -> dict[str, Any]:
    return {
        "amount": order.amount,
        "currency": order.currency,
        "receipt": str(order.pk),
        "payment_capture": True,
        # An order grants all of its coins or none, so it must be paid in one piece.
        "partial_payment": False,
        "notes": {"order_id": str(order.pk)},
    }


def _webhook_event(type: str, event: dict[str, Any]) -> ProviderEvent:
    payment = payload.get_object(event, "payload", "payment", "entity")
    if type in _PAYMENT_EVENTS:
        order = payload.get_object(event, "payload", "order", "entity")
        return _payment_event(_PAYMENT_EVENTS[type], payment, order=order)
    if type.startswith("refund."):
        return _refund_event(payload.get_object(event, "payload", "refund", "entity"), payment)
    if type.startswith("payment.dispute."):
        dispute = payload.get_object(event, "payload", "dispute", "entity")
        closed = _DISPUTE_EVENTS.get(type) or _DISPUTE_STATES.get(payload.to_text(dispute.get("status")))
        return ProviderEvent(
            EventKind.DISPUTE,
            provider_order_id=payload.to_text(payment.get("order_id")),
            provider_payment_id=payload.to_text(dispute.get("payment_id")),
            provider_refund_id=payload.to_text(dispute.get("id")),
            amount=payload.to_amount(dispute.get("amount")),
            currency=payload.to_currency(dispute.get("currency")),
            state=closed or PaymentOrder.Dispute.OPEN,
        )
    return ProviderEvent(EventKind.UNKNOWN)


def _payment_event(kind: EventKind, payment: dict[str, Any], *, order: dict[str, Any] | None = None) -> ProviderEvent:
    order = order or {}
    return ProviderEvent(
        kind,
        order_reference=payload.to_text(order.get("receipt")),
        provider_order_id=payload.to_text(payment.get("order_id")) or payload.to_text(order.get("id")),
        provider_payment_id=payload.to_text(payment.get("id")),
        amount=payload.to_amount(payment.get("amount")),
        currency=payload.to_currency(payment.get("currency")),
        state=(payload.to_text(payment.get("error_code")) or "failed")[:40] if kind is EventKind.FAILED else "",
    )


def _refund_event(refund: dict[str, Any], payment: Mapping[str, Any]) -> ProviderEvent:
    return ProviderEvent(
        EventKind.REFUND,
        provider_order_id=payload.to_text(payment.get("order_id")),
        provider_payment_id=payload.to_text(refund.get("payment_id")),
        provider_refund_id=payload.to_text(refund.get("id")),
        refund_reference=payload.to_text(payload.get_object(refund, "notes").get("refund_id")),
        amount=payload.to_amount(refund.get("amount")),
        currency=payload.to_currency(refund.get("currency")),
        state=_REFUND_STATES.get(payload.to_text(refund.get("status")), RefundStatus.PROCESSING),
    )


def _fetch_refunds(client: razorpay.Client, payment: Mapping[str, Any]) -> list[ProviderEvent]:
    """Return all refunds of a payment. Razorpay returns 10 per request by default and at most 100."""
    refunds: list[dict[str, Any]] = []
    for page in range(_MAX_PAGES):
        query = {"count": _PAGE_SIZE, "skip": page * _PAGE_SIZE}
        items = client.payment.fetch_multiple_refund(payment["id"], query).get("items") or []
        refunds += items
        if len(items) < _PAGE_SIZE:
            return [_refund_event(refund, payment) for refund in refunds]
    raise ProviderUnavailable
