"""Whether web, worker and beat are alive, without Django: `python -m relivchats.liveness web|worker|beat`.

This is the health check of a container. It exits 0 if the process is alive.
"""

from __future__ import annotations

import http.client
import os
import socket
import sys

#: A process without a heartbeat for this long counts as dead.
MAX_SILENCE_SECONDS = 30
TIMEOUT_SECONDS = 4


def has_heartbeat(url: str, *, kind: str, pid: int | None = None) -> bool:
    """Return whether a process of this kind on this host, or the one with this pid, wrote a heartbeat within 30 s.

    The time is the database's. Without an answer of the database, return False.
    """
    import psycopg

    name = f"{kind}@{socket.gethostname()[:120]}:{pid or '%'}"
    query = "SELECT 1 FROM heartbeats WHERE name LIKE %s AND beat_at > now() - make_interval(secs => %s) LIMIT 1"
    try:
        with psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS) as connection:
            return connection.execute(query, (name, MAX_SILENCE_SECONDS)).fetchone() is not None
    except psycopg.Error:
        return False


def is_ready(host: str, port: int) -> bool:
    """Return whether the web server on this port answers, with the database behind it."""
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def main() -> int:
    """Return the exit status for the process that the command line names; `web` may be followed by a port."""
    kind, *rest = sys.argv[1:]
    if kind == "web":
        alive = is_ready("localhost", int(rest[0]) if rest else 8000)
    else:
        alive = has_heartbeat(os.environ["DATABASE_URL"], kind=kind)
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
