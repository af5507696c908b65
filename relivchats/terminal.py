"""Text output of the commands: styled and fitted to the window on a terminal, plain text in a file or a pipe.

rich draws it. It is imported when something is printed: it takes 0.1 s, and every web process imports this module.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

#: Prose in longer lines is hard to read, and shorter lines have no room for a quote next to its time.
MIN_WIDTH, MAX_WIDTH = 40, 96
#: Nobody reads a pipe's lines by eye, so a row of a table stays one line, however long.
PIPE_WIDTH = 10_000
#: A column keeps at least this width when another one stays whole.
MIN_COLUMN_WIDTH = 10
_JOINERS = "\u200c\u200d"
_CONTROL_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")


class Stream(Protocol):
    """An output stream, such as `sys.stdout` or the `stdout` of a command."""

    def isatty(self) -> bool:
        """Return whether a person reads the stream in a terminal."""
        ...


@dataclass(frozen=True)
class Layout:
    """The width and style of text output. Its methods return text; the caller writes it.

    `width` is the number of columns of prose, `table_width` of tables and bars.
    """

    width: int = 80
    colour: bool = False
    table_width: int = PIPE_WIDTH

    @classmethod
    def for_stream(cls, stream: Stream) -> Layout:
        """Return the layout for this stream: style only on a terminal, and not if NO_COLOR is set (no-color.org)."""
        columns = shutil.get_terminal_size().columns
        terminal = stream.isatty()
        return cls(
            width=min(max(columns, MIN_WIDTH), MAX_WIDTH),
            colour=terminal and not os.environ.get("NO_COLOR"),
            table_width=max(columns, MIN_WIDTH) if terminal else PIPE_WIDTH,
        )

    def bold(self, text: str) -> str:
        """Return the text in bold on a terminal."""
        return self._style("bold", text)

    def dim(self, text: str) -> str:
        """Return the text dimmed on a terminal."""
        return self._style("dim", text)

    def accent(self, text: str) -> str:
        """Return the text in the accent colour on a terminal."""
        return self._style("cyan", text)

    def heading(self, text: str) -> str:
        """Return the text inside a horizontal rule of the full width."""
        rule = "─" * max(3, self.width - columns(text) - 4)
        return f"{self.dim('──')} {self.bold(text)} {self.dim(rule)}"

    def wrap(self, text: str, *, first: str = "", rest: str | None = None) -> list[str]:
        """Return lines of at most the width. A longer word, such as a link, stays whole.

        `first` begins the first line; `rest`, or as many spaces, begins the others.
        """
        # rich cuts a word that is longer than the line, and a cut link cannot be clicked.
        rest = " " * columns(first) if rest is None else rest
        lines: list[str] = []
        for paragraph in text.split("\n"):
            line = first = rest if lines else first
            used = columns(line)
            for word in paragraph.split():
                if line != first and used + columns(word) > self.width:
                    lines.append(line.rstrip())
                    line = first = rest
                    used = columns(rest)
                line += f"{word} "
                used += columns(word) + 1
            lines.append(line.rstrip())
        return lines

    def table(
        self, headings: Sequence[str], rows: Iterable[Sequence[object]], *, right: Collection[str] = ()
    ) -> list[str]:
        """Return the lines of a table. Columns named in `right` are aligned right, such as numbers."""
        from rich.table import Table
        from rich.text import Text

        cells = [[plain(cell) for cell in row] for row in rows]
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        widths = [max(columns(row[place]) for row in (headings, *cells)) + 2 for place in range(len(headings))]
        spare = self.table_width - sum(min(width, MIN_COLUMN_WIDTH) for width in widths)
        for place, heading in enumerate(headings):
            # An id that is broken into lines cannot be copied: columns without spaces stay whole while there is room.
            missing = max(0, widths[place] - MIN_COLUMN_WIDTH)
            whole = missing <= spare and not any(" " in row[place] for row in cells)
            spare -= missing if whole else 0
            justify: Literal["left", "right"] = "right" if heading in right else "left"
            table.add_column(Text(heading), justify=justify, overflow="fold", no_wrap=whole)
        for row in cells:
            table.add_row(*map(Text, row))
        return self.render(table)

    def bars(self, rows: Sequence[tuple[str, float]], *, labels: Sequence[str] = ()) -> list[str]:
        """Return one line per row: name, value, and a bar in proportion to the largest value.

        `labels` are printed after the bars. Names longer than a third of the width are cut.
        """
        from rich.bar import Bar
        from rich.table import Table
        from rich.text import Text

        largest = max((value for _, value in rows), default=0) or 1
        grid = Table.grid(padding=(0, 2), expand=True)
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=self.width // 3)
        grid.add_column(justify="right", no_wrap=True)
        grid.add_column(ratio=1)
        grid.add_column(no_wrap=True)
        for place, (name, value) in enumerate(rows):
            bar = Bar(size=largest, begin=0, end=value, color="cyan")
            label = labels[place] if place < len(labels) else ""
            grid.add_row(Text(plain(name).replace("\n", " ")), f"{value:,}", bar, Text(plain(label)))
        return self.render(grid, width=self.width)

    def _style(self, style: str, text: str) -> str:
        if not self.colour:
            return text
        from rich.color import ColorSystem
        from rich.style import Style

        return Style.parse(style).render(text, color_system=ColorSystem.STANDARD)

    def render(self, what: RenderableType, *, width: int | None = None) -> list[str]:
        """Return the lines of what rich draws, at most `width` columns wide (default: the width of tables)."""
        drawn = self._console(width or self.table_width)
        drawn.print(what)
        assert isinstance(drawn.file, io.StringIO)
        return [line.rstrip() for line in drawn.file.getvalue().splitlines()]

    def _console(self, width: int) -> Console:
        from rich.console import Console

        return Console(
            file=io.StringIO(),
            width=width,
            force_terminal=self.colour,
            color_system="standard" if self.colour else None,
            legacy_windows=False,
            _environ={},
        )


@contextlib.contextmanager
def progress(title: str, *, total: int | None = None, stream: Any = None) -> Iterator[Callable[[int], None]]:
    """Show a progress bar for the block, and yield a function that sets how many steps are done.

    `stream` is standard error if not given, so that the output itself can be piped. Without a terminal, each call
    prints one line.
    """
    # Django's wrapper of a command's stream adds a line break to every write, which would break the bar.
    file: IO[str] = getattr(stream, "_out", stream) or sys.stderr
    if not file.isatty():
        of = f" of {total:,}" if total is not None else ""
        yield lambda done: print(f"{title}: {done:,}{of}", file=file, flush=True)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    parts = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*parts, console=Console(file=file), transient=True) as bar:
        task = bar.add_task(title, total=total)
        yield lambda done: bar.update(task, completed=done)


def plural(count: int, one: str, many: str = "") -> str:
    """Return `1 message` or `1,200 messages`. `many` is the plural if it is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def plain(text: object) -> str:
    """Return the text without characters that control a terminal or change the reading direction; line breaks stay.

    An export comes from a stranger: its text must not clear the screen or imitate a line of ours.
    """
    return "".join(_visible(str(text).replace("\r\n", "\n")))


def _visible(text: str) -> Iterator[str]:
    for char in text:
        if char == "\n" or char in _JOINERS or unicodedata.category(char) not in _CONTROL_CATEGORIES:
            yield char
        elif char in "\t\r\u2028\u2029":
            yield " "


def columns(text: str) -> int:
    """Return the number of terminal columns that the text takes: most emoji and ideographs take two."""
    from rich.cells import cell_len

    return cell_len(text)
