"""Keeping a lease: one thread a process renews all that the process holds. A killed process stops: that is all."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from django.conf import settings
from django.db import Error, connection, connections

logger = logging.getLogger(__name__)

_RENEW = """
UPDATE insights SET lease_expires_at = clock_timestamp() + make_interval(secs => %s)
WHERE id IN (
    SELECT id FROM insights WHERE lease_token = ANY(%s) AND status = 'generating' ORDER BY id FOR UPDATE SKIP LOCKED
)
"""


class LeaseKeeper:
    def __init__(self) -> None:
        self._held: set[UUID] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextmanager
    def holding(self, token: UUID) -> Iterator[None]:
        """Renew this lease every fifth of its length until the block ends."""
        try:
            with self._lock:
                self._held.add(token)
                if self._thread is None or not self._thread.is_alive():
                    thread = threading.Thread(target=self._keep, name="leases", daemon=True)
                    thread.start()
                    self._thread = thread
            yield
        finally:
            with self._lock:
                self._held.discard(token)

    def _keep(self) -> None:
        while True:
            time.sleep(settings.INSIGHT_LEASE_SECONDS / 4.5)
            with self._lock:
                tokens = list(self._held)
                if not tokens:
                    self._thread = None
                    return
            self._renew(tokens)

    def _renew(self, tokens: list[UUID]) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(_RENEW, [settings.INSIGHT_LEASE_SECONDS, tokens])
        except Error as error:
            # Whatever the database says, the next round tries again: a dead keeper would lose every lease.
            logger.warning("leases were not renewed", extra={"error": type(error).__name__, "leases": len(tokens)})
        finally:
            connections.close_all()


keeper = LeaseKeeper()
