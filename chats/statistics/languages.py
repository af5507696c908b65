"""The language of a text, decided by its script and by the common words in it. Rules: docs/statistics.md.

Common words are the stop words of `stop_words.toml` and of Stopwords ISO (github.com/stopwords-iso/stopwords-iso, MIT),
and the words of `languages.toml`. A word identifies a language only if no other language of its script lists it.
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

from chats.statistics.sparse_counts import BoolArray, IntArray

#: The label of what is no word, and of texts without words.
NO_WORD = 0

#: The script and the Stopwords ISO code of each language.
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
#: The script for the first word of a Unicode character name, where the two differ.
_SCRIPT_OF_NAME = {
    "fullwidth": "latin",
    "arabic": "arabic_script",
    "cjk": "han",
    "hiragana": "han",
    "katakana": "han",
    "katakana-hiragana": "han",
}
_SCRIPTS = (
    "latin", "devanagari", "arabic_script", "cyrillic", "han", "hangul", "greek", "hebrew", "thai", "bengali",
    "gujarati", "gurmukhi", "kannada", "malayalam", "oriya", "sinhala", "tamil", "telugu", "armenian", "georgian",
    "ethiopic", "khmer", "lao", "myanmar", "tibetan", "thaana", "other_script",
)  # fmt: skip
#: Names by label. A word's label is its language if it identifies one, else its script.
LABELS = ["", *_SCRIPTS, *_LANGUAGES, "unknown", "mixed"]
_LABEL_OF_NAME = {name: label for label, name in enumerate(LABELS)}
_SCRIPT_OF_LABEL = np.array(
    [_LABEL_OF_NAME[_LANGUAGES[name][0]] if name in _LANGUAGES else label for label, name in enumerate(LABELS)]
)
_IS_LANGUAGE = np.array([name in _LANGUAGES for name in LABELS])
_LATIN, _JAPANESE = _LABEL_OF_NAME["latin"], _LABEL_OF_NAME["japanese"]
_UNKNOWN, _MIXED = _LABEL_OF_NAME["unknown"], _LABEL_OF_NAME["mixed"]


def _load(file: str) -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))


def _load_stop_words() -> dict[str, frozenset[str]]:
    own = {code: frozenset(words["words"].split()) for code, words in _load("stop_words.toml").items()}
    words = {
        # In NFC, like the words of texts.
        name: frozenset(
            unicodedata.normalize("NFC", word)
            for word in stopwordsiso.stopwords(code)
            if len(word) > 1 or not word.isascii()
        )
        for name, (_, code) in _LANGUAGES.items()
        if code
    }
    return {**words, "english": own["en"], "hinglish": own["hi-Latn"], "hindi": words["hindi"] | own["hi"]}


STOP_WORDS_BY_LANGUAGE = _load_stop_words()
#: The stop words that apply to every chat, whatever its languages.
STOP_WORDS: frozenset[str] = frozenset(
    word for words in _load("stop_words.toml").values() for word in words["words"].split()
)


def _label_identifying_words() -> dict[str, int]:
    common = _load("languages.toml")
    words_of_language = {
        name: STOP_WORDS_BY_LANGUAGE.get(name, frozenset()) | set(common.get(name, {}).get("words", "").split())
        for name in _LANGUAGES
    }
    n_languages = Counter((_LANGUAGES[name][0], word) for name, words in words_of_language.items() for word in words)
    labels = {
        word: _LABEL_OF_NAME[name]
        for name, words in words_of_language.items()
        for word in words
        if n_languages[_LANGUAGES[name][0], word] == 1
    }
    for name, lists in common.items():
        labels.update(dict.fromkeys(lists.get("also", "").split(), _LABEL_OF_NAME[name]))
    return labels


_LABEL_OF_WORD = _label_identifying_words()


def classify_word(word: str) -> int:
    """Return the label of the language that a word identifies, else of its script."""
    if (language := _LABEL_OF_WORD.get(word)) is not None:
        return language
    if word.isascii():
        return _LATIN
    return _classify_letter(next(filter(str.isalpha, word)))


@cache
def _classify_letter(letter: str) -> int:
    # Python has no script property, but a letter's Unicode name starts with its script.
    script = unicodedata.name(letter, "").partition(" ")[0].lower()
    if script in ("hiragana", "katakana", "katakana-hiragana"):
        return _JAPANESE
    return _LABEL_OF_NAME.get(_SCRIPT_OF_NAME.get(script, script), _LABEL_OF_NAME["other_script"])


class LanguageVotes(NamedTuple):
    """The words of each text (columns) by label (rows). Only labels that occur have a row."""

    labels: IntArray
    counts: IntArray

    @classmethod
    def from_labels(cls, labels: NDArray[np.uint8], texts: IntArray, n_texts: int) -> LanguageVotes:
        """Count the words of `n_texts` texts; `labels` and `texts` hold the label and the text of each term."""
        present = np.flatnonzero(np.bincount(labels, minlength=len(LABELS)))
        row_of_label = np.zeros(len(LABELS), np.int64)
        row_of_label[present] = np.arange(len(present))
        counts = np.bincount(row_of_label[labels] * n_texts + texts, minlength=len(present) * n_texts)
        return cls(present, counts.reshape(len(present), n_texts))._select(present != NO_WORD)

    def merge(self, other: LanguageVotes) -> LanguageVotes:
        """Return the votes of texts of which `self` and `other` describe consecutive parts."""
        labels = np.union1d(self.labels, other.labels)
        counts = np.zeros((len(labels), self.counts.shape[1]), np.int64)
        for votes in (self, other):
            counts[np.searchsorted(labels, votes.labels)] += votes.counts
        return LanguageVotes(labels, counts)

    def count_words(self) -> IntArray:
        """Return the number of words of each text."""
        words: IntArray = self.counts.sum(axis=0)
        return words

    def choose_languages(self) -> NDArray[np.uint8]:
        """Return the label of each text: its language, a script, unknown or mixed; NO_WORD for a text without words."""
        scripts = _SCRIPT_OF_LABEL[self.labels]
        by_script = {script: self._select(scripts == script) for script in sorted(set(scripts.tolist()))}
        if not by_script:
            return np.full(self.counts.shape[1], NO_WORD, np.uint8)
        words_by_script = np.stack([votes.count_words() for votes in by_script.values()])
        chosen = LanguageVotes(np.array(list(by_script)), words_by_script)._winners()
        for script, votes in by_script.items():
            languages = votes._select(_IS_LANGUAGE[votes.labels])._winners()
            # Without an identifying word. Most languages are written in Latin letters, so their script says little.
            languages[languages == NO_WORD] = _UNKNOWN if script == _LATIN else script
            chosen = np.where(chosen == script, languages, chosen)
        return chosen

    def _select(self, rows: BoolArray) -> LanguageVotes:
        return LanguageVotes(self.labels[rows], self.counts[rows])

    def _winners(self) -> NDArray[np.uint8]:
        """Return the label with the most words of each text, _MIXED for a tie and NO_WORD without words."""
        max_counts = self.counts.max(axis=0, initial=0)
        # As bytes, which multiply and add faster than booleans and integers of 8 bytes.
        is_max = (self.counts == max_counts).view(np.uint8)
        winners: NDArray[np.uint8] = (is_max * self.labels.astype(np.uint8)[:, None]).max(axis=0, initial=NO_WORD)
        winners[np.add.reduce(is_max, axis=0, dtype=np.uint8) > 1] = _MIXED
        winners[max_counts == 0] = NO_WORD
        return winners
