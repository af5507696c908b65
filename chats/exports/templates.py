"""Build byte patterns from the templates of headers.

A template is the text of a header with a capital letter for each variable part: `D/D/Y`, `M D:T:T`. Every other
character stands for itself, and a space for any kind of space.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from chats.exports.calendars import ERA_NAMES, FIRST_OF_AN_ERA, Clock
from chats.exports.patterns import repeated_up_to

#: Four-digit year; one or two digits; two digits; 12-hour marker; name of an era; era with its year.
YEAR, SHORT, TWO, MARKED, ERA, ERA_WITH_YEAR = "YDTMNE"

MARK = rb"\xe2\x80[\x8e\x8f\xaa-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf"
ANY_MARKS = repeated_up_to(3, MARK)
_ERA_NAMES = b"(?:%b)" % ERA_NAMES.encode()
_ANY_SPACE = b"(?:[ ]|\xc2\xa0|\xe2\x80\xaf|\xe2\x80\x89)"


def either(pieces: Iterable[bytes]) -> bytes:
    """Return a pattern that matches any of the patterns."""
    distinct = list(dict.fromkeys(pieces))
    return distinct[0] if len(distinct) == 1 else b"(?:" + b"|".join(distinct) + b")"


def in_bytes(template: str, *, zero: str, marks: bool, clocks: tuple[Clock, ...] = ()) -> bytes:
    """Return the pattern of a template in the script of `zero`; `marks` allows invisible marks between characters."""
    return (ANY_MARKS if marks else b"").join(_piece(char, zero, clocks) for char in template)


def literal(text: str, *, marks: bool) -> bytes:
    """Return the pattern of a text in which capital letters stand for themselves."""
    pieces = (_ANY_SPACE if char == " " else re.escape(char.encode()) for char in text)
    return (ANY_MARKS if marks else b"").join(pieces)


def _piece(char: str, zero: str, clocks: tuple[Clock, ...]) -> bytes:
    if char == MARKED:
        return either(_marker(marker) for clock in clocks for marker in clock.first_hours)
    if char == ERA_WITH_YEAR:
        year = either([_digits(zero, 1, 3), FIRST_OF_AN_ERA.encode()])
        return _ERA_NAMES + rb"\.?%b?" % _ANY_SPACE + year
    simple = {
        " ": _ANY_SPACE,
        YEAR: _digits(zero, 4, 4),
        SHORT: _digits(zero, 1, 2),
        TWO: _digits(zero, 2, 2),
        ERA: _ERA_NAMES,
    }
    return simple.get(char) or re.escape(char.encode())


def _digits(zero: str, least: int, most: int) -> bytes:
    first = zero.encode()
    digit = b"[%b-%b]" % (first, bytes([first[-1] + 9]))
    if len(first) > 1:
        digit = b"(?:%b[\\x%02x-\\x%02x])" % (re.escape(first[:-1]), first[-1], first[-1] + 9)
    if least == most:
        return digit + b"{%d}" % most
    return b"(?>%b{%d,%d})" % (digit, least, most)


def _marker(marker: str) -> bytes:
    letters = (either((char.encode(), char.upper().encode())) for char in marker)
    return (rb"\.?(?:\xe2\x80\x8c)?" + _ANY_SPACE + b"?").join(letters) + rb"\.?"
