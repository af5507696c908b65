"""Web addresses in texts."""

from __future__ import annotations

import re

URL_LIMIT = 2_000

_LINK = re.compile(r"""((?:[hH][tT][tT][pP][sS]?://|\b[wW][wW][wW]\.)[^\s<>"]+)""")
_HOST = re.compile(r"(?:https?://)?(?:[^/?#@]*@)?(?:www\.)?([^/?#:@\s]+)")
_AFTER = ".,;:!?'\")]}*_~|\u0964\u2026"


def candidates(texts: list[str]) -> list[int]:
    """Positions of the texts that may hold a link. A single character is found much faster than three."""
    return [
        position
        for position, text in enumerate(texts)
        if ("/" in text and "://" in text) or ("." in text and "ww." in text.lower())
    ]


def split(text: str) -> tuple[str, list[str]]:
    """The text without its links, and the links."""
    parts = _LINK.split(text)
    return " ".join(parts[::2]), [link.rstrip(_AFTER)[:URL_LIMIT] for link in parts[1::2]]


def site(link: str) -> str:
    """The host without `www.`, or an empty string for an address that has none."""
    match = _HOST.match(link.lower())
    return match[1] if match else ""
