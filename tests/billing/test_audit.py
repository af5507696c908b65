"""Each invariant finds its own faults and no others. The faults are written with SQL, without the ledger."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import NoneType
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models import F

from billing import audit, ledger
from billing.audit import Horizon, Invariant, Mark
from billing.models import CreditTransaction, Wallet
from relivchats import clock
from tests.billing.conftest import Hold, MakeOrder, MakeRefund, MakeWallet
from tests.processes import database_url

# Only the owner of the tables may do what these tests try.
pytestmark = [pytest.mark.django_db, pytest.mark.owner]

NUMBERS = (int, Decimal, UUID, datetime, NoneType)


@dataclass(frozen=True)
class Fault:
    invariant: str
    name: str
    sql: str
    without: tuple[str, ...] = ()
    """The constraints that would reject the fault."""


FAULTS = [
    Fault("1", "balance above the transactions", "UPDATE wallets SET balance = balance + 1 WHERE id = {wallet}"),
    Fault("1", "balance without a transaction", "UPDATE wallets SET balance = 7 WHERE id = {untouched_wallet}"),
    Fault("2", "more reserved than held", "UPDATE wallets SET reserved = reserved + 1 WHERE id = {wallet}"),
    Fault("2", "reserved but nothing held", "UPDATE wallets SET reserved = 1 WHERE id = {spent_wallet}"),
    Fault(
        "2",
        "more held than owned",
        "UPDATE wallets SET reserved = reserved + 1000 WHERE id = {wallet};"
        "UPDATE coin_reservations SET coins = coins + 1000 WHERE id = '{active}'",
        without=("wallets.wallet_reserved_within_balance",),
    ),
    Fault(
        "3",
        "a wrong running balance",
        "UPDATE credit_transactions SET balance_after = balance_after + 1 WHERE wallet_id = {wallet} AND sequence = 2",
    ),
    Fault(
        "3",
        "a gap",
        "UPDATE credit_transactions SET sequence = 9 WHERE wallet_id = {wallet} AND sequence = 3",
    ),
    Fault(
        "3",
        "a history that starts late",
        "UPDATE credit_transactions SET sequence = sequence + 10 WHERE wallet_id = {wallet}",
    ),
    Fault(
        "3",
        "a balance below zero in between",
        "UPDATE credit_transactions SET amount = amount - 1000, balance_after = balance_after - 1000"
        " WHERE wallet_id = {wallet} AND sequence = 1;"
        "UPDATE credit_transactions SET amount = amount + 1000 WHERE wallet_id = {wallet} AND sequence = 2",
        without=(
            "credit_transactions.transaction_balance_not_negative",
            "credit_transactions.transaction_sign_fits_type",
        ),
    ),
    Fault(
        "4",
        "other coins captured than taken",
        "UPDATE coin_reservations SET captured_coins = captured_coins - 1 WHERE id = '{captured}'",
    ),
    Fault(
        "4",
        "more captured than held",
        "UPDATE coin_reservations SET coins = captured_coins - 1 WHERE id = '{captured}'",
        without=("coin_reservations.reservation_captures_within",),
    ),
    Fault(
        "4",
        "an unlock on a released reservation",
        "UPDATE credit_transactions SET reservation_id = '{released}' WHERE reservation_id = '{captured}'",
    ),
    Fault(
        "4",
        "captured but nothing taken",
        "UPDATE credit_transactions SET type = 'admin_adjustment', reservation_id = NULL, actor = 'x', reason = 'x'"
        " WHERE reservation_id = '{captured}'",
    ),
    Fault(
        "4",
        "taken twice",
        "INSERT INTO credit_transactions"
        " (wallet_id, sequence, type, amount, balance_after, reservation_id, idempotency_key, actor, reason)"
        " SELECT wallet_id, 4, type, -1, balance_after - 1, reservation_id, 'again', '', '' FROM credit_transactions"
        " WHERE reservation_id = '{captured}';"
        "UPDATE wallets SET balance = balance - 1 WHERE id = {wallet}",
        without=("credit_transactions.one_capture_per_reservation",),
    ),
    Fault(
        "4",
        "taken from another wallet",
        "UPDATE coin_reservations SET wallet_id = {untouched_wallet} WHERE id = '{captured}'",
    ),
    Fault(
        "4",
        "released but with captured coins",
        "UPDATE coin_reservations SET captured_coins = 1 WHERE id = '{released}'",
        without=("coin_reservations.reservation_captured_iff_coins_taken",),
    ),
    Fault(
        "4",
        "an unlock of nothing",
        "UPDATE credit_transactions SET type = 'insight_unlock' WHERE wallet_id = {spent_wallet} AND amount < 0",
        without=("credit_transactions.reservation_named_iff_unlock",),
    ),
    Fault(
        "5",
        "captured without a time",
        "UPDATE coin_reservations SET resolved_at = NULL WHERE id = '{captured}'",
        without=("coin_reservations.reservation_resolved_iff_not_active",),
    ),
    Fault(
        "5",
        "active but resolved",
        "UPDATE coin_reservations SET resolved_at = now() WHERE id = '{active}'",
        without=("coin_reservations.reservation_resolved_iff_not_active",),
    ),
    Fault(
        "8a",
        "held after its expiry",
        "UPDATE coin_reservations SET expires_at = statement_timestamp() - interval '121 s' WHERE id = '{active}'",
    ),
    Fault(
        "9",
        "paid without coins",
        "UPDATE credit_transactions SET type = 'admin_adjustment', payment_order_id = NULL, actor = 'x', reason = 'x'"
        " WHERE payment_order_id = '{order}' AND type = 'purchase'",
    ),
    Fault(
        "9",
        "coins for an order that is not paid",
        "UPDATE payment_orders SET status = 'failed', completed_at = NULL, refunded_amount = 0 WHERE id = '{order}'",
    ),
    Fault(
        "9",
        "bought without an order",
        "UPDATE credit_transactions SET type = 'purchase' WHERE type = 'signup_bonus' AND wallet_id = {wallet}",
        without=("credit_transactions.transaction_without_order_is_no_purchase",),
    ),
    Fault("9", "other coins than bought", "UPDATE payment_orders SET coins = coins + 1 WHERE id = '{order}'"),
    Fault(
        "9", "coins in another wallet", "UPDATE payment_orders SET wallet_id = {untouched_wallet} WHERE id = '{order}'"
    ),
    Fault("9", "more refunded than its refunds", "UPDATE payment_orders SET refunded_amount = 99 WHERE id = '{order}'"),
    Fault(
        "9",
        "fewer coins taken than the refund says",
        "UPDATE payment_refunds SET taken_coins = 1 WHERE taken_coins > 0",
    ),
    Fault("9", "more coins refunded than bought", "UPDATE payment_refunds SET coins = 401"),
    Fault("9", "other coins owed than the refund says", "UPDATE payment_refunds SET coins = 49 WHERE coins = 50"),
    Fault("12a", "owed without a debt", "UPDATE wallets SET owed = 1 WHERE id = {untouched_wallet}"),
    Fault("12a", "a debt that the wallet does not owe", "UPDATE wallets SET owed = 0 WHERE id = {owing_wallet}"),
    Fault(
        "12a",
        "spendable coins next to a debt",
        "INSERT INTO credit_transactions"
        " (wallet_id, sequence, type, amount, balance_after, idempotency_key, actor, reason)"
        " SELECT {owing_wallet}, max(sequence) + 1, 'admin_adjustment', 5, 5, 'k', 'a', 'r' FROM credit_transactions"
        " WHERE wallet_id = {owing_wallet}; UPDATE wallets SET balance = 5 WHERE id = {owing_wallet}",
        without=("wallets.wallet_owes_only_without_spendable_coins",),
    ),
    Fault("12b", "other coins paid than taken", "UPDATE coin_debts SET paid_coins = 49 WHERE status = 'cancelled'"),
    Fault("12b", "paid from another wallet", "UPDATE coin_debts SET wallet_id = {wallet} WHERE status = 'paid'"),
    Fault(
        "12b",
        "paid by a transaction that does not name it",
        "UPDATE credit_transactions SET debt_id = NULL"
        " WHERE debt_id = (SELECT id FROM coin_debts WHERE status = 'paid')",
    ),
    Fault(
        "11",
        "an adjustment without an actor",
        "UPDATE credit_transactions SET actor = ' ' WHERE type = 'admin_adjustment'",
    ),
    Fault(
        "11",
        "an adjustment without a reason",
        "UPDATE credit_transactions SET reason = ' ' WHERE type = 'admin_adjustment'",
    ),
]


@pytest.fixture
def horizon(db: None) -> Horizon:
    """A horizon before everything that the test creates."""
    return Horizon(clock.now(), sum(CreditTransaction.objects.values_list("amount", flat=True)))


@pytest.fixture
def rows(make_wallet: MakeWallet, hold: Hold, make_order: MakeOrder, make_refund: MakeRefund) -> dict[str, object]:
    """Create a wallet with a reservation in each status, one that spent nearly all coins, and an empty one."""
    wallet, spent, untouched = make_wallet(coins=1000), make_wallet(coins=100), Wallet.objects.create()
    ledger.adjust(wallet=spent, amount=-99, actor="test", reason="spent", idempotency_key="spent")
    buyer = make_wallet(coins=10)
    order = make_order(buyer, status="completed", completed_at=clock.now(), refunded_amount=251)
    ledger.grant(wallet=buyer, type="purchase", coins=400, idempotency_key="order", payment_order=order)
    ledger.refund(refund=make_refund(order, amount=249, coins=199, taken_coins=199), coins=199)
    ledger.adjust(wallet=buyer, amount=-buyer.spendable, actor="test", reason="spent", idempotency_key="spent")
    owing, failed = make_refund(order, coins=50), make_refund(order, status="failed")
    for refund in (failed, owing):
        ledger.refund(refund=refund, coins=50)
    ledger.adjust(wallet=buyer, amount=70, actor="test", reason="a gift", idempotency_key="gift")
    ledger.reverse_refund(refund=failed, reason="the provider failed")
    again = make_refund(order, coins=30)
    ledger.adjust(wallet=buyer, amount=-buyer.spendable, actor="test", reason="spent", idempotency_key="spent again")
    ledger.refund(refund=again, coins=30)
    ledger.adjust(wallet=buyer, amount=10, actor="test", reason="a gift", idempotency_key="another gift")
    captured, released, active = (hold(wallet, 300, key=key) for key in ("captured", "released", "active"))
    ledger.capture(reservation=captured, coins=200)
    ledger.release(reservation=released, reason="cancelled")
    return {
        "wallet": wallet.pk,
        "spent_wallet": spent.pk,
        "untouched_wallet": untouched.pk,
        "owing_wallet": buyer.pk,
        "captured": captured.pk,
        "released": released.pk,
        "active": active.pk,
        "order": order.pk,
    }


def make_fault(fault: Fault, rows: dict[str, object]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        for constraint in fault.without:
            table, name = constraint.split(".")
            cursor.execute(
                f"DROP INDEX {name}" if name.startswith("one_") else f"ALTER TABLE {table} DROP CONSTRAINT {name}"
            )
        for table in ("credit_transactions", "coin_debts"):
            cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
        cursor.execute(fault.sql.format(**rows))
        assert cursor.rowcount > 0


def broken_invariants() -> list[str]:
    return [finding.invariant.number for finding in audit.audit()]


def test_a_consistent_ledger_has_no_findings(rows: dict[str, object]) -> None:
    assert audit.audit() == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.invariant}: {fault.name}")
def test_each_fault_is_found_by_its_own_invariant_only(fault: Fault, rows: dict[str, object]) -> None:
    make_fault(fault, rows)
    assert broken_invariants() == [fault.invariant]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.invariant}: {fault.name}")
def test_a_fault_in_changed_rows_is_found_without_reading_the_rest(
    fault: Fault, horizon: Horizon, rows: dict[str, object]
) -> None:
    make_fault(fault, rows)
    broken = [finding.invariant.number for finding in audit.audit(since=horizon)]
    assert fault.invariant in broken
    assert set(broken) <= {fault.invariant, "1"}, "a wrong amount is also missing in the sum"


def test_a_consistent_ledger_has_no_findings_since_a_horizon(horizon: Horizon, rows: dict[str, object]) -> None:
    assert audit.audit(since=horizon) == []
    now = Horizon(clock.now(), sum(CreditTransaction.objects.values_list("amount", flat=True)))
    assert audit.audit(since=now) == []


def test_every_query_for_changed_rows_uses_an_index(horizon: Horizon, rows: dict[str, object]) -> None:
    """Tables that only grow are never scanned. The wallets are scanned once, for their sum."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
        for invariant, sql, values in audit.queries(horizon):
            cursor.execute(f"EXPLAIN {sql}", values)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            for table in ("credit_transactions", "coin_reservations", "insight_generation_jobs", "insights"):
                assert f"Seq Scan on {table}" not in plan, f"{invariant.number}: {plan}"


def test_every_invariant_is_tested_with_a_fault() -> None:
    numbers = {"1", "2", "3", "4", "5", "8a", "9", "11", "12a", "12b"}
    assert numbers <= {invariant.number for invariant in audit.registered()}
    assert numbers == {fault.invariant for fault in FAULTS}


def test_a_reservation_can_be_two_minutes_overdue(rows: dict[str, object]) -> None:
    sql = "UPDATE coin_reservations SET expires_at = statement_timestamp() - interval '110 s' WHERE id = '{active}'"
    make_fault(Fault("8a", "a little late", sql), rows)
    assert audit.audit() == []


def test_findings_contain_ids_and_numbers_only(rows: dict[str, object]) -> None:
    for fault in FAULTS:
        with transaction.atomic():
            make_fault(fault, rows)
            (finding,) = audit.audit()
            assert finding.total == len(finding.rows) > 0
            for row in finding.rows:
                assert any(column.endswith("_id") for column in row)
                states = {row.get("status")}
                assert all(value in states or isinstance(value, NUMBERS) for value in row.values())
            transaction.set_rollback(True)


def test_all_offending_rows_are_counted_and_the_first_are_returned(rows: dict[str, object]) -> None:
    make_fault(Fault("1", "every balance", "UPDATE wallets SET balance = balance + 1 WHERE owed = 0"), rows)
    (finding,) = audit.audit(limit=2)
    assert (finding.total, len(finding.rows)) == (3, 2)


def test_invariants_are_ordered_and_their_numbers_are_unique(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_registry", {})
    tenth, ninth = Invariant("10", "ten", "SELECT 1 AS one"), Invariant("9b", "nine", "SELECT 1 AS one WHERE false")
    audit.register(tenth, ninth)
    audit.register(tenth)
    assert audit.registered() == [ninth, tenth]
    assert broken_invariants() == ["10"]
    with pytest.raises(ValueError, match="10 is already"):
        audit.register(Invariant("10", "a duplicate", "SELECT 1 AS one"))


@pytest.mark.django_db(transaction=True)
def test_an_audit_reads_one_snapshot_and_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_registry", {})
    audit.register(
        Invariant(
            "1",
            "one moment",
            "SELECT 1 AS one WHERE current_setting('transaction_isolation') <> 'repeatable read'"
            " OR current_setting('transaction_read_only') <> 'on'",
        )
    )
    assert audit.audit() == []


def test_an_audit_inside_a_transaction_cannot_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "_registry", {})
    audit.register(Invariant("1", "a write", "SELECT setval('credit_transactions_id_seq', 1) AS one"))
    with pytest.raises(DatabaseError, match="read-only"), transaction.atomic():
        audit.audit()


@pytest.fixture
def other_connection() -> Iterator[psycopg.Connection[Any]]:
    """A second connection to the test database, outside the test's transaction."""
    with psycopg.connect(database_url(connection.settings_dict["NAME"])) as opened:
        yield opened


@pytest.mark.django_db(transaction=True)
def test_a_horizon_never_passes_a_transaction_that_is_still_running(
    make_wallet: MakeWallet, other_connection: psycopg.Connection[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transaction can be written before an audit and committed after it. It is older than some that the audit saw."""
    monkeypatch.setattr(audit, "HORIZON_MARGIN", timedelta())
    wallet, other = make_wallet(coins=50), make_wallet(coins=70)
    other_connection.execute(
        "INSERT INTO credit_transactions"
        " (wallet_id, sequence, type, amount, balance_after, idempotency_key, actor, reason)"
        " VALUES (%s, 2, 'admin_adjustment', 5, 55, 'slow', 'test', 'slow')",
        [wallet.pk],
    )
    first = audit.incremental_audit()
    assert (first.findings, first.horizon) == ([], None)
    ledger.adjust(wallet=other, amount=9, actor="test", reason="meanwhile", idempotency_key="meanwhile")
    assert audit.incremental_audit(marks=[first.mark]).horizon is None
    other_connection.execute("UPDATE wallets SET balance = 55 WHERE id = %s", [wallet.pk])
    other_connection.commit()
    second = audit.incremental_audit(marks=[first.mark])
    assert second.findings == []
    assert second.horizon is not None
    assert audit.audit(since=second.horizon) == []
    earlier = CreditTransaction.objects.filter(created_at__lt=second.horizon.at)
    assert second.horizon.coins == sum(earlier.values_list("amount", flat=True))


@pytest.mark.django_db(transaction=True)
def test_a_horizon_advances_with_each_clean_audit_and_stays_when_an_invariant_is_broken(
    make_wallet: MakeWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "HORIZON_MARGIN", timedelta())
    make_wallet(coins=50)
    first = audit.incremental_audit()
    assert first.horizon is not None
    make_wallet(coins=70)
    second = audit.incremental_audit(since=first.horizon, marks=[first.mark])
    assert second.horizon is not None
    assert (second.horizon.at > first.horizon.at, second.horizon.coins) == (True, 120)
    Wallet.objects.update(balance=F("balance") + 1)
    broken = audit.incremental_audit(since=second.horizon, marks=[second.mark])
    assert [finding.invariant.number for finding in broken.findings] == ["1"]
    assert broken.horizon is None


def test_an_old_mark_does_not_move_the_horizon_back(make_wallet: MakeWallet) -> None:
    make_wallet(coins=50)
    since = Horizon(clock.now(), 50)
    assert audit.incremental_audit(since=since, marks=[Mark(since.at - timedelta(days=1), 1)]).horizon == since
