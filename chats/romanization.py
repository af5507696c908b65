"""Latin keys for words in any alphabet, so that one name is recognised in several spellings and scripts. Pure.

A key is no transliteration for readers: it has lower-case letters without marks, without repeated letters, and with one
spelling for long vowels ("Pooja", "Puja" and "पूजा" are `puja`). Scripts without spaces between words have no keys.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from pathlib import Path

_LETTERS: dict[str, str] = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))["letters"]

#: Scripts without spaces between words, or with particles attached to any word: names are found within other text.
UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff"
)
_FIRST_INDIC, _LAST_INDIC, _INDIC_BLOCK = 0x0900, 0x0DFF, 0x80
_VIRAMA = 0x4D


def _list_marks() -> str:
    """Return the marks that are parts of words, and invisible joiners, as ranges of a character class."""
    points = [point for point in range(0x300, 0x20D0) if unicodedata.category(chr(point))[0] == "M"]
    ranges: list[list[int]] = []
    for point in [*points, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF]:
        if ranges and ranges[-1][1] == point - 1:
            ranges[-1][1] = point
        else:
            ranges.append([point, point])
    unspaced = re.compile(f"[{UNSPACED}]")
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges if not unspaced.match(chr(first)))


MARKS = _list_marks()
_LETTER = rf"[^\W\d_{UNSPACED}]"
#: A word: letters of any spaced script with their marks and invisible joiners.
WORD = re.compile(f"{_LETTER}+(?:[{MARKS}]+{_LETTER}*)*")


def _read_letters(*tables: str) -> dict[str, str]:
    return {
        pair[: pair.index("=")]: pair[pair.index("=") + 1 :] for table in tables for pair in _LETTERS[table].split()
    }


def _read_offsets(*tables: str) -> dict[int, str]:
    return {int(offset, 16): latin for offset, latin in _read_letters(*tables).items()}


_ALPHABETS = {
    ord(letter): latin for letter, latin in _read_letters("latin", "cyrillic", "greek", "arabic", "hebrew").items()
}
_CONSONANTS = _read_offsets("indic_consonants")
_VOWELS = _read_offsets("indic_vowels")
_SIGNS = _read_offsets("indic_signs")
_NASALS = _read_offsets("indic_nasals")

_INDIC = re.compile(f"[{chr(_FIRST_INDIC)}-{chr(_LAST_INDIC)}]")
_CONSONANTAL = re.compile("[\u0590-\u06ff\u0750-\u077f\ufb1d-\ufdff\ufe70-\ufeff]")
_SPELLINGS = (("aa", "a"), ("ee", "i"), ("oo", "u"), ("ae", "a"), ("oe", "o"), ("ue", "u"), ("w", "v"), ("ph", "f"))
_REPEATED = re.compile(r"(.)\1+")
_ASPIRATED = re.compile(r"(?<=[bcdgjkprstzv])h")
_SIMILAR = str.maketrans({"c": "k", "q": "k", "y": "i", "z": "s"})
_VOWELS_OF_KEY = re.compile("[aeiouy]+")


def fold(word: str) -> str:
    """Return a word in lower case without accents, vowel points, invisible characters and typographic variants."""
    if word.isascii():
        return word.casefold()
    decomposed = unicodedata.normalize("NFKD", word).casefold()
    # The marks of class 0 and 9 are the vowel signs and the virama of Indic scripts, which are parts of a spelling.
    kept = [
        char
        for char in unicodedata.normalize("NFKD", decomposed)
        if unicodedata.combining(char) in {0, 9} and unicodedata.category(char) != "Cf"
    ]
    return "".join(kept)


def romanize(folded: str) -> str:
    """Return a folded word in Latin letters. Other letters than those of names.toml stay as they are."""
    if folded.isascii():
        return folded
    if _INDIC.search(folded):
        folded = _romanize_indic(folded)
    return folded.translate(_ALPHABETS)


def _romanize_indic(folded: str) -> str:
    """Return the word with Indic letters in Latin. An inherent vowel is left out where Hindi does not speak it."""
    # Each part is a consonant, a vowel, or "" for an inherent vowel that is not decided yet.
    parts: list[str] = []
    for char in folded:
        point = ord(char)
        if not _FIRST_INDIC <= point <= _LAST_INDIC:
            parts.append(char)
            continue
        offset = (point - _FIRST_INDIC) % _INDIC_BLOCK
        if offset in _CONSONANTS:
            parts += [_CONSONANTS[offset], ""]
        elif offset in _SIGNS:
            if parts and parts[-1] == "":
                parts.pop()
            if offset != _VIRAMA:
                parts.append(_SIGNS[offset])
        else:
            parts.append(_VOWELS.get(offset) or _NASALS.get(offset, ""))
    for index in range(len(parts) - 1, -1, -1):
        if parts[index] == "":
            follows_vowel = index >= 2 and parts[index - 2][-1:] in {"a", "e", "i", "o", "u", ""}
            before_vowel = index + 2 < len(parts) and parts[index + 2][-1:] in {"a", "e", "i", "o", "u"}
            is_last = index == len(parts) - 1
            silent = (is_last and index > 1) or (follows_vowel and index >= 2 and before_vowel)
            parts[index] = "\0" if silent else "a"
    return "".join(parts).replace("\0", "")


def make_key(word: str) -> str:
    """Return the key of a word: its romanization with one spelling for long vowels and without repeated letters."""
    key = romanize(fold(word))
    for spelling, replacement in _SPELLINGS:
        if spelling in key:
            key = key.replace(spelling, replacement)
    return _REPEATED.sub(r"\1", key)


def make_loose_key(key: str) -> str:
    """Return a key without aspiration, with one letter for similar sounds: `shreya` and `sreya` are `sreia`."""
    return _REPEATED.sub(r"\1", _ASPIRATED.sub("", key.replace("x", "ks")).translate(_SIMILAR))


def make_vowelless_key(key: str) -> str:
    """Return a loose key with one letter for all vowels: `muhammad` and `mohammed` are `mahamad`."""
    return _REPEATED.sub(r"\1", _VOWELS_OF_KEY.sub("a", make_loose_key(key)))


def make_skeletons(key: str) -> set[str]:
    """Return the consonants of a key, to compare it with words of scripts that leave vowels out.

    With and without v, which is also a long vowel in these scripts.
    """
    consonants = _VOWELS_OF_KEY.sub("", make_loose_key(key))
    return {_REPEATED.sub(r"\1", consonants), _REPEATED.sub(r"\1", consonants.replace("v", ""))}


def is_consonantal(word: str) -> bool:
    """Return whether a word is in Arabic or Hebrew script, which leave short vowels out."""
    return bool(_CONSONANTAL.search(word))
