"""Web addresses in texts."""

from __future__ import annotations

import re
from collections import Counter
from typing import NamedTuple

import numpy as np

from chats.statistics.sparse_counts import Ints
from chats.statistics.text_page import TextPage

URL_LIMIT = 2_000
LINKS_LIMIT = 1_000
SITES_LIMIT = 10_000

# A set of first letters is looked for faster than either beginning.
_LINK = re.compile(r"""([hHwW](?:(?<=[hH])[tT][tT][pP][sS]?://|(?<=\b[wW])[wW][wW]\.)[^\s<>"]+)""")
_HOST = re.compile(r"(?:https?://)?(?:[^/?#@]*@)?(?:www\.)?([^/?#:@\s]+)")
_AFTER = ".,;:!?'\")]}*_~|\u0964\u2026"


def split(text: str) -> tuple[str, list[str]]:
    """The text without its links, and the links."""
    parts = _LINK.split(text)
    return " ".join(parts[::2]), [link.rstrip(_AFTER)[:URL_LIMIT] for link in parts[1::2]]


def site(link: str) -> str:
    """The host without `www.`, or an empty string for an address that has none."""
    match = _HOST.match(link.lower())
    return match[1] if match else ""


class SentLink(NamedTuple):
    url: str
    person: int
    at: int


class SentLinks:
    """The first links of a chat, and the sites of all."""

    def __init__(self) -> None:
        self.first: list[SentLink] = []
        self.sites: Counter[str] = Counter()

    def take_out(self, page: TextPage, seconds: Ints, people: Ints) -> list[int]:
        """Count the links and take them out of the texts: no part of an address is a word or a question.

        Returns the place of the text of each link.
        """
        sent: list[tuple[int, str]] = []
        rest: dict[int, str] = {}
        for place in np.union1d(page.holding(b"://"), page.holding(b"ww.")).tolist():
            text, found = split(page.texts[place])
            if found:
                rest[place] = text
                sent += [(place, link) for link in found]
        if not sent:
            return []
        page.replace(rest)
        self.sites.update([site(link) for _, link in sent])
        room = LINKS_LIMIT - len(self.first)
        self.first += [SentLink(link, int(people[place]), int(seconds[place])) for place, link in sent[: max(0, room)]]
        if len(self.sites) > SITES_LIMIT:
            self.sites = Counter(dict(self.sites.most_common(SITES_LIMIT // 2)))
        return [place for place, _ in sent]
