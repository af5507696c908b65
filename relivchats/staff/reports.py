"""The result of a check or a command: lines with a level, and a table. Printed as text or as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet

from relivchats import durations, installation
from relivchats.terminal import Layout, plain

#: Counting stops after this many rows: a larger number changes nothing for an operator, and costs seconds.
MAX_COUNTED = 1000
#: A line that changed its level so often within an hour is said to flap.
MIN_FLAPS = 4


class Level(StrEnum):
    """The level of a line or a report, from fine to critical."""

    FINE = "fine"
    WARNING = "warning"
    CRITICAL = "critical"
    UNKNOWN = "unknown"

    @property
    def exit_status(self) -> int:
        """Return the exit status of a Nagios plugin: 0 fine, 1 warning, 2 critical, 3 unknown."""
        return {Level.FINE: 0, Level.WARNING: 1, Level.CRITICAL: 2, Level.UNKNOWN: 3}[self]

    @property
    def severity(self) -> int:
        """Return the rank of this level, from 0 for fine to 3 for critical."""
        return _BY_SEVERITY.index(self)


_BY_SEVERITY = (Level.FINE, Level.UNKNOWN, Level.WARNING, Level.CRITICAL)

#: How rich shows a level on a terminal.
_STYLES = {Level.FINE: "green", Level.WARNING: "yellow", Level.UNKNOWN: "magenta", Level.CRITICAL: "bold red"}


def worst(levels: Sequence[Level]) -> Level:
    """Return the most severe level: critical, then warning, unknown, fine.

    A check without an answer must not hide what another one found. The monitoring plugins of Nagios order them so too.
    """
    return max(levels, key=lambda level: level.severity, default=Level.FINE)


@dataclass(frozen=True)
class Line:
    """One finding. `remedy` is the command to run next; every line that is not fine has one, or a `cause`.

    `value` is what was measured and `threshold` where it stops being fine. `page` is an address in the admin. `cause`
    is the name of the line that this one follows from: it needs no remedy of its own. `is_cause` says whether others
    can follow from this one; the default is that they do if it is critical or unknown. `is_unfinished` says that the
    check had no time to answer: it found nothing, and nothing follows from it. `since` is when the level was reached,
    `age` how long ago that was, `bad_for` how long it has not been fine at any level, and `changes` counts the
    changes of level within the last hour.
    """

    name: str
    level: Level
    text: str
    remedy: str = ""
    data: Mapping[str, Any] = field(default_factory=dict)
    value: str | float | None = None
    threshold: str = ""
    page: str = ""
    cause: str = ""
    is_cause: bool | None = None
    is_unfinished: bool = False
    since: datetime | None = None
    age: timedelta | None = None
    bad_for: timedelta | None = None
    changes: int = 0

    @property
    def stops_others(self) -> bool:
        """Whether other findings can follow from this one."""
        if self.is_unfinished:
            return False
        return self.level in (Level.CRITICAL, Level.UNKNOWN) if self.is_cause is None else self.is_cause

    @property
    def command(self) -> str:
        """Return the remedy as it is typed in this kind of installation."""
        return installation.as_typed(self.remedy)

    def as_json(self) -> dict[str, Any]:
        """Return the line as a JSON object with a key for each field."""
        return {
            "name": self.name,
            "level": self.level,
            "text": self.text,
            "value": self.value,
            "threshold": self.threshold,
            "since": self.since,
            "changes": self.changes,
            "cause": self.cause,
            "remedy": self.command,
            "page": self.page,
            "data": dict(self.data),
        }

    def describe(self) -> str:
        """Return the text with how long the level has lasted, what it follows from, and whether it flaps."""
        notes = []
        if self.level is not Level.FINE and self.age is not None and self.age >= timedelta(seconds=1):
            notes.append(f"for {durations.format_short(self.age)}")
        if self.changes >= MIN_FLAPS:
            notes.append(f"changed {self.changes} times within an hour")
        if self.cause:
            notes.append(f"follows from {self.cause}")
        return f"{self.text} ({', '.join(notes)})" if notes else self.text


@dataclass(frozen=True)
class Table:
    """Named columns and rows of values."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    def as_json(self) -> list[dict[str, Any]]:
        """Return one JSON object per row."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def as_lines(self, layout: Layout | None = None) -> list[str]:
        """Return the heading and the rows as aligned text; None becomes a dash. A layout fits them into the window."""
        rows = []
        for row in self.rows:
            dated = [f"{value:%Y-%m-%d %H:%M:%S}" if isinstance(value, datetime) else value for value in row]
            rows.append(["–" if value is None else str(value) for value in dated])
        if layout:
            return layout.table(self.columns, rows)
        cells = [self.columns, *rows]
        widths = [max(len(row[column]) for row in cells) for column in range(len(self.columns))]
        return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


@dataclass(frozen=True)
class Report:
    """The findings of one check or command, and their table. `data` is added to the JSON output.

    `headline` is the sentence to read first, such as the root cause of several findings. `details` is printed below the
    findings as it is, such as a diff, and is not in the JSON output: put it into `data`. `has_changed` says that the
    report shows the state after a change that succeeded: the command then exits with 0, whatever the level.
    """

    title: str
    lines: tuple[Line, ...] = ()
    table: Table | None = None
    data: Mapping[str, Any] = field(default_factory=dict)
    headline: str = ""
    details: str = ""
    has_changed: bool = False

    @property
    def level(self) -> Level:
        """Return the most severe level of the lines."""
        return worst([line.level for line in self.lines])

    def as_json(self) -> str:
        """Return the report as a JSON document."""
        document: dict[str, Any] = {
            "title": self.title,
            "level": self.level,
            **({"headline": self.headline} if self.headline else {}),
            "lines": [line.as_json() for line in self.lines],
            **self.data,
        }
        if self.table is not None:
            document["rows"] = self.table.as_json()
        return json.dumps(document, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)

    def as_text(self, layout: Layout | None = None) -> str:
        """Return the title, the table, then one line per finding with its remedy below.

        Without a layout, for pipes and logs, a row or a finding is one line of plain text. With one, for terminals,
        tables fit the window and levels have colours.
        """
        parts = [layout.bold(self.title) if layout else self.title]
        if self.headline:
            parts.append(layout.bold(plain(self.headline)) if layout else self.headline)
        if self.table is not None and self.table.rows:
            parts.append("\n".join(self.table.as_lines(layout)))
        elif self.table is not None and not self.lines:
            parts.append("none")
        if self.lines:
            parts.append("\n".join(_format_lines(self.lines, layout)))
        if self.details:
            parts.append(self.details)
        return "\n\n".join(parts)


def count(rows: QuerySet[Any], *, limit: int = MAX_COUNTED) -> int:
    """Return the number of rows, at most `limit` + 1: one more tells "200" from "more than 200"."""
    return rows.order_by()[: limit + 1].count()


def format_count(number: int, noun: str = "", *, limit: int = MAX_COUNTED) -> str:
    """Return the result of `count` as text: `12`, or `more than 1000`; with a noun, `1 job` or `12 jobs`."""
    text = f"more than {limit}" if number > limit else str(number)
    return f"{text} {noun}{'s' * (number != 1)}" if noun else text


def _format_lines(lines: Sequence[Line], layout: Layout | None) -> list[str]:
    lines = fold(lines)
    # Upper case marks the lines that need attention, for eyes and for grep.
    levels = [line.level if line.level is Level.FINE else line.level.upper() for line in lines]
    if not layout:
        text = []
        width = max(len(line.name) for line in lines)
        for line, level in zip(lines, levels, strict=True):
            text.append(f"{level:<8}  {line.name:<{width}}  {line.describe()}")
            if line.remedy:
                text.append(f"{'':8}  {'':{width}}  → {line.command}")
        return text
    # Imported here, because it takes 0.1 s and most commands run in a pipe or print JSON.
    from rich import table as rich_table
    from rich.text import Text

    width = max(len(line.name) for line in lines)
    printed: list[str] = []
    for line, level in zip(lines, levels, strict=True):
        grid = rich_table.Table.grid(padding=(0, 2, 0, 0))
        grid.add_column(width=8)
        grid.add_column(width=width)
        grid.add_row(
            Text(level, style=_STYLES[line.level]), Text(line.name, style="bold"), Text(plain(line.describe()))
        )
        printed += layout.render(grid)
        if line.remedy:
            # In one piece, whatever its length, so that it can be copied.
            printed.append(layout.accent(f"{'':{width + 12}}→ {plain(line.command)}"))
    return printed


def fold(lines: Sequence[Line]) -> list[Line]:
    """Return the lines with one in place of several that only say the same about their names. JSON has all of them."""
    same: dict[tuple[str, ...] | int, list[Line]] = {}
    for number, line in enumerate(lines):
        is_alike = line.is_unfinished or (line.cause and not line.data)
        same.setdefault((line.level, line.text, line.cause, line.remedy) if is_alike else number, []).append(line)
    folded: list[Line] = []
    # In the order of their first lines.
    for group in same.values():
        first = group[0]
        if len(group) > 1:
            text = f"{first.text}: {', '.join(line.name for line in group)}"
            first = replace(first, name=f"{len(group)} checks", text=text, page="", age=None, changes=0)
        folded.append(first)
    return folded
