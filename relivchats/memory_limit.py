"""Limits the memory of a worker. Its supervisor (`./dev up`, Compose) starts another one when it ends.

Above WORKER_MEMORY_MB, a worker drops what it only caches. If that is not enough, it takes no more tasks, finishes
those that it has, and ends. It ends at once if it needs a quarter more, or if its tasks take longer than
FINISH_SECONDS: then it gives its leases back, so that what it worked on is due again. If it needed a quarter more, one
of its tasks may be what needs it, so that each of them has used an attempt: otherwise it would end one worker after
another. If they took too long, only indexing has.
"""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil
from django.conf import settings
from django.db import Error, connections

from relivchats import leases

logger = logging.getLogger(__name__)

SAMPLE_SECONDS = 0.5
#: Shorter than a lease, which another worker would otherwise recover.
FINISH_SECONDS = 60.0
GIVE_BACK_SECONDS = 5.0
MIB = 1024 * 1024

#: What frees memory that is only cached.
relievers: list[Callable[[], None]] = []


def watch() -> None:
    """Watch the memory of this process in a thread, unless there is no limit."""
    if settings.WORKER_MEMORY_MB:
        threading.Thread(target=_watch, args=(settings.WORKER_MEMORY_MB * MIB,), name="memory", daemon=True).start()


def resident_bytes() -> int:
    """Return the memory of this process."""
    return int(psutil.Process().memory_info().rss)


def relieve() -> None:
    """Free what is cached, and return what is free to the system."""
    for reliever in relievers:
        reliever()
    gc.collect()
    if sys.platform == "linux":
        # A libc other than glibc has no such function.
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def _watch(limit_bytes: int) -> None:
    ends_at: float | None = None
    while True:
        time.sleep(SAMPLE_SECONDS)
        used = resident_bytes()
        if ends_at is None and used > limit_bytes:
            relieve()
            used = resident_bytes()
            if used > limit_bytes:
                logger.warning("too much memory: finishing the tasks", extra={"mebibytes": used // MIB})
                ends_at = time.monotonic() + FINISH_SECONDS
                # Celery's warm shutdown.
                os.kill(os.getpid(), signal.SIGTERM)
        is_far_beyond = used > limit_bytes * 5 // 4
        if is_far_beyond or (ends_at is not None and time.monotonic() > ends_at):
            _end(used, uses_attempt=is_far_beyond)


def _end(used: int, *, uses_attempt: bool) -> None:
    """End this process at once, and give its leases back before if the database answers."""
    logger.error("too much memory: ended", extra={"mebibytes": used // MIB})
    giving_back = threading.Thread(target=_give_back, args=(uses_attempt,), daemon=True)
    giving_back.start()
    giving_back.join(GIVE_BACK_SECONDS)
    # No clean-up, which could take memory. Postgres and the broker notice that the connections are closed.
    os._exit(1)


def _give_back(uses_attempt: bool) -> None:
    try:
        leases.give_back_all(uses_attempt=uses_attempt)
    except Error as error:
        # They expire, and recovery makes the rows due again.
        logger.warning("leases not given back", extra={"error": type(error).__name__})
    finally:
        connections.close_all()
