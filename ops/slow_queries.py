"""A warning for each slow query, with the shape of the statement and the function of ours that sent it. No values."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from ops.database import shape
from relivchats.error_events import OWN_PACKAGES

logger = logging.getLogger(__name__)


def _measure(execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any) -> Any:
    started = time.perf_counter()
    try:
        return execute(sql, params, many, context)
    finally:
        milliseconds = (time.perf_counter() - started) * 1000
        if milliseconds > settings.SLOW_QUERY_MS:
            extra = {"milliseconds": round(milliseconds), "shape": shape(str(sql)), "where": _caller()}
            logger.warning("slow query", extra=extra)


def _caller() -> str:
    """Return module:function:line of the innermost frame of ours, without this module."""
    frame = sys._getframe(1)
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        if module.split(".", maxsplit=1)[0] in (*OWN_PACKAGES, "tests") and module != __name__:
            return f"{module}:{frame.f_code.co_name}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def connect_signals() -> None:
    """Measure the queries of every connection of this process."""

    def measure(connection: BaseDatabaseWrapper, **_: Any) -> None:
        if _measure not in connection.execute_wrappers:
            connection.execute_wrappers.append(_measure)

    connection_created.connect(measure, weak=False)
