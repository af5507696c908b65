"""Tokens: splits long texts into parts, and finds the words and emoji of a token in any script."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from typing import NamedTuple

from chats.statistics.text_page import PAGE_CHARS

# Scripts without spaces in which each character is a word by Unicode's rules (UAX 29).
_IDEOGRAPHS = ((0x3041, 0x309F), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3347F))

_SKIN_TONES = "\U0001f3fb-\U0001f3ff"
# Code points with Unicode's Emoji property. Below U+1F000 they are listed singly: their neighbours are plain symbols.
_EMOJI_BASE = (
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
_EMOJI_ELEMENT = f"{_EMOJI_BASE}\ufe0f?[{_SKIN_TONES}]?\ufe0f?"
# A custom pattern on the few distinct tokens: a library call per message took 0.24 s for 100,000 messages, this 0.01 s.
_EMOJI = re.compile(
    f"[\U0001f1e6-\U0001f1ff]{{2}}|[0-9#*]\ufe0f?\u20e3"
    f"|{_EMOJI_ELEMENT}(?:\u200d{_EMOJI_ELEMENT}){{0,8}}(?:[\U000e0020-\U000e007e]{{1,8}}\U000e007f)?"
)
_SKIN_TONE = re.compile(f"[{_SKIN_TONES}]")
#: Characters that can continue the emoji before them.
_EMOJI_CONTINUATION = re.compile(f"[\u200d\ufe0f\u20e3{_SKIN_TONES}\U0001f1e6-\U0001f1ff\U000e0020-\U000e007f]")
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_WHITE_SPACE = re.compile(r"\s")

# Characters that join letters, after `_CharacterMap`. Typists replace one form by another, also the geresh and the
# Ukrainian apostrophe, so the words of all forms are equal.
_APOSTROPHES = "'`\u00b4\u02bb\u02bc\u055a\u05f3\u2018\u2019\uff07"
# Double quotation marks are a gershayim between two Hebrew letters, and a separator elsewhere.
_DOUBLE_QUOTES = '"\u05f4\u201c\u201d\u201e'
_MIDDLE_DOTS = "\u00b7\u2027"
# Armenian writes the marks of stress, exclamation, question and abbreviation inside a word.
_ARMENIAN_MARKS = "\u055b\u055c\u055e\u055f"
_WORD = re.compile("[^\\s'\"\u00b7]++(?:(?:['\u00b7]|(?<=[\u0591-\u05ea])\"(?=[\u05d0-\u05ea]))[^\\s'\"\u00b7]++)*")
#: How far before the page size a split is searched for.
_SPLIT_WINDOW_CHARS = 1 << 12


class _CharacterMap(dict[int, "int | str | None"]):
    """A `str.translate` table that separates words by spaces. Each character is classified when it first occurs."""

    def __missing__(self, code: int) -> int | str | None:
        character = chr(code)
        category = unicodedata.category(character)
        result: int | str | None
        if character in _APOSTROPHES:
            result = "'"
        elif character in _DOUBLE_QUOTES:
            result = '"'
        elif character in _MIDDLE_DOTS:
            result = "\u00b7"
        elif character == "\u0140":
            # The Catalan letter l with a middle dot.
            result = "l\u00b7"
        elif character in _ARMENIAN_MARKS or 0xFE00 <= code <= 0xFE0F or code == 0x20E3:
            # Variation selectors and the keycap mark are in category M, but only emoji have them.
            result = None
        elif any(first <= code <= last for first, last in _IDEOGRAPHS):
            result = f" {character} "
        elif category[0] in "LMN" or code in (0x200C, 0x200D):
            result = code
        else:
            # The zero width space separates words, unlike other format characters.
            result = None if category == "Cf" and code != 0x200B else " "
        self[code] = result
        return result


_CHARACTER_MAP = _CharacterMap()


class TokenTerms(NamedTuple):
    """The words and emoji of a token, in order."""

    words: tuple[str, ...]
    emoji: tuple[str, ...]


def parse_token(token: bytes) -> TokenTerms:
    """Return the words and emoji of a token, which is UTF-8 without white space.

    A word contains a letter; marks, joiners and digits belong to it. Emoji lose their skin tones.
    """
    # Nearly all tokens are ASCII and end here.
    if token.isalpha():
        return TokenTerms((token.decode(),), ())
    if token.isalnum():
        return TokenTerms(() if token.isdigit() else (token.decode(),), ())
    text = token.decode()
    emoji = tuple(_SKIN_TONE.sub("", sign) for sign in _EMOJI.findall(text))
    if emoji:
        text = _EMOJI.sub(" ", text)
    parts = _WORD.findall(unicodedata.normalize("NFC", text.lower()).translate(_CHARACTER_MAP))
    words = (part.strip("\u200c") for part in parts if any(map(str.isalpha, part)))
    return TokenTerms(tuple(words), emoji)


def split_text(text: str) -> Iterator[str]:
    """Yield a text in parts of about PAGE_CHARS, split inside no word or emoji and, if possible, inside no URL."""
    start = 0
    while len(text) - start > PAGE_CHARS:
        end = _find_split(text, start)
        yield text[start:end]
        start = end
    yield text[start:]


def _find_split(text: str, start: int) -> int:
    """Return where to split: after white space, else between words, else between flags, else at later white space."""
    target = start + PAGE_CHARS
    window_start = target - _SPLIT_WINDOW_CHARS
    if (space := max(text.rfind(" ", window_start, target), text.rfind("\n", window_start, target))) >= 0:
        return space + 1
    for end in range(target, window_start, -1):
        if str(_CHARACTER_MAP[ord(text[end - 1])]).startswith(" ") and not _EMOJI_CONTINUATION.match(text, end):
            return end
    if n_flag_letters := PAGE_CHARS - len(text[start:target].rstrip(_FLAG_LETTERS)):
        # A flag is two letters, so an odd number of them ends inside a flag.
        return target - n_flag_letters % 2
    later_space = _WHITE_SPACE.search(text, target)
    return later_space.end() if later_space else len(text)
