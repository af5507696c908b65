"""Health: the checks side by side, within two seconds, whatever hangs."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError

from ops import checks
from ops.checks import Check
from ops.connections import own_connection
from relivchats.staff.reports import Level, Line, Report

logger = logging.getLogger(__name__)

#: All checks together, and one check.
TOTAL_SECONDS = 1.8
CHECK_SECONDS = 1.4

#: Threads that ask, each with a connection of its own: few, since health is asked when connections are scarce.
LANES = 5

#: A lane that hangs (on a frozen server, say) is left behind; with so many left behind, none is added.
MOST_LANES = 20

CACHE_SECONDS = 10.0


@dataclass
class _Round:
    """One look at everything: what is still to ask, and the answers."""

    to_ask: deque[Check]
    answers: dict[str, Line] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)


_lanes: set[threading.Thread] = set()
_lanes_lock = threading.Lock()


def look(which: Sequence[Check] = checks.ALL, *, seconds: float | None = None) -> list[Line]:
    """One line a check, in their order. A check that does not answer in time gets the line of its silence.

    `seconds` for all of them together; TOTAL_SECONDS when not told.
    """
    seconds = TOTAL_SECONDS if seconds is None else seconds
    until = time.monotonic() + seconds
    current = _Round(deque(which))
    for _ in range(min(LANES, len(which))):
        _start_lane(current, seconds=min(CHECK_SECONDS, seconds))
    with current.changed:
        while len(current.answers) < len(which):
            left = until - time.monotonic()
            if left <= 0 or not current.changed.wait(left):
                break
        current.to_ask.clear()
        return [current.answers.get(check.name) or _silence(check, seconds=seconds) for check in which]


def report(*, verbose: bool = False) -> Report:
    started = time.monotonic()
    lines = look((*checks.ALL, *checks.MORE) if verbose else checks.ALL)
    milliseconds = round((time.monotonic() - started) * 1000)
    return Report("Health", tuple(lines), data={"milliseconds": milliseconds})


class _Latest:
    """The latest report of this process, no older than a few seconds; one look at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._looked_at = 0.0

    def get(self) -> Report:
        with self._lock:
            if self._report is None or time.monotonic() - self._looked_at >= CACHE_SECONDS:
                self._report = report()
                self._looked_at = time.monotonic()
            return self._report

    def forget(self) -> None:
        with self._lock:
            self._report = None


_latest = _Latest()
latest = _latest.get
forget = _latest.forget


def _start_lane(current: _Round, *, seconds: float) -> None:
    with _lanes_lock:
        _lanes.difference_update([lane for lane in _lanes if not lane.is_alive()])
        if len(_lanes) >= MOST_LANES:
            return
        lane = threading.Thread(target=_run_lane, args=(current, seconds), name="health", daemon=True)
        _lanes.add(lane)
        lane.start()


def _run_lane(current: _Round, seconds: float) -> None:
    with own_connection(seconds=seconds):
        while True:
            try:
                check = current.to_ask.popleft()
            except IndexError:
                return
            line = _ask(check)
            with current.changed:
                current.answers[check.name] = line
                current.changed.notify()


def _ask(check: Check) -> Line:
    try:
        return check.ask()
    except (OperationalError, InterfaceError):
        return Line(check.name, check.silence, "the database did not answer", check.remedy)
    except Exception as error:
        # A check that is broken itself must not take the other answers with it.
        logger.exception("a check failed", extra={"check": check.name})
        return Line(check.name, Level.UNKNOWN, f"the check failed: {type(error).__name__}", check.remedy)


def _silence(check: Check, *, seconds: float) -> Line:
    return Line(check.name, check.silence, f"no answer within {seconds:g} s", check.remedy)
