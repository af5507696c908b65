"""The database rejects what must never happen, even in SQL that does not use the ledger."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import ProtectedError

from billing import ledger
from billing.audit import audit
from billing.models import CreditTransaction, PaymentOrder, Wallet
from relivchats import clock
from relivchats.accounts.models import User
from tests.billing.conftest import Hold, MakeOrder, MakeRefund, MakeWallet

# Only the owner of the tables may do what these tests try.
pytestmark = [pytest.mark.django_db, pytest.mark.owner]

LINE = (
    "INSERT INTO credit_transactions"
    " (wallet_id, sequence, type, amount, balance_after, reservation_id, idempotency_key, actor, reason)"
    " VALUES ({wallet}, "
)
LINE_OF_ORDER = LINE.replace("reservation_id", "payment_order_id")
REVERSAL = LINE.replace("reservation_id", "reverses_id")
LINE_OF_DEBT = LINE.replace("reservation_id", "debt_id")
DEBT = "INSERT INTO coin_debts (wallet_id, refund_id, coins, paid_coins, status) VALUES ({wallet}, "
HOLD = (
    "INSERT INTO coin_reservations"
    " (id, wallet_id, coins, captured_coins, status, expires_at, idempotency_key, reason, release_reason)"
    " VALUES (gen_random_uuid(), {wallet}, "
)

REJECTED = [
    ("credit_transactions is append-only", "UPDATE credit_transactions SET reason = 'another'"),
    ("credit_transactions is append-only", "UPDATE credit_transactions SET amount = amount + 1"),
    ("credit_transactions is append-only", "DELETE FROM credit_transactions"),
    (
        "credit_transactions is append-only: TRUNCATE",
        "SET CONSTRAINTS ALL IMMEDIATE; TRUNCATE wallets, credit_transactions CASCADE",
    ),
    ("transaction_follows_the_one_before", LINE + "11, 'admin_adjustment', 1, 251, NULL, 'k', 'a', 'r')"),
    ("transaction_follows_the_one_before", LINE + "9, 'admin_adjustment', 1, 999, NULL, 'k', 'a', 'r')"),
    ("wallet_reserved_within_balance", "UPDATE wallets SET balance = -1, reserved = 0, owed = 0"),
    ("wallet_reserved_within_balance", "UPDATE wallets SET reserved = balance + 1, owed = 0"),
    ("wallet_reserved_not_negative", "UPDATE wallets SET reserved = -1, owed = 0"),
    ("wallet_owed_not_negative", "UPDATE wallets SET owed = -1 WHERE id = {wallet}"),
    ("wallet_owes_only_without_spendable_coins", "UPDATE wallets SET owed = 1, balance = reserved + 1"),
    ("transaction_moves_coins", LINE + "9, 'admin_adjustment', 0, 50, NULL, 'k', 'a', 'r')"),
    ("transaction_balance_not_negative", LINE + "9, 'refund', -60, -10, NULL, 'k', '', '')"),
    ("one_transaction_per_sequence", LINE + "1, 'admin_adjustment', 1, 51, NULL, 'k', 'a', 'r')"),
    ("transaction_sequence_from_one", LINE + "0, 'purchase', 1, 51, NULL, 'k', '', '')"),
    ("one_transaction_per_key", LINE + "9, 'admin_adjustment', 1, 51, NULL, 'signup', 'a', 'r')"),
    ("transaction_has_a_key", LINE + "9, 'purchase', 1, 51, NULL, '', '', '')"),
    ("transaction_sign_fits_type", LINE + "9, 'purchase', -1, 49, NULL, 'k', '', '')"),
    ("transaction_sign_fits_type", LINE + "9, 'refund', 1, 51, NULL, 'k', '', '')"),
    ("transaction_sign_fits_type", LINE + "9, 'gift', 1, 51, NULL, 'k', '', '')"),
    ("one_signup_bonus_per_wallet", LINE + "9, 'signup_bonus', 50, 100, NULL, 'k', '', '')"),
    ("one_capture_per_reservation", LINE + "9, 'insight_unlock', -1, 49, '{captured}', 'k', '', '')"),
    ("reservation_named_iff_unlock", LINE + "9, 'insight_unlock', -1, 49, NULL, 'k', '', '')"),
    ("reservation_named_iff_unlock", LINE + "9, 'refund', -1, 49, '{captured}', 'k', '', '')"),
    ("one_purchase_per_paid_order", LINE_OF_ORDER + "9, 'purchase', 1, 51, '{order}', 'k', '', '')"),
    (
        "payment_order_named_for_payments_only",
        LINE_OF_ORDER + "9, 'admin_adjustment', 1, 51, '{order}', 'k', 'a', 'r')",
    ),
    ("transaction_without_order_is_no_refund", LINE_OF_ORDER + "9, 'refund', -1, 49, NULL, 'k', '', '')"),
    ("transaction_without_order_is_no_purchase", LINE_OF_ORDER + "9, 'purchase', 1, 51, NULL, 'k', '', '')"),
    ("one_reversal_per_refund", REVERSAL + "9, 'admin_adjustment', 1, 51, {refund}, 'k', 'a', 'r')"),
    ("debt_named_for_refunds_only", LINE_OF_DEBT + "9, 'admin_adjustment', 1, 51, {debt}, 'k', 'a', 'r')"),
    ("debt_owes_coins", DEBT + "'{cancelled}', 0, 0, 'open')"),
    ("debt_paid_at_most_in_full", DEBT + "'{cancelled}', 5, 6, 'cancelled')"),
    ("debt_paid_iff_in_full", DEBT + "'{cancelled}', 5, 5, 'open')"),
    ("debt_paid_iff_in_full", DEBT + "'{cancelled}', 5, 4, 'paid')"),
    ("debt_resolved_iff_not_open", DEBT + "'{cancelled}', 5, 5, 'paid')"),
    ("debt_resolved_iff_not_open", "UPDATE coin_debts SET resolved_at = now() WHERE id = {debt}"),
    ("one_debt_per_refund", DEBT + "'{indebted}', 5, 0, 'open')"),
    ("debts_are_only_paid_or_cancelled", "DELETE FROM coin_debts"),
    ("debts_are_only_paid_or_cancelled", "UPDATE coin_debts SET coins = coins - 1"),
    ("debts_are_only_paid_or_cancelled", "UPDATE coin_debts SET wallet_id = wallet_id + 1"),
    ("debts_are_only_paid_or_cancelled", "UPDATE coin_debts SET refund_id = gen_random_uuid()"),
    ("debts_are_only_paid_or_cancelled", "UPDATE coin_debts SET paid_coins = paid_coins - 1"),
    (
        "debts_are_only_paid_or_cancelled",
        (
            "UPDATE coin_debts SET status = 'paid', paid_coins = coins, resolved_at = now();"
            "UPDATE coin_debts SET status = 'open', resolved_at = NULL"
        ),
    ),
    (
        "debts_are_only_paid_or_cancelled",
        "UPDATE coin_debts SET status = 'cancelled', resolved_at = now(); UPDATE coin_debts SET resolved_at = now()",
    ),
    ("adjustment_has_actor_and_reason", LINE + "9, 'admin_adjustment', 1, 51, NULL, 'k', '', 'r')"),
    ("adjustment_has_actor_and_reason", LINE + "9, 'admin_adjustment', 1, 51, NULL, 'k', 'a', '')"),
    ("reservation_holds_coins", HOLD + "0, 0, 'active', now(), 'k', '', '')"),
    ("reservation_has_a_key", HOLD + "1, 0, 'active', now(), '', '', '')"),
    ("one_reservation_per_key", HOLD + "1, 0, 'active', now(), 'active', '', '')"),
    ("reservation_captures_within", "UPDATE coin_reservations SET captured_coins = coins + 1 WHERE id = '{captured}'"),
    (
        "reservation_captured_iff_coins_taken",
        "UPDATE coin_reservations SET captured_coins = 0 WHERE id = '{captured}'",
    ),
    (
        "reservation_captured_iff_coins_taken",
        "UPDATE coin_reservations SET captured_coins = 1 WHERE id = '{active}'",
    ),
    (
        "reservation_resolved_iff_not_active",
        "UPDATE coin_reservations SET resolved_at = NULL WHERE id = '{captured}'",
    ),
    (
        "reservation_resolved_iff_not_active",
        "UPDATE coin_reservations SET resolved_at = now() WHERE id = '{active}'",
    ),
    ("reservation_captured_iff_coins_taken", "UPDATE coin_reservations SET status = 'lost' WHERE id = '{active}'"),
]


@pytest.fixture
def rows(make_wallet: MakeWallet, hold: Hold, make_order: MakeOrder, make_refund: MakeRefund) -> dict[str, Any]:
    wallet = make_wallet(coins=450)
    captured, active = hold(wallet, 300, key="captured"), hold(wallet, 100, key="active")
    ledger.capture(reservation=captured, coins=200)
    order = make_order(wallet, status="completed", completed_at=clock.now())
    ledger.grant(wallet=wallet, type="purchase", coins=order.coins, idempotency_key="order", payment_order=order)
    failed, owing = make_refund(order, status="failed"), make_refund(order, coins=300, taken_coins=0)
    PaymentOrder.objects.filter(pk=order.pk).update(refunded_amount=1)
    ledger.refund(refund=failed, coins=9)
    ledger.reverse_refund(refund=failed, reason="the provider failed")
    spent = hold(wallet, wallet.spendable, key="spent")
    ledger.refund(refund=owing, coins=300)
    ledger.capture(reservation=spent, coins=spent.coins - 100)
    return {
        "wallet": wallet.pk,
        "captured": captured.pk,
        "active": active.pk,
        "order": order.pk,
        "refund": CreditTransaction.objects.get(idempotency_key=f"refund {failed.pk}").pk,
        "debt": owing.debts.get().pk,
        "indebted": owing.pk,
        "cancelled": failed.pk,
    }


@pytest.mark.parametrize(("rule", "sql"), REJECTED)
def test_the_database_rejects_the_statement_and_names_the_rule(rule: str, sql: str, rows: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match=rule), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql.format(**rows))
    assert audit() == []


def test_every_constraint_of_the_ledger_is_tested() -> None:
    tables = ("wallets", "coin_reservations", "coin_debts", "credit_transactions")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('c', 'u')"
            " AND conname NOT LIKE '%%\\_check' AND conname NOT LIKE '%%\\_key'"
            " UNION SELECT indexname FROM pg_indexes WHERE tablename = ANY(%s) AND indexname LIKE 'one\\_%%'",
            [list(tables), list(tables)],
        )
        named = {name for (name,) in cursor.fetchall()}
    assert named - {rule for rule, _ in REJECTED} == set()


def test_a_transaction_cannot_be_changed_or_deleted(make_wallet: MakeWallet) -> None:
    line = CreditTransaction.objects.get(wallet=make_wallet(coins=50))
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        line.save()
    with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
        line.delete()


def test_a_wallet_with_history_cannot_be_deleted(make_wallet: MakeWallet) -> None:
    with pytest.raises(ProtectedError):
        make_wallet(coins=50).delete()


def test_erasing_a_person_keeps_the_wallet_without_the_person(rows: dict[str, Any]) -> None:
    wallet = Wallet.objects.get(pk=rows["wallet"])
    lines = list(wallet.transactions.values_list("amount", flat=True))
    User.objects.get(wallet=wallet).delete()
    wallet.refresh_from_db()
    assert wallet.user is None
    assert list(wallet.transactions.values_list("amount", flat=True)) == lines
    assert audit() == []
