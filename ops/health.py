"""Run the health checks in parallel, within two seconds even if some of them hang."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from django.db import DEFAULT_DB_ALIAS, Error, InterfaceError, OperationalError, connections

from ops import checks, database, history
from ops.causes import describe_root, find_causes
from ops.checks.registry import Check
from ops.checks.servers import FAULT_TEXTS
from relivchats import installation
from relivchats.durations import format_short
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

#: A check that has not returned for so long hangs, and is not started again until it returns. That keeps threads for
#: the others. A busy machine delays a check by seconds.
HANGING_SECONDS = 30.0
_HANGING_REMEDY = "A file system or a server does not answer. Look at the mounts of the data and the key store first."

#: The time limit of each query about the history, after the checks.
HISTORY_SECONDS = 0.3

CACHE_SECONDS = 10.0


class _Run:
    """The state that the threads of one run share: the checks not started yet, and the lines by check name."""

    def __init__(self, selected: Sequence[Check]) -> None:
        self.lines: dict[str, Line] = {}
        self.changed = threading.Condition()
        # Otherwise every thread would wait for a database that does not answer, and at its connection limit take slots.
        asks_first = any(check.name == "database" for check in selected)
        self._held = [check for check in selected if asks_first and "database" in check.needs]
        self._pending = deque(check for check in selected if check not in self._held)
        self.over = False

    def next(self) -> Check | None:
        """Return a check to run, as soon as there is one; None if none is left."""
        with self.changed:
            self.changed.wait_for(lambda: self._pending or not self._held or self.over)
            return self._pending.popleft() if self._pending and not self.over else None

    def add(self, check: Check, line: Line) -> None:
        """Add the line of a check. That of the database decides about the checks that need it."""
        with self.changed:
            self.lines[check.name] = replace(line, page=line.page or check.page)
            if check.name == "database":
                if line.level is Level.CRITICAL:
                    for held in self._held:
                        self.lines[held.name] = Line(
                            held.name, Level.UNKNOWN, "waiting for the database", held.remedy_without_answer
                        )
                else:
                    self._pending.extend(self._held)
                self._held = []
            self.changed.notify_all()

    def end(self) -> None:
        """Start no further check: nobody waits for it any more."""
        with self.changed:
            self.over = True
            self.changed.notify_all()


_threads: set[threading.Thread] = set()
_threads_lock = threading.Lock()
#: The check that each thread runs, and when it started, in seconds.
_running: dict[threading.Thread, tuple[str, float]] = {}


def run_checks(selected: Sequence[Check] = checks.ALL, *, timeout_seconds: float | None = None) -> list[Line]:
    """Return one line per check, in order. A check without a result in time yields a line of its `on_timeout` level.

    `timeout_seconds` limits the whole run; the default is TOTAL_SECONDS.
    """
    return find_causes(_run_all(selected, timeout_seconds=timeout_seconds), {check.name: check for check in selected})


def _run_all(selected: Sequence[Check], *, timeout_seconds: float | None = None) -> list[Line]:
    """Return the lines of `run_checks` without their causes."""
    timeout_seconds = TOTAL_SECONDS if timeout_seconds is None else timeout_seconds
    hanging = _find_hanging()
    lines = {
        check.name: Line(
            check.name,
            Level.UNKNOWN,
            f"has not returned for {format_short(timedelta(seconds=hanging[check.name]))}",
            _HANGING_REMEDY,
            page=check.page,
        )
        for check in selected
        # That of a server finds it frozen, with a remedy of its own.
        if check.name in hanging and check.on_timeout is Level.UNKNOWN
    }
    started = [check for check in selected if check.name not in lines]
    run = _Run(started)
    for _ in range(min(WORKER_THREADS, len(started))):
        _start_worker_thread(run, query_seconds=min(CHECK_SECONDS, timeout_seconds))
    with run.changed:
        run.changed.wait_for(lambda: len(run.lines) == len(started), timeout_seconds)
        lines |= run.lines
    run.end()
    late = f"did not finish within {timeout_seconds:g} s, the machine is busy"
    return [
        lines.get(check.name)
        or Line(
            check.name,
            check.on_timeout,
            late,
            check.remedy_without_answer,
            page=check.page,
            # That of a server finds it frozen.
            is_unfinished=check.on_timeout is Level.UNKNOWN,
        )
        for check in selected
    ]


def report(*, verbose: bool = False, is_recorded: bool = False) -> Report:
    """Run the checks now, with `verbose` also those of the machine, and return their report.

    `is_recorded` adds the changes of levels to the history. Only beat does that: a shell with other keys than the
    processes, or on a busy machine, finds levels that the installation does not have.
    """
    if installation.is_nothing_running():
        return _report_of_nothing()
    selected = (*checks.ALL, *checks.VERBOSE) if verbose else checks.ALL
    for check in selected:
        # Its run raises the same, and has a line for it.
        with suppress(Exception):
            check.prepare()
    started = time.monotonic()
    # With the history first: what is older than a cause does not follow from it.
    lines = _with_history(_run_all(selected), is_recorded=is_recorded)
    lines = find_causes(lines, {check.name: check for check in selected})
    milliseconds = round((time.monotonic() - started) * 1000)
    return Report("Health", tuple(lines), data={"milliseconds": milliseconds}, headline=describe_root(lines))


def _report_of_nothing() -> Report:
    """Return the report while nothing runs: that, and what could be the reason on this machine."""
    needed = checks.get_check("disk")
    stopped = Line(
        "installation", Level.CRITICAL, installation.nothing_runs(), installation.start_all(), page="/admin/"
    )
    known = {needed.name: needed, "installation": Check("installation", lambda: stopped, needs=("disk",))}
    lines = find_causes([stopped, *run_checks([needed])], known)
    return Report("Health", tuple(lines), data={"milliseconds": 0}, headline=describe_root(lines))


def _with_history(lines: list[Line], *, is_recorded: bool) -> list[Line]:
    """Return the lines with their history, after their states were recorded, if the database allows it."""
    if not history.is_recordable(lines):
        return lines
    try:
        with _dedicated_connection(query_seconds=HISTORY_SECONDS, read_only=not is_recorded):
            if is_recorded:
                history.record(lines)
            return history.annotate(lines)
    except Error as error:
        # A report without a history is better than none.
        logger.warning("the history of health was not read", extra={"error": type(error).__name__})
        return lines


class _ReportCache:
    """The latest report of this process, at most CACHE_SECONDS old."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._report: Report | None = None
        self._created_at = 0.0
        self._finished_at: datetime | None = None

    def get(self) -> Report:
        # The lock is held during the run: requests that arrive meanwhile get the report before, or wait for the first.
        before = self._report
        if not self._lock.acquire(blocking=before is None):
            assert before is not None
            return before
        try:
            if self._report is None or time.monotonic() - self._created_at >= CACHE_SECONDS:
                self._report = report()
                self._created_at = time.monotonic()
                self._finished_at = datetime.now(UTC)
            return self._report
        finally:
            self._lock.release()

    def get_recent(self, *, max_age_seconds: float) -> Report | None:
        """Return the latest report if it is not older, and make another one in a thread if it is no longer current."""
        age_seconds = time.monotonic() - self._created_at
        report = self._report
        if (report is None or age_seconds >= CACHE_SECONDS) and not self._lock.locked():
            threading.Thread(target=self.get, name="health for pages", daemon=True).start()
        return report if age_seconds < max_age_seconds else None

    def finished_at(self) -> datetime | None:
        """Return when the latest report was made."""
        return self._finished_at

    def clear(self) -> None:
        with self._lock:
            self._report = None


_cache = _ReportCache()
latest = _cache.get
recent = _cache.get_recent
checked_at = _cache.finished_at
clear_cache = _cache.clear


def _find_hanging() -> dict[str, float]:
    """Return the checks that have not returned for HANGING_SECONDS, with the seconds since the first start of each."""
    now = time.monotonic()
    ages = sorted((now - started, name) for name, started in list(_running.values()))
    return {name: age for age, name in ages if age >= HANGING_SECONDS}


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
        while (check := run.next()) is not None:
            _running[threading.current_thread()] = (check.name, time.monotonic())
            # Whatever a check raises becomes its line, so that the other checks still run.
            try:
                line = check.run()
            except (OperationalError, InterfaceError) as error:
                line = _failed(check, error)
            except Exception as error:
                logger.exception("a health check failed", extra={"check": check.name})
                line = Line(check.name, Level.UNKNOWN, f"the check failed: {type(error).__name__}", check.remedy)
            finally:
                del _running[threading.current_thread()]
            run.add(check, line)


def _failed(check: Check, error: Exception) -> Line:
    if database.is_a_wait(error):
        text = "a query takes too long, or waits for a lock"
        return Line(check.name, Level.UNKNOWN, text, "manage.py database", {"waits": True}, is_unfinished=True)
    text = f"the database {FAULT_TEXTS[database.fault_of(error)]}"
    return Line(check.name, check.on_timeout, text, check.remedy_without_answer)


@contextmanager
def _dedicated_connection(*, query_seconds: float, read_only: bool = True) -> Iterator[None]:
    """Give this thread a new, read-only connection outside the pool, on which each query has a time limit.

    Health is needed most when the pool is exhausted, so it must not wait for a connection from the pool.
    """
    before = connections[DEFAULT_DB_ALIAS]
    wrapper = connections.create_connection(DEFAULT_DB_ALIAS)
    milliseconds = int(query_seconds * 1000)
    options = {name: value for name, value in wrapper.settings_dict["OPTIONS"].items() if name != "pool"}
    options |= {
        # libpq rounds a connect_timeout of 1 up to 2.
        "connect_timeout": max(2, int(query_seconds)),
        "application_name": "relivchats health",
        # The server cannot end a query for a client that it has lost: otherwise its check would hang for 15 minutes.
        "keepalives_idle": 5,
        "keepalives_interval": 5,
        "tcp_user_timeout": 10_000,
        "options": f"-c statement_timeout={milliseconds} -c lock_timeout={milliseconds // 2}"
        f" -c default_transaction_read_only={'on' if read_only else 'off'}",
    }
    wrapper.settings_dict = {**wrapper.settings_dict, "OPTIONS": options}
    connections[DEFAULT_DB_ALIAS] = wrapper
    try:
        yield
    finally:
        connections[DEFAULT_DB_ALIAS] = before
        wrapper.close()
