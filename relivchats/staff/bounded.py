"""Queries that stay fast on tables of any size: a count stops at a limit, and a query can be given up."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connection, transaction
from django.db.models import QuerySet
from psycopg.errors import QueryCanceled

Value = TypeVar("Value")

#: What took too long is not tried again for so many seconds.
RETRY_SECONDS = 300
MAX_REMEMBERED = 1000
_retried_at: dict[Hashable, float] = {}


@contextmanager
def limited(*, milliseconds: int) -> Iterator[None]:
    """Limit each query of the block. It then raises OperationalError, after which the connection can be used."""
    is_nested = connection.in_atomic_block
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting('statement_timeout'), set_config('statement_timeout', %s, true)",
            [str(milliseconds)],
        )
        before, _ = cursor.fetchone()
        yield
        # The setting lasts until the transaction ends, which may be another one.
        if is_nested:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])


def within(compute: Callable[[], Value], *, milliseconds: int, key: Hashable = None) -> Value | None:
    """Return the result, or None if one of its queries takes longer. Raise OperationalError for all other reasons.

    What has a key and took too long is not tried again for RETRY_SECONDS in this process: None is returned at once.
    """
    if key is not None and time.monotonic() < _retried_at.get(key, 0.0):
        return None
    try:
        with limited(milliseconds=milliseconds):
            return compute()
    except OperationalError as error:
        # A restart of Postgres ends queries too, and says nothing about how long they take.
        if getattr(error.__cause__, "sqlstate", None) != QueryCanceled.sqlstate:
            raise
        if key is not None:
            if len(_retried_at) >= MAX_REMEMBERED:
                _retried_at.clear()
            _retried_at[key] = time.monotonic() + RETRY_SECONDS
        return None


def clear_cache() -> None:
    """Forget what took too long."""
    _retried_at.clear()


def sum_each(rows: QuerySet[Any], sums: Sequence[Any], *, unit: Any, limit: int) -> list[tuple[str, list[int]]] | None:
    """Return the sums of expressions for each value of `unit`, by one query; None if more than `limit` rows match."""
    # With the primary key: rows of a distinct queryset that only have the same amounts must not become one.
    columns = {f"sum_{number}": expression for number, expression in enumerate(sums)}
    selected = rows.order_by().select_related(None).values("pk", unit_of_sum=unit, **columns)[: limit + 1]
    try:
        sql, parameters = selected.query.sql_with_params()
    except EmptyResultSet:
        return []
    functions = ", ".join(f"SUM({name})" for name in columns)
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT unit_of_sum, COUNT(*), {functions} FROM ({sql}) AS summed GROUP BY 1 ORDER BY 1",  # noqa: S608
            parameters,
        )
        found = cursor.fetchall()
    if sum(number for _, number, *_ in found) > limit:
        return None
    return [(unit, [int(total) for total in totals]) for unit, _, *totals in found]


def list_keys_of_each(selections: Sequence[QuerySet[Any]], *, limit: int) -> list[list[str]]:
    """Return the primary keys, as text, of at most `limit` rows of each queryset, by one query. Any rows: no order."""
    found: list[list[str]] = [[] for _ in selections]
    parts: list[str] = []
    values: list[Any] = []
    for number, rows in enumerate(selections):
        try:
            sql, parameters = rows.order_by().values("pk")[:limit].query.sql_with_params()
        except EmptyResultSet:
            continue
        parts.append(f"SELECT {number}, key::text FROM ({sql}) AS selected(key)")  # noqa: S608 - as in count_each
        values += parameters
    if parts:
        with connection.cursor() as cursor:
            cursor.execute(" UNION ALL ".join(parts), values)
            for number, key in cursor.fetchall():
                found[number].append(key)
    return found


def count_each(selections: Sequence[QuerySet[Any]], *, limit: int) -> list[int]:
    """Return the number of rows of each queryset, at most `limit` + 1, by one query that reads no more rows."""
    counts: list[str] = []
    values: list[Any] = []
    for rows in selections:
        try:
            sql, parameters = rows.order_by().values("pk")[: limit + 1].query.sql_with_params()
        except EmptyResultSet:
            # Django knows without a query that no row matches, such as a number that the column cannot hold.
            counts.append("0")
            continue
        counts.append(f"(SELECT COUNT(*) FROM ({sql}) AS counted)")  # noqa: S608 - compiled by Django, values apart
        values += parameters
    if not counts:
        return []
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {', '.join(counts)}", values)
        return list(cursor.fetchone())
