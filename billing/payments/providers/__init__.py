"""The registry of payment providers. Importing a provider's module registers it."""

from __future__ import annotations

from billing.payments.providers import razorpay, sandbox, stripe  # noqa: F401 - registers them
from billing.payments.providers.base import REGISTRY, NotConfigured, Provider

__all__ = ["REGISTRY", "check_settings", "configured", "get"]


def configured() -> list[Provider]:
    """Return the providers that people can pay with here."""
    return [provider for provider in REGISTRY.values() if provider.is_configured()]


def get(name: str) -> Provider:
    """Return a configured provider. Raise NotConfigured."""
    provider = REGISTRY[name]
    if not provider.is_configured():
        raise NotConfigured(provider.label)
    return provider


def check_settings() -> None:
    """Raise ImproperlyConfigured if a provider's settings are malformed, incomplete or contradictory."""
    for provider in REGISTRY.values():
        provider.check_settings()
