"""Insert many rows with Postgres's COPY, in a tenth of the time that INSERT takes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.db import connection
from psycopg import sql


def copy_rows(table: str, column_types: dict[str, str], rows: Iterable[tuple[Any, ...]]) -> None:
    """Insert rows in the current transaction. `column_types` maps columns to Postgres type names, for binary COPY."""
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, column_types))
    )
    # Django converts the driver's errors to its own in execute(), but not in copy().
    with connection.wrap_database_errors, connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.set_types(list(column_types.values()))
        for row in rows:
            copy.write_row(row)
