"""The registry of health checks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from relivchats.staff.reports import Level, Line


@dataclass(frozen=True)
class Check:
    """A named function that returns one line.

    `needs` names the checks without which this one cannot be fine: if one of them has a problem, it is the cause of a
    problem here. A check that needs `database` runs only once the database answers. `page` is where staff see more.
    `on_timeout` is the level of the line when the function does not return in time, and `remedy` the remedy when it
    raises. A verbose check runs only with `health --verbose`. `prepare` loads the modules that `run` would load, before
    the time limit of the checks starts: on a busy machine that takes longer than all checks together.
    """

    name: str
    run: Callable[[], Line]
    needs: tuple[str, ...] = ()
    page: str = "/admin/"
    on_timeout: Level = Level.UNKNOWN
    remedy: str = "manage.py health"
    verbose: bool = False
    prepare: Callable[[], object] = lambda: None

    @property
    def remedy_without_answer(self) -> str:
        """Return the remedy when there is no answer in time: a busy machine is no reason to change something.

        The check of a server finds it frozen then, and its remedy stays.
        """
        return self.remedy if self.on_timeout is Level.CRITICAL else "manage.py health"


_checks: dict[str, Check] = {}


def health_check(
    name: str,
    *,
    needs: tuple[str, ...] = ("database",),
    page: str = "/admin/",
    on_timeout: Level = Level.UNKNOWN,
    remedy: str = "manage.py health",
    verbose: bool = False,
    prepare: Callable[[], object] = lambda: None,
) -> Callable[[Callable[[], Line]], Callable[[], Line]]:
    """Return a decorator that registers a function as the check `name`. Raise ValueError if the name is taken."""

    def register(run: Callable[[], Line]) -> Callable[[], Line]:
        if name in _checks:
            raise ValueError(f"A health check named {name!r} is already registered.")
        _checks[name] = Check(name, run, needs, page, on_timeout, remedy, verbose, prepare)
        return run

    return register


def registered_checks() -> tuple[Check, ...]:
    """Return every check in the order of registration."""
    return tuple(_checks.values())
