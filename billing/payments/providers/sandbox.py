"""A provider of our own, for trying out: paying is one click on a page of ours, and no money moves.

Offered on the embedded stack or with DEBUG only: settings refuse to start otherwise.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.core import signing
from django.urls import reverse

from billing.payments.models import PaymentOrder, PaymentRefund
from billing.payments.providers import reading
from billing.payments.providers.base import BadSignature, Kind, Placed, RefundStatus, Report, signed_by_one_of

SIGNATURE = "X-Sandbox-Signature"
#: Without a time of its own: an order's link may be given again for a day, and how the order stands ends it.
_LINK = signing.Signer(salt="billing.payments.sandbox")


class Sandbox:
    name = "sandbox"
    currency = "USD"

    def offered(self) -> bool:
        return bool(settings.PAYMENTS_SANDBOX)

    def place(self, order: PaymentOrder) -> Placed:
        return Placed(_order_id(order), checkout_path=reverse("sandbox-checkout", args=[_LINK.sign(order.pk.hex)]))

    def ask(self, order: PaymentOrder) -> Sequence[Report]:
        """Nothing: its page tells at once, and keeps no books of its own."""
        return []

    def refund(self, refund: PaymentRefund, *, asked_before: bool) -> Report:
        return Report(
            Kind.REFUND,
            provider_order_id=refund.order.provider_order_id or "",
            provider_refund_id=f"sandbox_refund_{refund.pk.hex}",
            refund_reference=str(refund.pk),
            amount=refund.amount,
            currency=refund.order.currency,
            state=RefundStatus.COMPLETED,
        )

    def read(self, body: bytes, headers: Mapping[str, str]) -> Report:
        if not signed_by_one_of([_secret()], body, [headers.get(SIGNATURE, "")]):
            raise BadSignature
        event = reading.document(body)
        return Report(
            Kind(event["kind"]),
            type=f"sandbox.{event['kind']}",
            event_id=event["id"],
            order_reference=event["order_reference"],
            provider_order_id=event["order"],
            provider_payment_id=event["payment"],
            amount=event["amount"],
            currency=event["currency"],
            state=event["state"],
        )


def order_of(link: str) -> PaymentOrder | None:
    """The order that a link of the checkout page names; None: the link is not ours."""
    try:
        order_id = uuid.UUID(_LINK.unsign(link))
    except (signing.BadSignature, ValueError):
        return None
    return PaymentOrder.objects.select_related("package").filter(pk=order_id, provider=Sandbox.name).first()


def event(order: PaymentOrder, *, paid: bool) -> tuple[bytes, dict[str, str]]:
    """The webhook that a click on the page makes: its body and headers."""
    body = json.dumps(
        {
            "id": f"sandbox_event_{uuid.uuid4().hex}",
            "kind": Kind.PAID if paid else Kind.FAILED,
            "order_reference": str(order.pk),
            "order": _order_id(order),
            "payment": f"sandbox_payment_{order.pk.hex}" if paid else "",
            "amount": order.amount,
            "currency": order.currency,
            "state": "" if paid else "cancelled",
        }
    ).encode()
    return body, {SIGNATURE: hmac.new(_secret().encode(), body, hashlib.sha256).hexdigest()}


def _order_id(order: PaymentOrder) -> str:
    return f"sandbox_order_{order.pk.hex}"


def _secret() -> str:
    return hmac.new(settings.SECRET_KEY.encode(), b"billing.payments.sandbox", hashlib.sha256).hexdigest()
