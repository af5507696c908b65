"""How text is set in a terminal or a log: width, wrapping, and emphasis where the reader can see it."""

from __future__ import annotations

import os
import shutil
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

NARROWEST, WIDEST = 40, 96
_JOINERS = "\u200c\u200d"
_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")


def plural(count: int, one: str, many: str = "") -> str:
    """`1 message`, `1,200 messages`; `many` where that is not `one` with an s."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


class Stream(Protocol):
    def isatty(self) -> bool: ...


@dataclass(frozen=True)
class Page:
    width: int = 80
    colour: bool = False

    @classmethod
    def of(cls, stream: Stream) -> Page:
        """Emphasis only on a terminal, and not where NO_COLOR asks for none (no-color.org)."""
        width = min(max(shutil.get_terminal_size().columns, NARROWEST), WIDEST)
        return cls(width=width, colour=stream.isatty() and not os.environ.get("NO_COLOR"))

    def bold(self, text: str) -> str:
        return self._in("1", text)

    def dim(self, text: str) -> str:
        return self._in("2", text)

    def accent(self, text: str) -> str:
        return self._in("36", text)

    def heading(self, text: str) -> str:
        line = "─" * max(3, self.width - columns(text) - 4)
        return f"{self.dim('──')} {self.bold(text)} {self.dim(line)}"

    def wrapped(self, text: str, *, first: str = "", rest: str | None = None) -> list[str]:
        """Lines of at most the page's width, but for words (links) longer than that.

        `first` begins the first line, `rest` (or as many spaces) the others.
        """
        rest = " " * columns(first) if rest is None else rest
        lines: list[str] = []
        for paragraph in text.split("\n"):
            lines += self._paragraph(paragraph, first=rest if lines else first, rest=rest)
        return lines

    def _paragraph(self, text: str, *, first: str, rest: str) -> list[str]:
        lines, line, used = [], [first], columns(first)
        for word in text.split():
            if len(line) > 1 and used + columns(word) > self.width:
                lines.append("".join(line).rstrip())
                line, used = [rest], columns(rest)
            line.append(f"{word} ")
            used += columns(word) + 1
        return [*lines, "".join(line).rstrip()]

    def _in(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self.colour else text


def plain(text: object) -> str:
    """The text without characters that steer a terminal or turn its reading direction; new lines stay.

    An export is a stranger's file: what comes out of it must not clear a screen or fake a line.
    """
    return "".join(_visible(str(text).replace("\r\n", "\n")))


def _visible(text: str) -> Iterator[str]:
    for char in text:
        if char == "\n" or char in _JOINERS or unicodedata.category(char) not in _STEERING:
            yield char
        elif char in "\t\r\u2028\u2029":
            yield " "


def columns(text: str) -> int:
    """How many columns of a terminal the text takes: most emoji and ideographs take two."""
    return sum(map(_columns, text))


def _columns(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
