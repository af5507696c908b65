"""Razorpay: orders in rupees, through its SDK. https://razorpay.com/docs/api, webhooks signed with HMAC-SHA256."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import razorpay
from django.conf import settings
from razorpay.errors import BadRequestError, GatewayError, ServerError

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
    signed_by_one_of,
    unless_refused,
)

_PAGE, _MOST_PAGES = 100, 50

_PAYMENTS = {
    "order.paid": Kind.PAID,
    "payment.captured": Kind.PAID,
    "payment.authorized": Kind.PROCESSING,
    "payment.failed": Kind.FAILED,
}
_REFUND_STATES = {
    "pending": RefundStatus.PROCESSING,
    "processed": RefundStatus.COMPLETED,
    "failed": RefundStatus.FAILED,
}
_DISPUTE_STATES = {
    "payment.dispute.won": PaymentOrder.Dispute.WON,
    "payment.dispute.lost": PaymentOrder.Dispute.LOST,
}


class Razorpay:
    name = "razorpay"
    currency = "INR"

    def offered(self) -> bool:
        return bool(settings.RAZORPAY_KEY_ID)

    def place(self, order: PaymentOrder) -> Placed:
        """Our id is the receipt: an order that was made before is found by it. It has no idempotency keys."""
        placed_id = order.provider_order_id
        with _errors() as client:
            if not placed_id:
                found = client.order.all({"receipt": str(order.pk), "count": 1}).get("items") or []
                made = found[0] if found else client.order.create(_order(order))
                placed_id = reading.text(made.get("id"))
        if not placed_id:
            raise ProviderUnavailable
        return Placed(placed_id, key_id=settings.RAZORPAY_KEY_ID)

    def ask(self, order: PaymentOrder) -> Sequence[Report]:
        reports: list[Report] = []
        with _errors() as client:
            payments = client.order.payments(order.provider_order_id).get("items") or []
            for payment in payments:
                # One that was given back entirely was captured once.
                if payment.get("status") in ("captured", "refunded"):
                    reports.append(_of_payment(Kind.PAID, payment))
                    reports += _refunds_of(client, payment)
                elif payment.get("status") == "authorized":
                    reports.append(_of_payment(Kind.PROCESSING, payment))
        return reports

    def refund(self, refund: PaymentRefund, *, asked_before: bool) -> Report:
        order = refund.order
        notes = {"refund_id": str(refund.pk), "order_id": str(order.pk)}
        payment = {"order_id": order.provider_order_id, "id": order.provider_payment_id}
        with _errors() as client:
            if asked_before and (made := _made_before(refund, payment)):
                return made
            answer = client.payment.refund(
                order.provider_payment_id,
                {"amount": refund.amount, "notes": notes, "receipt": refund.pk.hex},
                headers={"X-Refund-Idempotency": str(refund.pk)},
            )
            return _of_refund(answer, payment)

    def read(self, body: bytes, headers: Mapping[str, str]) -> Report:
        signature = headers.get("X-Razorpay-Signature", "")
        if not signed_by_one_of(settings.RAZORPAY_WEBHOOK_SECRETS, body, [signature]):
            raise BadSignature
        event = reading.document(body)
        type = reading.text(event.get("event"))
        report = _of_event(type, event)
        # Their header with an id is not signed: under a new one a body could be sent again as another event, and under
        # that of an event to come it could pass for that one. What was signed is the same whenever it is sent again.
        return Report(
            **{
                **vars(report),
                "type": type,
                "event_id": f"sha256:{hashlib.sha256(body).hexdigest()}",
                "occurred_at": reading.instant(event.get("created_at")),
            }
        )


def _order(order: PaymentOrder) -> dict[str, Any]:
    return {
        "amount": order.amount,
        "currency": order.currency,
        "receipt": str(order.pk),
        "payment_capture": True,
        "partial_payment": False,
        "notes": {"order_id": str(order.pk)},
    }


def _of_event(type: str, event: dict[str, Any]) -> Report:
    payment = reading.inner(event, "payload", "payment", "entity")
    if type in _PAYMENTS:
        return _of_payment(_PAYMENTS[type], payment, order=reading.inner(event, "payload", "order", "entity"))
    if type.startswith("refund."):
        return _of_refund(reading.inner(event, "payload", "refund", "entity"), payment)
    if type.startswith("payment.dispute."):
        dispute = reading.inner(event, "payload", "dispute", "entity")
        closed_as = _DISPUTE_STATES.get(type) or {
            "won": PaymentOrder.Dispute.WON,
            "lost": PaymentOrder.Dispute.LOST,
        }.get(reading.text(dispute.get("status")))
        return Report(
            Kind.DISPUTE,
            provider_order_id=reading.text(payment.get("order_id")),
            provider_payment_id=reading.text(dispute.get("payment_id")),
            provider_refund_id=reading.text(dispute.get("id")),
            amount=reading.whole(dispute.get("amount")),
            currency=reading.currency(dispute.get("currency")),
            state=closed_as or PaymentOrder.Dispute.OPEN,
        )
    return Report(Kind.UNKNOWN)


def _of_payment(kind: Kind, payment: dict[str, Any], *, order: dict[str, Any] | None = None) -> Report:
    order = order or {}
    return Report(
        kind,
        order_reference=reading.text(order.get("receipt")),
        provider_order_id=reading.text(payment.get("order_id")) or reading.text(order.get("id")),
        provider_payment_id=reading.text(payment.get("id")),
        amount=reading.whole(payment.get("amount")),
        currency=reading.currency(payment.get("currency")),
        state=(reading.text(payment.get("error_code")) or "failed")[:40] if kind is Kind.FAILED else "",
    )


def _of_refund(refund: dict[str, Any], payment: Mapping[str, Any]) -> Report:
    return Report(
        Kind.REFUND,
        provider_order_id=reading.text(payment.get("order_id")),
        provider_payment_id=reading.text(refund.get("payment_id")),
        provider_refund_id=reading.text(refund.get("id")),
        refund_reference=reading.text(reading.inner(refund, "notes").get("refund_id")),
        amount=reading.whole(refund.get("amount")),
        currency=reading.currency(refund.get("currency")),
        state=_REFUND_STATES.get(reading.text(refund.get("status")), RefundStatus.PROCESSING),
    )


def _made_before(refund: PaymentRefund, payment: Mapping[str, Any]) -> Report | None:
    """An earlier asking whose answer was lost."""
    with unless_refused(), _errors() as client:
        reports = _refunds_of(client, payment)
    return next((report for report in reports if report.refund_reference == str(refund.pk)), None)


def _refunds_of(client: razorpay.Client, payment: Mapping[str, Any]) -> list[Report]:
    """All of them: without a count it tells ten, and a hundred is the most it tells at once."""
    found: list[dict[str, Any]] = []
    for page in range(_MOST_PAGES):
        asked = {"count": _PAGE, "skip": page * _PAGE}
        items = client.payment.fetch_multiple_refund(payment["id"], asked).get("items") or []
        found += items
        if len(items) < _PAGE:
            return [_of_refund(one, payment) for one in found]
    raise ProviderUnavailable


@contextmanager
def _errors() -> Iterator[razorpay.Client]:
    """A client with time-outs, whose errors are ours."""
    with wire.Session() as session:
        client = razorpay.Client(
            session=session,
            auth=(settings.RAZORPAY_KEY_ID, settings.RAZORPAY_KEY_SECRET),
            base_url=settings.RAZORPAY_API_BASE,
        )
        try:
            yield client
        except BadRequestError as error:
            raise ProviderRefused(type(error).__name__) from None
        except (GatewayError, ServerError):
            raise ProviderUnavailable from None
        except (AttributeError, KeyError, TypeError):
            # JSON of another shape than theirs.
            raise ProviderUnavailable from None
