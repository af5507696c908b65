"""Words and emoji of any script.

Counting happens in two steps, which makes it quick: texts are cut at spaces
and ASCII punctuation as bytes, and only the few distinct tokens that result
are then read with Unicode's eyes. From there on, words are numbers in arrays.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Set
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from chats.statistics import feelings, languages
from chats.statistics.tally import Counted, Ints, Tally, chosen
from chats.statistics.texts import END, PAGE_CHARS, Texts

_LETTERS_AND_MARKS = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789'") | frozenset(range(0x80, 0x100))
_CUT = END + bytes(code if code in _LETTERS_AND_MARKS else 32 for code in bytes(range(256)).lower())[1:]

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
_VARIATION = "\ufe0f"
#: What may belong to the emoji before it.
_GOES_ON = re.compile(f"[\u200d\ufe0f\u20e3{_SKIN}\U0001f1e6-\U0001f1ff\U000e0020-\U000e007f]")
_FLAG_LETTERS = "".join(map(chr, range(0x1F1E6, 0x1F200)))
_SPACE = re.compile(r"\s")
_NEAR_CHARS = 1 << 12

#: Of tokens whose reading is remembered. Chinese and Japanese sentences are tokens too, nearly all of them new.
_KEPT_BYTES = 1 << 24


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
#: Characters.
LONGEST_LISTED = 100

STOP_WORDS: frozenset[str] = frozenset(
    word
    for language in tomllib.loads(Path(__file__).with_name("stop_words.toml").read_text(encoding="utf-8")).values()
    for word in language["words"].split()
)


class Terms(NamedTuple):
    """The words and emoji of some texts, one after the other: each one's number, and the place of its text."""

    numbers: Ints
    texts: Ints


class Vocabulary:
    """Numbers for words and emoji, and how often each person used each; the rare ones of too many are forgotten."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._told = bytearray()
        self._feelings = bytearray()
        self._numbers: dict[str, int] = {}
        self._tokens = _Tokens(self._learn)
        self.uses = Tally()

    def read(self, page: Texts) -> Terms:
        tokens = page.data.translate(_CUT).split()
        numbers = self._tokens.spread(np.fromiter(map(self._tokens.__getitem__, tokens), np.int64, len(tokens)))
        ends = numbers == _Tokens.END
        held = np.flatnonzero(~ends)
        return Terms(numbers[held], np.cumsum(ends)[held])

    def told_by(self, numbers: Ints) -> NDArray[np.uint8]:
        """The language or script that each word tells; `languages.NO_WORD` for emoji."""
        return np.frombuffer(self._told, np.uint8)[numbers]

    def feelings_of(self, numbers: Ints) -> NDArray[np.uint8]:
        return np.frombuffer(self._feelings, np.uint8)[numbers]

    def named(self, terms: Counted) -> dict[str, int]:
        return dict(zip(map(self.names.__getitem__, terms.things.tolist()), terms.counts.tolist(), strict=True))

    def _learn(self, token: bytes) -> list[int]:
        reading = read(token)
        return [self._number(word, emoji=False) for word in reading.words] + [
            self._number(sign, emoji=True) for sign in reading.emoji
        ]

    def _number(self, name: str, *, emoji: bool) -> int:
        number = self._numbers.setdefault(name, len(self.names))
        if number == len(self.names):
            self.names.append(name)
            self._told.append(languages.NO_WORD if emoji else languages.told_by(name))
            self._feelings.append(feelings.of(name))
        return number

    def forget(self, limit: int) -> None:
        """Keep at most about `limit` words of a person each, those used most."""
        if len(self._tokens) > limit or self._tokens.kept_bytes > _KEPT_BYTES:
            self._tokens.forget()
        if max(len(self.uses), len(self.names)) <= limit:
            return
        uses = self.uses.counted()
        least = 1
        while len(uses.counts) > limit // 2 or (least == 1 and len(self.names) > limit):
            least *= 2
            kept = uses.counts >= least
            uses = chosen(uses, kept)
        self._renumber(uses)

    def _renumber(self, uses: Counted) -> None:
        """Know only the words that are still counted."""
        known, numbers = np.unique(uses.things, return_inverse=True)
        self.names = [self.names[number] for number in known.tolist()]
        self._told = bytearray(self.told_by(known).tobytes())
        self._feelings = bytearray(self.feelings_of(known).tobytes())
        self._numbers = {name: number for number, name in enumerate(self.names)}
        self._tokens.forget()
        self.uses.replace(Counted(uses.people, numbers.astype(np.int64), uses.counts))


class _Tokens(dict[bytes, int]):
    """The number of the one word that a token holds, or a negative number for its end, none or several."""

    END = -1

    def __init__(self, learn: Callable[[bytes], list[int]]) -> None:
        super().__init__({END: self.END})
        self._learn = learn
        self._several: list[list[int]] = []
        self.kept_bytes = 0

    def __missing__(self, token: bytes) -> int:
        held = self._learn(token)
        self.kept_bytes += len(token)
        if len(held) == 1:
            number = held[0]
        else:
            self._several.append(held)
            number = self.END - len(self._several)
        self[token] = number
        return number

    def spread(self, numbers: Ints) -> Ints:
        """Give each word of a token with several a place of its own."""
        many = np.flatnonzero(numbers < self.END)
        if not len(many):
            return numbers
        held = [self._several[self.END - 1 - number] for number in numbers[many].tolist()]
        times = np.ones(len(numbers), np.int64)
        times[many] = list(map(len, held))
        spread = np.repeat(numbers, times)
        spread[spread < self.END] = list(chain.from_iterable(held))
        return spread

    def forget(self) -> None:
        self.clear()
        self[END] = self.END
        self._several.clear()
        self.kept_bytes = 0


def is_telling(word: str, stop_words: Set[str]) -> bool:
    """Whether to list the word; one that goes on and on is no word of a language, and a list of them has no bound."""
    return len(word) <= LONGEST_LISTED and word not in stop_words and (len(word) > 1 or not word.isascii())


def merged_variants(emoji: Mapping[str, int]) -> dict[str, int]:
    """With and without the variation selector is one emoji, shown as it was written most."""
    shown: dict[str, str] = {}
    totals: Counter[str] = Counter()
    for sign, uses in most_common(emoji, None):
        plain = sign.replace(_VARIATION, "")
        totals[shown.setdefault(plain, sign)] += uses
    return totals


def most_common(counts: Mapping[str, int], limit: int | None) -> list[tuple[str, int]]:
    """Equal counts in the order of the alphabet, so that the same chat gives the same answer."""
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
