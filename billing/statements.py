"""A wallet's transactions as a file for spreadsheets, line by line, however many there are."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from billing.models import CreditTransaction
from billing.serializers import describe

COLUMNS = ("id", "created_at", "type", "description", "amount", "balance_after", "reservation_id", "order_id")
#: A text that begins with one of these is a formula to a spreadsheet (OWASP, CSV injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_CHUNK = 2000


class _Line:
    """What csv writes to: it hands each line back."""

    def write(self, line: str) -> str:
        return line


def lines(transactions: QuerySet[CreditTransaction]) -> Iterator[str]:
    """The heading, then a line each, newest first."""
    write = csv.writer(_Line()).writerow
    yield write(COLUMNS)
    for line in with_orders(transactions).order_by("-sequence", "-id").iterator(chunk_size=_CHUNK):
        cells = (line.pk, line.created_at.isoformat(), line.type, describe(line), line.amount, line.balance_after)
        yield write([harmless(cell) for cell in (*cells, line.reservation_id, line.payment_order_id)])


def with_orders(transactions: QuerySet[CreditTransaction]) -> QuerySet[CreditTransaction]:
    """With what `describe` asks of them, in a constant number of queries."""
    return transactions.select_related("payment_order__package").prefetch_related(
        "payment_order__refunds", "reversed_by"
    )


def harmless(value: Any) -> Any:
    """Numbers as they are; a text that would be read as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
