"""A database connection of one's own: outside the pool, and with time-outs of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections


@contextmanager
def own_connection(*, seconds: float) -> Iterator[None]:
    """Let this thread's queries go over a fresh connection on which each may take so long. For threads, not requests.

    Health is asked just when the pool may be exhausted, so it must not wait for a place in it.
    """
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    wrapper.settings_dict = {
        **wrapper.settings_dict,
        "OPTIONS": _options(wrapper.settings_dict["OPTIONS"], seconds=seconds),
    }
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        yield
    finally:
        wrapper.close()


def _options(options: dict[str, Any], *, seconds: float) -> dict[str, Any]:
    milliseconds = int(seconds * 1000)
    return {
        **{name: value for name, value in options.items() if name != "pool"},
        "connect_timeout": max(2, int(seconds)),
        "application_name": "relivchats health",
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        " -c default_transaction_read_only=on",
    }
