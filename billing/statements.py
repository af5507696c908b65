"""A wallet's transactions as CSV, streamed row by row."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from billing.models import CreditTransaction
from billing.serializers import describe

COLUMNS = ("id", "created_at", "type", "description", "amount", "balance_after", "reservation_id", "order_id")
#: A spreadsheet runs a text that begins with one of these as a formula (OWASP, "CSV Injection").
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n")
#: Rows per fetch of the server-side cursor. It bounds the memory of a statement.
_CHUNK_SIZE = 2000


class _Echo:
    """A pseudo-buffer that returns what csv writes (Django's documentation, "Streaming large CSV files")."""

    def write(self, row: str) -> str:
        return row


def stream_csv(transactions: QuerySet[CreditTransaction]) -> Iterator[str]:
    """Yield the header and one CSV row per transaction, newest first."""
    write = csv.writer(_Echo()).writerow
    yield write(COLUMNS)
    for row in with_orders(transactions).order_by("-sequence", "-id").iterator(chunk_size=_CHUNK_SIZE):
        cells = (row.pk, row.created_at.isoformat(), row.type, describe(row), row.amount, row.balance_after)
        yield write([escape_formula(cell) for cell in (*cells, row.reservation_id, row.payment_order_id)])


def with_orders(transactions: QuerySet[CreditTransaction]) -> QuerySet[CreditTransaction]:
    """Return the transactions with the rows that `describe` reads, in a constant number of queries."""
    return transactions.select_related("payment_order__package").prefetch_related(
        "payment_order__refunds__debts", "reversed_by"
    )


def escape_formula(value: Any) -> Any:
    """Return the value; a text that would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES) else value
