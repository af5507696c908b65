"""Web addresses in texts: counted, listed, and removed before words are counted. Rules: docs/statistics.md."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from typing import NamedTuple

from chats.statistics.sparse_counts import IntArray
from chats.statistics.text_page import TextPage

MAX_URL_CHARS = 2_000
MAX_LISTED_LINKS = 1_000
MAX_SITES = 10_000

# Links are searched in the shape of a text: ASCII is unchanged, and a letter outside ASCII is one of these two.
_LETTER, _UNSPACED_LETTER = "\u00e9", "\u5b57"
# The names of letters that can follow a link without a space: scripts without spaces between words, and Korean, which
# appends particles.
_UNSPACED_NAME = re.compile(
    r"\b(?:CJK|IDEOGRAPHIC|HIRAGANA|KATAKANA|BOPOMOFO|HANGUL|HALFWIDTH|FULLWIDTH|THAI|LAO|KHMER|MYANMAR|TIBETAN)\b"
)
# A label of a host has unspaced letters only at its start, and the last label does not mix ASCII with other letters.
_HOST = (
    rf"(?:(?=[\w{_LETTER}{_UNSPACED_LETTER}])(?>{_UNSPACED_LETTER}*)[\w{_LETTER}-]*+\.)*"
    rf"(?:[A-Za-z0-9](?:[\w-]*[A-Za-z0-9])?|[{_LETTER}{_UNSPACED_LETTER}]++)"
)
# In a path, unspaced letters begin a part, as in /wiki/東京. Directly after ASCII letters, also after the padding of
# Base64, they are text after the link.
_IN_PATH = rf"[^\x00-\x20\x7f<>\"`\\^{{}}()\[\]{_UNSPACED_LETTER}]++|(?<=[/=_#:@(+-])(?<!==)(?>{_UNSPACED_LETTER}+)"
# Brackets belong to a link in pairs, parentheses also inside parentheses.
_IN_PARENTHESES = rf"{_IN_PATH}|[\[\]]"
_PARENTHESES = rf"\((?:{_IN_PARENTHESES}|\((?:{_IN_PARENTHESES})*\))*\)"
_LINK = re.compile(
    # The regex engine searches for a set of first letters faster than for two beginnings in any case.
    r"[hHwW](?:(?<=[hH])[tT][tT][pP][sS]?://(?:[\w.~%:-]++@)?|(?<!\w[wW])(?<=[wW])[wW][wW]\.)"
    rf"(?:{_HOST}|\[[0-9A-Fa-f:.]++\])(?::[0-9]++)?"
    rf"(?:[/?#](?:{_IN_PATH}|{_PARENTHESES}|\[(?:{_IN_PATH}|[()])*\]){{0,1000}})?",
    re.ASCII,
)
_TRAILING_PUNCTUATION = ".,;:!?'*~|\u200c\u200d\u30fb"
_SITE = re.compile(r"(?:https?://)?(?:[^/?#@]*@)?(?:www\.)?(\[[^\]]*\]|[^/?#:@]+)")


class _Shapes(dict[int, str]):
    """A `str.translate` table to the shape of a text. Each character is classified when it first occurs."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        category = unicodedata.category(character)
        if code < 0x80:
            shape = character
        elif code == 0x30FB:
            # The dot between the parts of a name in Katakana.
            shape = _UNSPACED_LETTER
        elif code in (0x200C, 0x200D):
            shape = _LETTER
        elif category in ("Nd", "Mn", "Mc") or category[0] == "L":
            is_unspaced = _UNSPACED_NAME.search(unicodedata.name(character, ""))
            shape = _UNSPACED_LETTER if is_unspaced else _LETTER
        else:
            shape = " "
        self[code] = shape
        return shape


_SHAPES = _Shapes()


class SentLink(NamedTuple):
    """A link with its sender and its time in seconds."""

    url: str
    person: int
    sent_at: int


class LinkCounter:
    """Keeps the first links of a chat and counts the sites of all; beyond MAX_SITES the rarest sites are dropped."""

    def __init__(self) -> None:
        self.first: list[SentLink] = []
        self.sites: Counter[str] = Counter()

    def extract(self, page: TextPage, seconds: IntArray, people: IntArray) -> list[int]:
        """Count the links of a page and remove them from its texts, so that no part of a URL counts as a word.

        Return the position of the text of each link.
        """
        links: list[tuple[int, str]] = []
        texts_without_links: dict[int, str] = {}
        # Few texts contain links: the regex runs only on those that contain what every link contains.
        for position in sorted({*page.find(b"://").tolist(), *page.find(b"ww.").tolist()}):
            text = page.texts[position]
            if spans := find_links(text):
                links += [(position, text[start : min(end, start + MAX_URL_CHARS)]) for start, end in spans]
                starts, ends = zip(*spans, strict=True)
                between = zip((0, *ends), (*starts, len(text)), strict=True)
                texts_without_links[position] = " ".join(text[start:end] for start, end in between)
        if not links:
            return []
        page.replace(texts_without_links)
        room = max(0, MAX_LISTED_LINKS - len(self.first))
        self.first += [SentLink(link, int(people[position]), int(seconds[position])) for position, link in links[:room]]
        self.sites.update([get_site(link) for _, link in links])
        if len(self.sites) > MAX_SITES:
            self.sites = Counter(dict(self.sites.most_common(MAX_SITES // 2)))
        return [position for position, _ in links]


def find_links(text: str) -> list[tuple[int, int]]:
    """Return the start and the end of each link, in order."""
    spans = []
    for match in _LINK.finditer(text if text.isascii() else text.translate(_SHAPES)):
        start, end = match.span()
        # Video ids can end with an underscore. After another one before the link, it ends a text in italics.
        punctuation = _TRAILING_PUNCTUATION + "_" if text[start - 1 : start] == "_" else _TRAILING_PUNCTUATION
        spans.append((start, start + len(text[start:end].rstrip(punctuation))))
    return spans


def get_site(url: str) -> str:
    """Return the host of a link in lower case and without `www.`."""
    match = _SITE.match(url.lower())
    assert match is not None
    return match[1]
