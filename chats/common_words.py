"""Whether a word is common: everyday English and Hinglish, laughter, family terms, months and places.

Common English is the whole words of the built-in embedding's tokenizer, about 12,000, read from its wheel once per
process. common_words.toml adds what that lacks, and Hindi in both scripts.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from chats.statistics.languages import STOP_WORDS
from chats.word_index import split_words

#: Shorter words are always common.
MIN_LENGTH = 4

_LAUGHTER = re.compile(r"(?:[hj]+[aeiu]+)+h*|l+o+l+|a+w+|h+m+|o+h+|u+g+h+|y+a+y+|s+h+")
_REPEATED = re.compile(r"(.)\1{2,}")
# Endings of English words alone: others are also endings of names (Tony, Martin, Marko).
_ENGLISH_ENDINGS = (
    "s", "es", "ed", "d", "ing", "ly", "er", "ers", "ingly", "edly", "fully", "ful", "ment", "ments", "ness", "less",
)  # fmt: skip
_ENDINGS = ("s", "es", "ed", "d", "ing", "ly", "er", "ers", "y", "in", "on", "o", "ji", "wala", "wali", "wale")


def is_common(word: str) -> bool:
    """Return whether the word is common, a form of a common word, laughter, short, or contains a digit or a sign."""
    if len(word) < MIN_LENGTH or not word[0].isalpha() or any(char.isdigit() for char in word):
        return True
    if _LAUGHTER.fullmatch(word) or _REPEATED.search(word):
        return True
    return not _load_common_words().isdisjoint(_find_stems(word))


def is_lower_case_word(word: str) -> bool:
    """Return whether English text writes the word in lower case, so that a capital does not make it a name.

    The tokenizer knows names with a capital only: "▁John", but "▁both" and "▁Both".
    """
    return not _load_lower_case_words().isdisjoint(_find_stems(word.casefold(), _ENGLISH_ENDINGS))


def is_ordinary(word: str) -> bool:
    """Return whether a word, exactly as it is written, is an everyday word and not only a name: `sand`, not `chris`."""
    return word in _load_lower_case_words() or word in _load_listed_words()


def _find_stems(word: str, endings: Sequence[str] = _ENDINGS) -> list[str]:
    """Return the word and what may remain of it without an ending."""
    stems = [word]
    for ending in endings:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word.removesuffix(ending)
            stems += [stem, stem + "e", stem + "y"]
            # A doubled consonant (planning) and a changed y (worries) go back to the word itself.
            if len(stem) > 3 and stem[-1] == stem[-2]:
                stems.append(stem[:-1])
            if stem.endswith("i"):
                stems.append(stem[:-1] + "y")
    return stems


@cache
def _load_common_words() -> frozenset[str]:
    return frozenset({*_load_listed_words(), *STOP_WORDS, *(word.casefold() for word in _load_vocabulary())})


@cache
def _load_listed_words() -> frozenset[str]:
    lists = tomllib.loads(Path(__file__).with_name("common_words.toml").read_text(encoding="utf-8"))
    return frozenset(word for text in lists.values() for word in split_words(text))


@cache
def _load_lower_case_words() -> frozenset[str]:
    return frozenset({*STOP_WORDS, *(word for word in _load_vocabulary() if word.islower())})


def _load_vocabulary() -> list[str]:
    """Return the whole words that the tokenizer of the built-in embedding knows, as it writes them."""
    spec = find_spec("wordllama")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).with_name("tokenizers") / "l2_supercat_tokenizer_config.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    # SentencePiece marks the start of a word with U+2581.
    return [token[1:] for token in vocabulary if token.startswith("▁") and token[1:].isalpha()]
