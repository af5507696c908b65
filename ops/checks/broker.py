"""Redis or Valkey: does it answer."""

from __future__ import annotations

import time

from redis.exceptions import RedisError

from ops import queues
from relivchats.staff.reports import Level, Line

MEND = "docker-compose restart redis; unlocks wait in Postgres meanwhile and nothing is lost"


def answers() -> Line:
    started = time.perf_counter()
    try:
        with queues.client() as redis:
            redis.ping()
    except (RedisError, OSError) as error:
        return Line("broker", Level.CRITICAL, f"does not answer ({type(error).__name__})", MEND)
    milliseconds = round((time.perf_counter() - started) * 1000, 1)
    return Line("broker", Level.FINE, f"answers in {milliseconds} ms", data={"milliseconds": milliseconds})
