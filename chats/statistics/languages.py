"""Which language a text is in, decided by its script and by the common words in it. The rules: docs/statistics.md.

Common words are the stop words of `stop_words.toml` and of Stopwords ISO
(github.com/stopwords-iso/stopwords-iso, MIT), and those of `languages.toml`.
A word tells a language only if no other language of its script claims it.
"""

from __future__ import annotations

import tomllib
import unicodedata
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import stopwordsiso
from numpy.typing import NDArray

from chats.statistics.sparse_counts import Ints

NO_WORD = 0
UNKNOWN, MIXED = "unknown", "mixed"

#: Each language's script and, of Stopwords ISO, its code.
_LANGUAGES = {
    "english": ("latin", None),
    "hinglish": ("latin", None),
    "german": ("latin", "de"),
    "french": ("latin", "fr"),
    "spanish": ("latin", "es"),
    "portuguese": ("latin", "pt"),
    "italian": ("latin", "it"),
    "dutch": ("latin", "nl"),
    "indonesian": ("latin", "id"),
    "turkish": ("latin", "tr"),
    "hindi": ("devanagari", "hi"),
    "marathi": ("devanagari", "mr"),
    "nepali": ("devanagari", None),
    "arabic": ("arabic_script", "ar"),
    "persian": ("arabic_script", "fa"),
    "urdu": ("arabic_script", "ur"),
    "russian": ("cyrillic", "ru"),
    "ukrainian": ("cyrillic", "uk"),
    "bulgarian": ("cyrillic", "bg"),
    "japanese": ("han", None),
}
#: First words of Unicode's character names to the script's name here, where they differ.
_SCRIPTS = {
    "fullwidth": "latin",
    "arabic": "arabic_script",
    "cjk": "han",
    "hiragana": "han",
    "katakana": "han",
    "katakana-hiragana": "han",
}
_SCRIPT_NAMES = (
    "latin", "devanagari", "arabic_script", "cyrillic", "han", "hangul", "greek", "hebrew", "thai", "bengali",
    "gujarati", "gurmukhi", "kannada", "malayalam", "oriya", "sinhala", "tamil", "telugu", "armenian", "georgian",
    "ethiopic", "khmer", "lao", "myanmar", "tibetan", "thaana", "other_script",
)  # fmt: skip
#: What a word can tell, by number; 0 is told by what is no word. A script's name is told by its other words.
NAMES = ["", *_SCRIPT_NAMES, *_LANGUAGES, UNKNOWN, MIXED]
_NUMBERS = {name: number for number, name in enumerate(NAMES)}
_SCRIPT_OF = np.array(
    [_NUMBERS[_LANGUAGES[name][0]] if name in _LANGUAGES else number for number, name in enumerate(NAMES)]
)
_IS_LANGUAGE = np.array([name in _LANGUAGES for name in NAMES])
_LATIN, _JAPANESE = _NUMBERS["latin"], _NUMBERS["japanese"]
_UNKNOWN, _MIXED = _NUMBERS[UNKNOWN], _NUMBERS[MIXED]


def _read(file: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))


#: Stop words of every chat, whatever its languages.
STOP_WORDS: frozenset[str] = frozenset(
    word for language in _read("stop_words.toml").values() for word in language["words"].split()
)


def _stop_words() -> dict[str, frozenset[str]]:
    own = {name: words["words"].split() for name, words in _read("stop_words.toml").items()}
    words = {
        name: frozenset(word for word in stopwordsiso.stopwords(code) if len(word) > 1 or not word.isascii())
        for name, (_, code) in _LANGUAGES.items()
        if code
    }
    return {
        **words,
        "english": frozenset(own["en"]),
        "hinglish": frozenset(own["hi-Latn"]),
        "hindi": words["hindi"] | frozenset(own["hi"]),
    }


STOP_WORDS_BY_LANGUAGE = _stop_words()


def _telling() -> dict[str, int]:
    """The words that tell a language, with its number."""
    common = _read("languages.toml")
    lists = {
        name: STOP_WORDS_BY_LANGUAGE.get(name, frozenset()) | set(common.get(name, {}).get("words", "").split())
        for name in _LANGUAGES
    }
    claims = Counter((_LANGUAGES[name][0], word) for name, words in lists.items() for word in words)
    telling = {
        word: _NUMBERS[name]
        for name, words in lists.items()
        for word in words
        if claims[_LANGUAGES[name][0], word] == 1
    }
    for name, words in common.items():
        telling.update(dict.fromkeys(words.get("also", "").split(), _NUMBERS[name]))
    return telling


_TELLING = _telling()


def stop_words(language: str) -> frozenset[str]:
    """None for what is no language with a list."""
    return STOP_WORDS_BY_LANGUAGE.get(language, frozenset())


def told_by(word: str) -> int:
    """The number of the language or script that a word tells."""
    if (language := _TELLING.get(word)) is not None:
        return language
    if word.isascii():
        return _LATIN
    return _script(next(filter(str.isalpha, word)))


@cache
def _script(letter: str) -> int:
    first = unicodedata.name(letter, "").partition(" ")[0].lower()
    if first in ("hiragana", "katakana", "katakana-hiragana"):
        return _JAPANESE
    return _NUMBERS.get(_SCRIPTS.get(first, first), _NUMBERS["other_script"])


class Votes(NamedTuple):
    """How many words of each text (columns) tell each of the languages and scripts that are told at all (rows)."""

    told: Ints
    counts: Ints

    @classmethod
    def of(cls, told: NDArray[np.uint8], texts: Ints, n_texts: int) -> Votes:
        """`told` is what each word tells, `texts` its text."""
        present = np.flatnonzero(np.bincount(told, minlength=len(NAMES)))
        rows = np.zeros(len(NAMES), np.int64)
        rows[present] = np.arange(len(present))
        counts = np.bincount(rows[told] * n_texts + texts, minlength=len(present) * n_texts)
        return cls(present, counts.reshape(len(present), n_texts))._chosen(present != NO_WORD)

    def joined(self, other: Votes) -> Votes:
        """With the words of the next pieces of the same texts."""
        told = np.union1d(self.told, other.told)
        counts = np.zeros((len(told), self.counts.shape[1]), np.int64)
        for votes in (self, other):
            counts[np.searchsorted(told, votes.told)] += votes.counts
        return Votes(told, counts)

    def words(self) -> Ints:
        """How many words each text has."""
        words: Ints = self.counts.sum(axis=0)
        return words

    def languages(self) -> NDArray[np.uint8]:
        """The language of each text, `NO_WORD` without words."""
        scripts = _SCRIPT_OF[self.told]
        parts = {script: self._chosen(scripts == script) for script in np.unique(scripts).tolist()}
        if not parts:
            return np.full(self.counts.shape[1], NO_WORD, np.uint8)
        found = Votes(np.array(list(parts)), np.stack([part.words() for part in parts.values()]))._first()
        for script, part in parts.items():
            told = part._chosen(_IS_LANGUAGE[part.told])._first()
            told[told == NO_WORD] = _UNKNOWN if script == _LATIN else script
            found = np.where(found == script, told, found)
        return found

    def _chosen(self, rows: NDArray[np.bool_]) -> Votes:
        return Votes(self.told[rows], self.counts[rows])

    def _first(self) -> NDArray[np.uint8]:
        """What the most words of each text tell, `_MIXED` where several things are told by as many."""
        most = self.counts.max(axis=0, initial=0)
        are_most = (self.counts == most).view(np.uint8)
        first: NDArray[np.uint8] = (are_most * self.told.astype(np.uint8)[:, None]).max(axis=0, initial=NO_WORD)
        first[np.add.reduce(are_most, axis=0, dtype=np.uint8) > 1] = _MIXED
        first[most == 0] = NO_WORD
        return first
