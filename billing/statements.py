"""A wallet's transactions as CSV, streamed row by row."""

from __future__ import annotations

from collections.abc import Iterator

from django.db.models import QuerySet

from billing.models import CreditTransaction
from billing.serializers import describe
from relivchats import csv_files

COLUMNS = ("id", "created_at", "type", "description", "amount", "balance_after", "reservation_id", "order_id")
#: Rows per fetch of the server-side cursor. It bounds the memory of a statement.
_CHUNK_SIZE = 2000


def stream_csv(transactions: QuerySet[CreditTransaction]) -> Iterator[str]:
    """Return the lines of the file: a header, then a row for each transaction, newest first."""
    rows = with_orders(transactions).order_by("-sequence", "-id").iterator(chunk_size=_CHUNK_SIZE)
    return csv_files.stream(
        COLUMNS,
        (
            (
                *(row.pk, row.created_at.isoformat(), row.type, describe(row), row.amount, row.balance_after),
                *(row.reservation_id, row.payment_order_id),
            )
            for row in rows
        ),
    )


def with_orders(transactions: QuerySet[CreditTransaction]) -> QuerySet[CreditTransaction]:
    """Return the transactions with the rows that `describe` reads, in a constant number of queries."""
    return transactions.select_related("payment_order__package").prefetch_related(
        "payment_order__refunds__debts", "reversed_by"
    )
