"""Splits text tokens into words and emoji of any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from chats.statistics.text_page import PAGE_CHARS

# Scripts without spaces whose characters Unicode's word rules (UAX 29) take one by one.
_IDEOGRAPHS = ((0x3041, 0x309F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3347F))

_SKIN = "\U0001f3fb-\U0001f3ff"
# Code points with Unicode's Emoji property; below U+1F000 one by one, since their neighbours are plain signs.
_BASE = (
    "[\u203c\u2049\u2194-\u2199\u21a9\u21aa\u231a\u231b\u2328\u23cf\u23e9-\u23f3\u23f8-\u23fa\u24c2\u25b6\u25c0"
    "\u25fb-\u25fe\u2600-\u2604\u260e\u2611\u2614\u2615\u2618\u261d\u2620\u2622\u2623\u2626\u262a\u262e\u262f"
    "\u2638-\u263a\u2640\u2642\u2648-\u2653\u265f\u2660\u2663\u2665\u2666\u2668\u267b\u267e\u267f\u2692-\u2697"
    "\u2699\u269b\u269c\u26a0\u26a1\u26a7\u26aa\u26ab\u26b0\u26b1\u26bd\u26be\u26c4\u26c5\u26c8\u26ce\u26cf\u26d1"
    "\u26d3\u26d4\u26e9\u26ea\u26f0-\u26f5\u26f7-\u26fa\u26fd\u2702\u2705\u2708-\u270d\u270f\u2712\u2714\u2716"
    "\u271d\u2721\u2728\u2733\u2734\u2744\u2747\u274c\u274e\u2753-\u2755\u2757\u2763\u2764\u2795-\u2797\u27a1"
    "\u27b0\u27bf\u2934\u2935\u2b05-\u2b07\u2b1b\u2b1c\u2b50\u2b55\u3030\u303d\u3297\u3299\U0001f004\U0001f0cf"
    "\U0001f170\U0001f171\U0001f17e\U0001f17f\U0001f18e\U0001f191-\U0001f19a\U0001f201-\U0001f265"
    "\U0001f300-\U0001f3fa\U0001f400-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7f0\U0001f90c-\U0001faff]"
)
_ELEMENT = f"{_BASE}\ufe0f?[{_SKIN}]?\ufe0f?"
_EMOJI = re.compile(
    f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9]\ufe0f?\u20e3"
    f"|{_ELEMENT}(?:\u200d{_ELEMENT}){{0,8}}(?:[\U000e0020-\U000e007e]{{1,8}}\U000e007f)?"
)
_SKIN_TONE = re.compile(f"[{_SKIN}]")
#: What may belong to the emoji before it.
_GOES_ON = re.compile(f"[\u200d\ufe0f\u20e3{_SKIN}\U0001f1e6-\U0001f1ff\U000e0020-\U000e007f]")
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_SPACE = re.compile(r"\s")
_NEAR_CHARS = 1 << 12


class Reading(NamedTuple):
    words: tuple[str, ...]
    emoji: tuple[str, ...]


def pieces(text: str) -> Iterator[str]:
    """A text in pieces of about PAGE_CHARS, cut where no word, emoji or, if possible, address goes on."""
    start = 0
    while len(text) - start > PAGE_CHARS:
        end = _end_of_piece(text, start)
        yield text[start:end]
        start = end
    yield text[start:]


def _end_of_piece(text: str, start: int) -> int:
    """A space nearby, else the end of a sign that is no part of a word, else the next space however far."""
    about = start + PAGE_CHARS
    near = about - _NEAR_CHARS
    if (space := max(text.rfind(" ", near, about), text.rfind("\n", near, about))) >= 0:
        return space + 1
    for end in range(about, near, -1):
        if str(_SEGMENTS[ord(text[end - 1])]).startswith(" ") and not _GOES_ON.match(text, end):
            return end
    if flags := PAGE_CHARS - len(text[start:about].rstrip(_FLAG_LETTERS)):
        return about - flags % 2
    far = _SPACE.search(text, about)
    return far.end() if far else len(text)


def read(token: bytes) -> Reading:
    """The words and emoji of a token: a word holds a letter; marks, joiners and apostrophes belong to it."""
    if token.isalpha():
        return Reading((token.decode(),), ())
    if token.isascii():
        word = token.strip(b"'").decode()
        return Reading((word,) if word and not word.replace("'", "").isdigit() else (), ())
    text = token.decode()
    pieces = (piece.strip("'") for piece in text.lower().translate(_SEGMENTS).split())
    words = tuple(piece for piece in pieces if any(map(str.isalpha, piece)))
    return Reading(words, tuple(_SKIN_TONE.sub("", emoji) for emoji in _EMOJI.findall(text)))


class _Segments(dict[int, "int | str | None"]):
    """What to make of a character when text is cut into words, found out once for each."""

    def __missing__(self, code: int) -> int | str | None:
        self[code] = piece = self._piece(code)
        return piece

    @staticmethod
    def _piece(code: int) -> int | str | None:
        category = unicodedata.category(chr(code))
        if code in (0x27, 0x2019, 0xFF07):
            return "'"
        if 0xFE00 <= code <= 0xFE0F or code == 0x20E3:
            return None
        if any(first <= code <= last for first, last in _IDEOGRAPHS):
            return f" {chr(code)} "
        if category[0] in "LMN" or code in (0x200C, 0x200D):
            return code
        return None if category == "Cf" else " "


_SEGMENTS = _Segments()
