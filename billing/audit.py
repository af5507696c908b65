"""What must always hold of the coins: each invariant is one query that returns the rows that break it.

Another app adds its own with `register`. Rows hold ids, numbers, states and times only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

MOST_MINUTES = 10
"""How long one query may run: an audit reads whole tables, so the time-out of a request is too short for it."""


@dataclass(frozen=True)
class Invariant:
    """`number` orders the report ("1", "8a"), `name` says what holds, `sql` returns the rows that break it.

    The query must end without a semicolon, and its columns need names of their own.
    """

    number: str
    name: str
    sql: str


@dataclass(frozen=True)
class Finding:
    """A broken invariant: how many rows break it, and the first of them as {column: value}."""

    invariant: Invariant
    total: int
    rows: list[dict[str, Any]]


_registry: dict[str, Invariant] = {}


def register(*invariants: Invariant) -> None:
    for invariant in invariants:
        if _registry.setdefault(invariant.number, invariant) != invariant:
            raise ValueError(f"invariant {invariant.number} is already {_registry[invariant.number].name!r}")


def registered() -> list[Invariant]:
    """Every invariant, in order of number."""
    return sorted(_registry.values(), key=_order)


def audit(*, limit: int = 20) -> list[Finding]:
    """Every invariant that is broken now, each with its first `limit` rows. Sound coins give an empty list."""
    with _one_snapshot() as cursor:
        return [finding for invariant in registered() if (finding := _check(cursor, invariant, limit))]


def _order(invariant: Invariant) -> tuple[int, str]:
    digits, rest = re.fullmatch(r"(\d*)(.*)", invariant.number).groups()  # type: ignore[union-attr]
    return int(digits or 0), rest


@contextmanager
def _one_snapshot() -> Iterator[CursorWrapper]:
    """All queries see one moment, so a movement between two of them cannot look like a fault.

    Inside a caller's transaction the isolation is the caller's.
    """
    alone = not connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        if alone:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute(f"SET LOCAL statement_timeout = '{MOST_MINUTES}min'")
        cursor.execute("SET TRANSACTION READ ONLY")
        yield cursor


def _check(cursor: CursorWrapper, invariant: Invariant, limit: int) -> Finding | None:
    cursor.execute(f"SELECT count(*) OVER (), offenders.* FROM ({invariant.sql}) AS offenders LIMIT {int(limit)}")
    columns = [column.name for column in cursor.description]
    found = cursor.fetchall()
    if not found:
        return None
    return Finding(invariant, total=found[0][0], rows=[dict(zip(columns[1:], row[1:], strict=True)) for row in found])


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
    # By induction: each line follows from the one before, and the first from nothing.
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
    ),
    Invariant(
        "5",
        "a reservation is active if and only if it has no time of resolution",
        """
        SELECT id AS reservation_id, status, resolved_at FROM coin_reservations
        WHERE (status = 'active') <> (resolved_at IS NULL)
        """,
    ),
    Invariant(
        "8a",
        "no reservation is active more than two minutes past its time",
        """
        SELECT id AS reservation_id, wallet_id, coins, expires_at FROM coin_reservations
        WHERE status = 'active' AND expires_at < statement_timestamp() - interval '2 minutes'
        """,
    ),
    Invariant(
        "11",
        "an adjustment has an actor and a reason",
        """
        SELECT id AS transaction_id, wallet_id, amount FROM credit_transactions
        WHERE type = 'admin_adjustment' AND (btrim(actor) = '' OR btrim(reason) = '')
        """,
    ),
)
