"""Create orders. The row is committed before the provider is called, so a crash leaves a record to reconcile."""

from __future__ import annotations

import hashlib
import uuid

from django.db import IntegrityError, transaction

from billing import ledger
from billing.models import CreditPackage, PackagePrice, PaymentOrder
from billing.payments import providers
from billing.payments.providers.base import Checkout, ProviderRefused, ProviderUnavailable
from relivchats.accounts.models import User
from relivchats.errors import NotFound


def create(*, user: User, package_id: str, provider: str, idempotency_key: str) -> tuple[PaymentOrder, Checkout]:
    """Create an order of a package. Return it with what the client needs to pay it.

    The same idempotency key returns the same order; an empty key never matches. Price and coins are the package's.
    Raise NotFound, IdempotencyMismatch, ProviderUnavailable or ProviderRefused.
    """
    # Hashed: a client's key can be longer than the column, and can contain anything.
    key = hashlib.sha256((idempotency_key or uuid.uuid4().hex).encode()).hexdigest()
    order = _create_row(user, package_id, provider=provider, key=key)
    try:
        return order, create_at_provider(order)
    except ProviderUnavailable:
        raise ProviderUnavailable(
            "The payment provider did not answer. You were not charged. Try again in a minute."
        ) from None
    except ProviderRefused as refusal:
        raise ProviderRefused(
            refusal.reason,
            "The payment provider did not take this order. You were not charged. Try again later, or write to support.",
        ) from None


def create_at_provider(order: PaymentOrder) -> Checkout:
    """Create the order at its provider, or find it there, and store the provider's id. Repeating it is safe.

    Raise NotConfigured, ProviderUnavailable or ProviderRefused.
    """
    provider = providers.get(order.provider)
    try:
        checkout = provider.create_order(order)
    except ProviderRefused as refusal:
        _store_answer(order, failure=refusal.reason)
        raise
    # If this process dies here, reconciliation creates the order again and gets the same id.
    _store_answer(order, provider_order_id=checkout.provider_order_id)
    return checkout


def _create_row(user: User, package_id: str, *, provider: str, key: str) -> PaymentOrder:
    wallet = ledger.open_wallet(user=user)
    if earlier := wallet.orders.filter(idempotency_key=key).first():
        return _must_match(earlier, package_id, provider)
    package = CreditPackage.objects.filter(pk=package_id, active=True).first()
    price = PackagePrice.objects.filter(package=package, currency=providers.REGISTRY[provider].currency).first()
    if package is None or price is None:
        raise NotFound("This provider does not sell such a package. GET /api/credits/packages lists the packages.")
    try:
        # A savepoint: after an IntegrityError, the caller's transaction can continue.
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
        # A concurrent request with this key inserted its row first.
        return _must_match(wallet.orders.get(idempotency_key=key), package_id, provider)


def _must_match(order: PaymentOrder, package_id: str, provider: str) -> PaymentOrder:
    if (order.package_id, order.provider) != (package_id, provider):
        raise ledger.IdempotencyMismatch
    return order


@transaction.atomic
def _store_answer(order: PaymentOrder, *, provider_order_id: str = "", failure: str = "") -> None:
    """Store the provider's id or refusal. A webhook may have been faster: a refusal never undoes a payment."""
    locked = PaymentOrder.objects.lock(order.pk)
    if provider_order_id and not locked.provider_order_id:
        locked.provider_order_id = provider_order_id
        if locked.status == PaymentOrder.Status.FAILED:
            locked.status, locked.failure = PaymentOrder.Status.PENDING, ""
    elif failure and not locked.is_paid and not locked.provider_order_id:
        locked.status, locked.failure = PaymentOrder.Status.FAILED, failure
    locked.save(update_fields=["provider_order_id", "status", "failure"])
    order.refresh_from_db()
