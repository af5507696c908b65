"""What must always hold of the coins: each invariant is one query that returns the rows that break it.

Another app adds its own with `register`. Rows hold ids, numbers, states and times only.

A large ledger is audited in full now and then, and in between from a horizon:
an instant before which every transaction had ended when it was last found
clean. Times are not in the order of commits, so the horizon is never simply
"the last look": a transaction that was running then may still add rows with
earlier times. A look leaves a mark, and the mark becomes a horizon once
everything that ran at its time has ended, which Postgres' snapshots tell.
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

MOST_MINUTES = 10
"""How long one query may run: an audit reads whole tables, so the time-out of a request is too short for it."""
MEMORY_MB = 128
"""What one step of a query may take of Postgres' memory; a few steps run at once."""


@dataclass(frozen=True)
class Invariant:
    """`number` orders the report ("1", "8a"), `name` says what holds, `sql` returns the rows that break it.

    The query must end without a semicolon, and its columns need names of their own. `recent` is the same of what
    changed since `%(at)s`, where reading the whole tables is slow.
    """

    number: str
    name: str
    sql: str
    recent: str = ""


@dataclass(frozen=True)
class Mark:
    """A moment that was looked at: transactions that began later have at least the number `next_xid`."""

    at: datetime
    next_xid: int


@dataclass(frozen=True)
class Horizon:
    """All transactions before `at` have ended, were found clean, and moved `coins` in all."""

    at: datetime
    coins: int


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


@dataclass(frozen=True)
class Look:
    """What an audit found, the moment just before it, and the horizon that the next one may start from."""

    findings: list[Finding]
    mark: Mark
    horizon: Horizon | None


#: How far behind its mark a horizon stays: longer than a statement may run before its transaction has a number.
MARGIN = timedelta(minutes=2)


def audit(*, limit: int = 20, since: Horizon | None = None) -> list[Finding]:
    """Every invariant that is broken now, each with its first `limit` rows. Sound coins give an empty list.

    With a horizon only what changed since is read: old rows that somebody changed behind the trigger's back are
    found by an audit in full.
    """
    with _one_snapshot() as cursor:
        return _findings(cursor, limit=limit, since=since)


def look(*, limit: int = 20, since: Horizon | None = None, marks: Sequence[Mark] = ()) -> Look:
    """An audit that another can go on from. `marks` are those of earlier looks; one that is over gives the horizon."""
    mark = _mark()
    with _one_snapshot() as cursor:
        oldest = _oldest_running(cursor)
        over = [each for each in (*marks, mark) if each.next_xid <= oldest]
        horizon = _moved(cursor, since, max(over, key=lambda each: each.at)) if over else since
        findings = _findings(cursor, limit=limit, since=since)
    return Look(findings, mark, None if findings else horizon)


def questions(since: Horizon | None = None) -> Iterator[tuple[Invariant, str, dict[str, Any] | None]]:
    """Each invariant with the SQL that finds what breaks it, and the SQL's parameters."""
    for invariant in registered():
        if since is None or not invariant.recent:
            yield invariant, invariant.sql, None
        else:
            yield invariant, invariant.recent, {"at": since.at, "coins": since.coins}


def _mark() -> Mark:
    """Taken in a transaction of its own, for the number that it is given: a snapshot alone does not tell the next."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp(), pg_current_xact_id()::text::bigint + 1")
        return Mark(*cursor.fetchone())


def _oldest_running(cursor: CursorWrapper) -> int:
    cursor.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    return int(cursor.fetchone()[0])


def _moved(cursor: CursorWrapper, since: Horizon | None, mark: Mark) -> Horizon:
    """The horizon moved up to a mark that is over; it never moves back."""
    at = mark.at - MARGIN
    if since is not None and at <= since.at:
        return since
    cursor.execute(
        "SELECT COALESCE(sum(amount), 0) FROM credit_transactions"
        " WHERE created_at < %(at)s AND created_at >= COALESCE(%(from)s, '-infinity'::timestamptz)",
        {"at": at, "from": since.at if since else None},
    )
    return Horizon(at, (since.coins if since else 0) + int(cursor.fetchone()[0]))


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
            # Millions of rows are grouped and joined: with the few megabytes of a request all of it goes over the disk.
            cursor.execute(f"SET LOCAL work_mem = '{MEMORY_MB}MB'")
        cursor.execute("SET TRANSACTION READ ONLY")
        yield cursor


def _findings(cursor: CursorWrapper, *, limit: int, since: Horizon | None) -> list[Finding]:
    asked = (_check(cursor, *question, limit=limit) for question in questions(since))
    return [finding for finding in asked if finding]


def _check(
    cursor: CursorWrapper, invariant: Invariant, sql: str, values: dict[str, Any] | None, *, limit: int
) -> Finding | None:
    cursor.execute(f"SELECT count(*) OVER (), offenders.* FROM ({sql}) AS offenders LIMIT {int(limit)}", values)  # noqa: S608
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
        # Of each wallet that moved its latest line; and all wallets together hold what all transactions moved, so
        # that a balance which changed without a line is missed only together with its opposite.
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
        # Reservations that were made or ended since, and those that an unlock names since.
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
)
