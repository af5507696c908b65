"""Compare phrases in one Unicode form, whichever form a phone writes.

WhatsApp writes Hindi and Bengali letters with a dot (`ड़`, `য়`) as one code point, which no normalisation form keeps.
A phrase can also contain both spellings of one letter.
"""

from __future__ import annotations

import re
from unicodedata import normalize

#: One code point each, which NFC decomposes (composition exclusions of UAX 15): Devanagari, Bengali, Gurmukhi, Odia.
_UNCOMPOSED = {
    normalize("NFC", chr(code)): chr(code)
    for code in (*range(0x958, 0x960), 0x9DC, 0x9DD, 0x9DF, 0xA33, 0xA36, *range(0xA59, 0xA5C), 0xA5E, 0xB5C, 0xB5D)
}
_COMPOSED = re.compile("|".join(_UNCOMPOSED))
_APOSTROPHES = "\u2018\u2019\u02bb\u02bc"
_NO_BREAK_SPACES = "\u00a0\u202f"
_JOINERS = "\u200c\u200d"
# Normalisation sorts consecutive marks, in quadratic time. Texts contain two or three; this excludes letters, spaces,
# punctuation and emoji.
_MANY_MARKS = re.compile(
    r"[^\w\s\x00-\x7f\u2000-\u20cf\u2100-\u2bff\u3000-\u3029\u3030-\u303f\ufe0f\U0001f000-\U0010ffff]{16}"
)
_FEW_CHARACTERS = 32
_FOLDED = str.maketrans(
    dict.fromkeys(_APOSTROPHES, "'") | dict.fromkeys(_NO_BREAK_SPACES, " ") | dict.fromkeys(_JOINERS)
)
_TO_FOLD = re.compile(f"[{_APOSTROPHES}{_NO_BREAK_SPACES}{_JOINERS}]")


def normal(text: str) -> str:
    """Return the text in NFC, with one kind of apostrophe and of space, and without joiners.

    A text with many consecutive marks is returned as it is.
    """
    if text.isascii() or (len(text) > _FEW_CHARACTERS and _MANY_MARKS.search(text)):
        return text
    text = normalize("NFC", text)
    return text.translate(_FOLDED) if _TO_FOLD.search(text) else text


def normal_bytes(text: bytes) -> bytes:
    """Return UTF-8 text in the form of `normal`; a character that is cut off at the end is replaced."""
    if text.isascii():
        return text
    decoded = text.decode("utf-8", "replace")
    normalised = normal(decoded)
    return text if normalised is decoded else normalised.encode()


def spellings(text: str) -> set[str]:
    """Return the forms in which a phone can write a text: as `normal` returned it, NFD, and as WhatsApp writes it."""
    forms = {text}
    if not text.isascii():
        forms |= {normalize("NFD", text), _COMPOSED.sub(lambda letter: _UNCOMPOSED[letter[0]], text)}
    if "'" in text:
        forms |= {form.replace("'", apostrophe) for form in forms for apostrophe in _APOSTROPHES}
    return forms
