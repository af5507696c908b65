"""How an export prints its headers: told from a sample, then fixed in one compiled pattern.

Sniffing reads the beginning of the file with a wide but bounded pattern and
lets every header vote. Every dialect that wins more than a fifth of the votes
is kept; the pattern that splits the file knows those and nothing else, so a
line that looks like another dialect's header stays text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from chats.exports.phrases import PHRASES

SAMPLE_BYTES = 64 * 1024
# A line longer than this before its header's end is no header.
HEADER_LIMIT = 120
SENDER_LIMIT_BYTES = 255
_KEPT_SHARE = 0.2

_SPACE = " \u00a0\u202f\u2009"
_INVISIBLE = "\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff"
_MARKER = "|".join(
    rf"\.?[{_SPACE}]?".join(f"[{char}{char.upper()}]" for char in marker) + r"\.?"
    for marker in sorted(PHRASES.afternoon_by_marker, key=len, reverse=True)
)

# date, what stands between, time, 12-hour marker, what ends the header
_HEADER = re.compile(
    rf"""^(?P<lead>[{_INVISIBLE}]{{0,3}})(?P<open>\[?)
    (?P<first>\d{{1,4}})(?P<separator>[/.\-][ ]?)(?P<second>\d{{1,2}})(?P=separator)(?P<third>\d{{1,4}})
    (?P<gap>\.?,?[{_SPACE}]{{1,2}}(?:[^\W\d_]{{1,4}}\.?,?[{_SPACE}])?)
    (?P<hour>\d{{1,2}})(?P<colon>[:.])\d\d(?P<seconds>(?P=colon)\d\d)?
    (?P<marker>[{_SPACE}]?(?:{_MARKER}))?
    (?P<close>\]\ |[{_SPACE}]-\ |:\ )""",
    re.VERBOSE,
)


class Header(NamedTuple):
    """What tells one dialect from another."""

    bracket: bool
    year_digits: int
    year_first: bool
    separator: str
    gap: str
    zero: str
    colon: str
    seconds: bool
    marked: bool
    close: str


@dataclass(frozen=True)
class Dialect:
    headers: tuple[Header, ...]
    newline: bytes
    upper_markers: bool = False

    @property
    def family(self) -> str:
        first = self.headers[0]
        return "ios" if first.bracket else "legacy" if first.close == ": " else "android"

    @property
    def name(self) -> str:
        return f"{self.family}-{12 if self.headers[0].marked else 24}h"

    def american(self, printed: bytes) -> bool:
        """`1/2/24, 9:05 PM`: what the United States print, and hardly anyone who puts the day first."""
        first = self.headers[0]
        slashed = first.separator == "/" and first.year_digits == 2 and first.marked
        return slashed and self.upper_markers and b"/0" not in printed and not printed.startswith(b"0")

    @cached_property
    def pattern(self) -> re.Pattern[bytes]:
        """Groups: marks before the header, date, time, sender. Begins at the newline before the header.

        Nothing in it can be matched in two ways, so that it takes one step a byte.
        """
        dates = _either(map(_date, self.headers))
        gaps = _either(map(_gap, self.headers))
        times = _either(map(_time, self.headers))
        opens = _either(b"\\[" if header.bracket else b"" for header in self.headers)
        closes = _either(_close(header) for header in self.headers)
        sender = rb"(?:([^:\n]{1,%d}+(?::(?![ \r\n]|\Z)[^:\n]{0,%d}+){0,4}+):(?: |(?=\r?\n|\Z)))?"
        return re.compile(
            self.newline
            + rb"((?:\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf){0,3}+)"
            + opens
            + b"("
            + dates
            + b")"
            + gaps
            + b"("
            + times
            + b")"
            + closes
            + sender % (SENDER_LIMIT_BYTES, SENDER_LIMIT_BYTES)
        )


def sniff(text: bytes) -> Dialect | None:
    """The dialect that the beginning of the text is written in, or None if no line begins like a message."""
    votes: Counter[Header] = Counter()
    ends: Counter[bytes] = Counter()
    upper = 0
    last = b""
    for line in text[:SAMPLE_BYTES].splitlines(keepends=True):
        match = _HEADER.match(line[: 3 * HEADER_LIMIT].decode("utf-8", "replace")[:HEADER_LIMIT])
        header = _read(match) if match else None
        if match and header:
            votes[header] += 1
            if last:
                ends[last] += 1
            upper += (match["marker"] or "").isupper()
        last = line[-2:] if line.endswith(b"\r\n") else line[-1:]
    if not votes:
        return None
    least = _KEPT_SHARE * votes.total()
    kept = tuple(header for header, count in votes.most_common() if count > least) or (votes.most_common(1)[0][0],)
    return Dialect(kept, _newline(ends), upper_markers=2 * upper > votes.total())


def _newline(ends: Counter[bytes]) -> bytes:
    """CRLF if it ends what stands before most headers: then a bare LF is inside a message, whatever follows it."""
    return b"\r\n" if 2 * ends[b"\r\n"] >= max(1, ends.total()) else b"\n"


def _read(match: re.Match[str]) -> Header | None:
    first, third = match["first"], match["third"]
    year_first = len(first) == 4
    if (len(first), len(third)) not in ((1, 2), (2, 2), (1, 4), (2, 4), (4, 1), (4, 2)):
        return None
    bracket = bool(match["open"])
    close = match["close"] if match["close"] in ("] ", ": ") else " - "
    if bracket != (close == "] "):
        return None
    zero = chr(ord(first[0]) - int(first[0]))
    return Header(
        bracket=bracket,
        year_digits=4 if year_first or len(third) == 4 else 2,
        year_first=year_first,
        separator=match["separator"],
        gap=re.sub(f"[{_SPACE}]+", " ", match["gap"]),
        zero=zero,
        colon=match["colon"],
        seconds=bool(match["seconds"]),
        marked=bool(match["marker"]),
        close=close,
    )


# Pieces of the pattern, in bytes


def _either(pieces: Iterable[bytes]) -> bytes:
    distinct = list(dict.fromkeys(pieces))
    return distinct[0] if len(distinct) == 1 else b"(?:" + b"|".join(distinct) + b")"


def _digits(zero: str, least: int, most: int) -> bytes:
    first = zero.encode()
    digit = b"[%b-%b]" % (first, bytes([first[-1] + 9]))
    if len(first) > 1:
        digit = b"(?:%b[\\x%02x-\\x%02x])" % (re.escape(first[:-1]), first[-1], first[-1] + 9)
    return digit + (b"{%d}" % most if least == most else b"{%d,%d}+" % (least, most))


def _date(header: Header) -> bytes:
    short = _digits(header.zero, 1, 2)
    year = _digits(header.zero, 4, 4) if header.year_digits == 4 else short
    parts = (year, short, short) if header.year_first else (short, short, year)
    return re.escape(header.separator.encode()).join(parts)


_ANY_SPACE = b"(?:[ ]|\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x89)"


def _gap(header: Header) -> bytes:
    words = header.gap.split(" ")
    return (_ANY_SPACE + b"{1,2}+").join(re.escape(word.encode()) for word in words)


def _time(header: Header) -> bytes:
    colon = re.escape(header.colon.encode())
    two = _digits(header.zero, 2, 2)
    time = _digits(header.zero, 1, 2) + colon + two + (colon + two if header.seconds else b"")
    return time + _MARKERS if header.marked else time


def _marker(marker: str) -> bytes:
    letters = (_either((char.encode(), char.upper().encode())) for char in marker)
    return (rb"\.?" + _ANY_SPACE + b"?").join(letters) + rb"\.?"


_MARKERS = _ANY_SPACE + b"?" + _either(_marker(marker) for marker in PHRASES.afternoon_by_marker)


def _close(header: Header) -> bytes:
    return {"] ": rb"\] ", " - ": _ANY_SPACE + b"- ", ": ": b": "}[header.close]
