"""A wallet's transactions as a file for spreadsheets, line by line, however many there are."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import Any

from django.db.models import QuerySet

from billing.models import CreditTransaction
from billing.serializers import DESCRIPTIONS

COLUMNS = ("id", "created_at", "type", "description", "amount", "balance_after", "reservation_id")
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
    names = [name for name in COLUMNS if name != "description"]
    for row in transactions.order_by("-sequence", "-id").values(*names).iterator(chunk_size=_CHUNK):
        row["description"] = DESCRIPTIONS[CreditTransaction.Type(row["type"])]
        row["created_at"] = row["created_at"].isoformat()
        yield write([harmless(row[name]) for name in COLUMNS])


def harmless(value: Any) -> Any:
    """Numbers as they are; a text that would be read as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
