"""A thread of each process that writes what the process counted and logged. It survives an outage of the database.

Warnings and errors are written within a second, request counts every ten seconds, and all when the process stops. Once
a minute it adds the memory of the process to the samples; that of beat samples the installation.
"""

from __future__ import annotations

import atexit
import logging
import threading
import time
from multiprocessing import util
from typing import Any

from celery import signals
from django.db import DataError, Error, IntegrityError, connections

from ops import errors, requests, samples
from ops.monitoring_models import ErrorEvent
from relivchats import error_events, request_counts
from relivchats.error_events import EventQueue
from relivchats.process_signals import web_started
from relivchats.request_counts import RequestCounter

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10.0
_SAMPLED = (ErrorEvent.Role.WEB, ErrorEvent.Role.WORKER, ErrorEvent.Role.BEAT)
#: Events that come together are written together.
GATHER_SECONDS = 0.5
STOP_SECONDS = 3.0
#: A command ends with what a person sees; the database may be what does not answer.
STOP_SECONDS_OF_COMMANDS = 0.5


class Recorder:
    """Writes the request counts, events and samples of this process."""

    def __init__(
        self,
        role: ErrorEvent.Role,
        *,
        counter: RequestCounter = request_counts.counter,
        events: EventQueue = error_events.queue,
        interval_seconds: float = INTERVAL_SECONDS,
        first_minute: int | None = None,
    ) -> None:
        #: Whether the latest attempt to write succeeded.
        self.is_current = True
        self._role = role
        self._counter = counter
        self._events = events
        self._interval_seconds = interval_seconds
        # From the next full minute on: a process that replaces another one must not be added to it.
        self._next_minute = _minute() + 1 if first_minute is None else first_minute
        self._wake = threading.Event()
        self._stopped = threading.Event()
        # A daemon: it must not keep a process alive. EventHandler knows it by its name.
        self._thread = threading.Thread(target=self._run, name=__name__, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._events.on_add = self._wake.set
        if self._events:
            self._wake.set()
        self._thread.start()

    def stop(self, *, timeout_seconds: float = STOP_SECONDS) -> None:
        """Write what there is and stop; wait at most so long."""
        self._stopped.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while not self._stopped.is_set():
            self._wake.wait(self._interval_seconds)
            self._stopped.wait(GATHER_SECONDS)
            self._wake.clear()
            self._write()
            if not self.is_current:
                # Events that arrive meanwhile must not make every one of them try again.
                self._stopped.wait(self._interval_seconds)
        self._write()

    def _write(self) -> None:
        counts = self._counter.take()
        events, dropped = self._events.take()
        try:
            if events or dropped:
                errors.write(events, role=self._role, dropped=dropped)
                events, dropped = [], 0
            if counts:
                requests.write(counts)
                counts = {}
            if self._role in _SAMPLED and _minute() >= self._next_minute:
                self._next_minute = _minute() + 1
                self._sample()
            self.is_current = True
        except (DataError, IntegrityError):
            # They could not be stored next time either, and would keep what comes after them from being stored.
            logger.exception("counts and events dropped")
        except (Error, OSError) as error:
            self._counter.put_back(counts)
            self._events.put_back(events, dropped)
            if self.is_current:
                logger.warning("counts and events not written", extra={"error": type(error).__name__})
            self.is_current = False
        finally:
            connections.close_all()

    def _sample(self) -> None:
        samples.add_memory(self._role)
        if self._role == ErrorEvent.Role.BEAT:
            samples.write(samples.collect())


def _minute() -> int:
    return int(time.time()) // 60


def record_command() -> None:
    """Write what a command logged, if the database answers at once."""
    if error_events.queue:
        recorder = Recorder(ErrorEvent.Role.COMMAND)
        recorder.start()
        recorder.stop(timeout_seconds=STOP_SECONDS_OF_COMMANDS)


def connect_signals() -> None:
    """Start the recorder in each web process, worker and beat."""
    recorders: list[Recorder] = []

    def start(role: ErrorEvent.Role) -> None:
        recorders.append(Recorder(role))
        recorders[-1].start()
        # A forked process of the web server runs the finalizers of multiprocessing, and no functions of atexit.
        util.Finalize(None, stop, exitpriority=10)
        atexit.register(stop)

    def stop(**_: Any) -> None:
        while recorders:
            recorders.pop().stop()

    web_started.connect(lambda **_: start(ErrorEvent.Role.WEB), weak=False)
    signals.worker_init.connect(lambda **_: start(ErrorEvent.Role.WORKER), weak=False)
    signals.beat_init.connect(lambda **_: start(ErrorEvent.Role.BEAT), weak=False)
    signals.worker_shutdown.connect(stop, weak=False)
