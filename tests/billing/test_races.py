"""Concurrent calls of the ledger, each on its own connection."""

from __future__ import annotations

from functools import partial

import pytest
from django.db import transaction

from billing import ledger
from billing.audit import audit
from billing.models import CoinReservation, PaymentOrder, PaymentRefund, Wallet
from relivchats import clock
from relivchats.accounts.models import User
from tests.billing.conftest import Buy, Hold, MakeOrder, MakeRefund, MakeWallet, audit_coins, call_concurrently

pytestmark = pytest.mark.django_db(transaction=True)


def fresh_reservation(reservation: CoinReservation) -> CoinReservation:
    return CoinReservation.objects.get(pk=reservation.pk)


def fresh_wallet(wallet: Wallet) -> Wallet:
    return Wallet.objects.get(pk=wallet.pk)


def test_of_fifty_concurrent_reservations_on_coins_for_one_exactly_one_succeeds(
    make_wallet: MakeWallet, hold: Hold
) -> None:
    wallet = make_wallet(coins=50)
    outcomes = call_concurrently([partial(hold, fresh_wallet(wallet), 50, key=f"job {n}") for n in range(50)])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CoinReservation"] + ["InsufficientCoins"] * 49
    assert (fresh_wallet(wallet).balance, fresh_wallet(wallet).reserved) == (50, 50)
    assert audit() == []


def test_ten_concurrent_requests_with_one_key_move_coins_once(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=500)
    outcomes = call_concurrently([partial(hold, fresh_wallet(wallet), 50, key="job 1") for _ in range(10)])
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert fresh_wallet(wallet).reserved == 50
    assert audit() == []


def test_concurrent_grants_and_adjustments_lose_no_coins_and_leave_no_gap(
    make_wallet: MakeWallet, make_order: MakeOrder
) -> None:
    wallet = make_wallet(coins=50)
    grants = [
        partial(
            ledger.grant,
            wallet=fresh_wallet(wallet),
            type="purchase",
            coins=10,
            idempotency_key=f"order {n}",
            payment_order=make_order(wallet, coins=10, status="completed", completed_at=clock.now()),
        )
        for n in range(8)
    ]
    adjustments = [
        partial(
            ledger.adjust,
            wallet=fresh_wallet(wallet),
            amount=-5,
            actor="test",
            reason="a test",
            idempotency_key=f"fix {n}",
        )
        for n in range(8)
    ]
    call_concurrently([*grants, *adjustments])
    assert fresh_wallet(wallet).balance == 50 + 8 * 10 - 8 * 5
    assert audit() == []


def test_of_a_concurrent_capture_and_release_exactly_one_succeeds(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    captured, released = call_concurrently(
        [
            partial(ledger.capture, reservation=fresh_reservation(reservation), coins=300),
            partial(ledger.release, reservation=fresh_reservation(reservation), reason="cancelled"),
        ],
    )
    resolved = fresh_reservation(reservation)
    if resolved.status == CoinReservation.Status.CAPTURED:
        assert isinstance(released, ledger.ReservationResolved)
        assert fresh_wallet(wallet).balance == 150
    else:
        assert isinstance(captured, ledger.ReservationResolved)
        assert fresh_wallet(wallet).balance == 450
    assert fresh_wallet(wallet).reserved == 0
    assert audit() == []


def test_ten_concurrent_captures_take_the_coins_once(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    outcomes = call_concurrently(
        [partial(ledger.capture, reservation=fresh_reservation(reservation), coins=300) for _ in range(10)]
    )
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert fresh_wallet(wallet).balance == 150
    assert audit() == []


def test_concurrent_settlements_and_purchases_of_one_wallet_lose_no_coins(
    make_wallet: MakeWallet, hold: Hold, buy: Buy
) -> None:
    wallet = make_wallet(coins=450)
    captured, released = hold(wallet, 200, key="job 1"), hold(wallet, 100, key="job 2")
    call_concurrently(
        [
            partial(ledger.capture, reservation=fresh_reservation(captured), coins=150),
            partial(ledger.release, reservation=fresh_reservation(released), reason="cancelled"),
            partial(buy, fresh_wallet(wallet), 400),
        ]
    )
    assert (fresh_wallet(wallet).balance, fresh_wallet(wallet).reserved) == (700, 0)
    assert audit() == []


def test_five_concurrent_openings_of_a_wallet_grant_one_bonus() -> None:
    (user,) = User.objects.bulk_create([User(email="ann@example.org")])
    outcomes = call_concurrently([partial(ledger.open_wallet, user=user) for _ in range(5)])
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert fresh_wallet(outcomes[0]).balance == 50
    assert audit() == []


@pytest.fixture
def bought(make_wallet: MakeWallet, make_order: MakeOrder) -> PaymentOrder:
    """The order of the 400 coins of a wallet that had none before."""
    wallet = make_wallet(coins=0)
    order = make_order(wallet)
    ledger.grant(wallet=wallet, type="purchase", coins=400, idempotency_key="buy", payment_order=order)
    return order


def fresh_refund(refund: PaymentRefund) -> PaymentRefund:
    return PaymentRefund.objects.get(pk=refund.pk)


def test_concurrent_refunds_take_no_more_than_the_spendable_coins(
    bought: PaymentOrder, make_refund: MakeRefund
) -> None:
    refunds = [partial(ledger.refund, refund=fresh_refund(make_refund(bought)), coins=300) for _ in range(4)]
    outcomes = call_concurrently(refunds)
    assert sorted(outcomes) == [0, 0, 100, 300]
    assert fresh_wallet(bought.wallet).owed == 800
    assert audit_coins() == []


def test_concurrent_reports_of_one_refund_take_its_coins_once(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    hold(bought.wallet, 250)
    refund = make_refund(bought)
    outcomes = call_concurrently([partial(ledger.refund, refund=fresh_refund(refund), coins=400) for _ in range(4)])
    assert outcomes == [150] * 4
    assert (fresh_wallet(bought.wallet).balance, fresh_wallet(bought.wallet).owed) == (250, 250)
    assert audit_coins() == []


def test_concurrent_reversals_of_one_refund_return_its_coins_once(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    hold(bought.wallet, 100)
    refund = make_refund(bought)
    ledger.refund(refund=refund, coins=400)
    reversals = [partial(ledger.reverse_refund, refund=fresh_refund(refund), reason="failed") for _ in range(4)]
    assert call_concurrently(reversals) == [None] * 4
    assert (fresh_wallet(bought.wallet).balance, fresh_wallet(bought.wallet).owed) == (400, 0)
    assert audit_coins() == []


def test_a_refund_concurrent_with_releases_and_a_purchase_leaves_no_debt_unpaid(
    bought: PaymentOrder, make_order: MakeOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    """A payment of a debt refers to the order, whose row the refund's caller has locked."""
    held = [hold(bought.wallet, 100, key=f"job {number}") for number in range(4)]
    refund = make_refund(bought)
    order = make_order(bought.wallet, coins=50)

    def take_back() -> int:
        with transaction.atomic():
            PaymentOrder.objects.lock(bought.pk)
            return ledger.refund(refund=fresh_refund(refund), coins=400)

    outcomes = call_concurrently(
        [
            take_back,
            *(partial(ledger.release, reservation=fresh_reservation(row), reason="cancelled") for row in held),
            partial(
                ledger.grant,
                wallet=fresh_wallet(bought.wallet),
                type="purchase",
                coins=50,
                idempotency_key="another",
                payment_order=order,
            ),
        ]
    )
    assert not [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    wallet = fresh_wallet(bought.wallet)
    assert (wallet.balance, wallet.reserved, wallet.owed) == (50, 0, 0)
    assert audit_coins() == []
