"""Web addresses in texts."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

URL_LIMIT = 2_000

_LINK = re.compile(r"""(?:https?://|\bwww\.)[^\s<>"]+""", re.IGNORECASE)
_AFTER = ".,;:!?'\")]}*_~|\u0964\u2026"


def links(text: str) -> list[str]:
    return [link.rstrip(_AFTER)[:URL_LIMIT] for link in _LINK.findall(text)]


def without_links(text: str) -> str:
    return _LINK.sub(" ", text)


def site(link: str) -> str:
    """The host without `www.`, or an empty string for an address that is none."""
    try:
        host = urlsplit(link if "://" in link else f"//{link}").hostname or ""
    except ValueError:
        return ""
    return host.removeprefix("www.")
