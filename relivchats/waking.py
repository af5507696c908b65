"""Waking others: one message to a worker, sent beside the caller so that an answer never waits for the broker."""

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
    """Send the task of this name its row's id. False, and a line in the log, when the broker does not take it."""
    try:
        current_app.send_task(task, args=[str(row_id)])
    except (BrokerUnavailable, RedisError, OSError) as error:
        logger.warning("the broker did not take a wake-up call", extra={"error": type(error).__name__})
        return False
    return True


class Waker:
    """Runs `work` in a thread of its own; calls while it runs become one further run."""

    def __init__(self, work: Callable[[], object], *, name: str) -> None:
        self._work = work
        self._name = name
        self._wanted = threading.Event()
        self._running = threading.Lock()

    def wake(self) -> None:
        self._wanted.set()
        if not self._running.locked():
            threading.Thread(target=self._run, name=self._name).start()

    def _run(self) -> None:
        with self._running:
            try:
                while self._wanted.is_set():
                    self._wanted.clear()
                    self._work()
            except Error as error:
                # Nothing is lost: the next round of beat does the same.
                logger.warning("a wake-up came to nothing", extra={"waker": self._name, "error": type(error).__name__})
            finally:
                connections.close_all()
        if self._wanted.is_set():
            # Asked between the last look and letting go.
            self.wake()
