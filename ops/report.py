"""What operations answer with: lines that are fine or not, and a table. Doors print it, as words or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder


class Level(StrEnum):
    FINE = "fine"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @property
    def exit_status(self) -> int:
        """As Nagios plugins answer: 0 fine, 1 warning, 2 critical, 3 could not tell."""
        return {Level.FINE: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.UNKNOWN: 3}[self]


_BY_WEIGHT = (Level.FINE, Level.WARNING, Level.UNKNOWN, Level.CRITICAL)


def worst(levels: Sequence[Level]) -> Level:
    """What could not be told weighs more than a warning and less than what is known to be broken."""
    return max(levels, key=_BY_WEIGHT.index, default=Level.FINE)


@dataclass(frozen=True)
class Line:
    """One finding. `mend` is the command to run next; a line that is not fine always has one."""

    name: str
    level: Level
    text: str
    mend: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"name": self.name, "level": self.level, "text": self.text, "mend": self.mend, "data": dict(self.data)}


@dataclass(frozen=True)
class Table:
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def as_json(self) -> list[dict[str, Any]]:
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def as_text(self) -> str:
        cells = [[_cell(value) for value in row] for row in (self.columns, *self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in cells)


@dataclass(frozen=True)
class Report:
    title: str
    lines: tuple[Line, ...] = ()
    table: Table | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def level(self) -> Level:
        return worst([line.level for line in self.lines])

    def as_json(self) -> str:
        answer: dict[str, Any] = {
            "title": self.title,
            "level": self.level,
            "lines": [line.as_json() for line in self.lines],
            **self.data,
        }
        if self.table is not None:
            answer["rows"] = self.table.as_json()
        return json.dumps(answer, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)

    def as_text(self) -> str:
        parts = [self.title]
        if self.table is not None and self.table.rows:
            parts.append(self.table.as_text())
        elif not self.lines:
            parts.append("none")
        if self.lines:
            parts.append("\n".join(_words(self.lines)))
        return "\n\n".join(parts)


def _words(lines: Sequence[Line]) -> list[str]:
    width = max(len(line.name) for line in lines)
    words = []
    for line in lines:
        level = line.level if line.level is Level.FINE else line.level.upper()
        words.append(f"{level:<8}  {line.name:<{width}}  {line.text}")
        if line.mend:
            words.append(f"{'':8}  {'':{width}}  → {line.mend}")
    return words


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return str(value)
