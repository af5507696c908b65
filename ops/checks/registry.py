"""The registry of health checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relivchats.staff.reports import Level, Line


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
