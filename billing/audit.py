"""The invariants of the ledger. Each is one query that returns the rows that violate it.

Other apps add theirs with `register`. The rows contain ids, numbers, statuses and times only.

A large ledger is audited in full once a day. In between, only what changed since a horizon is audited. A horizon is a
time before which every transaction had ended when the ledger was last found clean. It cannot simply be the time of the
last audit, because commits are not in the order of their timestamps: a transaction that was running at that time can
still add rows with earlier timestamps. So each audit leaves a mark, and a mark becomes a horizon as soon as every
transaction that was running at its time has ended, which Postgres' snapshots show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

#: The time limit of one query. An audit reads whole tables, for which the limit of a request is too short.
QUERY_TIMEOUT_MINUTES = 10
#: Postgres' memory for each sort or hash of a query, of which a few run at once.
WORK_MEM_MB = 128
#: How far a horizon stays behind its mark: longer than a statement can run before its transaction gets a number.
HORIZON_MARGIN = timedelta(minutes=2)


@dataclass(frozen=True)
class Invariant:
    """A rule with the query `sql` that returns the rows that violate it. `number` ("1", "8a") orders the report.

    The query must not end with a semicolon, and its column names must be unique. Where reading whole tables is slow,
    `recent` is the query for what changed since `%(at)s`. `is_of_late_work` says that it does not hold while work is
    late, such as when no worker runs, although no row is wrong.
    """

    number: str
    name: str
    sql: str
    recent: str = ""
    is_of_late_work: bool = False


@dataclass(frozen=True)
class Mark:
    """The time of an audit. Transactions that began later have at least the number `next_xid`."""

    at: datetime
    next_xid: int


@dataclass(frozen=True)
class Horizon:
    """A time before which all transactions have ended and were found clean. `coins` is the sum of what they moved."""

    at: datetime
    coins: int


@dataclass(frozen=True)
class Finding:
    """A violated invariant: the number of violating rows, and the first of them as {column: value}."""

    invariant: Invariant
    total: int
    rows: list[dict[str, Any]]


_registry: dict[str, Invariant] = {}


def register(*invariants: Invariant) -> None:
    """Add invariants to the audit. Raise ValueError if a number is taken by another one."""
    for invariant in invariants:
        if _registry.setdefault(invariant.number, invariant) != invariant:
            raise ValueError(f"invariant {invariant.number} is already {_registry[invariant.number].name!r}")


def registered() -> list[Invariant]:
    """Return every invariant in order of number: 1, 2, 8a, 8b, 11."""

    def order(invariant: Invariant) -> tuple[int, str]:
        digits, rest = re.fullmatch(r"(\d*)(.*)", invariant.number).groups()  # type: ignore[union-attr]
        return int(digits or 0), rest

    return sorted(_registry.values(), key=order)


@dataclass(frozen=True)
class AuditResult:
    """The findings of an audit, the mark taken just before it, and the horizon from which the next one can start."""

    findings: list[Finding]
    mark: Mark
    horizon: Horizon | None


def audit(*, limit: int = 20, since: Horizon | None = None) -> list[Finding]:
    """Return the violated invariants, each with its first `limit` rows.

    With a horizon, only what changed since is read. Old rows that were changed despite the trigger are found by a full
    audit only.
    """
    with _one_snapshot() as cursor:
        return _findings(cursor, limit=limit, since=since)


def incremental_audit(*, limit: int = 20, since: Horizon | None = None, marks: Sequence[Mark] = ()) -> AuditResult:
    """Audit from a horizon, and return the horizon for the next audit. `marks` are those of earlier audits."""
    with connection.cursor() as cursor:
        # In its own transaction: pg_current_xact_id assigns a number, and the next transaction gets at least the
        # following one. A snapshot alone does not show the next number.
        cursor.execute("SELECT clock_timestamp(), pg_current_xact_id()::text::bigint + 1")
        mark = Mark(*cursor.fetchone())
    with _one_snapshot() as cursor:
        cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
        oldest_running = int(cursor.fetchone()[0])
        past = [each for each in (*marks, mark) if each.next_xid <= oldest_running]
        horizon = _advance(cursor, since, max(past, key=lambda each: each.at)) if past else since
        findings = _findings(cursor, limit=limit, since=since)
    # With findings, there is no new horizon: the next audit must read the broken rows again.
    return AuditResult(findings, mark, None if findings else horizon)


def queries(since: Horizon | None = None) -> Iterator[tuple[Invariant, str, dict[str, Any] | None]]:
    """Yield each invariant with its SQL and the SQL's parameters."""
    for invariant in registered():
        if since is None or not invariant.recent:
            yield invariant, invariant.sql, None
        else:
            yield invariant, invariant.recent, {"at": since.at, "coins": since.coins}


def _advance(cursor: CursorWrapper, since: Horizon | None, mark: Mark) -> Horizon:
    """Return the horizon advanced to a mark before which every transaction has ended. It never moves back."""
    at = mark.at - HORIZON_MARGIN
    if since is not None and at <= since.at:
        return since
    cursor.execute(
        "SELECT COALESCE(sum(amount), 0) FROM credit_transactions"
        " WHERE created_at < %(at)s AND created_at >= COALESCE(%(from)s, '-infinity'::timestamptz)",
        {"at": at, "from": since.at if since else None},
    )
    return Horizon(at, (since.coins if since else 0) + int(cursor.fetchone()[0]))


@contextmanager
def _one_snapshot() -> Iterator[CursorWrapper]:
    """Yield a cursor whose queries all see one snapshot, so that a movement between two of them is no violation.

    Inside a caller's transaction, the caller's isolation level applies.
    """
    outermost = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if outermost:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(f"SET LOCAL statement_timeout = '{QUERY_TIMEOUT_MINUTES}min'")
            # Millions of rows are grouped and joined. With the default of 4 MB, all of it would spill to disk.
            cursor.execute(f"SET LOCAL work_mem = '{WORK_MEM_MB}MB'")
        cursor.execute("SET TRANSACTION READ ONLY")
        yield cursor


def _findings(cursor: CursorWrapper, *, limit: int, since: Horizon | None) -> list[Finding]:
    findings = []
    for invariant, query, parameters in queries(since):
        # count(*) OVER () counts all violating rows, also those beyond the limit.
        sql = f"SELECT count(*) OVER (), offenders.* FROM ({query}) AS offenders LIMIT {int(limit)}"  # noqa: S608 - its own SQL
        cursor.execute(sql, parameters)
        columns = [column.name for column in cursor.description]
        if rows := cursor.fetchall():
            listed = [dict(zip(columns[1:], row[1:], strict=True)) for row in rows]
            findings.append(Finding(invariant, total=rows[0][0], rows=listed))
    return findings


_DEBTS = """
    SELECT debts.id AS debt_id, debts.wallet_id, status, coins, paid_coins, taken, returned
    FROM {debts} AS debts
    CROSS JOIN LATERAL (
        SELECT COALESCE(-sum(lines.amount), 0) AS taken, COALESCE(sum(reversals.amount), 0) AS returned,
            count(*) FILTER (WHERE lines.wallet_id <> debts.wallet_id) AS elsewhere
        FROM credit_transactions AS lines
        LEFT JOIN credit_transactions AS reversals ON reversals.reverses_id = lines.id
        WHERE lines.debt_id = debts.id
    ) AS moved
    WHERE taken <> paid_coins OR returned <> CASE status WHEN 'cancelled' THEN paid_coins ELSE 0 END OR elsewhere > 0
"""

register(
    Invariant(
        "1",
        "a wallet's balance is the sum of its transactions",
        """
        SELECT wallets.id AS wallet_id, balance, COALESCE(total, 0) AS transactions_total
        FROM wallets
        LEFT JOIN (
            SELECT wallet_id, sum(amount) AS total FROM credit_transactions GROUP BY wallet_id
        ) AS sums ON sums.wallet_id = wallets.id
        WHERE balance <> COALESCE(total, 0)
        """,
        # Compare each changed wallet with its latest transaction, and the sum of all wallets with the sum of all
        # transactions. A balance that changed without a transaction is missed only if another changed by the opposite.
        """
        SELECT wallets.id AS wallet_id, balance, latest.balance_after::numeric AS transactions_total
        FROM (SELECT DISTINCT wallet_id FROM credit_transactions WHERE created_at >= %(at)s) AS moved
        JOIN wallets ON wallets.id = moved.wallet_id
        CROSS JOIN LATERAL (
            SELECT balance_after FROM credit_transactions AS lines
            WHERE lines.wallet_id = wallets.id ORDER BY sequence DESC LIMIT 1
        ) AS latest
        WHERE balance <> latest.balance_after
        UNION ALL
        SELECT NULL, owned, moved FROM
            (SELECT COALESCE(sum(balance), 0)::bigint AS owned FROM wallets) AS wallets,
            (
                SELECT %(coins)s + COALESCE(sum(amount), 0) AS moved
                FROM credit_transactions WHERE created_at >= %(at)s
            ) AS transactions
        WHERE owned <> moved
        """,
    ),
    Invariant(
        "2",
        "a wallet's reserved coins are those of its active reservations, and within its balance",
        """
        SELECT wallets.id AS wallet_id, balance, reserved, COALESCE(held, 0) AS active_coins
        FROM wallets
        LEFT JOIN (
            SELECT wallet_id, sum(coins) AS held FROM coin_reservations WHERE status = 'active' GROUP BY wallet_id
        ) AS holds ON holds.wallet_id = wallets.id
        WHERE reserved <> COALESCE(held, 0) OR reserved < 0 OR reserved > balance
        """,
    ),
    # By induction: each transaction follows from the one before, and the first from zero.
    Invariant(
        "3",
        "a wallet's transactions run 1, 2, 3 … and each balance follows from the one before, never below zero",
        """
        SELECT id AS transaction_id, wallet_id, sequence, previous_sequence, previous_balance, amount, balance_after
        FROM (
            SELECT id, wallet_id, sequence, amount, balance_after,
                lag(sequence, 1, 0::bigint) OVER in_order AS previous_sequence,
                lag(balance_after, 1, 0::bigint) OVER in_order AS previous_balance
            FROM credit_transactions WINDOW in_order AS (PARTITION BY wallet_id ORDER BY sequence)
        ) AS lines
        WHERE sequence <> previous_sequence + 1
            OR balance_after <> previous_balance + amount OR balance_after < 0
        """,
        """
        SELECT lines.id AS transaction_id, lines.wallet_id, lines.sequence, before.sequence AS previous_sequence,
            before.balance_after AS previous_balance, lines.amount, lines.balance_after
        FROM credit_transactions AS lines
        LEFT JOIN credit_transactions AS before
            ON before.wallet_id = lines.wallet_id AND before.sequence = lines.sequence - 1
        WHERE lines.created_at >= %(at)s AND (
            (before.id IS NULL AND lines.sequence <> 1) OR lines.balance_after < 0
            OR lines.balance_after <> COALESCE(before.balance_after, 0) + lines.amount
        )
        """,
    ),
    Invariant(
        "4",
        "a captured reservation has one unlock of its captured coins in its own wallet, any other has none",
        """
        SELECT reservations.id AS reservation_id, unlocks.reservation_id AS unlocked_reservation_id, status, coins,
            captured_coins, COALESCE(lines, 0) AS unlocks, COALESCE(total, 0) AS unlocks_total
        FROM coin_reservations AS reservations
        FULL JOIN (
            SELECT reservation_id, count(*) AS lines, sum(amount) AS total,
                min(wallet_id) AS first_wallet_id, max(wallet_id) AS last_wallet_id
            FROM credit_transactions WHERE type = 'insight_unlock' GROUP BY reservation_id
        ) AS unlocks ON unlocks.reservation_id = reservations.id
        WHERE reservations.id IS NULL
            OR captured_coins NOT BETWEEN 0 AND coins OR (status = 'captured') <> (captured_coins > 0)
            OR COALESCE(lines, 0) <> (status = 'captured')::int OR COALESCE(total, 0) <> -captured_coins
            OR first_wallet_id <> wallet_id OR last_wallet_id <> wallet_id
        """,
        # Reservations that are active or were resolved since, and those that an unlock since then names.
        """
        SELECT changed.id AS reservation_id, reservations.id AS known_reservation_id, status, coins, captured_coins,
            lines AS unlocks, COALESCE(total, 0) AS unlocks_total
        FROM (
            SELECT id FROM coin_reservations WHERE resolved_at >= %(at)s OR status = 'active'
            UNION
            SELECT reservation_id FROM credit_transactions WHERE type = 'insight_unlock' AND created_at >= %(at)s
        ) AS changed
        LEFT JOIN coin_reservations AS reservations ON reservations.id = changed.id
        CROSS JOIN LATERAL (
            SELECT count(*) AS lines, sum(amount) AS total,
                min(wallet_id) AS first_wallet_id, max(wallet_id) AS last_wallet_id
            FROM credit_transactions WHERE type = 'insight_unlock' AND reservation_id = changed.id
        ) AS unlocks
        WHERE reservations.id IS NULL
            OR captured_coins NOT BETWEEN 0 AND coins OR (status = 'captured') <> (captured_coins > 0)
            OR lines <> (status = 'captured')::int OR COALESCE(total, 0) <> -captured_coins
            OR first_wallet_id <> wallet_id OR last_wallet_id <> wallet_id
        """,
    ),
    Invariant(
        "5",
        "a reservation is active if and only if it has no time of resolution",
        """
        SELECT id AS reservation_id, status, resolved_at FROM coin_reservations
        WHERE (status = 'active') <> (resolved_at IS NULL)
        """,
        """
        SELECT id AS reservation_id, status, resolved_at FROM coin_reservations
        WHERE (status = 'active' AND resolved_at IS NOT NULL)
            OR (status <> 'active' AND resolved_at IS NULL AND created_at >= %(at)s)
        """,
    ),
    Invariant(
        "8a",
        "no reservation is active more than two minutes past its time",
        """
        SELECT id AS reservation_id, wallet_id, coins, expires_at FROM coin_reservations
        WHERE status = 'active' AND expires_at < statement_timestamp() - interval '2 minutes'
        """,
        is_of_late_work=True,
    ),
    Invariant(
        "11",
        "an adjustment has an actor and a reason",
        """
        SELECT id AS transaction_id, wallet_id, amount FROM credit_transactions
        WHERE type = 'admin_adjustment' AND (btrim(actor) = '' OR btrim(reason) = '')
        """,
        """
        SELECT id AS transaction_id, wallet_id, amount FROM credit_transactions
        WHERE created_at >= %(at)s AND type = 'admin_adjustment' AND (btrim(actor) = '' OR btrim(reason) = '')
        """,
    ),
    Invariant(
        "12a",
        "a wallet owes what its open debts are short of, and has spendable coins only if it owes none",
        """
        SELECT wallets.id AS wallet_id, balance, reserved, owed, COALESCE(unpaid, 0) AS unpaid_coins
        FROM wallets
        LEFT JOIN (
            SELECT wallet_id, sum(coins - paid_coins) AS unpaid FROM coin_debts WHERE status = 'open' GROUP BY wallet_id
        ) AS debts ON debts.wallet_id = wallets.id
        WHERE owed <> COALESCE(unpaid, 0) OR (owed <> 0 AND balance <> reserved)
        """,
    ),
    Invariant(
        "12b",
        "a debt was paid by the transactions that name it, in its own wallet, and a cancelled one got them back",
        _DEBTS.format(debts="coin_debts"),
        _DEBTS.format(
            debts="""(
                SELECT * FROM coin_debts WHERE id IN (
                    SELECT id FROM coin_debts WHERE status = 'open'
                    UNION ALL SELECT id FROM coin_debts WHERE resolved_at >= %(at)s
                    UNION ALL SELECT debt_id FROM credit_transactions WHERE created_at >= %(at)s
                )
            )"""
        ),
    ),
)
