"""CSV files that spreadsheets open without running anything."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

#: A spreadsheet runs a text that begins with one of these as a formula (OWASP, "CSV Injection").
_FORMULA_PREFIXES = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


class _Echo:
    """A pseudo-buffer that returns what csv writes (Django's documentation, "Streaming large CSV files")."""

    def write(self, row: str) -> str:
        return row


def stream(headings: Sequence[str], rows: Iterable[Iterable[Any]]) -> Iterator[str]:
    """Yield the lines of a file. Cells are numbers or texts; a text that would run as a formula is escaped."""
    write = csv.writer(_Echo()).writerow
    yield write(headings)
    for row in rows:
        yield write([escape_formula(cell) for cell in row])


def escape_formula(value: Any) -> Any:
    """Return the value; a text that would run as a formula gets an apostrophe in front."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA_PREFIXES) else value
