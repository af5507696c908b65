"""Values that pages share for some seconds, and queries that cannot make a page wait."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from django.db import OperationalError, connection, transaction

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cached(Generic[Key, Value]):
    """The value of each key in this process, at most `seconds` old. One request computes it; others get the old one."""

    def __init__(self, compute: Callable[[Key], Value], *, seconds: float) -> None:
        self._compute = compute
        self.seconds = seconds
        self._lock = threading.Lock()
        self._values: dict[Key, tuple[float, Value]] = {}

    def get(self, key: Key) -> Value:
        """Return the value. Only the first request of a process waits for another one that computes it."""
        known = self._values.get(key)
        if known and time.monotonic() - known[0] < self.seconds:
            return known[1]
        if not self._lock.acquire(blocking=known is None):
            assert known is not None
            return known[1]
        try:
            # Another request may have computed it while this one waited for the lock.
            known = self._values.get(key)
            if known is None or time.monotonic() - known[0] >= self.seconds:
                known = (time.monotonic(), self._compute(key))
                self._values[key] = known
            return known[1]
        finally:
            self._lock.release()

    def clear(self) -> None:
        """Forget all values."""
        self._values.clear()


@contextmanager
def limited(*, milliseconds: int) -> Iterator[None]:
    """Limit each query of the block. It then raises OperationalError, after which the connection can be used."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT current_setting('statement_timeout')")
        before = cursor.fetchone()[0]
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(milliseconds)])
        yield
        # Inside of another transaction, the setting would last until that one ends.
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [before])


def within(compute: Callable[[], Value], *, milliseconds: int) -> Value | None:
    """Return the result, or None if one of its queries takes longer."""
    try:
        with limited(milliseconds=milliseconds):
            return compute()
    except OperationalError:
        return None
