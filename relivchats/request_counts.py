"""Requests counted in memory, by minute, route, method and status, with their durations in buckets.

`ops.requests` writes the counts to the database and reads them there. Counting takes microseconds and never waits.
"""

from __future__ import annotations

import bisect
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from django.urls import Resolver404, resolve

#: Upper bounds of the buckets in milliseconds, inclusive. The last bucket has none.
BOUNDS_MS = (5, 10, 25, 50, 75, 100, 150, 200, 300, 400, 500, 750, 1000, 1500, 2500, 5000, 10_000, 30_000)
BUCKETS = len(BOUNDS_MS) + 1

#: The route of a request that reached no view.
UNMATCHED = "unmatched"
STATIC = "static"

#: A client may send any word as its method; each would be a row.
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))

#: An installation counts about a hundred rows a minute, so that this is an hour without the database.
MAX_ROWS = 6000


class Key(NamedTuple):
    """What is counted together. `minute` is in minutes since 1970."""

    minute: int
    route: str
    method: str
    status: int


@dataclass(slots=True)
class Count:
    """Requests by duration, and the sum of their durations."""

    buckets: list[int] = field(default_factory=lambda: [0] * BUCKETS)
    milliseconds: float = 0.0

    def add(self, other: Count) -> None:
        """Add another count to this one."""
        self.buckets = [mine + its for mine, its in zip(self.buckets, other.buckets, strict=True)]
        self.milliseconds += other.milliseconds


class RequestCounter:
    """The counts of one process that are not written yet."""

    def __init__(self, *, max_rows: int = MAX_ROWS) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Key, Count] = {}
        self._max_rows = max_rows

    def count(self, *, route: str, method: str, status: int, milliseconds: float) -> None:
        """Count one request. Beyond MAX_ROWS, which takes an outage of the database, new rows are not counted."""
        key = Key(int(time.time()) // 60, route, method if method in _METHODS else "OTHER", status)
        bucket = bisect.bisect_left(BOUNDS_MS, milliseconds)
        with self._lock:
            count = self._counts.get(key)
            if count is None:
                if len(self._counts) >= self._max_rows:
                    return
                count = self._counts[key] = Count()
            count.buckets[bucket] += 1
            count.milliseconds += milliseconds

    def take(self) -> dict[Key, Count]:
        """Return the counts and start from zero."""
        with self._lock:
            taken, self._counts = self._counts, {}
        return taken

    def put_back(self, counts: Mapping[Key, Count]) -> None:
        """Add counts that could not be written."""
        with self._lock:
            for key, count in counts.items():
                if mine := self._counts.get(key):
                    mine.add(count)
                elif len(self._counts) < self._max_rows:
                    self._counts[key] = count


counter = RequestCounter()


def find_route(path: str) -> str:
    """Return the pattern that an address matches, for a request that was refused before Django saw it."""
    try:
        return resolve(path).route
    except Resolver404:
        return UNMATCHED
