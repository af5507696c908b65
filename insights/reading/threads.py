"""The threads that wait for the windows of a model: a limited number per process, shared evenly by its readings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

#: More than any provider's quota keeps busy, and fewer than the connections of a client (language_models/http.py).
MAX_THREADS = 256


class SharedThreads:
    """Threads for several users at once. Each starts no more calls than its share of them."""

    def __init__(self, max_threads: int, *, name: str) -> None:
        self._max_threads = max_threads
        self._pool = ThreadPoolExecutor(max_threads, thread_name_prefix=name)
        self._lock = threading.Lock()
        self._n_users = 0

    @contextmanager
    def used(self) -> Iterator[None]:
        """Count a user within the block."""
        with self._lock:
            self._n_users += 1
        try:
            yield
        finally:
            with self._lock:
                self._n_users -= 1

    @property
    def share(self) -> int:
        """The calls that each user may have at the same time now. A new user gets its share as calls of others end."""
        return max(1, self._max_threads // max(1, self._n_users))

    def submit(self, function: Callable[..., T], *arguments: object) -> Future[T]:
        """Start a call, or queue it until a thread is free."""
        return self._pool.submit(function, *arguments)


window_threads = SharedThreads(MAX_THREADS, name="read-window")
