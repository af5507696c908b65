"""Is a word one that anybody writes? English and Hinglish words of every day, laughter, kin, months and places.

Common English is what the tokenizer of the built-in embedding knows as whole
words, about 12,000 of them, read from its wheel once a process; what that
lacks, and Hindi in both scripts, stands in common_words.toml.
"""

from __future__ import annotations

import json
import re
import tomllib
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from chats.statistics.languages import STOP_WORDS
from chats.word_index import split_words

SHORTEST = 4

_LAUGHTER = re.compile(r"(?:[hj]+[aeiu]+)+h*|l+o+l+|a+w+|h+m+|o+h+|u+g+h+|y+a+y+|s+h+")
_REPEATED = re.compile(r"(.)\1{2,}")
_ENDINGS = ("s", "es", "ed", "d", "ing", "ly", "er", "ers", "y", "in", "on", "o", "ji", "wala", "wali", "wale")


def is_common(word: str) -> bool:
    """Also for what is too short, holds a digit or a sign, laughs, or is another form of an ordinary word."""
    if len(word) < SHORTEST or not word[0].isalpha() or any(char.isdigit() for char in word):
        return True
    if _LAUGHTER.fullmatch(word) or _REPEATED.search(word):
        return True
    return word in _common_words() or any(stem in _common_words() for stem in _stems(word))


def _stems(word: str) -> list[str]:
    stems = []
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word.removesuffix(ending)
            stems += [stem, stem + "e", stem + "y"]
            if len(stem) > 3 and stem[-1] == stem[-2]:
                stems.append(stem[:-1])
            if stem.endswith("i"):
                stems.append(stem[:-1] + "y")
    return stems


@cache
def _common_words() -> frozenset[str]:
    listed = tomllib.loads(Path(__file__).with_name("common_words.toml").read_text(encoding="utf-8"))
    own = {word for text in listed.values() for word in split_words(text)}
    return frozenset({*own, *STOP_WORDS, *_common_english()})


def _common_english() -> set[str]:
    spec = find_spec("wordllama")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).with_name("tokenizers") / "l2_supercat_tokenizer_config.json"
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    return {token[1:].casefold() for token in vocabulary if token.startswith("▁") and token[1:].isalpha()}
