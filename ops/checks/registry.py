"""The registry of health checks, and the helpers that checks share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from relivchats.staff.reports import Level, Line

#: Counting stops after this many rows: a larger number changes nothing for an operator, and costs seconds.
MAX_COUNTED = 1000


@dataclass(frozen=True)
class Check:
    """A named function that returns one line.

    `on_timeout` is the level, and `remedy` the remedy, of the line when the function does not return in time or
    raises. A verbose check runs only with `health --verbose`.
    """

    name: str
    run: Callable[[], Line]
    on_timeout: Level = Level.UNKNOWN
    remedy: str = "manage.py health"
    verbose: bool = False


_checks: dict[str, Check] = {}


def health_check(
    name: str, *, on_timeout: Level = Level.UNKNOWN, remedy: str = "manage.py health", verbose: bool = False
) -> Callable[[Callable[[], Line]], Callable[[], Line]]:
    """Return a decorator that registers a function as the check `name`. Raise ValueError if the name is taken."""

    def register(run: Callable[[], Line]) -> Callable[[], Line]:
        if name in _checks:
            raise ValueError(f"A health check named {name!r} is already registered.")
        _checks[name] = Check(name, run, on_timeout=on_timeout, remedy=remedy, verbose=verbose)
        return run

    return register


def registered_checks() -> tuple[Check, ...]:
    """Return every check in the order of registration."""
    return tuple(_checks.values())


def count(rows: QuerySet[Any]) -> int:
    """Return the number of rows, at most MAX_COUNTED + 1."""
    return rows.order_by()[: MAX_COUNTED + 1].count()


def words(number: int) -> str:
    """Return the result of `count` as text: `12`, or `more than 1000`."""
    return f"more than {MAX_COUNTED}" if number > MAX_COUNTED else str(number)
