"""Reading what came from outside: any value may be missing or of another type."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from billing.payments.providers.base import UnreadableEvent

_MOST = 100
_LATEST = 32_503_680_000  # the year 3000


def document(body: bytes) -> dict[str, Any]:
    """The JSON object of a webhook's body. Raises UnreadableEvent."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise UnreadableEvent from None
    if not isinstance(value, dict):
        raise UnreadableEvent
    return value


def inner(value: Any, *path: str) -> dict[str, Any]:
    """The object at the path, or an empty one."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def text(value: Any) -> str:
    """A short string; of an object that was expanded its id; else nothing."""
    if isinstance(value, dict):
        value = value.get("id")
    if not isinstance(value, str):
        return ""
    # Postgres stores neither a null nor half a surrogate pair.
    return value[:_MOST].replace("\0", "").encode(errors="ignore").decode()


def whole(value: Any) -> int | None:
    """An amount in minor units. Anything else than a whole number is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**62 else None


def currency(value: Any) -> str:
    """Its code, or nothing when it is none: `usdc` is not dollars."""
    code = text(value).upper()
    return code if len(code) == 3 else ""


def instant(value: Any) -> datetime | None:
    seconds = whole(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds is not None and 0 <= seconds < _LATEST else None
