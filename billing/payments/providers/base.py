"""What every payment provider can be asked, and how it answers or fails."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Protocol

from billing.payments.models import PaymentRefund, WebhookEvent
from relivchats.errors import DomainError

if TYPE_CHECKING:
    from billing.payments.models import PaymentOrder

Kind = WebhookEvent.Kind
RefundStatus = PaymentRefund.Status


class ProviderUnavailable(DomainError):
    """No answer, or none that says whether it was done: the same may be asked again."""

    code, status, title = "ERR_4004", 503, "The payment provider does not answer"

    def __init__(self, said: str = "The payment provider did not answer. Try again in a minute.") -> None:
        super().__init__(said, retry_after_seconds=30)


class NotSetUp(ProviderUnavailable):
    """It was once, since it has an order here. Only who runs this service can do something about it."""

    title = "The payment provider is not set up here"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name.title()} is not set up here, so it was not asked. Set its keys, then ask again.")


class ProviderRefused(DomainError):
    """It was not done, and asking again will not help. `reason` is the provider's code."""

    code, status, title = "ERR_3007", 502, "The payment provider refused"

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(said or f"The payment provider refused: {reason[:100]}.")
        self.reason = reason[:100]


class BadSignature(DomainError):
    code, status, title = "ERR_1001", 400, "The signature does not fit"

    def __init__(self) -> None:
        super().__init__("The webhook's signature is missing, wrong or too old. Check the webhook's secret.")


class UnreadableEvent(DomainError):
    code, status, title = "ERR_1001", 400, "Not an event"

    def __init__(self) -> None:
        super().__init__("The webhook is signed, but its body is not an event that can be read.")


@dataclass(frozen=True)
class Placed:
    """An order at its provider, and what a client needs to pay it. None but the first is stored."""

    provider_order_id: str
    client_secret: str = ""
    key_id: str = ""
    checkout_path: str = ""


@dataclass(frozen=True)
class Report:
    """One thing that a provider says, by webhook or when asked. Amounts are minor units; `state` is in our words.

    A refund's `state` is a PaymentRefund.Status, a dispute's a PaymentOrder.Dispute, a failure's the provider's code.
    """

    kind: Kind
    type: str = ""
    event_id: str = ""
    order_reference: str = ""
    provider_order_id: str = ""
    provider_payment_id: str = ""
    provider_refund_id: str = ""
    refund_reference: str = ""
    amount: int | None = None
    currency: str = ""
    state: str = ""
    occurred_at: datetime | None = None


class Provider(Protocol):
    name: str
    currency: str

    def offered(self) -> bool:
        """Whether it is set up here."""

    def place(self, order: PaymentOrder) -> Placed:
        """Make the order at the provider, or find the one made before."""

    def ask(self, order: PaymentOrder) -> Sequence[Report]:
        """How the order stands there now: its payment and its refunds, if any."""

    def refund(self, refund: PaymentRefund, *, asked_before: bool) -> Report:
        """Send the money back, once however often it is asked.

        Raises ProviderRefused only where none was made: if it was asked for before, its
        refunds were read and lack this one. All else is ProviderUnavailable.
        """

    def read(self, body: bytes, headers: Mapping[str, str]) -> Report:
        """The event of a webhook. Raises BadSignature, UnreadableEvent."""


@contextmanager
def unless_refused() -> Iterator[None]:
    """What was asked for is only to be looked up: that it cannot be is no refusal of it."""
    try:
        yield
    except ProviderRefused:
        raise ProviderUnavailable from None


def signed_by_one_of(secrets: Sequence[str], message: bytes, signatures: Sequence[str]) -> bool:
    """Whether a signature is the message's HMAC-SHA256, in hex, under one of the secrets. In constant time."""
    fits = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        for signature in signatures:
            fits |= hmac.compare_digest(expected.encode(), signature.encode())
    return fits
