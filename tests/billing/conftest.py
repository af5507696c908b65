from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import Any, Protocol

import pytest
from django.db import connection, transaction

from billing import audit, ledger
from billing.models import CoinReservation, CreditTransaction, PackagePrice, PaymentOrder, PaymentRefund, Wallet
from billing.payments.providers import REGISTRY
from relivchats import clock
from relivchats.accounts.models import User
from tests.processes import PATIENCE_SECONDS


class MakeWallet(Protocol):
    def __call__(self, *, coins: int = 0) -> Wallet: ...


class Hold(Protocol):
    def __call__(self, wallet: Wallet, coins: int, *, key: str = "job 1") -> CoinReservation: ...


class MakeOrder(Protocol):
    def __call__(
        self, wallet: Wallet, *, package: str = "starter", provider: str = "stripe", **columns: Any
    ) -> PaymentOrder: ...


class MakeRefund(Protocol):
    def __call__(self, order: PaymentOrder, **columns: Any) -> PaymentRefund: ...


class Buy(Protocol):
    def __call__(self, wallet: Wallet, coins: int = 400) -> CreditTransaction: ...


@pytest.fixture
def make_wallet() -> MakeWallet:
    def make(*, coins: int = 0) -> Wallet:
        """Return the wallet of a new person with exactly these coins."""
        wallet: Wallet = User.objects.create_user(f"{uuid.uuid4()}@example.org").wallet
        if coins != wallet.balance:
            ledger.adjust(
                wallet=wallet,
                amount=coins - wallet.balance,
                actor="test",
                reason="a known balance",
                idempotency_key="start",
            )
        return wallet

    return make


@pytest.fixture
def hold() -> Hold:
    def make(wallet: Wallet, coins: int, *, key: str = "job 1") -> CoinReservation:
        return ledger.reserve(
            wallet=wallet, coins=coins, idempotency_key=key, expires_at=clock.now() + timedelta(hours=1)
        )

    return make


@pytest.fixture
def make_order() -> MakeOrder:
    def make(wallet: Wallet, *, package: str = "starter", provider: str = "stripe", **columns: Any) -> PaymentOrder:
        """Return an order that exists at the provider, unpaid unless the columns say otherwise."""
        price = PackagePrice.objects.select_related("package").get(
            package=package, currency=REGISTRY[provider].currency
        )
        return PaymentOrder.objects.create(
            wallet=wallet,
            package=price.package,
            provider=provider,
            amount=price.amount,
            currency=price.currency,
            idempotency_key=uuid.uuid4().hex,
            **{"coins": price.package.coins, "provider_order_id": f"order_{uuid.uuid4().hex}", **columns},
        )

    return make


@pytest.fixture
def make_refund() -> MakeRefund:
    def make(order: PaymentOrder, **columns: Any) -> PaymentRefund:
        """Return a refund of one minor unit that the provider has accepted. Its coins are not yet taken."""
        return PaymentRefund.objects.create(
            order=order, **{"source": "provider", "status": "completed", "amount": 1, **columns}
        )

    return make


@pytest.fixture
def buy(make_order: MakeOrder) -> Buy:
    def grant(wallet: Wallet, coins: int = 400) -> CreditTransaction:
        """Grant these coins for a new paid order, and return the transaction."""
        order = make_order(wallet, coins=coins, status="completed", completed_at=clock.now())
        return ledger.grant(
            wallet=wallet, type="purchase", coins=coins, idempotency_key=f"order {order.pk}", payment_order=order
        )

    return grant


def call_concurrently(calls: Sequence[Callable[[], Any]]) -> list[Any]:
    """Run each call in its own thread and connection. Return the result or the exception of each, in order.

    The wallets are locked against writes until every call waits for a lock. Every call has therefore done its
    unlocked reads before any of them can write.
    """
    outcomes: list[Any] = [None] * len(calls)

    def run(index: int) -> None:
        try:
            outcomes[index] = calls[index]()
        except Exception as error:
            outcomes[index] = error
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(calls))]
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("LOCK TABLE wallets IN SHARE MODE")
        for thread in threads:
            thread.start()
        wait_until_blocked(len(calls))
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return outcomes


def wait_until_blocked(count: int) -> None:
    """Wait until this number of connections to the database wait for a lock."""
    deadline = monotonic() + PATIENCE_SECONDS
    blocked = 0
    while blocked < count:
        assert monotonic() < deadline, f"{blocked} of {count} calls wait for a lock"
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_stat_clear_snapshot()")
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity"
                " WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
            )
            (blocked,) = cursor.fetchone()


def audit_coins() -> list[audit.Finding]:
    """Return the findings of the audit except those about orders, for tests that move coins without payments."""
    return [finding for finding in audit.audit() if finding.invariant.number != "9"]
