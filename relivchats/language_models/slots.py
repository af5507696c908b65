"""A limit of the calls that one process makes at the same time, in turns between groups such as chats."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager


class CallSlots:
    """`limit` slots for all threads of a process. Groups that wait get the next free slot in turns."""

    def __init__(self, limit: int) -> None:
        self._lock = threading.Lock()
        self._free = limit
        #: The calls that wait, by group; the first group has the next turn.
        self._waiting: OrderedDict[str, deque[threading.Event]] = OrderedDict()

    @contextmanager
    def hold(self, group: str, *, timeout_seconds: float | None = None) -> Iterator[None]:
        """Wait for a slot, and hold it within the block. The wait ends, because every call has a time limit.

        Raise TimeoutError if it takes longer than `timeout_seconds`.
        """
        turn = threading.Event()
        with self._lock:
            if self._free:
                self._free -= 1
                turn.set()
            else:
                self._waiting.setdefault(group, deque()).append(turn)
        try:
            if not turn.wait(timeout_seconds):
                raise TimeoutError
            yield
        finally:
            with self._lock:
                self._leave(group, turn)

    def _leave(self, group: str, turn: threading.Event) -> None:
        if not turn.is_set():
            # The wait was interrupted, or took too long.
            self._waiting[group].remove(turn)
            if not self._waiting[group]:
                del self._waiting[group]
        elif self._waiting:
            # The slot passes to the next group, which then waits behind the others.
            following, turns = next(iter(self._waiting.items()))
            turns.popleft().set()
            del self._waiting[following]
            if turns:
                self._waiting[following] = turns
        else:
            self._free += 1
