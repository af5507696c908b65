"""Remove invisible direction marks, which are not part of a name, a number or a phrase."""

from __future__ import annotations

import re

from chats.exports.patterns import repeated

_CODES = (0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xFEFF)

#: Left-to-right and right-to-left marks, embeddings and isolates, for `str.translate`.
BIDI_MARKS = dict.fromkeys(_CODES)
LEFT_TO_RIGHT, RIGHT_TO_LEFT = "\u200e".encode(), "\u200f".encode()
#: The marks that WhatsApp writes before its own words: the second one on iPhones in Arabic, Hebrew, Persian and Urdu.
OWN_MARKS = (LEFT_TO_RIGHT, RIGHT_TO_LEFT)
#: Either of them, in a pattern of bytes.
ANY_OWN_MARK = b"(?:\xe2\x80[\x8e\x8f])"
MARKS = tuple(chr(code).encode() for code in _CODES)


def split_at_last_own_mark(text: bytes, *, before: bytes = b"") -> tuple[bytes, bytes] | None:
    """Return the text before and after the last of WhatsApp's marks that `before` follows; None without one."""
    start = max(text.rfind(LEFT_TO_RIGHT + before), text.rfind(RIGHT_TO_LEFT + before))
    return None if start < 0 else (text[:start], text[start + len(LEFT_TO_RIGHT) :])


def without_leading_marks(text: bytes) -> bytes:
    """Return the text without leading marks."""
    # Linear time matters here, because a body can consist of millions of marks.
    return text[_LEADING.match(text).end() :] if text.startswith(MARKS) else text  # type: ignore[union-attr]


def without_outer_marks(text: bytes) -> bytes:
    """Return the text without leading marks and the marks that close them, as around a pasted number."""
    rest = without_leading_marks(text)
    opened = text[: len(text) - len(rest)]
    for openings, closing, either in _PAIRS:
        if closing not in rest or not (count := sum(map(opened.count, openings))):
            continue
        # Remove the first `count` closing marks that close no mark inside the text.
        pieces: list[bytes] = []
        start = depth = 0
        for match in either.finditer(rest):
            if match[0] != closing:
                depth += 1
            elif depth:
                depth -= 1
            elif len(pieces) < count:
                pieces.append(rest[start : match.start()])
                start = match.end()
        rest = b"".join([*pieces, rest[start:]])
    return rest


def without_marks(text: bytes) -> bytes:
    """Return the text without any direction mark."""
    return text if text.isascii() else _ANY_MARK.sub(b"", text)


# Embeddings and overrides, and isolates, each with its closing mark (UAX 9) and a pattern of both.
_PAIRS = [
    (openings, closing, re.compile(b"|".join([*openings, closing])))
    for openings, closing in (
        ([chr(code).encode() for code in (0x202A, 0x202B, 0x202D, 0x202E)], "\u202c".encode()),
        ([chr(code).encode() for code in (0x2066, 0x2067, 0x2068)], "\u2069".encode()),
    )
]
_ANY_MARK = re.compile(b"|".join(MARKS))
_LEADING = re.compile(repeated(b"|".join(MARKS)))
