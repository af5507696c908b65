"""Read one variable of the environment, or reject it in a sentence that names it.

django-environ reads the database's URL (settings.py). Its other casts are not used: they take a misspelt boolean for
false, and a value that starts with `$`, as a password may, for the name of another variable.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import urlsplit

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

#: Larger than any setting needs, and small enough for Postgres and the clock.
MAX_NUMBER = 2_000_000
#: The names of the variables that were read.
names: set[str] = set()


def read(name: str, cast: Callable[[str], T], *, default: T | None = None, least: Any = None) -> T:
    """Return the variable's value, or the default if it is unset or empty.

    Raise ImproperlyConfigured if it is required and missing, malformed, or less than `least`.
    """
    names.add(name)
    text = os.environ.get(name, "").strip()
    if not text:
        if default is None:
            raise ImproperlyConfigured(f"{name} is not set. See docs/settings.md.")
        return default
    try:
        value: Any = cast(text)
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} is malformed: {error}. See docs/settings.md.") from None
    if least is not None and value < least:
        raise ImproperlyConfigured(f"{name} is {value}; it must be at least {least}. See docs/settings.md.")
    return value  # type: ignore[no-any-return]


def boolean(text: str) -> bool:
    """Return the boolean that the text spells. Raise ValueError."""
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError("use true or false")


def whole(text: str) -> int:
    """Return the whole number. Raise ValueError, also if it is above MAX_NUMBER."""
    try:
        value = int(text)
    except ValueError:
        raise ValueError("use a whole number") from None
    if value > MAX_NUMBER:
        raise ValueError(f"use a number up to {MAX_NUMBER:,}")
    return value


def words(text: str) -> list[str]:
    """Return the comma-separated words without the spaces around them. Raise ValueError if there are none."""
    if parts := [word.strip() for word in text.split(",") if word.strip()]:
        return parts
    raise ValueError("use words, with commas between them")


def networks(text: str) -> tuple[Network, ...]:
    """Return the IP networks of a list that commas separate; an address is a network of one. Raise ValueError."""
    try:
        return tuple(ipaddress.ip_network(part.strip()) for part in text.split(",") if part.strip())
    except ValueError:
        raise ValueError("use IP addresses or networks that commas separate, such as 10.0.0.0/8") from None


def prices(text: str) -> dict[str, tuple[float, float]]:
    """Return two prices by name, from `NAME=1.5/7.25, OTHER=0/0`. Raise ValueError."""
    found: dict[str, tuple[float, float]] = {}
    for part in words(text):
        match = re.fullmatch(r"([^=\s]+)=(\d{1,6}(?:\.\d{1,6})?)/(\d{1,6}(?:\.\d{1,6})?)", part)
        if not match:
            raise ValueError("use MODEL=IN/OUT with commas between them, such as gemini-3.8-flash=0.75/3.75")
        found[match[1]] = (float(match[2]), float(match[3]))
    return found


def secret(text: str) -> str:
    """Return a key that can be sent in a header. Raise ValueError, whose text does not contain it."""
    if not re.fullmatch(r"[!-~]+", text):
        raise ValueError("use printable ASCII characters without spaces")
    return text


def absolute_path(text: str) -> str:
    """Return the path of a directory. Raise ValueError: a relative one would depend on where a process was started."""
    if not text.startswith("/"):
        raise ValueError("use an absolute path")
    return text


def base_url(text: str) -> str:
    """Return the address of an API without a slash at its end. Raise ValueError."""
    try:
        parts = urlsplit(text)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        valid = False
    if not valid or not re.fullmatch(r"[!-~]+", text) or parts.query or parts.fragment or parts.username is not None:
        raise ValueError("use an address such as https://host:port/path, without a query or a password")
    return text.rstrip("/")


def one_of(*choices: str) -> Callable[[str], str]:
    """Return a cast that accepts only these choices."""

    def cast(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of: {', '.join(choices)}")
        return text

    return cast
