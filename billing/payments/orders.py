"""Placing an order: the row stands before the provider is asked, so a crash leaves something to reconcile."""

from __future__ import annotations

import hashlib
import uuid

from django.db import IntegrityError, transaction

from billing import ledger
from billing.models import CreditPackage, PackagePrice, PaymentOrder
from billing.payments import providers, settling
from billing.payments.providers.base import Placed, ProviderRefused, ProviderUnavailable
from relivchats.accounts.models import User
from relivchats.errors import NotFound


def place(*, user: User, package_id: str, provider: str, idempotency_key: str) -> tuple[PaymentOrder, Placed]:
    """A person's order of a package, and what their client needs to pay it.

    The same key gives the same order; an empty one is none. Price and coins are the
    package's. Raises NotFound, IdempotencyMismatch, ProviderUnavailable,
    ProviderRefused.
    """
    order = _written_down(user, package_id, provider=provider, key=_digest(idempotency_key))
    try:
        return order, at_provider(order)
    except ProviderUnavailable:
        raise ProviderUnavailable(
            "The payment provider did not answer. You were not charged. Try again in a minute."
        ) from None
    except ProviderRefused as refusal:
        raise ProviderRefused(
            refusal.reason,
            "The payment provider did not take this order. You were not charged. Try again later, or write to support.",
        ) from None


def at_provider(order: PaymentOrder) -> Placed:
    """Make the order at its provider, or find it there, and write down its id. Safe to do again."""
    provider = providers.to_ask(order.provider)
    try:
        placed = provider.place(order)
    except ProviderRefused as refusal:
        _record(order, failure=refusal.reason)
        raise
    _record(order, provider_order_id=placed.provider_order_id)
    return placed


def _written_down(user: User, package_id: str, *, provider: str, key: str) -> PaymentOrder:
    wallet = ledger.open_wallet(user=user)
    if earlier := wallet.orders.filter(idempotency_key=key).first():
        return _must_match(earlier, package_id, provider)
    package = CreditPackage.objects.filter(pk=package_id, active=True).first()
    price = PackagePrice.objects.filter(package=package, currency=providers.ALL[provider].currency).first()
    if package is None or price is None:
        raise NotFound("There is no such package at this provider. GET /api/credits/packages lists what there is.")
    try:
        with transaction.atomic():
            return PaymentOrder.objects.create(
                wallet=wallet,
                package=package,
                provider=provider,
                coins=package.coins,
                amount=price.amount,
                currency=price.currency,
                idempotency_key=key,
            )
    except IntegrityError:
        # Another request with this key was quicker.
        return _must_match(wallet.orders.get(idempotency_key=key), package_id, provider)


def _must_match(order: PaymentOrder, package_id: str, provider: str) -> PaymentOrder:
    if (order.package_id, order.provider) != (package_id, provider):
        raise ledger.IdempotencyMismatch
    return order


@transaction.atomic
def _record(order: PaymentOrder, *, provider_order_id: str = "", failure: str = "") -> None:
    """The provider's answer. A webhook may have been quicker, and a refusal must not undo a payment."""
    locked = settling.lock(order.pk)
    if provider_order_id and not locked.provider_order_id:
        locked.provider_order_id = provider_order_id
        if locked.status == PaymentOrder.Status.FAILED:
            locked.status, locked.failure = PaymentOrder.Status.PENDING, ""
    elif failure and not locked.is_paid and not locked.provider_order_id:
        locked.status, locked.failure = PaymentOrder.Status.FAILED, failure
    locked.save(update_fields=["provider_order_id", "status", "failure"])
    order.refresh_from_db()


def _digest(idempotency_key: str) -> str:
    return hashlib.sha256((idempotency_key or uuid.uuid4().hex).encode()).hexdigest()
