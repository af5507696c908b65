from __future__ import annotations

from datetime import timedelta

import pytest

from billing import ledger
from billing.models import CoinDebt, CoinReservation, CreditTransaction, PaymentOrder, Wallet
from relivchats import clock
from tests.billing.conftest import Hold, MakeOrder, MakeRefund, MakeWallet, audit_coins

pytestmark = pytest.mark.django_db

PURCHASE = CreditTransaction.Type.PURCHASE


def stored_coins(wallet: Wallet) -> tuple[int, int]:
    stored = Wallet.objects.get(pk=wallet.pk)
    assert audit_coins() == []
    return stored.balance, stored.reserved


def test_a_grant_adds_coins_and_one_transaction(make_wallet: MakeWallet, make_order: MakeOrder) -> None:
    wallet = make_wallet(coins=50)
    order = make_order(wallet)
    line = ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="order 1", payment_order=order)
    assert (line.type, line.amount, line.balance_after) == (PURCHASE, 400, 450)
    assert wallet.balance == 450
    assert stored_coins(wallet) == (450, 0)


def test_a_purchase_must_match_its_orders_wallet_and_coins(make_wallet: MakeWallet, make_order: MakeOrder) -> None:
    wallet, other = make_wallet(coins=50), make_wallet(coins=50)
    for order, coins in [(None, 400), (make_order(other), 400), (make_order(wallet), 399), (make_order(wallet), 401)]:
        with pytest.raises(ledger.InvalidMovement, match="order"):
            ledger.grant(wallet=wallet, type=PURCHASE, coins=coins, idempotency_key="a", payment_order=order)
    assert stored_coins(wallet) == stored_coins(other) == (50, 0)


@pytest.mark.parametrize("type", ["insight_unlock", "refund", "admin_adjustment"])
def test_only_bonuses_and_purchases_can_be_granted(make_wallet: MakeWallet, type: str) -> None:
    with pytest.raises(ledger.InvalidMovement):
        ledger.grant(wallet=make_wallet(), type=type, coins=1, idempotency_key="a")


@pytest.mark.parametrize("coins", [0, -1, ledger.MAX_COINS + 1])
def test_the_number_of_coins_is_bounded(make_wallet: MakeWallet, hold: Hold, coins: int) -> None:
    wallet = make_wallet(coins=50)
    with pytest.raises(ledger.InvalidMovement, match="whole numbers"):
        ledger.grant(wallet=wallet, type=PURCHASE, coins=coins, idempotency_key="a")
    with pytest.raises(ledger.InvalidMovement):
        hold(wallet, coins)
    assert stored_coins(wallet) == (50, 0)


def test_held_coins_are_owned_but_not_spendable(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    hold(wallet, 400)
    assert wallet.spendable == 50
    assert stored_coins(wallet) == (450, 400)


def test_too_few_coins_are_rejected_with_the_numbers_and_what_to_do(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    hold(wallet, 400)
    with pytest.raises(ledger.InsufficientCoins) as refusal:
        hold(wallet, 100, key="job 2")
    assert refusal.value.extra == {"required": 100, "available": 50, "deficit": 50}
    assert (refusal.value.status, refusal.value.code) == (402, "ERR_3000")
    assert "Get 50 more" in refusal.value.detail
    assert stored_coins(wallet) == (450, 400)


def test_all_spendable_coins_can_be_held(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=50)
    hold(wallet, 50)
    assert stored_coins(wallet) == (50, 50)


def test_a_capture_takes_its_part_and_releases_the_rest(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    line = ledger.capture(reservation=reservation, coins=300)
    assert (line.type, line.amount, line.balance_after) == ("insight_unlock", -300, 150)
    assert line.reservation == reservation
    assert (reservation.status, reservation.captured_coins) == ("captured", 300)
    assert stored_coins(wallet) == (150, 0)


def test_a_repeated_capture_returns_the_first_transaction_and_takes_nothing(
    make_wallet: MakeWallet, hold: Hold
) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    first = ledger.capture(reservation=reservation, coins=300)
    assert ledger.capture(reservation=reservation, coins=300) == first
    assert stored_coins(wallet) == (150, 0)


def test_a_repeated_capture_of_another_amount_is_rejected(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    ledger.capture(reservation=reservation, coins=300)
    with pytest.raises(ledger.ReservationResolved, match="captured with 300 coins"):
        ledger.capture(reservation=reservation, coins=301)
    assert stored_coins(wallet) == (150, 0)


@pytest.mark.parametrize("coins", [-1, 0, 401])
def test_a_capture_is_between_one_coin_and_all_held_coins(make_wallet: MakeWallet, hold: Hold, coins: int) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    with pytest.raises(ledger.InvalidMovement):
        ledger.capture(reservation=reservation, coins=coins)
    assert stored_coins(wallet) == (450, 400)


def test_a_release_returns_all_coins_without_a_transaction(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    lines = wallet.transactions.count()
    ledger.release(reservation=reservation, reason="nothing was delivered")
    assert (reservation.status, reservation.release_reason) == ("released", "nothing was delivered")
    assert reservation.resolved_at is not None
    assert wallet.transactions.count() == lines
    assert stored_coins(wallet) == (450, 0)


def test_a_repeated_release_changes_nothing_and_keeps_the_first_reason(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    first = ledger.release(reservation=reservation, reason="first").resolved_at
    repeated = ledger.release(reservation=CoinReservation.objects.get(pk=reservation.pk), reason="second")
    assert (repeated.release_reason, repeated.resolved_at) == ("first", first)
    assert stored_coins(wallet) == (450, 0)


def test_captured_coins_cannot_be_released(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    ledger.capture(reservation=reservation, coins=400)
    with pytest.raises(ledger.ReservationResolved):
        ledger.release(reservation=reservation, reason="too late")
    assert stored_coins(wallet) == (50, 0)


def test_released_coins_cannot_be_captured(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    ledger.release(reservation=reservation, reason="cancelled")
    with pytest.raises(ledger.ReservationResolved):
        ledger.capture(reservation=reservation, coins=400)
    assert stored_coins(wallet) == (450, 0)


def test_a_stale_instance_cannot_resolve_twice(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    stale = CoinReservation.objects.get(pk=reservation.pk)
    ledger.release(reservation=reservation, reason="cancelled")
    with pytest.raises(ledger.ReservationResolved):
        ledger.capture(reservation=stale, coins=400)
    assert stored_coins(wallet) == (450, 0)


def test_a_stale_wallet_instance_cannot_spend_coins_twice(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    stale = Wallet.objects.get(pk=wallet.pk)
    hold(wallet, 400)
    with pytest.raises(ledger.InsufficientCoins):
        hold(stale, 400, key="job 2")
    assert stored_coins(wallet) == (450, 400)


@pytest.mark.parametrize("blank", ["", "   ", "x" * 201])
def test_release_and_adjustment_need_a_reason_of_bounded_length(
    make_wallet: MakeWallet, hold: Hold, blank: str
) -> None:
    wallet = make_wallet(coins=450)
    reservation = hold(wallet, 400)
    with pytest.raises(ledger.InvalidMovement, match="Say why"):
        ledger.release(reservation=reservation, reason=blank)
    with pytest.raises(ledger.InvalidMovement, match="Say why"):
        ledger.adjust(wallet=wallet, amount=1, actor="command", reason=blank, idempotency_key="a")
    assert stored_coins(wallet) == (450, 400)


def test_an_adjustment_needs_an_actor(make_wallet: MakeWallet) -> None:
    with pytest.raises(ledger.InvalidMovement, match="actor"):
        ledger.adjust(wallet=make_wallet(), amount=1, actor=" ", reason="a gift", idempotency_key="a")


def test_an_adjustment_adds_or_takes_coins_with_actor_and_reason(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    ledger.adjust(wallet=wallet, amount=400, actor="command", reason=" a gift ", idempotency_key="a")
    line = ledger.adjust(wallet=wallet, amount=-450, actor="user 7", reason="a mistake", idempotency_key="b")
    assert (line.amount, line.balance_after, line.actor, line.reason) == (-450, 0, "user 7", "a mistake")
    assert wallet.transactions.get(idempotency_key="a").reason == "a gift"
    assert stored_coins(wallet) == (0, 0)


def test_an_adjustment_cannot_take_held_coins(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    hold(wallet, 400)
    with pytest.raises(ledger.InsufficientCoins, match="400 more are held") as refusal:
        ledger.adjust(wallet=wallet, amount=-51, actor="command", reason="a mistake", idempotency_key="a")
    assert refusal.value.extra == {"required": 51, "available": 50, "deficit": 1}
    assert stored_coins(wallet) == (450, 400)


def test_an_adjustment_of_zero_coins_is_rejected(make_wallet: MakeWallet) -> None:
    with pytest.raises(ledger.InvalidMovement):
        ledger.adjust(wallet=make_wallet(), amount=0, actor="command", reason="why not", idempotency_key="a")


def test_a_repeated_request_moves_coins_once(make_wallet: MakeWallet, make_order: MakeOrder, hold: Hold) -> None:
    wallet = make_wallet(coins=50)
    order = make_order(wallet)
    grants = [
        ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="order 1", payment_order=order)
        for _ in range(2)
    ]
    holds = [hold(wallet, 100) for _ in range(2)]
    adjustments = [
        ledger.adjust(wallet=wallet, amount=7, actor=actor, reason="a gift", idempotency_key="a")
        for actor in ("command", "user 7")
    ]
    assert [first == second for first, second in (grants, holds, adjustments)] == [True, True, True]
    assert stored_coins(wallet) == (457, 100)


def test_a_repeated_reservation_is_returned_even_with_no_coins_left(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=100)
    first = hold(wallet, 100)
    assert hold(wallet, 100) == first
    assert stored_coins(wallet) == (100, 100)


def test_a_repeated_reservation_is_returned_after_it_was_resolved(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=100)
    first = hold(wallet, 100)
    ledger.release(reservation=first, reason="cancelled")
    assert hold(wallet, 100).status == CoinReservation.Status.RELEASED
    assert stored_coins(wallet) == (100, 0)


def test_a_used_key_is_rejected_for_another_request(make_wallet: MakeWallet, make_order: MakeOrder, hold: Hold) -> None:
    wallet = make_wallet(coins=450)
    five, six = make_order(wallet, coins=5), make_order(wallet, coins=6)
    ledger.grant(wallet=wallet, type=PURCHASE, coins=5, idempotency_key="a", payment_order=five)
    hold(wallet, 100)
    with pytest.raises(ledger.IdempotencyMismatch):
        ledger.grant(wallet=wallet, type=PURCHASE, coins=6, idempotency_key="a", payment_order=six)
    with pytest.raises(ledger.IdempotencyMismatch):
        ledger.adjust(wallet=wallet, amount=5, actor="command", reason="a gift", idempotency_key="a")
    with pytest.raises(ledger.IdempotencyMismatch):
        hold(wallet, 101)
    assert stored_coins(wallet) == (455, 100)


def test_a_used_key_is_rejected_for_another_order_or_purpose(make_wallet: MakeWallet, make_order: MakeOrder) -> None:
    wallet = make_wallet(coins=450)
    first, second = make_order(wallet), make_order(wallet)
    ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="a", payment_order=first)
    ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="a", payment_order=first)
    with pytest.raises(ledger.IdempotencyMismatch):
        ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="a", payment_order=second)
    until = clock.now() + timedelta(hours=1)
    ledger.reserve(wallet=wallet, coins=50, idempotency_key="b", expires_at=until, reason="unlock")
    with pytest.raises(ledger.IdempotencyMismatch):
        ledger.reserve(wallet=wallet, coins=50, idempotency_key="b", expires_at=until, reason="something else")
    assert stored_coins(wallet) == (850, 50)


@pytest.fixture
def bought(make_wallet: MakeWallet, make_order: MakeOrder) -> PaymentOrder:
    """The order of the 400 coins of a wallet that had none before."""
    wallet = make_wallet(coins=0)
    order = make_order(wallet)
    ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="buy", payment_order=order)
    return order


def lines_of(wallet: Wallet, *, since: int = 0) -> list[tuple[str, int, int]]:
    """Return type, amount and balance of the transactions after a sequence number, oldest first."""
    lines = wallet.transactions.filter(sequence__gt=since).order_by("sequence")
    return list(lines.values_list("type", "amount", "balance_after"))


def stored_owed(wallet: Wallet) -> int:
    return Wallet.objects.get(pk=wallet.pk).owed


def test_a_refund_takes_spendable_coins_once_and_owes_the_held_ones(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    wallet, refund, another = bought.wallet, make_refund(bought), make_refund(bought)
    hold(wallet, 300)
    for _ in range(2):
        assert ledger.refund(refund=refund, coins=400) == 100
    with pytest.raises(ledger.IdempotencyMismatch):
        ledger.refund(refund=refund, coins=399)
    for _ in range(2):
        assert ledger.refund(refund=another, coins=5) == 0
    with pytest.raises(ledger.IdempotencyMismatch):
        ledger.refund(refund=another, coins=6)
    with pytest.raises(ledger.InvalidMovement):
        ledger.refund(refund=make_refund(bought), coins=0)
    assert (stored_coins(wallet), stored_owed(wallet)) == ((300, 300), 305)


def test_released_coins_pay_what_is_owed_before_they_can_be_spent(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    wallet, refund = bought.wallet, make_refund(bought)
    held = hold(wallet, 400)
    assert ledger.refund(refund=refund, coins=390) == 0
    before = wallet.transactions.count()
    for _ in range(2):
        ledger.release(reservation=held, reason="its chat was deleted")
    assert (stored_coins(wallet), stored_owed(wallet)) == ((10, 0), 0)
    assert lines_of(wallet, since=before) == [("refund", -390, 10)]
    debt = refund.debts.get()
    assert (debt.status, debt.paid_coins) == ("paid", 390)
    assert wallet.transactions.get(debt=debt).payment_order == bought


def test_coins_that_a_capture_leaves_pay_what_is_owed(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    wallet = bought.wallet
    held = hold(wallet, 400)
    ledger.refund(refund=make_refund(bought), coins=400)
    before = wallet.transactions.count()
    for _ in range(2):
        assert ledger.capture(reservation=held, coins=330).amount == -330
    assert lines_of(wallet, since=before) == [("insight_unlock", -330, 70), ("refund", -70, 0)]
    assert (stored_coins(wallet), stored_owed(wallet)) == ((0, 0), 330)


def test_granted_coins_pay_the_oldest_debt_first(
    bought: PaymentOrder, make_refund: MakeRefund, make_order: MakeOrder
) -> None:
    wallet, first, second = bought.wallet, make_refund(bought), make_refund(bought)
    ledger.adjust(wallet=wallet, amount=-400, actor="test", reason="spent", idempotency_key="spent")
    ledger.refund(refund=first, coins=100)
    ledger.refund(refund=second, coins=60)
    ledger.adjust(wallet=wallet, amount=120, actor="user 7", reason="waived", idempotency_key="waived")
    assert (stored_coins(wallet), stored_owed(wallet)) == ((0, 0), 40)
    assert [(debt.refund, debt.status, debt.unpaid_coins) for debt in CoinDebt.objects.order_by("pk")] == [
        (first, "paid", 0),
        (second, "open", 40),
    ]
    order, before = make_order(wallet), wallet.transactions.count()
    ledger.grant(wallet=wallet, type=PURCHASE, coins=400, idempotency_key="again", payment_order=order)
    assert lines_of(wallet, since=before) == [("purchase", 400, 400), ("refund", -40, 360)]
    assert (stored_coins(wallet), stored_owed(wallet)) == ((360, 0), 0)


def test_a_wallet_that_owes_coins_can_spend_none_and_the_refusal_says_why(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    held = hold(bought.wallet, 400)
    ledger.refund(refund=make_refund(bought), coins=30)
    with pytest.raises(ledger.InsufficientCoins, match="You owe 30 coins") as refusal:
        hold(bought.wallet, 50, key="another")
    assert refusal.value.extra == {"required": 50, "available": 0, "deficit": 80}
    ledger.release(reservation=held, reason="cancelled")
    hold(bought.wallet, 370, key="another")


def test_a_refund_that_failed_is_reversed_once_and_can_be_made_again(
    bought: PaymentOrder, make_refund: MakeRefund, hold: Hold
) -> None:
    wallet, refund, other = bought.wallet, make_refund(bought), make_refund(bought)
    held = hold(wallet, 300)
    ledger.refund(refund=refund, coins=350)
    ledger.refund(refund=other, coins=20)
    ledger.capture(reservation=held, coins=100)
    assert (stored_coins(wallet), stored_owed(wallet)) == ((0, 0), 70)
    before = wallet.transactions.count()
    for _ in range(2):
        ledger.reverse_refund(refund=refund, reason="the provider failed")
    assert lines_of(wallet, since=before) == [
        ("admin_adjustment", 100, 100),
        ("admin_adjustment", 200, 300),
        ("refund", -20, 280),
    ]
    assert (stored_coins(wallet), stored_owed(wallet)) == ((280, 0), 0)
    for _ in range(2):
        assert ledger.refund(refund=refund, coins=350) == 280
    assert (stored_coins(wallet), stored_owed(wallet)) == ((0, 0), 70)
    with pytest.raises(ledger.InvalidMovement, match="Say why"):
        ledger.reverse_refund(refund=refund, reason=" ")
    ledger.reverse_refund(refund=refund, reason="the provider failed again")
    assert (stored_coins(wallet), stored_owed(wallet)) == ((280, 0), 0)
    assert ledger.refund(refund=refund, coins=280) == 280
    assert (stored_coins(wallet), stored_owed(wallet)) == ((0, 0), 0)


def test_keys_belong_to_one_wallet(make_wallet: MakeWallet, hold: Hold) -> None:
    ann, ben = make_wallet(coins=100), make_wallet(coins=100)
    assert hold(ann, 50) != hold(ben, 50)
    assert stored_coins(ann) == stored_coins(ben) == (100, 50)


def test_times_come_from_the_database(make_wallet: MakeWallet, hold: Hold, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("django.utils.timezone.now", lambda: pytest.fail("the machine's clock was read"))
    wallet = make_wallet(coins=100)
    before = clock.now()
    reservation = hold(wallet, 50)
    line = ledger.capture(reservation=reservation, coins=50)
    assert reservation.resolved_at is not None
    assert before <= reservation.created_at <= reservation.resolved_at <= line.created_at <= clock.now()


def test_only_active_expired_reservations_are_overdue(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=100)
    hold(wallet, 10, key="in time")
    late = hold(wallet, 10, key="late")
    resolved = hold(wallet, 10, key="resolved")
    CoinReservation.objects.filter(pk__in=[late.pk, resolved.pk]).update(expires_at=clock.now() - timedelta(seconds=1))
    ledger.release(reservation=resolved, reason="cancelled")
    assert list(CoinReservation.objects.overdue()) == [late]
