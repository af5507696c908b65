"""The providers, by name. What is not set up is not offered."""

from __future__ import annotations

from billing.payments.providers.base import NotSetUp, Provider
from billing.payments.providers.razorpay import Razorpay
from billing.payments.providers.sandbox import Sandbox
from billing.payments.providers.stripe import Stripe

ALL: dict[str, Provider] = {provider.name: provider for provider in (Razorpay(), Stripe(), Sandbox())}


def offered() -> list[Provider]:
    return [provider for provider in ALL.values() if provider.offered()]


def to_ask(name: str) -> Provider:
    """The provider, if it can be asked. Raises NotSetUp."""
    provider = ALL[name]
    if not provider.offered():
        raise NotSetUp(name)
    return provider
