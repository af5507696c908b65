"""Concurrent calls of the ledger, each on its own connection."""

from __future__ import annotations

from functools import partial

import pytest

from billing import ledger
from billing.audit import audit
from billing.models import CoinReservation, CreditTransaction, PaymentOrder, Wallet
from relivchats import clock
from relivchats.accounts.models import User
from tests.billing.conftest import Buy, Hold, MakeOrder, MakeWallet, all_at_once, audit_of_coins

pytestmark = pytest.mark.django_db(transaction=True)


def fresh(reservation: CoinReservation) -> CoinReservation:
    return CoinReservation.objects.get(pk=reservation.pk)


def own(wallet: Wallet) -> Wallet:
    return Wallet.objects.get(pk=wallet.pk)


def test_of_fifty_concurrent_reservations_on_coins_for_one_exactly_one_succeeds(
    make_wallet: MakeWallet, hold: Hold
) -> None:
    wallet = make_wallet(coins=50)
    outcomes = all_at_once([partial(hold, own(wallet), 50, key=f"job {n}") for n in range(50)])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["CoinReservation"] + ["InsufficientCoins"] * 49
    assert (own(wallet).balance, own(wallet).reserved) == (50, 50)
    assert audit() == []


def test_ten_concurrent_requests_with_one_key_move_coins_once(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=500)
    outcomes = all_at_once([partial(hold, own(wallet), 50, key="job 1") for _ in range(10)])
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert own(wallet).reserved == 50
    assert audit() == []


def test_concurrent_grants_and_adjustments_lose_no_coins_and_leave_no_gap(
    make_wallet: MakeWallet, make_order: MakeOrder
) -> None:
    wallet = make_wallet(coins=50)
    grants = [
        partial(
            ledger.grant,
            wallet=own(wallet),
            type="purchase",
            coins=10,
            idempotency_key=f"order {n}",
            payment_order=make_order(wallet, coins=10, status="completed", completed_at=clock.now()),
        )
        for n in range(8)
    ]
    adjustments = [
        partial(ledger.adjust, wallet=own(wallet), amount=-5, actor="test", reason="a test", idempotency_key=f"fix {n}")
        for n in range(8)
    ]
    all_at_once([*grants, *adjustments])
    assert own(wallet).balance == 50 + 8 * 10 - 8 * 5
    assert audit() == []


def test_of_a_concurrent_capture_and_release_exactly_one_succeeds(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    captured, released = all_at_once(
        [
            partial(ledger.capture, reservation=fresh(reservation), coins=300),
            partial(ledger.release, reservation=fresh(reservation), reason="given up"),
        ],
    )
    stored = fresh(reservation)
    if stored.status == CoinReservation.Status.CAPTURED:
        assert isinstance(released, ledger.ReservationResolved)
        assert own(wallet).balance == 150
    else:
        assert isinstance(captured, ledger.ReservationResolved)
        assert own(wallet).balance == 450
    assert own(wallet).reserved == 0
    assert audit() == []


def test_ten_concurrent_captures_take_the_coins_once(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    outcomes = all_at_once([partial(ledger.capture, reservation=fresh(reservation), coins=300) for _ in range(10)])
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert own(wallet).balance == 150
    assert audit() == []


def test_concurrent_settlements_and_purchases_of_one_wallet_lose_no_coins(
    make_wallet: MakeWallet, hold: Hold, buy: Buy
) -> None:
    wallet = make_wallet(coins=450)
    captured, released = hold(wallet, 200, key="job 1"), hold(wallet, 100, key="job 2")
    all_at_once(
        [
            partial(ledger.capture, reservation=fresh(captured), coins=150),
            partial(ledger.release, reservation=fresh(released), reason="given up"),
            partial(buy, own(wallet), 400),
        ]
    )
    assert (own(wallet).balance, own(wallet).reserved) == (700, 0)
    assert audit() == []


def test_five_concurrent_openings_of_a_wallet_grant_one_bonus() -> None:
    (user,) = User.objects.bulk_create([User(email="ann@example.org")])
    outcomes = all_at_once([partial(ledger.open_wallet, user=user) for _ in range(5)])
    assert len({outcome.pk for outcome in outcomes}) == 1
    assert own(outcomes[0]).balance == 50
    assert audit() == []


def test_concurrent_refunds_take_no_more_than_the_spendable_coins(
    make_wallet: MakeWallet, make_order: MakeOrder
) -> None:
    wallet = make_wallet(coins=0)
    order = make_order(wallet)
    ledger.grant(wallet=wallet, type="purchase", coins=400, idempotency_key="buy", payment_order=order)
    refunds = [
        partial(ledger.refund, payment_order=PaymentOrder.objects.get(pk=order.pk), coins=300, idempotency_key=f"r{n}")
        for n in range(4)
    ]
    outcomes = all_at_once(refunds)
    assert sorted(outcome.amount if outcome else 0 for outcome in outcomes) == [-300, -100, 0, 0]
    assert audit_of_coins() == []


def test_concurrent_reversals_of_one_refund_return_its_coins_once(
    make_wallet: MakeWallet, make_order: MakeOrder
) -> None:
    wallet = make_wallet(coins=0)
    order = make_order(wallet)
    ledger.grant(wallet=wallet, type="purchase", coins=400, idempotency_key="buy", payment_order=order)
    taken = ledger.refund(payment_order=order, coins=400, idempotency_key="back")
    assert taken is not None
    outcomes = all_at_once(
        [
            partial(ledger.reverse_refund, refund=CreditTransaction.objects.get(pk=taken.pk), reason="failed")
            for _ in range(4)
        ]
    )
    assert {outcome.pk for outcome in outcomes} == {outcomes[0].pk}
    assert own(wallet).balance == 400
    assert audit_of_coins() == []
