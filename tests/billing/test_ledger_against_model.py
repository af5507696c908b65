"""In random histories, the ledger agrees with an independent model, and the audit finds nothing."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from billing import ledger
from billing.models import Bonus, CoinDebt, CoinReservation, PaymentOrder, PaymentRefund, Wallet
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.errors import DomainError
from tests.billing.conftest import audit_coins
from tests.billing.model import ModelWallet, Refused

KEYS = st.sampled_from(["a", "b", "c", "d", "e", "f"])
COINS = st.integers(-1, 300) | st.sampled_from([50, 100, 400])


def outcome(call: Callable[[], Any]) -> str:
    """Return "done", or the name of the error that the call raised."""
    try:
        call()
    except Refused as refusal:
        return str(refusal)
    except DomainError as refusal:
        return type(refusal).__name__
    return "done"


def get_or_create_order(wallet: Wallet, *, key: str, coins: int = 400) -> PaymentOrder:
    """Return the order with this key and at least one coin. The ledger checks its wallet and coins."""
    order, _ = PaymentOrder.objects.get_or_create(
        wallet=wallet,
        idempotency_key=f"{key} {coins}",
        defaults={
            "package_id": "starter",
            "provider": "stripe",
            "coins": max(coins, 1),
            "amount": 499,
            "currency": "USD",
        },
    )
    return order


class LedgerMachine(RuleBasedStateMachine):
    wallets = Bundle("wallets")
    holds = Bundle("holds")

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.models: dict[int, ModelWallet] = {}
        self.reservations: dict[tuple[int, str], CoinReservation] = {}
        self.refunds: dict[tuple[int, str], PaymentRefund] = {}

    def teardown(self) -> None:
        transaction.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize(target=wallets, bonus=st.sampled_from([0, 50]))
    def first_person(self, bonus: int) -> Wallet:
        Bonus.objects.update_or_create(event="signup", defaults={"coins": bonus})
        return self.new_wallet()

    @rule(target=wallets)
    def another_person(self) -> Wallet:
        return self.new_wallet()

    def new_wallet(self) -> Wallet:
        wallet: Wallet = User.objects.create_user(f"{uuid.uuid4()}@example.org").wallet
        model = self.models[wallet.pk] = ModelWallet()
        if bonus := Bonus.objects.get().coins:
            model.lines.append(("signup_bonus", bonus))
            model.keys["signup"] = ("signup_bonus", bonus)
        return wallet

    def check_same_outcome(self, real: Callable[[], Any], expected: Callable[[], Any]) -> None:
        assert outcome(real) == outcome(expected)

    # The instances are copied before each call, so that the ledger receives stale ones.

    @rule(wallet=wallets, coins=COINS, key=KEYS)
    def purchase(self, wallet: Wallet, coins: int, key: str) -> None:
        order = get_or_create_order(wallet, key=key, coins=coins)
        self.check_same_outcome(
            lambda: ledger.grant(
                wallet=copy.copy(wallet), type="purchase", coins=coins, idempotency_key=key, payment_order=order
            ),
            lambda: self.models[wallet.pk].move("purchase", coins, key),
        )

    @rule(wallet=wallets, amount=COINS | COINS.map(lambda coins: -coins), key=KEYS)
    def adjust(self, wallet: Wallet, amount: int, key: str) -> None:
        self.check_same_outcome(
            lambda: ledger.adjust(
                wallet=copy.copy(wallet), amount=amount, actor="test", reason="a test", idempotency_key=key
            ),
            lambda: self.models[wallet.pk].move("admin_adjustment", amount, key),
        )

    def stale_refund(self, wallet: Wallet, key: str) -> PaymentRefund:
        """Return a copy of the refund with this key, whose wallet is a stale copy as well."""
        if (wallet.pk, key) not in self.refunds:
            order = get_or_create_order(wallet, key="refunds")
            self.refunds[wallet.pk, key] = order.refunds.create(source="provider", status="completed", amount=1)
        refund = copy.copy(self.refunds[wallet.pk, key])
        refund.order = copy.copy(refund.order)
        refund.order.wallet = copy.copy(wallet)
        return refund

    @rule(wallet=wallets, coins=COINS, key=KEYS)
    def refund(self, wallet: Wallet, coins: int, key: str) -> None:
        refund = self.stale_refund(wallet, key)
        self.check_same_outcome(
            lambda: ledger.refund(refund=refund, coins=coins),
            lambda: self.models[wallet.pk].refund(coins, key),
        )

    @rule(wallet=wallets, key=KEYS)
    def reverse_refund(self, wallet: Wallet, key: str) -> None:
        """Reverse any refund, also one that was never made or is reversed already."""
        refund = self.stale_refund(wallet, key)
        self.check_same_outcome(
            lambda: ledger.reverse_refund(refund=refund, reason="never sent"),
            lambda: self.models[wallet.pk].reverse(key),
        )

    @rule(target=holds, wallet=wallets, coins=COINS, key=KEYS)
    def reserve(self, wallet: Wallet, coins: int, key: str) -> tuple[int, str]:
        def real() -> None:
            reservation = ledger.reserve(
                wallet=copy.copy(wallet),
                coins=coins,
                idempotency_key=key,
                expires_at=clock.now() + timedelta(hours=1),
            )
            earlier = self.reservations.setdefault((wallet.pk, key), reservation)
            assert earlier.pk == reservation.pk

        self.check_same_outcome(real, lambda: self.models[wallet.pk].hold(coins, key))
        return wallet.pk, key

    @rule(hold=holds, coins=COINS, whole=st.booleans())
    def capture(self, hold: tuple[int, str], coins: int, whole: bool) -> None:
        if reservation := self.reservations.get(hold):
            coins = reservation.coins if whole else coins
            self.check_same_outcome(
                lambda: ledger.capture(reservation=copy.copy(reservation), coins=coins),
                lambda: self.models[hold[0]].capture(coins, hold[1]),
            )

    @rule(hold=holds)
    def release(self, hold: tuple[int, str]) -> None:
        if reservation := self.reservations.get(hold):
            self.check_same_outcome(
                lambda: ledger.release(reservation=copy.copy(reservation), reason="given up"),
                lambda: self.models[hold[0]].release(hold[1]),
            )

    @invariant()
    def audit_finds_nothing(self) -> None:
        assert audit_coins() == []

    @invariant()
    def equals_the_model(self) -> None:
        for wallet in Wallet.objects.filter(pk__in=self.models):
            model = self.models[wallet.pk]
            lines = wallet.transactions.order_by("sequence").values_list("sequence", "type", "amount", "balance_after")
            coins = (wallet.balance, wallet.reserved, wallet.owed)
            assert (*coins, list(lines)) == (model.balance, model.reserved, model.owed, model.transactions)
            assert not (wallet.owed and wallet.spendable)
            debts = {debt.refund_id: debt.unpaid_coins for debt in CoinDebt.objects.open().filter(wallet=wallet)}
            assert debts == {
                self.refunds[wallet.pk, key].pk: refund.owed for key, refund in model.refunds.items() if refund.owed
            }
            holds = wallet.reservations.values_list("idempotency_key", "coins", "status", "captured_coins")
            assert {key: tuple(rest) for key, *rest in holds} == {
                key: (hold.coins, hold.state, hold.captured) for key, hold in model.holds.items()
            }


def run(*, histories: int, steps: int) -> None:
    run_state_machine_as_test(
        LedgerMachine,
        settings=settings(
            max_examples=histories,
            stateful_step_count=steps,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.django_db
def test_any_short_history_matches_the_model() -> None:
    run(histories=12, steps=25)


@pytest.mark.slow
@pytest.mark.django_db
def test_any_long_history_matches_the_model() -> None:
    run(histories=80, steps=50)
