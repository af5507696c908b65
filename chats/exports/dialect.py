"""Detect how an export prints its message headers, and compile one pattern for them.

Lines from the whole file are matched with a wide but bounded grammar, and each header votes for a dialect. Every
dialect with more than a fifth of the votes is kept. The pattern that splits the file knows only those, so a line that
looks like the header of another dialect stays text.

The grammar describes a normalised line: ASCII digits, one kind of space, no invisible marks. A match is kept as a
template, such as `D/D/Y` and `D:T M`. The pattern is built from the templates, for the digits and marks of this file.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

from chats.exports.bidi import BIDI_MARKS
from chats.exports.calendars import CLOCK_OF, ERA_NAMES, FIRST_OF_AN_ERA, UNIT, Clock, marker_of
from chats.exports.parsed import NAME_LIMIT
from chats.exports.templates import (
    ANY_MARKS,
    ERA,
    ERA_WITH_YEAR,
    MARKED,
    SHORT,
    TWO,
    YEAR,
    either,
    in_bytes,
    literal,
)

SAMPLE_BYTES = 64 * 1024
_PIECES = 8
# A header is not longer.
HEADER_LIMIT = 120
#: The limit of a name up to its first colon, and of each part between two colons.
SENDER_LIMIT_BYTES = 4 * NAME_LIMIT
_MIN_SHARE = 0.2

_SPACES = "\u00a0\u202f\u2009"
_ZEROS = "٠۰०০੦૦୦௦౦೦൦๐໐༠၀០"
_PLAIN = (
    dict.fromkeys(map(ord, _SPACES), " ")
    | {ord(zero) + digit: str(digit) for zero in _ZEROS for digit in range(10)}
    | BIDI_MARKS
)

_ZEROED = dict.fromkeys(map(ord, "123456789"), "0")
_MARKS = "".join(map(chr, BIDI_MARKS))


def _spelled(marker: str) -> str:
    """Return a pattern for a marker in lower case: `pm` also matches `p.m.` and `p. m.`."""
    return r"\.?\u200c?\ ?".join(map(re.escape, marker)) + r"\.?"


# Checking for a letter first skips the long list of markers on most lines.
_LETTER = r"(?=[^\W\d_])"
_MARKER = rf"(?:{_LETTER}(?i:{'|'.join(map(_spelled, sorted(CLOCK_OF, key=len, reverse=True)))}))"
_ERA_NAMES = rf"(?:{_LETTER}(?:{ERA_NAMES}))"
_COMMAS = "[,،]?"
# `um`, `klo`, `г.`, `at`, `alle ore`: any short word except a marker that belongs to the time.
_WORD = rf"(?:(?!{_MARKER}\ ?\d)[^\d\s()\[\]:/,،]{{1,10}}{_COMMAS}\ )"
_DATE = rf"""(?P<date>(?:{_ERA_NAMES}\.?\ ?)?(?:\d{{1,4}}|{FIRST_OF_AN_ERA})
    (?P<separator>[/.\-]\ ?|[年년]\ ?)\d{{1,2}}(?:(?P=separator)|[月월]\ ?)
    \d{{1,4}}[日일]?(?:\ {_ERA_NAMES})?)"""
_TIME = rf"""(?P<time>(?:{_MARKER}\ ?)?\d{{1,2}}(?P<colon>[:.]|\ ?h\ ?)\d\d
    (?:(?:(?P=colon)|\ ?min\ ?)\d\d)?(?:\ ?(?:{UNIT})(?!\w))?(?:\ ?{_MARKER})?)"""
_CLOSE = r"\)?(?P<close>\]\ |\ [-–]\ |:\ )"
_DATE_FIRST = rf"(?P<open>\[?){_DATE}(?P<gap>\.?{_COMMAS}\ {{1,2}}{_WORD}{{0,2}}\(?){_TIME}{_CLOSE}"
_TIME_FIRST = rf"(?P<open>\[?){_TIME}(?P<gap>{_COMMAS}\ {{1,2}}{_WORD}?){_DATE}{_CLOSE}"
_ERA_YEAR = re.compile(rf"{_ERA_NAMES}\.? ?(?:\d{{1,3}}|{FIRST_OF_AN_ERA})")
_ERA_NAME = re.compile(ERA_NAMES)
_NUMBER = re.compile(r"\d+")
_MARKER_AT = f"^{_MARKER}|(?<= ){_MARKER}$|(?<=\\d){_MARKER}$"
_TIME_AHEAD = re.compile(r"\D*\d{1,2}(?:[:.]| ?h ?)\d\d")
# Compiling these takes a quarter of a second, so each is compiled when an export first needs it.
_compiled = cache(re.compile)


class Header(NamedTuple):
    """The properties that distinguish dialects; `date`, `gap` and `time` are templates."""

    bracket: bool
    date: str
    gap: str
    time: str
    close: str
    time_first: bool
    zero: str
    marks: bool

    def in_bytes(self, template: str, clocks: tuple[Clock, ...] = ()) -> bytes:
        """Return the pattern of a template, for this header's digits and marks."""
        return in_bytes(template, zero=self.zero, marks=self.marks, clocks=clocks)

    @property
    def orders(self) -> frozenset[str]:
        """Return the possible orders of year, month and day."""
        if self.date[0] in (YEAR, ERA_WITH_YEAR):
            return frozenset({"ymd"})
        if YEAR in self.date or ERA in self.date:
            return frozenset({"dmy", "mdy"})
        return frozenset({"dmy", "mdy", "ymd"})


@dataclass(frozen=True)
class Dialect:
    """The headers of one export, its line ends, and the 12-hour clocks that it uses."""

    headers: tuple[Header, ...]
    newline: bytes
    clocks: tuple[Clock, ...] = ()
    upper_markers: bool = False

    @property
    def family(self) -> str:
        """Return android, ios or legacy."""
        first = self.headers[0]
        return "ios" if first.bracket else "legacy" if first.close == ": " else "android"

    @property
    def name(self) -> str:
        """Return the family and the hours of the clock, such as `android-24h`."""
        return f"{self.family}-{12 if MARKED in self.headers[0].time else 24}h"

    @property
    def families(self) -> dict[bool, Dialect]:
        """Return a dialect for headers with brackets (iPhone) and one for the others; the owner can change phones."""
        brackets = dict.fromkeys(header.bracket for header in self.headers)
        return {
            bracket: replace(self, headers=tuple(header for header in self.headers if header.bracket == bracket))
            for bracket in brackets
        }

    @property
    def orders(self) -> frozenset[str]:
        """Return the possible orders of the dates, without headers that have only one order if others have several."""
        open_orders = frozenset[str]().union(*(header.orders for header in self.headers if len(header.orders) > 1))
        if not open_orders or any(clock.year_first for clock in self.clocks):
            return open_orders & {"ymd"} or open_orders or frozenset({"ymd"})
        return open_orders

    def american(self, printed: bytes) -> bool:
        """Return whether dates look like `1/2/24, 9:05 PM`, which is rare outside of the United States."""
        first = self.headers[0]
        slashed = first.date == "D/D/D" and MARKED in first.time
        return slashed and self.upper_markers and b"/0" not in printed and not printed.startswith(b"0")

    @property
    def date_group(self) -> int:
        """Return the number of the group of `pattern` that contains the date."""
        return 3 if self.headers[0].time_first else 2

    @property
    def time_group(self) -> int:
        """Return the number of the group of `pattern` that contains the time."""
        return 5 - self.date_group

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Return the pattern. Groups: marks and bracket before the header, date and time as printed, sender.

        It begins at the newline before the header. Each part can match in one way only, so it takes one step per byte.
        """
        between = ANY_MARKS if any(header.marks for header in self.headers) else b""
        dates = either(header.in_bytes(header.date) for header in self.headers)
        times = either(header.in_bytes(header.time, self.clocks) for header in self.headers)
        first, second = (times, dates) if self.headers[0].time_first else (dates, times)
        brackets = either(literal("[" * header.bracket, marks=False) for header in self.headers)
        parts = [
            b"(%b%b)" % (ANY_MARKS, brackets),
            b"(%b)" % first,
            either(literal(header.gap, marks=header.marks) for header in self.headers),
            b"(%b)" % second,
            either(literal(header.close, marks=header.marks) for header in self.headers),
        ]
        sender = rb"(?:([^:\n]{1,%d}+(?>(?::(?![ \r\n]|\Z)[^:\n]{0,%d}+){0,4})):(?: |(?=\r?\n|\Z)))?"
        return re.compile(self.newline + between.join(parts) + sender % (SENDER_LIMIT_BYTES, SENDER_LIMIT_BYTES))


def detect_dialect(text: bytes) -> Dialect | None:
    """Return the dialect of the text, or None if no line begins like a message."""
    shapes: Counter[_Shape] = Counter()
    after_crlf: Counter[_Shape] = Counter()
    after_any: Counter[_Shape] = Counter()
    for lines in _samples(text):
        last = b""
        for line in lines:
            if shape := _shape(line):
                shapes[shape] += 1
                after_any[shape] += bool(last)
                after_crlf[shape] += last.endswith(b"\r\n")
            last = line
    votes: Counter[Header] = Counter()
    bare: Counter[Header] = Counter()
    clocks: list[Clock] = []
    upper = 0
    for shape, count in shapes.items():
        if (found := _find(shape.plain)) and (header := _read(found, shape)):
            votes[header] += count
            bare[header] += after_any[shape] - 2 * after_crlf[shape]
            if clock := CLOCK_OF.get(marker_of(found["time"])):
                clocks.append(clock)
                upper += count * found["time"].isupper()
    if not votes:
        return None
    min_votes = _MIN_SHARE * votes.total()
    first = votes.most_common(1)[0][0]
    kept = [header for header, count in votes.most_common() if count > min_votes] or [first]
    headers = tuple(header for header in kept if header.time_first == first.time_first)
    # If most headers of every kind follow CRLF, a bare LF is inside a message, even before a header.
    crlf = any(after_crlf.values()) and all(bare[header] <= 0 for header in headers)
    newline = b"\r\n" if crlf else b"\n"
    return Dialect(headers, newline, tuple(dict.fromkeys(clocks)), upper_markers=2 * upper > votes.total())


def _samples(text: bytes) -> Iterator[list[bytes]]:
    """Yield the lines of the whole text, or of eight evenly spread parts: people change phones during a chat."""
    if len(text) <= SAMPLE_BYTES:
        yield text.splitlines(keepends=True)
        return
    size = SAMPLE_BYTES // _PIECES
    for piece in range(_PIECES):
        start = (len(text) - size) * piece // (_PIECES - 1)
        lines = text[start : start + size].splitlines(keepends=True)
        yield lines[1:] if piece else lines


class _Shape(NamedTuple):
    """A normalised header with every digit as 0, the zero of its script, and whether it contains marks."""

    plain: str
    zero: str
    marks: bool


def _shape(line: bytes) -> _Shape | None:
    """Return the shape of the header of a line, or None. A file has few shapes, so each is analysed once."""
    raw = line[: 3 * HEADER_LIMIT].decode("utf-8", "replace")[:HEADER_LIMIT]
    if raw.isascii():
        found = _find(raw)
        return _Shape(found[0].translate(_ZEROED), "0", marks=False) if found else None
    if not (found := _find(raw.translate(_PLAIN))):
        return None
    inside = raw.lstrip(_MARKS)
    digit = next(char for char in inside if char.isdecimal())
    marks = any(ord(char) in BIDI_MARKS for char in inside[: len(found[0])])
    return _Shape(found[0].translate(_ZEROED), chr(ord(digit) - int(digit)), marks)


def _find(plain: str) -> re.Match[str] | None:
    if found := _compiled(_DATE_FIRST, re.VERBOSE).match(plain):
        return found
    return _compiled(_TIME_FIRST, re.VERBOSE).match(plain) if _TIME_AHEAD.match(plain) else None


def _read(found: re.Match[str], shape: _Shape) -> Header | None:
    bracket = bool(found["open"])
    date = _date_template(found)
    if date is None or bracket != (found["close"] == "] "):
        return None
    return Header(
        bracket=bracket,
        date=date,
        gap=found["gap"],
        time=_time_template(found["time"]),
        close=found[0][max(found.end("date"), found.end("time")) :],
        time_first=found.start("time") < found.start("date"),
        zero=shape.zero,
        marks=shape.marks,
    )


def _date_template(found: re.Match[str]) -> str | None:
    named = _ERA_YEAR.sub(ERA_WITH_YEAR, found["date"])
    era = named != found["date"]
    if not era:
        named = _ERA_NAME.sub(ERA, found["date"])
    widths = [len(number) for number in _NUMBER.findall(named)]
    short = widths if len(widths) < 3 else [widths[0], widths[2]]
    if era:
        return _NUMBER.sub(SHORT, named) if max(short) <= 2 else None
    # `1/2/3` is a list, not a date.
    if 3 in short or short == [4, 4] or (short == [1, 1] and ERA not in named):
        return None
    return _NUMBER.sub(lambda number: YEAR if len(number[0]) == 4 else SHORT, named)


def _time_template(time: str) -> str:
    unmarked = _compiled(_MARKER_AT).sub(MARKED, time) if any(map(str.isalpha, time)) else time
    hour, *rest = _NUMBER.finditer(unmarked)
    after = _NUMBER.sub(TWO, unmarked[hour.end() :]) if rest else ""
    return unmarked[: hour.start()] + SHORT + after
