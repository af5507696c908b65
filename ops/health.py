"""Run the health checks in parallel, within two seconds even if some of them hang."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from django.db import DEFAULT_DB_ALIAS, InterfaceError, OperationalError, connections

from ops import checks
from ops.checks.registry import Check
from relivchats.staff.reports import Level, Line, Report

logger = logging.getLogger(__name__)

#: The time limits of a whole run and of one check.
TOTAL_SECONDS = 1.8
CHECK_SECONDS = 1.4

#: Worker threads of one run. Each opens a database connection, and health is needed most when connections are scarce.
WORKER_THREADS = 5

#: A check that hangs (a frozen server, a stuck mount) keeps its thread after the run has ended, because Python cannot
#: stop a thread. At this number no thread is started; the checks then report a timeout until the hanging ones return.
MAX_THREADS = 20

CACHE_SECONDS = 10.0


@dataclass
class _Run:
    """The state that the threads of one run share: the checks not started yet, and the lines by check name."""

    pending: deque[Check]
    lines: dict[str, Line] = field(default_factory=dict)
    changed: threading.Condition = field(default_factory=threading.Condition)


_threads: set[threading.Thread] = set()
_threads_lock = threading.Lock()


def run_checks(selected: Sequence[Check] = checks.ALL, *, timeout_seconds: float | None = None) -> list[Line]:
    """Return one line per check, in order. A check without a result in time yields a line of its `on_timeout` level.

    `timeout_seconds` limits the whole run; the default is TOTAL_SECONDS.
    """
    timeout_seconds = TOTAL_SECONDS if timeout_seconds is None else timeout_seconds
    run = _Run(deque(selected))
    for _ in range(min(WORKER_THREADS, len(selected))):
        _start_worker_thread(run, query_seconds=min(CHECK_SECONDS, timeout_seconds))
    with run.changed:
        run.changed.wait_for(lambda: len(run.lines) == len(selected), timeout_seconds)
        # A thread that returns from a slow check must not start another: nobody waits for it any more.
        run.pending.clear()
        late = f"no answer within {timeout_seconds:g} s"
        return [
            run.lines.get(check.name) or Line(check.name, check.on_timeout, late, check.remedy) for check in selected
        ]


def report(*, verbose: bool = False) -> Report:
    """Run the checks now, with `verbose` also those of the machine, and return their report."""
    started = time.monotonic()
    lines = run_checks((*checks.ALL, *checks.VERBOSE) if verbose else checks.ALL)
    milliseconds = round((time.monotonic() - started) * 1000)
    return Report("Health", tuple(lines), data={"milliseconds": milliseconds})


class _ReportCache:
    """The latest report of this process, at most CACHE_SECONDS old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._created_at = 0.0

    def get(self) -> Report:
        # The lock is held during the run: requests that arrive meanwhile wait for this report, and start none.
        with self._lock:
            if self._report is None or time.monotonic() - self._created_at >= CACHE_SECONDS:
                self._report = report()
                self._created_at = time.monotonic()
            return self._report

    def clear(self) -> None:
        with self._lock:
            self._report = None


_cache = _ReportCache()
latest = _cache.get
clear_cache = _cache.clear


def _start_worker_thread(run: _Run, *, query_seconds: float) -> None:
    """Start a thread that runs pending checks, unless MAX_THREADS are still alive."""
    with _threads_lock:
        _threads.difference_update([thread for thread in _threads if not thread.is_alive()])
        if len(_threads) >= MAX_THREADS:
            return
        # A daemon: a check that hangs must not keep the process from exiting.
        thread = threading.Thread(target=_run_pending, args=(run, query_seconds), name="health", daemon=True)
        _threads.add(thread)
        thread.start()


def _run_pending(run: _Run, query_seconds: float) -> None:
    with _dedicated_connection(query_seconds=query_seconds):
        while True:
            try:
                check = run.pending.popleft()
            except IndexError:
                return
            # Whatever a check raises becomes its line, so that the other checks still run.
            try:
                line = check.run()
            except (OperationalError, InterfaceError):
                line = Line(check.name, check.on_timeout, "the database did not answer", check.remedy)
            except Exception as error:
                logger.exception("a health check failed", extra={"check": check.name})
                line = Line(check.name, Level.UNKNOWN, f"the check failed: {type(error).__name__}", check.remedy)
            with run.changed:
                run.lines[check.name] = line
                run.changed.notify()


@contextmanager
def _dedicated_connection(*, query_seconds: float) -> Iterator[None]:
    """Give this thread a new, read-only connection outside the pool, on which each query has a time limit.

    Health is needed most when the pool is exhausted, so it must not wait for a connection from the pool.
    """
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    milliseconds = int(query_seconds * 1000)
    options = {name: value for name, value in wrapper.settings_dict["OPTIONS"].items() if name != "pool"}
    options |= {
        # libpq rounds a connect_timeout of 1 up to 2.
        "connect_timeout": max(2, int(query_seconds)),
        "application_name": "relivchats health",
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds}"
        " -c default_transaction_read_only=on",
    }
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options}
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        yield
    finally:
        wrapper.close()
