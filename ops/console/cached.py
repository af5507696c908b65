"""Values that pages share for some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Cached(Generic[Key, Value]):
    """The value of each key in this process, at most `seconds` old. One request computes it; others get the old one.

    They wait for the new one if the old one is more than `usable_seconds` old.
    """

    def __init__(
        self, compute: Callable[[Key], Value], *, seconds: float, usable_seconds: float = float("inf")
    ) -> None:
        self._compute = compute
        self.seconds = seconds
        self._usable_seconds = usable_seconds
        self._lock = threading.Lock()
        self._values: dict[Key, tuple[float, Value]] = {}

    def get(self, key: Key) -> Value:
        """Return the value. A request waits for another one that computes it only if there is no usable old one."""
        known = self._values.get(key)
        if known and time.monotonic() - known[0] < self.seconds:
            return known[1]
        is_usable = known is not None and time.monotonic() - known[0] < self._usable_seconds
        if not self._lock.acquire(blocking=not is_usable):
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
