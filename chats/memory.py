"""Limits the memory of the chats that one process searches and indexes at the same time.

What a chat needs is estimated from its number of messages, because it is known only afterwards. Work that finds no room
is done later, so that it occupies no thread.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from django.conf import settings

from relivchats.language_models.errors import EngineRateLimited, EngineRefused

#: Measured at the peak, with 60,000 messages: 770 bytes to open and search a chat, 1,550 to index it.
SEARCHED_BYTES_PER_MESSAGE = 800
INDEXED_BYTES_PER_MESSAGE = 1_600
#: A chat that needs less is small: a quarter of the limit is for those only.
SMALL_BYTES = 16 * 1024 * 1024
WAIT_SECONDS = 5.0
RETRY_SECONDS = 5.0
#: What a worker needs besides.
WORKER_BYTES = 384 * 1024 * 1024


class MemoryBusy(EngineRateLimited):
    """Other chats take the memory for searching and indexing. No attempt is used."""

    code = "memory_busy"


class ChatTooLarge(EngineRefused):
    """The chat needs more memory than a worker may use. Another attempt would not change that."""

    code = "chat_too_large"


class MemoryBudget:
    """Reservations of memory, up to a limit. One that exceeds it by itself is admitted if it is the only one.

    One of more than `max_bytes` is refused.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        max_bytes: int | None = None,
        small_bytes: int = SMALL_BYTES,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._max_bytes = max_bytes
        self._small_bytes = small_bytes
        self._wait_seconds = wait_seconds
        # By whether the reservations are small.
        self._limits = {True: limit_bytes // 4, False: limit_bytes - limit_bytes // 4}
        self._reserved = {True: 0, False: 0}
        # Reentrant, because the garbage collector may release within `reserve`.
        self._changed = threading.Condition(threading.RLock())

    def reserve(self, size_bytes: int, *, make_room: Callable[[], None] = lambda: None) -> None:
        """Reserve memory until `release`. Raise MemoryBusy if there is no room in time, and ChatTooLarge.

        `make_room` frees what is only cached; it is called if there is no room at once.
        """
        if self._max_bytes is not None and size_bytes > self._max_bytes:
            raise ChatTooLarge
        if self._try(size_bytes):
            return
        make_room()
        with self._changed:
            if not self._changed.wait_for(lambda: self._try(size_bytes), self._wait_seconds):
                raise MemoryBusy(retry_after_seconds=RETRY_SECONDS)

    def release(self, size_bytes: int) -> None:
        """Give back what was reserved."""
        with self._changed:
            self._reserved[size_bytes < self._small_bytes] -= size_bytes
            self._changed.notify_all()

    @contextmanager
    def reserved(self, size_bytes: int) -> Iterator[None]:
        """Reserve memory for the block. Raise MemoryBusy or ChatTooLarge."""
        self.reserve(size_bytes)
        try:
            yield
        finally:
            self.release(size_bytes)

    def _try(self, size_bytes: int) -> bool:
        is_small = size_bytes < self._small_bytes
        with self._changed:
            reserved = self._reserved[is_small]
            if reserved and reserved + size_bytes > self._limits[is_small]:
                return False
            self._reserved[is_small] += size_bytes
            return True


@cache
def budget() -> MemoryBudget:
    """Return the budget of this process."""
    worker_bytes = settings.WORKER_MEMORY_MB * 1024 * 1024
    return MemoryBudget(
        settings.SEARCH_MEMORY_MB * 1024 * 1024,
        max_bytes=max(0, worker_bytes - WORKER_BYTES) if worker_bytes else None,
    )
