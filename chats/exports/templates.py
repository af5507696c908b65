"""Build byte patterns from the templates of headers.

A template is the text of a header with a capital letter for each variable part: `D/D/Y`, `M D:T:T`. Every other
character represents itself, and a space represents any kind of space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from chats.exports.calendars import ERA_NAMES, FIRST_OF_AN_ERA, DayPeriods
from chats.exports.patterns import repeated_up_to

#: Four-digit year; one or two digits; two digits; 12-hour marker; name of an era; era with its year; name of a month.
YEAR, SHORT, TWO, MARKED, ERA, ERA_WITH_YEAR, MONTH = "YDTMNEL"

MARK = rb"\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf"
ANY_MARKS = repeated_up_to(3, MARK)
_ERA_NAMES = b"(?:%b)" % ERA_NAMES.encode()
# Any word. A date with a word that is no month is impossible.
_MONTH_NAME = rb"[A-Za-z\x80-\xff][^\x00-\x20\d,:()\[\]/\-]{1,60}"
_ANY_SPACE = b"(?:[ ]|\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x89)"


def either(pieces: Iterable[bytes]) -> bytes:
    """Return a pattern that matches any of the patterns."""
    distinct = list(dict.fromkeys(pieces))
    return distinct[0] if len(distinct) == 1 else b"(?:" + b"|".join(distinct) + b")"


def template_pattern(template: str, *, zero: str, marks: bool, day_periods: tuple[DayPeriods, ...] = ()) -> bytes:
    """Return the pattern of a template in the script of `zero`; `marks` allows invisible marks between characters."""
    simple = {
        " ": _ANY_SPACE,
        YEAR: _digits(zero, 4, 4),
        SHORT: _digits(zero, 1, 2),
        TWO: _digits(zero, 2, 2),
        ERA: _ERA_NAMES,
        MONTH: _MONTH_NAME,
    }
    pieces = []
    for char in template:
        if char == MARKED:
            markers = []
            for marker in (marker for periods in day_periods for marker in periods.first_hours):
                # (?i) would not help: in a pattern of bytes it ignores the case of ASCII letters only.
                letters = (either((letter.encode(), letter.upper().encode())) for letter in marker)
                # `pm` also matches `P. M.`
                markers.append((rb"\.?(?:\xe2\x80\x8c)?" + _ANY_SPACE + b"?").join(letters) + rb"\.?")
            pieces.append(either(markers))
        elif char == ERA_WITH_YEAR:
            year = either([_digits(zero, 1, 3), FIRST_OF_AN_ERA.encode()])
            pieces.append(_ERA_NAMES + rb"\.?%b?" % _ANY_SPACE + year)
        else:
            pieces.append(simple.get(char) or re.escape(char.encode()))
    return (ANY_MARKS if marks else b"").join(pieces)


def literal_pattern(text: str, *, marks: bool) -> bytes:
    """Return the pattern of a text in which capital letters are not variables."""
    pieces = (_ANY_SPACE if char == " " else re.escape(char.encode()) for char in text)
    return (ANY_MARKS if marks else b"").join(pieces)


def _digits(zero: str, minimum: int, maximum: int) -> bytes:
    """Return the pattern of a number of digits. The ten digits of a script differ only in their last byte."""
    first = zero.encode()
    digit = b"[%b-%b]" % (first, bytes([first[-1] + 9]))
    if len(first) > 1:
        digit = b"(?:%b[\\x%02x-\\x%02x])" % (re.escape(first[:-1]), first[-1], first[-1] + 9)
    if minimum == maximum:
        return digit + b"{%d}" % maximum
    return b"(?>%b{%d,%d})" % (digit, minimum, maximum)
