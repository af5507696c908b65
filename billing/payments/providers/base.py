"""The interface of a payment provider, its settings, its events and its errors."""

from __future__ import annotations

import hashlib
import hmac
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, cast

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from billing.payments.models import PaymentRefund, WebhookEvent
from relivchats import environment
from relivchats.errors import DomainError

if TYPE_CHECKING:
    from billing.payments.models import PaymentOrder

EventKind = WebhookEvent.Kind
RefundStatus = PaymentRefund.Status
T = TypeVar("T")


class ProviderUnavailable(DomainError):
    """The provider did not answer, or not clearly enough to know the result. The same request may be repeated."""

    code, status, title = "ERR_4004", 503, "The payment provider does not answer"

    def __init__(self, detail: str = "The payment provider did not answer. Try again in a minute.") -> None:
        super().__init__(detail, retry_after_seconds=30)


class NotConfigured(ProviderUnavailable):
    """The provider has orders but no keys in this installation. Only an operator can set them."""

    title = "The payment provider is not configured here"
    slug = "not-set-up"

    def __init__(self, label: str) -> None:
        super().__init__(f"{label} is not configured here, so nothing was sent to it. Set its keys, then try again.")


class ProviderRefused(DomainError):
    """The provider refused the request, and repeating it will not help. `reason` is the provider's code."""

    code, status, title = "ERR_3007", 502, "The payment provider refused"

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or f"The payment provider refused: {reason[:100]}.")
        self.reason = reason[:100]


class BadSignature(DomainError):
    """A webhook's signature is missing, wrong or expired."""

    code, status, title = "ERR_1001", 400, "The signature is not valid"

    def __init__(self) -> None:
        super().__init__("The webhook's signature is missing, wrong or too old. Check the webhook's secret.")


class UnreadableEvent(DomainError):
    """A webhook's body is signed, but is not an event of the provider."""

    code, status, title = "ERR_1001", 400, "Not an event"

    def __init__(self) -> None:
        super().__init__("The webhook is signed, but its body is not an event that can be read.")


class Setting(Generic[T]):
    """An environment variable of a provider, declared as a class attribute and read on each access.

    A Django setting of the same name takes precedence. A `required` one must be set once the provider is configured.
    """

    def __init__(self, name: str, parse: Callable[[str], T], *, default: T, required: bool = False) -> None:
        self.name, self.parse, self.default, self.required = name, parse, default, required

    def __get__(self, provider: object, owner: type) -> T:
        # Tests override Django's settings; the settings module itself does not know the providers.
        if hasattr(settings, self.name):
            return cast(T, getattr(settings, self.name))
        return environment.read(self.name, self.parse, default=self.default)


@dataclass(frozen=True)
class Checkout:
    """An order at its provider, and what a client needs to pay it. Only `provider_order_id` is stored."""

    provider_order_id: str
    client_secret: str = ""
    key_id: str = ""
    checkout_path: str = ""


@dataclass(frozen=True)
class ProviderEvent:
    """One fact from a provider, by webhook or as an answer. `amount` is in minor units.

    `state` is a PaymentRefund.Status for a refund, a PaymentOrder.Dispute for a dispute, and the provider's error code
    for a failure. An answer has no `event_id`.
    """

    kind: EventKind
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


class Provider(ABC):
    """A payment provider. docs/payments.md, "Add a payment provider", lists the steps to add one."""

    #: Stored in `payment_orders.provider`, sent by clients, and part of the webhook's URL. At most 16 characters.
    name: ClassVar[str]
    label: ClassVar[str]
    currency: ClassVar[str]
    #: The HTTP header that carries a webhook's signature. A provider without one has no webhook URL.
    signature_header: ClassVar[str] = ""

    @classmethod
    def settings(cls) -> list[Setting[Any]]:
        """Return the declared settings, in order of declaration."""
        # vars(), not getattr(): a descriptor would return its value.
        return [value for value in vars(cls).values() if isinstance(value, Setting)]

    def check_settings(self) -> None:
        """Raise ImproperlyConfigured, naming the variable, if one is malformed or a required one is missing."""
        for setting in self.settings():
            value = setting.__get__(self, type(self))
            if setting.required and not value and self.is_configured():
                raise ImproperlyConfigured(f"{setting.name} is not set. See docs/settings.md.")

    @abstractmethod
    def is_configured(self) -> bool:
        """Return whether the provider's keys are set, so that orders can be placed with it."""

    @abstractmethod
    def is_live(self) -> bool:
        """Return whether the keys move real money."""

    @abstractmethod
    def create_order(self, order: PaymentOrder) -> Checkout:
        """Create the order at the provider, or find the one that an earlier call created.

        Raise ProviderRefused or ProviderUnavailable.
        """

    @abstractmethod
    def fetch_status(self, order: PaymentOrder) -> Sequence[ProviderEvent]:
        """Return the order's current payment and refunds at the provider. Raise ProviderUnavailable."""

    @abstractmethod
    def refund(self, refund: PaymentRefund, *, requested_before: bool) -> ProviderEvent:
        """Refund the money once, however often this is called.

        Raise ProviderRefused only if no refund was made: after an earlier request, the provider's list of refunds must
        lack this one. Raise ProviderUnavailable for everything else.
        """

    @abstractmethod
    def parse_webhook(self, body: bytes, headers: Mapping[str, str]) -> ProviderEvent:
        """Return the event of a webhook. Raise BadSignature or UnreadableEvent."""


REGISTRY: dict[str, Provider] = {}

ProviderClass = TypeVar("ProviderClass", bound=type[Provider])


def register(provider: ProviderClass) -> ProviderClass:
    """Add a provider to the registry. Its module is imported by `billing.payments.providers`."""
    REGISTRY[provider.name] = provider()
    return provider


@contextmanager
def refusal_means_unavailable() -> Iterator[None]:
    """Turn ProviderRefused into ProviderUnavailable: a failed lookup does not show that a refund was refused."""
    try:
        yield
    except ProviderRefused:
        raise ProviderUnavailable from None


def is_signed(message: bytes, signatures: Sequence[str], secrets: Sequence[str]) -> bool:
    """Return whether a signature is the message's hex HMAC-SHA256 under one of the secrets.

    Every pair is compared, each in constant time, so the duration reveals nothing about the secrets.
    """
    valid = False
    for secret in secrets:
        expected = hmac.new(secret.encode(), message, hashlib.sha256).hexdigest()
        for signature in signatures:
            # As bytes: compare_digest raises TypeError for a string that is not ASCII.
            valid |= hmac.compare_digest(expected.encode(), signature.encode())
    return valid
