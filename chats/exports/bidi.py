"""Remove invisible direction marks, which are not part of a name, a number or a phrase."""

from __future__ import annotations

import re

from chats.exports.patterns import repeated

_CODES = (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)

#: Left-to-right and right-to-left marks, embeddings and isolates, for `str.translate`.
BIDI_MARKS = dict.fromkeys(_CODES)
#: WhatsApp writes it before its own words.
MARK = "\u200e".encode()
MARKS = tuple(chr(code).encode() for code in _CODES)


def without_leading_marks(text: bytes) -> bytes:
    """Return the text without leading marks, in linear time: a body can consist of marks."""
    return text[_LEADING.match(text).end() :] if text.startswith(MARKS) else text  # type: ignore[union-attr]


def without_outer_marks(text: bytes) -> bytes:
    """Return the text without leading marks and the marks that close them, as around a pasted number."""
    rest = without_leading_marks(text)
    opened = text[: len(text) - len(rest)]
    for openings, closing, either in _PAIRS:
        if closing in rest and (count := sum(map(opened.count, openings))):
            rest = _without_closings(rest, closing, either, count)
    return rest


def _without_closings(text: bytes, closing: bytes, either: re.Pattern[bytes], count: int) -> bytes:
    """Return the text without the first `count` closing marks whose opening mark is not in the text."""
    pieces: list[bytes] = []
    start = depth = 0
    for found in either.finditer(text):
        if found[0] != closing:
            depth += 1
        elif depth:
            depth -= 1
        elif len(pieces) < count:
            pieces.append(text[start : found.start()])
            start = found.end()
    return b"".join([*pieces, text[start:]])


def without_marks(text: bytes) -> bytes:
    """Return the text without any direction mark."""
    return text if text.isascii() else _ANY_MARK.sub(b"", text)


def _pair(openings: list[bytes], closing: bytes) -> tuple[list[bytes], bytes, re.Pattern[bytes]]:
    return openings, closing, re.compile(b"|".join([*openings, closing]))


# Embeddings and overrides, and isolates, each with its closing mark (UAX 9) and a pattern of both.
_PAIRS = [
    _pair([chr(code).encode() for code in opening], chr(closing).encode())
    for opening, closing in (((0x202A, 0x202B, 0x202D, 0x202E), 0x202C), ((0x2066, 0x2067, 0x2068), 0x2069))
]
_ANY_MARK = re.compile(b"|".join(MARKS))
_LEADING = re.compile(repeated(b"|".join(MARKS)))
