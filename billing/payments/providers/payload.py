"""Read values from a provider's JSON: any value may be missing or have another type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from billing.payments.providers.base import UnreadableEvent

MAX_TEXT_LENGTH = 100
_YEAR_3000 = 32_503_680_000


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a webhook's body. Raise UnreadableEvent."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableEvent from None
    if not isinstance(value, dict):
        raise UnreadableEvent
    return value


def get_object(value: Any, *path: str) -> dict[str, Any]:
    """Return the object at the path, or an empty one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def to_text(value: Any) -> str:
    """Return a string of at most MAX_TEXT_LENGTH characters, the id of an expanded object, or ""."""
    if isinstance(value, dict):
        value = value.get("id")
    if not isinstance(value, str):
        return ""
    # Postgres stores neither NUL characters nor lone surrogates.
    return value[:MAX_TEXT_LENGTH].replace("\0", "").encode(errors="ignore").decode()


def to_amount(value: Any) -> int | None:
    """Return an amount in minor units, or None for anything but a whole number."""
    # bool is a subclass of int: `true` must not become 1. The limit keeps sums within a bigint.
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62 else None


def to_currency(value: Any) -> str:
    """Return an upper-case currency code, or "" for anything else: `usdc` must not become USD."""
    code = to_text(value).upper()
    return code if len(code) == 3 else ""


def to_datetime(value: Any) -> datetime | None:
    """Return the time of a Unix timestamp in seconds, or None if it is not one of 1970 to 3000."""
    seconds = to_amount(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and 0 <= seconds < _YEAR_3000 else None
