"""The thread of beat that runs the health checks, so that their history has no gaps while nobody looks."""

from __future__ import annotations

import logging
import threading

from django.db import Error, connections

from ops import health, history

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 15


class Recorder:
    """A thread that runs the health checks and records their states."""

    def __init__(self, *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="history of health", daemon=True)

    def start(self) -> None:
        """Start the thread. The first run is after one interval: while everything starts, much is missing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            try:
                history.record(health.run_checks())
            except (Error, OSError) as error:
                logger.warning("the states of health were not recorded", extra={"error": type(error).__name__})
            finally:
                connections.close_all()
