"""Wake-ups: Celery messages that tell a worker that a row is due, and the thread that publishes them.

The rows themselves are the queue. A lost, late or duplicate message does no harm, because the row stays due and is
published again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from uuid import UUID

from celery import current_app
from django.db import Error, connections
from kombu.exceptions import OperationalError as BrokerUnavailable
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)


def publish(task: str, row_id: UUID) -> bool:
    """Send the Celery task `task` with the row's id. Return False, with a warning in the log, if the broker fails."""
    try:
        current_app.send_task(task, args=[str(row_id)])
    except (BrokerUnavailable, RedisError, OSError) as error:
        logger.warning("wake-up not published", extra={"error": type(error).__name__})
        return False
    return True


class CoalescingThread:
    """Run a function in a background thread; all requests during a run are combined into one further run.

    A request must never wait for the broker: publishing to a frozen one takes five seconds (the socket timeout).
    """

    def __init__(self, function: Callable[[], object], *, name: str) -> None:
        self._function = function
        self._name = name
        self._requested = threading.Event()
        self._running = threading.Lock()

    def run_soon(self) -> None:
        """Request a run and return at once."""
        self._requested.set()
        if not self._running.locked():
            threading.Thread(target=self._run, name=self._name).start()

    def _run(self) -> None:
        with self._running:
            try:
                while self._requested.is_set():
                    # Before the run, not after it: a request that arrives during the run must cause another one.
                    self._requested.clear()
                    self._function()
            except Error as error:
                # Nothing is lost: beat calls the same function every few seconds.
                logger.warning("wake-up failed", extra={"wakeup": self._name, "error": type(error).__name__})
            finally:
                connections.close_all()
        # A request between the last check and the release of the lock saw the lock held and started no thread.
        if self._requested.is_set():
            self.run_soon()
