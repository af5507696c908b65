"""Detect how an export prints its message headers, and compile one pattern for them.

Lines from the whole file are matched with a wide but bounded grammar, and each header votes for a dialect. Every
dialect with more than a fifth of the votes is kept. The pattern that splits the file knows only those, so a line that
looks like the header of another dialect stays text.

The grammar describes a normalised line: ASCII digits, one kind of space, no invisible marks. A match is kept as a
template, such as `D/D/Y` and `D:T M`. The pattern is built from the templates, for the digits and marks of this file.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import NamedTuple

from chats.exports.bidi import BIDI_MARKS
from chats.exports.calendars import (
    DAY_PERIODS,
    ERA_NAMES,
    FIRST_OF_AN_ERA,
    MONTH_NAME,
    UNIT,
    DayPeriods,
    find_marker,
    month_number,
    rare_day_periods,
)
from chats.exports.parsed import NAME_LIMIT
from chats.exports.templates import (
    ANY_MARKS,
    ERA,
    ERA_WITH_YEAR,
    MARKED,
    MONTH,
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

# Checking for a letter first skips the long list of markers on most lines.
_LETTER = r"(?=[^\W\d_])"
_ERA_NAMES = rf"(?:{_LETTER}(?:{ERA_NAMES}))"
_ERA_YEAR = re.compile(rf"{_ERA_NAMES}\.? ?(?:\d{{1,3}}|{FIRST_OF_AN_ERA})")
_ERA_NAME = re.compile(ERA_NAMES)
# Vietnamese: `9 thg 11, 2013`
_MONTH_BY_NUMBER = "thg|tháng"
_NUMBER = re.compile(r"\d+")
# The headers of most exports. Compiling the whole grammar takes a tenth of a second, which they save.
_COMMON_HEADER = re.compile(
    r"(?P<open>\[?)(?P<date>\d{1,4}(?P<separator>[/.-])\d{1,2}(?P=separator)\d{1,4})(?P<gap>,? )"
    r"(?P<time>\d{1,2}:\d\d(?::\d\d)?(?: ?[AaPp]\.? ?[Mm]\.?)?)(?P<close>\] | - |: )"
)
_COMMON_MARKER_AT = re.compile(r"(?<=[ \d])[AaPp]\.? ?[Mm]\.?$")
# The day and the year, whose month can be a name, the hour and the minute.
_MIN_NUMBERS = 4
_TIME = re.compile(r"\d(?:[:.]| ?h ?)\d\d")
_TIME_AHEAD = re.compile(r"\D*\d{1,2}(?:[:.]| ?h ?)\d\d")
# A header without any sign between the time and the name needs the name.
_BARE_CLOSE = " "
_NAME_AHEAD = re.compile(r"(?![^:]* [-–] |[^:]*\] )[A-Za-z_~+\x80-\U0010ffff][^:\n]{0,80}: ")
_NAME_AHEAD_BYTES = rb"(?=[A-Za-z_~+\x80-\xff][^:\n]{0,%d}: )" % SENDER_LIMIT_BYTES
_LETTERS = re.compile(r"[^\W\d_]")
# A date and a time with letters, which can be the rare name for a part of the day.
_POSSIBLE_HEADER = re.compile(r"\[?\D{0,25}\d{1,4}\D{1,12}\d{1,4}\D.{0,40}?\d[:.]\d\d")
_MAX_POSSIBLE_HEADERS = 1_000
_NO_SPACES = str.maketrans("", "", " .")


class Grammar:
    """The patterns of a normalised header, for the 12-hour markers of `day_periods`."""

    def __init__(self, day_periods: tuple[DayPeriods, ...]) -> None:
        self.periods_by_marker: dict[str, list[DayPeriods]] = defaultdict(list)
        for periods in day_periods:
            for marker in periods.first_hours:
                self.periods_by_marker[marker].append(periods)
        # `pm` also matches `p.m.` and `p. m.`. A longer marker is tried before its beginning.
        markers = "|".join(
            r"\.?\u200c?\ ?".join(map(re.escape, marker)) + r"\.?"
            for marker in sorted(self.periods_by_marker, key=len, reverse=True)
        )
        self._marker = rf"(?:{_LETTER}(?i:{markers}))"
        commas = "[,،]?"
        # `um`, `klo`, `г.`, `at`, `alle ore`: any short word except a marker that belongs to the time.
        self._word = rf"(?:(?!{self._marker}\ ?\d)[^\d\s()\[\]:/,،]{{1,10}}{commas}\ )"
        self._commas = commas
        of = r"(?:de\ )?"
        self._date = rf"""(?P<date>(?:(?:{_ERA_NAMES}\.?\ ?)?(?:\d{{1,4}}|{FIRST_OF_AN_ERA})
            (?P<separator>[/.\-]\ ?|[年년]\ ?)\d{{1,2}}(?:(?P=separator)|[月월]\ ?)
            (?:\d{{1,4}}[日일]?(?:\ {_ERA_NAMES})?|{_ERA_NAMES}\.?\ ?(?:\d{{1,4}}|{FIRST_OF_AN_ERA})))
            |\d{{1,2}}\.?[ \-/]{of}(?P<month>{MONTH_NAME})[.,]?[ \-/]{of}\d{{4}}
            |(?P<month_first>{MONTH_NAME})\.?\ \d{{1,2}},?\ \d{{4}}
            |\d{{1,2}}\ (?:{_MONTH_BY_NUMBER})\ \d{{1,2}},?\ \d{{4}}
            |\d{{4}}[ \-](?P<month_second>{MONTH_NAME})\.?[ \-]\d{{1,2}})"""
        self._time = rf"""(?P<time>(?:{self._marker}\ ?)?\d{{1,2}}(?P<colon>[:.]|\ ?h\ ?)\d\d
            (?:(?:(?P=colon)|\ ?min\ ?)\d\d)?(?:\ ?(?:{UNIT})(?!\w))?(?:\ ?{self._marker})?)"""

    # Compiling each of them takes a tenth of a second, so it waits until an export needs the pattern.
    @cached_property
    def _date_first(self) -> re.Pattern[str]:
        gap = rf"(?P<gap>\.?{self._commas}\ {{1,2}}{self._word}{{0,2}}\(?)"
        close = r"\)?(?P<close>\]\ |\ [-–]\ |:\ |\ )"
        return re.compile(rf"(?P<open>\[?){self._date}{gap}{self._time}{close}", re.VERBOSE)

    @cached_property
    def _time_first(self) -> re.Pattern[str]:
        gap = rf"(?P<gap>{self._commas}\ {{1,2}}{self._word}?)"
        return re.compile(rf"(?P<open>\[?){self._time}{gap}{self._date}\)?(?P<close>\]\ |\ [-–]\ |:\ )", re.VERBOSE)

    @cached_property
    def marker_at(self) -> re.Pattern[str]:
        """Return the pattern of a marker at the beginning or the end of a time."""
        return re.compile(f"^{self._marker}|(?<= ){self._marker}$|(?<=\\d){self._marker}$")

    def match(self, plain: str) -> re.Match[str] | None:
        """Return the match at the beginning of a normalised line, or None."""
        if match := _COMMON_HEADER.match(plain):
            return match
        if not _TIME.search(plain) or len(_NUMBER.findall(plain)) < _MIN_NUMBERS:
            return None
        match = self._date_first.match(plain)
        if match and (match["close"] != _BARE_CLOSE or _is_bare_header(match)):
            return match
        return self._time_first.match(plain) if _TIME_AHEAD.match(plain) else None


_grammar = cache(Grammar)


def _is_bare_header(match: re.Match[str]) -> bool:
    """Return whether a match without a sign after the time is a header, and not a line of a log or a list of dates."""
    has_seconds = len(_NUMBER.findall(match["time"])) == 3
    year_first = len(_NUMBER.findall(match["date"])[0]) > 2
    return has_seconds and not year_first and not match["open"] and not _LETTERS.search(match["gap"])


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
    def from_match(cls, match: re.Match[str], grammar: Grammar, *, zero: str, marks: bool) -> Header | None:
        """Return the header in a match of the grammar, or None if its date or its brackets are impossible."""
        bracket = bool(match["open"])
        if bracket != (match["close"] == "] "):
            return None
        groups = match.groupdict()
        month = next(filter(None, map(groups.get, ("month", "month_first", "month_second"))), None)
        date = _ERA_YEAR.sub(ERA_WITH_YEAR, match["date"])
        if month:
            if not month_number(month):
                return None
            date = date.replace(month, MONTH, 1)
        elif date != match["date"]:
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
            marked = _COMMON_MARKER_AT.sub(MARKED, time)
            time = grammar.marker_at.sub(MARKED, time) if marked == time else marked
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
        if MONTH in self.date or re.search(_MONTH_BY_NUMBER, self.date):
            return frozenset({"mdy" if self.date[0] == MONTH else "dmy"})
        if YEAR in self.date or ERA in self.date or ERA_WITH_YEAR in self.date:
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
        return "ios" if first.bracket else "legacy" if first.close in (": ", _BARE_CLOSE) else "android"

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
            only_orders = frozenset[str]().union(*(header.orders for header in self.headers))
            return open_orders & {"ymd"} or open_orders or only_orders - {"ymd"} or only_orders
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
            either(
                literal_pattern(header.close, marks=header.marks) + _NAME_AHEAD_BYTES * (header.close == _BARE_CLOSE)
                for header in self.headers
            ),
        ]
        # A name can begin with a colon.
        sender = rb"(?:((?::(?![ :\r\n]))?[^:\n]{1,%d}+(?>(?::(?![ \r\n]|\Z)[^:\n]{0,%d}+){0,4})):(?: |(?=\r?\n|\Z)))?"
        return re.compile(self.newline + between.join(parts) + sender % (SENDER_LIMIT_BYTES, SENDER_LIMIT_BYTES))


def detect_dialect(text: bytes) -> Dialect | None:
    """Return the dialect of the text, or None if no line begins like a message."""
    samples = list(_samples(text))
    grammar = _grammar(DAY_PERIODS)
    found = _Shapes(samples, grammar)
    if rare := _rare_periods(found.possible_headers):
        grammar = _grammar(DAY_PERIODS + rare)
        found = _Shapes(samples, grammar)
    votes: Counter[Header] = Counter()
    bare: Counter[Header] = Counter()
    day_periods: list[DayPeriods] = []
    upper = 0
    for shape, count in found.counts.items():
        match = grammar.match(shape.plain)
        header = Header.from_match(match, grammar, zero=shape.zero, marks=shape.marks) if match else None
        if match and header:
            votes[header] += count
            bare[header] += found.after_any[shape] - 2 * found.after_crlf[shape]
            if periods := grammar.periods_by_marker.get(find_marker(match["time"])):
                day_periods += periods
                upper += count * match["time"].isupper()
    # Text can look like a header without a sign after the time, so a chat of such headers begins with one.
    if votes and any(header.close != _BARE_CLOSE for header in (next(iter(votes)), votes.most_common(1)[0][0])):
        votes = Counter({header: count for header, count in votes.items() if header.close != _BARE_CLOSE})
    if not votes:
        return None
    min_votes = _MIN_SHARE * votes.total()
    first = votes.most_common(1)[0][0]
    kept = [header for header, count in votes.most_common() if count > min_votes] or [first]
    headers = tuple(header for header in kept if header.time_first == first.time_first)
    # If most headers of every kind follow CRLF, a bare LF is inside a message, even before a header.
    crlf = any(found.after_crlf.values()) and all(bare[header] <= 0 for header in headers)
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
    def from_line(cls, line: bytes, grammar: Grammar) -> _Shape | str:
        """Return the shape of the header of a line, or else the beginning of the line, normalised."""
        # A digit or a space takes up to three bytes, so this slice contains the longest header.
        raw = line[: 3 * HEADER_LIMIT].decode("utf-8", "replace")[:HEADER_LIMIT]
        plain = raw if raw.isascii() else raw.translate(_PLAIN)
        match = grammar.match(plain)
        if not match or (match["close"] == _BARE_CLOSE and not _NAME_AHEAD.match(plain, match.end())):
            return plain
        if raw.isascii():
            return cls(match[0].translate(_ZEROED), "0", marks=False)
        inside = raw.lstrip(_MARKS)
        digit = next(char for char in inside if char.isdecimal())
        marks = any(ord(char) in BIDI_MARKS for char in inside[: len(match[0])])
        return cls(match[0].translate(_ZEROED), chr(ord(digit) - int(digit)), marks)


class _Shapes:
    """The shapes of the headers in samples, in order, with how often each follows a line, and how often CRLF."""

    def __init__(self, samples: list[list[bytes]], grammar: Grammar) -> None:
        self.counts: Counter[_Shape] = Counter()
        self.after_crlf: Counter[_Shape] = Counter()
        self.after_any: Counter[_Shape] = Counter()
        self.possible_headers: list[str] = []
        for lines in samples:
            last = b""
            for line in lines:
                shape = _Shape.from_line(line, grammar)
                if isinstance(shape, _Shape):
                    if shape not in self.counts and _LETTERS.search(shape.plain):
                        # A word between date and time can be a rare marker of the time.
                        self.possible_headers.append(shape.plain)
                    self.counts[shape] += 1
                    self.after_any[shape] += bool(last)
                    self.after_crlf[shape] += last.endswith(b"\r\n")
                elif len(self.possible_headers) < _MAX_POSSIBLE_HEADERS and _POSSIBLE_HEADER.match(shape):
                    self.possible_headers.append(shape)
                last = line


def _rare_periods(lines: list[str]) -> tuple[DayPeriods, ...]:
    """Return the rare 12-hour markers that lines with a date and a time contain."""
    text = "\n".join(lines).lower().translate(_NO_SPACES)
    if not _LETTERS.search(text):
        return ()
    return tuple(periods for periods in rare_day_periods() if any(map(text.__contains__, periods.first_hours)))
