"""The tables of the database: sizes and growth, unused and missing indexes, vacuum, and the age of transaction ids."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from ops import database, samples
from relivchats.sizes import format_bytes
from relivchats.staff.reports import Level, Line, Report, Table

MAX_TABLES = 40
#: Smaller indexes cost nothing.
MIN_UNUSED_BYTES = 1024 * 1024
#: Below so many rows, reading a whole table is as fast as an index.
MIN_ROWS = 10_000
#: So many dead rows, of all rows, show that vacuum does not keep up.
MAX_DEAD_PERCENT = 20
#: Postgres stops accepting writes at 2^31, about 2.1 thousand million.
WARNING_AGE, CRITICAL_AGE = 1_000_000_000, 1_900_000_000


@dataclass(frozen=True)
class TableSize:
    """One table. `rows` and `dead` are the estimates of Postgres; `bytes` has its indexes and TOAST."""

    name: str
    bytes: int
    rows: int
    dead: int
    vacuumed_at: datetime | None
    scans: int
    rows_scanned: int
    index_scans: int

    @property
    def lacks_an_index(self) -> bool:
        """Whether it is large, often read as a whole, and more often so than through an index."""
        return (
            self.rows >= MIN_ROWS
            and self.scans >= 100
            and self.scans > self.index_scans
            and self.rows_scanned >= self.scans * MIN_ROWS / 2
        )

    @property
    def is_bloated(self) -> bool:
        """Whether too many of its rows are dead."""
        return self.dead >= MIN_ROWS and self.dead * 100 > (self.rows + self.dead) * MAX_DEAD_PERCENT


@dataclass(frozen=True)
class UnusedIndex:
    """An index that no query has used since the statistics began, and that guarantees nothing."""

    name: str
    table: str
    bytes: int


def read_tables(cursor: Any) -> list[TableSize]:
    """Return the tables of this database, the largest first."""
    cursor.execute(
        """
        SELECT relname, pg_total_relation_size(relid), n_live_tup, n_dead_tup,
            greatest(last_vacuum, last_autovacuum), coalesce(seq_scan, 0), coalesce(seq_tup_read, 0),
            coalesce(idx_scan, 0)
        FROM pg_stat_user_tables ORDER BY 2 DESC LIMIT %s
        """,
        [MAX_TABLES],
    )
    return [TableSize(*row) for row in cursor.fetchall()]


def read_unused_indexes(cursor: Any) -> list[UnusedIndex]:
    """Return the unused indexes of at least a megabyte, the largest first."""
    cursor.execute(
        """
        SELECT stats.indexrelname, stats.relname, pg_relation_size(stats.indexrelid)
        FROM pg_stat_user_indexes AS stats JOIN pg_index ON pg_index.indexrelid = stats.indexrelid
        WHERE idx_scan = 0 AND NOT indisunique AND NOT indisexclusion AND pg_relation_size(stats.indexrelid) >= %s
        ORDER BY 3 DESC LIMIT %s
        """,
        [MIN_UNUSED_BYTES, MAX_TABLES],
    )
    return [UnusedIndex(*row) for row in cursor.fetchall()]


def report() -> Report:
    """Return the tables, and what is wrong with them."""
    with database.monitoring(seconds=10) as cursor:
        tables, unused = read_tables(cursor), read_unused_indexes(cursor)
        cursor.execute(
            """
            SELECT pg_database_size(current_database()), age(datfrozenxid), stats_reset
            FROM pg_database JOIN pg_stat_database USING (datname) WHERE datname = current_database()
            """
        )
        size, xid_age, counted_since = cursor.fetchone()
    since = f" since {counted_since:%Y-%m-%d}" if counted_since else ""
    lines = [_size_line(size), _age_line(xid_age)]
    for index in unused:
        text = f"{index.name} on {index.table}, {format_bytes(index.bytes)}: not used{since} on this server"
        lines.append(Line("unused index", Level.FINE, text))
    for table in tables:
        if table.lacks_an_index:
            text = f"{table.name} was read as a whole {table.scans} times{since}, by an index {table.index_scans} times"
            lines.append(
                Line("missing index", Level.WARNING, text, "manage.py database --long 1; manage.py logs --grep slow")
            )
        if table.is_bloated:
            text = f"{table.name} has {table.dead} dead rows and {table.rows} others: vacuum does not keep up"
            remedy = "manage.py database --long 600  # an old transaction keeps dead rows"
            lines.append(Line("vacuum", Level.WARNING, text, remedy))
    rows = tuple(
        (each.name, format_bytes(each.bytes), each.rows, each.dead, each.vacuumed_at, each.scans, each.index_scans)
        for each in tables
    )
    columns = ("table", "size", "rows", "dead rows", "vacuumed at", "whole reads", "index reads")
    data = {
        "bytes": size,
        "transaction_age": xid_age,
        "tables": [vars(table) for table in tables],
        "unused_indexes": [vars(index) for index in unused],
    }
    headline = f"the {MAX_TABLES} largest" if len(tables) == MAX_TABLES else ""
    return Report("Tables", tuple(lines), Table(columns, rows), data, headline=headline)


def _size_line(size: int) -> Line:
    growth = samples.slope_per_hour("database_bytes", timedelta(days=1))
    text = format_bytes(size)
    if growth is None:
        return Line("size", Level.FINE, f"{text}; how fast it grows is known after two minutes of samples", value=size)
    return Line(
        "size", Level.FINE, f"{text}; {format_bytes(growth * 24, sign=True)} a day at the rate of the last", value=size
    )


def _age_line(age: int) -> Line:
    level = Level.CRITICAL if age > CRITICAL_AGE else Level.WARNING if age > WARNING_AGE else Level.FINE
    text = f"{age:,} transactions since the oldest row was frozen; Postgres stops writes at 2,147,483,648"
    remedy = "" if level is Level.FINE else "manage.py database --long 600  # end old transactions, then VACUUM FREEZE"
    return Line("transaction ids", level, text, remedy, value=age, threshold=f"{WARNING_AGE:,} warns")
