"""Web addresses in texts: counted, listed, and removed before words are counted."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from chats.statistics.sparse_counts import IntArray
from chats.statistics.text_page import TextPage

MAX_URL_CHARS = 2_000
MAX_LISTED_LINKS = 1_000
MAX_SITES = 10_000

# The regex engine scans for a set of first letters faster than for an alternation of both beginnings.
_LINK = re.compile(r"""([hHwW](?:(?<=[hH])[tT][tT][pP][sS]?://|(?<=\b[wW])[wW][wW]\.)[^\s<>"]+)""")
_HOST = re.compile(r"(?:https?://)?(?:[^/?#@]*@)?(?:www\.)?([^/?#:@\s]+)")
_TRAILING_PUNCTUATION = ".,;:!?'\")]}*_~|\u0964\u2026"


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
        for position in np.union1d(page.find(b"://"), page.find(b"ww.")).tolist():
            parts = _LINK.split(page.texts[position])
            if len(parts) > 1:
                texts_without_links[position] = " ".join(parts[::2])
                links += [(position, link.rstrip(_TRAILING_PUNCTUATION)[:MAX_URL_CHARS]) for link in parts[1::2]]
        if not links:
            return []
        page.replace(texts_without_links)
        room = max(0, MAX_LISTED_LINKS - len(self.first))
        self.first += [SentLink(link, int(people[position]), int(seconds[position])) for position, link in links[:room]]
        self.sites.update([get_site(link) for _, link in links])
        if len(self.sites) > MAX_SITES:
            self.sites = Counter(dict(self.sites.most_common(MAX_SITES // 2)))
        return [position for position, _ in links]


def get_site(url: str) -> str:
    """Return the host of a URL in lower case and without `www.`, or an empty string if it has none."""
    match = _HOST.match(url.lower())
    return match[1] if match else ""
