"""Whether workers and beat show signs of life, asked without Django: `python -m relivchats.liveness worker`.

Exits 0 when a process of that kind on this host wrote its heartbeat lately: the health check of a container.
"""

from __future__ import annotations

import os
import socket
import sys

import psycopg

SILENCE_SECONDS = 30


def beating(url: str, *, kind: str, pid: int | None = None) -> bool:
    """Whether this host's process, or any of that kind, beat within the last 30 s of the database's clock."""
    name = f"{kind}@{socket.gethostname()[:120]}:{pid or '%'}"
    query = "SELECT 1 FROM heartbeats WHERE name LIKE %s AND beat_at > now() - make_interval(secs => %s) LIMIT 1"
    try:
        with psycopg.connect(url, connect_timeout=3) as connection:
            return connection.execute(query, (name, SILENCE_SECONDS)).fetchone() is not None
    except psycopg.Error:
        return False


if __name__ == "__main__":
    sys.exit(0 if beating(os.environ["DATABASE_URL"], kind=sys.argv[1]) else 1)
