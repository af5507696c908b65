"""Reading one variable of the environment, or refusing by its name. Pure, but for the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured

T = TypeVar("T")

#: Above what any setting needs, and within what Postgres and the clock can count.
MOST = 2_000_000


def read(name: str, cast: Callable[[str], T], *, default: T | None = None, least: Any = None) -> T:
    """The variable's value, or the default. Raises ImproperlyConfigured, naming the variable."""
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
    if text.lower() in {"1", "true", "yes", "on"}:
        return True
    if text.lower() in {"0", "false", "no", "off"}:
        return False
    raise ValueError("use true or false")


def whole(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise ValueError("use a whole number") from None
    if value > MOST:
        raise ValueError(f"use a number up to {MOST:,}")
    return value


def words(text: str) -> list[str]:
    if found := [word.strip() for word in text.split(",") if word.strip()]:
        return found
    raise ValueError("use words, with commas between them")


def one_of(*choices: str) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if text not in choices:
            raise ValueError(f"use one of: {', '.join(choices)}")
        return text

    return cast
