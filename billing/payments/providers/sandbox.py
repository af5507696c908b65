"""A local provider for trying out the API: one click on a page of this site pays, and no money moves."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping, Sequence

from django.conf import settings
from django.core import signing
from django.core.exceptions import ImproperlyConfigured
from django.urls import reverse

from billing.payments.models import PaymentOrder, PaymentRefund
from billing.payments.providers import payload
from billing.payments.providers.base import (
    REGISTRY,
    BadSignature,
    Checkout,
    EventKind,
    Provider,
    ProviderEvent,
    RefundStatus,
    Setting,
    is_signed,
    register,
)
from relivchats import environment

SIGNATURE_HEADER = "X-Sandbox-Signature"
#: Without an expiry: an idempotent answer returns the same link for a day. The order's status ends its use.
_LINK_SIGNER = signing.Signer(salt="billing.payments.sandbox")


def _parse_mode(text: str) -> bool | str:
    return text if text == "auto" else environment.boolean(text)


@register
class Sandbox(Provider):
    """A provider that grants coins for a click.

    It is refused at startup next to live keys, and outside DEBUG and the embedded servers.
    """

    name, label, currency = "sandbox", "Sandbox", "USD"
    #: Empty enables the sandbox with DEBUG, unless a live key is set. "auto" also enables it on the embedded servers,
    #: unless another provider is configured.
    mode = Setting[bool | str]("PAYMENTS_SANDBOX", _parse_mode, default="")

    def check_settings(self) -> None:
        """Raise ImproperlyConfigured if the sandbox is enabled where people can pay with real money."""
        super().check_settings()
        if self.mode is True and (_live_keys_are_set() or not (settings.DEBUG or settings.EMBEDDED)):
            raise ImproperlyConfigured(
                "PAYMENTS_SANDBOX gives coins away. Do not set it where people pay with real money."
            )

    def is_configured(self) -> bool:
        """Return whether PAYMENTS_SANDBOX, or its default, enables the sandbox."""
        if isinstance(self.mode, bool):
            return self.mode
        if settings.DEBUG and not _live_keys_are_set():
            return True
        others = (provider for provider in REGISTRY.values() if provider is not self)
        return self.mode == "auto" and settings.EMBEDDED and not any(other.is_configured() for other in others)

    def is_live(self) -> bool:
        """Return False: no money moves."""
        return False

    def create_order(self, order: PaymentOrder) -> Checkout:
        """Return the signed link of the order's checkout page."""
        link = reverse("sandbox-checkout", args=[_LINK_SIGNER.sign(order.pk.hex)])
        return Checkout(_order_id(order), checkout_path=link)

    def fetch_status(self, order: PaymentOrder) -> Sequence[ProviderEvent]:
        """Return nothing: the page sends its event at once and stores no state."""
        return []

    def refund(self, refund: PaymentRefund, *, requested_before: bool) -> ProviderEvent:
        """Return a completed refund."""
        return ProviderEvent(
            EventKind.REFUND,
            provider_order_id=refund.order.provider_order_id or "",
            provider_refund_id=f"sandbox_refund_{refund.pk.hex}",
            refund_reference=str(refund.pk),
            amount=refund.amount,
            currency=refund.order.currency,
            state=RefundStatus.COMPLETED,
        )

    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Return the event that `create_event` made. Raise BadSignature."""
        if not is_signed(body, [headers.get(SIGNATURE_HEADER, "")], [_secret()]):
            raise BadSignature
        # The signature shows that `create_event` made this body, so its fields need no further checks.
        event = payload.parse_object(body)
        return ProviderEvent(
            EventKind(event["kind"]),
            type=f"sandbox.{event['kind']}",
            event_id=event["id"],
            order_reference=event["order_reference"],
            provider_order_id=event["order"],
            provider_payment_id=event["payment"],
            amount=event["amount"],
            currency=event["currency"],
            state=event["state"],
        )


def find_order(link: str) -> PaymentOrder | None:
    """Return the order that a signed link of the checkout page names, or None if the signature is not valid."""
    try:
        order_id = uuid.UUID(_LINK_SIGNER.unsign(link))
    except (signing.BadSignature, ValueError):
        return None
    return PaymentOrder.objects.select_related("package").filter(pk=order_id, provider=Sandbox.name).first()


def create_event(order: PaymentOrder, *, paid: bool) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of the webhook for a click on the page: paid or cancelled."""
    body = json.dumps(
        {
            "id": f"sandbox_event_{uuid.uuid4().hex}",
            "kind": EventKind.PAID if paid else EventKind.FAILED,
            "order_reference": str(order.pk),
            "order": _order_id(order),
            "payment": f"sandbox_payment_{order.pk.hex}" if paid else "",
            "amount": order.amount,
            "currency": order.currency,
            "state": "" if paid else "cancelled",
        }
    ).encode()
    return body, {SIGNATURE_HEADER: hmac.new(_secret().encode(), body, hashlib.sha256).hexdigest()}


def _live_keys_are_set() -> bool:
    return any(provider.is_live() for provider in REGISTRY.values())


def _order_id(order: PaymentOrder) -> str:
    return f"sandbox_order_{order.pk.hex}"


def _secret() -> str:
    # Derived, so that the sandbox needs no configuration and its signatures are useless elsewhere.
    return hmac.new(settings.SECRET_KEY.encode(), b"billing.payments.sandbox", hashlib.sha256).hexdigest()
