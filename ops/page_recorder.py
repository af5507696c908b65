"""The threads of beat that compute what pages show (`ops.snapshots`). The history of health has no gaps by it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import Error, connections

from ops import health, snapshots, usage
from ops.console import attention, overview

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 15


class Recorder:
    """A thread that calls a function again and again."""

    def __init__(self, name: str, record: Callable[[], None], *, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._record = record
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread. The first call is after one interval: while everything starts, much is missing."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_seconds):
            try:
                self._record()
            except (Error, OSError) as error:
                extra = {"source": self._thread.name, "error": type(error).__name__}
                logger.warning("what pages show was not recorded", extra=extra)
            except Exception:
                # The thread is not started again: a fault of ours must not end the history of health.
                logger.exception("what pages show was not recorded", extra={"source": self._thread.name})
            finally:
                connections.close_all()


def record_health() -> None:
    """Run the checks, which adds to their history, and store the report."""
    snapshots.write_report(health.report(is_recorded=True))


def record_numbers() -> None:
    """Store the counts of what waits for a person, the metrics that are due, and the tokens of days that are over."""
    attention.record()
    overview.record_due()
    usage.record()


def start() -> None:
    """Start the threads."""
    Recorder("pages: health", record_health).start()
    Recorder("pages: numbers", record_numbers).start()
