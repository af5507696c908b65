"""Calls in threads, each with a database connection of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any

from django.db import connection, connections

from tests.processes import PATIENCE_SECONDS


class BackgroundCall:
    """A call that runs in a thread of its own."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._results: list[object] = []
        self._thread = threading.Thread(target=self._run, args=(function,))
        self._thread.start()

    def _run(self, function: Callable[[], object]) -> None:
        try:
            self._results.append(function())
        except Exception as error:  # the test examines what each call raised
            self._results.append(error)
        finally:
            connections.close_all()

    def result(self) -> Any:
        """Wait for the call and return its result or the exception that it raised."""
        self._thread.join(PATIENCE_SECONDS)
        assert self._results, "the call did not return"
        return self._results[0]


def call_at_once(functions: Sequence[Callable[[], object]]) -> list[Any]:
    """Start all functions at the same moment and return their results and exceptions in order."""
    start = threading.Barrier(len(functions))

    def run(function: Callable[[], object]) -> object:
        start.wait(PATIENCE_SECONDS)
        return function()

    calls = [BackgroundCall(lambda function=function: run(function)) for function in functions]  # type: ignore[misc]
    return [call.result() for call in calls]


def is_a_lock_awaited() -> bool:
    """Return whether any connection waits for a lock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return bool(cursor.fetchone()[0])
