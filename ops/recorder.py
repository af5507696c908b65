"""A thread of each process that writes what the process counted and logged. It survives an outage of the database."""

from __future__ import annotations

import atexit
import logging
import threading
from multiprocessing import util
from typing import Any

from django.db import Error, connections

from ops import requests
from relivchats.process_signals import web_started
from relivchats.request_counts import RequestCounter, counter

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 10
STOP_SECONDS = 3


class Recorder:
    """Writes the request counts of this process every ten seconds, and when it stops."""

    def __init__(self, *, counter: RequestCounter = counter, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._counter = counter
        self._interval_seconds = interval_seconds
        #: Whether the latest attempt to write succeeded.
        self.is_current = True
        self._stopped = threading.Event()
        # A daemon: it must not keep a process alive.
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Write what there is and stop, within STOP_SECONDS."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            self._write()
        self._write()

    def _write(self) -> None:
        counts = self._counter.take()
        if not counts:
            return
        try:
            requests.write(counts)
            self.is_current = True
        except (Error, OSError) as error:
            self._counter.put_back(counts)
            self.is_current = False
            logger.warning("request counts not written", extra={"error": type(error).__name__})
        finally:
            connections.close_all()


def connect_signals() -> None:
    """Start the recorder in each web process."""

    def start(**_: Any) -> None:
        recorder = Recorder()
        recorder.start()
        # A forked process of the web server runs the finalizers of multiprocessing, and no functions of atexit.
        util.Finalize(None, recorder.stop, exitpriority=10)
        atexit.register(recorder.stop)

    web_started.connect(start, weak=False)
