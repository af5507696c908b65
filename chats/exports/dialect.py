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
from chats.exports.calendars import ERA_NAMES, FIRST_OF_AN_ERA, PERIODS_BY_MARKER, UNIT, DayPeriods, find_marker
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
    literal_pattern,
    template_pattern,
)

SAMPLE_BYTES = 64 * 1024
_SAMPLES = 8
# No header of any locale is longer, in characters.
HEADER_LIMIT = 120
#: The limit of a name up to its first colon, and of each part between two colons. UTF-8 takes up to four bytes.
SENDER_LIMIT_BYTES = 4 * NAME_LIMIT
# A pasted chat has fewer headers than the chat around it. A person who changed phones has more of each kind.
_MIN_SHARE = 0.2

_SPACES = "\u00a0\u202f\u2009"
_ZEROS = "٠۰०০੦૦୦௦౦೦൦๐໐༠၀០"
_PLAIN = (
    dict.fromkeys(map(ord, _SPACES), " ")
    | {ord(zero) + digit: str(digit) for zero in _ZEROS for digit in range(10)}
    | BIDI_MARKS
)

# Dates and times of one format differ in their digits only. With zeros they are equal and analysed once.
_ZEROED = dict.fromkeys(map(ord, "123456789"), "0")
_MARKS = "".join(map(chr, BIDI_MARKS))

# `pm` also matches `p.m.` and `p. m.`. A longer marker is tried before its beginning.
_MARKERS = "|".join(
    r"\.?\u200c?\ ?".join(map(re.escape, marker)) + r"\.?"
    for marker in sorted(PERIODS_BY_MARKER, key=len, reverse=True)
)
# Checking for a letter first skips the long list of markers on most lines.
_LETTER = r"(?=[^\W\d_])"
_MARKER = rf"(?:{_LETTER}(?i:{_MARKERS}))"
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

    @classmethod
    def from_match(cls, match: re.Match[str], *, zero: str, marks: bool) -> Header | None:
        """Return the header in a match of the grammar, or None if its date or its brackets are impossible."""
        bracket = bool(match["open"])
        if bracket != (match["close"] == "] "):
            return None
        date = _ERA_YEAR.sub(ERA_WITH_YEAR, match["date"])
        if date != match["date"]:
            # The era has the year, so that the other two numbers are the month and the day.
            if any(len(number) > 2 for number in _NUMBER.findall(date)):
                return None
        else:
            date = _ERA_NAME.sub(ERA, date)
            widths = list(map(len, _NUMBER.findall(date)))
            ends = widths[0], widths[-1]
            # `1/2/3` is a list, not a date.
            if 3 in ends or ends == (4, 4) or (ends == (1, 1) and ERA not in date):
                return None
        time = match["time"]
        if any(map(str.isalpha, time)):
            time = _compiled(_MARKER_AT).sub(MARKED, time)
        hour, *_ = _NUMBER.finditer(time)
        return cls(
            bracket=bracket,
            date=_NUMBER.sub(lambda number: YEAR if len(number[0]) == 4 else SHORT, date),
            gap=match["gap"],
            # The hour can have one digit; minutes and seconds have two.
            time=time[: hour.start()] + SHORT + _NUMBER.sub(TWO, time[hour.end() :]),
            close=match[0][max(match.end("date"), match.end("time")) :],
            time_first=match.start("time") < match.start("date"),
            zero=zero,
            marks=marks,
        )

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
    """The headers of one export, its line ends, and the 12-hour markers that it can use."""

    headers: tuple[Header, ...]
    newline: bytes
    day_periods: tuple[DayPeriods, ...] = ()
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
        if not open_orders or any(periods.year_first for periods in self.day_periods):
            return open_orders & {"ymd"} or open_orders or frozenset({"ymd"})
        return open_orders

    def looks_american(self, printed: bytes) -> bool:
        """Return whether a date looks like that of `1/2/24, 9:05 PM`, which is rare outside of the United States."""
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
        dates = either(template_pattern(header.date, zero=header.zero, marks=header.marks) for header in self.headers)
        times = either(
            template_pattern(header.time, zero=header.zero, marks=header.marks, day_periods=self.day_periods)
            for header in self.headers
        )
        first, second = (times, dates) if self.headers[0].time_first else (dates, times)
        brackets = either(literal_pattern("[" * header.bracket, marks=False) for header in self.headers)
        parts = [
            b"(%b%b)" % (ANY_MARKS, brackets),
            b"(%b)" % first,
            either(literal_pattern(header.gap, marks=header.marks) for header in self.headers),
            b"(%b)" % second,
            either(literal_pattern(header.close, marks=header.marks) for header in self.headers),
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
            if shape := _Shape.from_line(line):
                shapes[shape] += 1
                after_any[shape] += bool(last)
                after_crlf[shape] += last.endswith(b"\r\n")
            last = line
    votes: Counter[Header] = Counter()
    bare: Counter[Header] = Counter()
    day_periods: list[DayPeriods] = []
    upper = 0
    for shape, count in shapes.items():
        match = _match_header(shape.plain)
        header = Header.from_match(match, zero=shape.zero, marks=shape.marks) if match else None
        if match and header:
            votes[header] += count
            bare[header] += after_any[shape] - 2 * after_crlf[shape]
            if periods := PERIODS_BY_MARKER.get(find_marker(match["time"])):
                day_periods.append(periods)
                upper += count * match["time"].isupper()
    if not votes:
        return None
    min_votes = _MIN_SHARE * votes.total()
    first = votes.most_common(1)[0][0]
    kept = [header for header, count in votes.most_common() if count > min_votes] or [first]
    headers = tuple(header for header in kept if header.time_first == first.time_first)
    # If most headers of every kind follow CRLF, a bare LF is inside a message, even before a header.
    crlf = any(after_crlf.values()) and all(bare[header] <= 0 for header in headers)
    newline = b"\r\n" if crlf else b"\n"
    return Dialect(headers, newline, tuple(dict.fromkeys(day_periods)), upper_markers=2 * upper > votes.total())


def _samples(text: bytes) -> Iterator[list[bytes]]:
    """Yield the lines of the whole text, or of eight evenly spread parts: people change phones during a chat."""
    if len(text) <= SAMPLE_BYTES:
        yield text.splitlines(keepends=True)
        return
    size = SAMPLE_BYTES // _SAMPLES
    for number in range(_SAMPLES):
        start = (len(text) - size) * number // (_SAMPLES - 1)
        lines = text[start : start + size].splitlines(keepends=True)
        # Only the first sample begins with a whole line.
        yield lines[1:] if number else lines


class _Shape(NamedTuple):
    """A normalised header with every digit as 0, the zero of its script, and whether it contains marks.

    A file has few shapes, so each is analysed once.
    """

    plain: str
    zero: str
    marks: bool

    @classmethod
    def from_line(cls, line: bytes) -> _Shape | None:
        """Return the shape of the header of a line, or None."""
        # A digit or a space takes up to three bytes, so this slice contains the longest header.
        raw = line[: 3 * HEADER_LIMIT].decode("utf-8", "replace")[:HEADER_LIMIT]
        if raw.isascii():
            match = _match_header(raw)
            return cls(match[0].translate(_ZEROED), "0", marks=False) if match else None
        match = _match_header(raw.translate(_PLAIN))
        if not match:
            return None
        inside = raw.lstrip(_MARKS)
        digit = next(char for char in inside if char.isdecimal())
        marks = any(ord(char) in BIDI_MARKS for char in inside[: len(match[0])])
        return cls(match[0].translate(_ZEROED), chr(ord(digit) - int(digit)), marks)


def _match_header(plain: str) -> re.Match[str] | None:
    """Return the match of the grammar at the beginning of a normalised line, or None."""
    if match := _compiled(_DATE_FIRST, re.VERBOSE).match(plain):
        return match
    return _compiled(_TIME_FIRST, re.VERBOSE).match(plain) if _TIME_AHEAD.match(plain) else None
