"""Postgres as operators see it: why it does not answer, who is connected, and who waits for whom."""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection

from relivchats import installation

#: A server that accepts a connection and sends nothing for so long is frozen. It forks a process for its first answer,
#: which takes a millisecond, and a hundred on a busy machine.
PROBE_SECONDS = 0.7
#: Characters of a query that are shown.
MAX_SHAPE = 160
_PROTOCOL = 196_608
#: The SQL of a source's name, and of the sessions that may be ended for it: all clients but the one that asks.
_SOURCE = "coalesce(nullif(application_name, ''), usename, 'unknown')"
_OTHER_CLIENTS = "backend_type = 'client backend' AND pid <> pg_backend_pid()"


class Fault(StrEnum):
    """Why Postgres cannot be used."""

    DOWN = "down"
    FROZEN = "frozen"
    STARTING = "starting"
    FULL = "at its connection limit"
    DISK = "out of disk space"
    LOGIN = "refuses the login"
    OTHER = "fails"


#: SQLSTATE by fault (Postgres, appendix A).
_CODES = {
    "57P03": Fault.STARTING,  # cannot_connect_now
    "57P01": Fault.STARTING,  # admin_shutdown
    "57P02": Fault.STARTING,  # crash_shutdown
    "53300": Fault.FULL,  # too_many_connections
    "53100": Fault.DISK,  # disk_full
    "28P01": Fault.LOGIN,
    "3D000": Fault.LOGIN,
}
#: libpq does not tell the SQLSTATE of a failed connection, so its text is read as well. The slots that are reserved are
#: refused only after the login, when `find_fault` has stopped reading.
_TEXTS = (
    ("too many", Fault.FULL),
    ("remaining connection slots", Fault.FULL),
    ("starting up", Fault.STARTING),
    ("shutting down", Fault.STARTING),
    ("recovery mode", Fault.STARTING),
    ("not yet accepting", Fault.STARTING),
    ("terminating connection", Fault.STARTING),
    ("server closed the connection", Fault.STARTING),
    ("no space left", Fault.DISK),
    ("could not extend file", Fault.DISK),
    ("authentication failed", Fault.LOGIN),
    ("no pg_hba.conf entry", Fault.LOGIN),
    ("does not exist", Fault.LOGIN),
    ("refused", Fault.DOWN),
    ("no such file", Fault.DOWN),
    ("could not translate host name", Fault.DOWN),
    ("failed to resolve", Fault.DOWN),
    ("timeout", Fault.FROZEN),
)


def find_fault() -> Fault | None:
    """Ask for a connection as the application does, up to the login. Return why there is none, or None.

    It takes at most PROBE_SECONDS and no slot, and returns None for a server behind a socket file.
    """
    given = connection.settings_dict
    if not given["HOST"] or given["HOST"].startswith("/"):
        return None
    words = b"".join(f"{word}\0".encode() for word in ("user", given["USER"], "database", given["NAME"])) + b"\0"
    try:
        with socket.create_connection((given["HOST"], int(given["PORT"] or 5432)), timeout=PROBE_SECONDS) as server:
            server.sendall(struct.pack("!ii", 8 + len(words), _PROTOCOL) + words)
            answer = server.recv(4096)
    except TimeoutError:
        return Fault.FROZEN
    except OSError:
        return Fault.DOWN
    if answer[:1] != b"E":
        # It asks for the password, or closes the connection because it wants TLS first.
        return None
    # ErrorResponse: a byte, the length, then fields of a byte and a string; C is the SQLSTATE.
    code = next((part[1:].decode() for part in answer[5:].split(b"\0") if part[:1] == b"C"), "")
    return None if code.startswith("28") else _CODES.get(code, Fault.OTHER)


def fault_of(error: Exception) -> Fault:
    """Return why Postgres raised this error."""
    code = getattr(error.__cause__ or error, "sqlstate", None)
    if code in _CODES:
        return _CODES[code]
    text = str(error).lower()
    return next((fault for words, fault in _TEXTS if words in text), Fault.OTHER)


def is_a_wait(error: Exception) -> bool:
    """Return whether a time limit ended the query: it waited for a lock, or was slow."""
    # lock_not_available, query_canceled
    return getattr(error.__cause__ or error, "sqlstate", None) in ("55P03", "57014")


@dataclass(frozen=True)
class Source:
    """The connections of one kind of client. `name` is its application_name, or else its role."""

    name: str
    total: int
    idle: int
    in_transaction: int = 0

    def describe(self) -> str:
        """Return such as `12: 1 active, 10 idle, 1 idle in a transaction`."""
        counts = (self.total - self.idle - self.in_transaction, "active"), (self.idle, "idle")
        parts = [f"{number} {state}" for number, state in (*counts, (self.in_transaction, "idle in a transaction"))]
        return f"{self.total}: {', '.join(part for part in parts if not part.startswith('0 '))}"


@dataclass(frozen=True)
class Connections:
    """All connections of clients, and how many the application may have."""

    used: int
    allowed: int
    sources: tuple[Source, ...]

    def describe(self) -> str:
        """Return such as `97 of 97; 80 by relivchats worker, 12 by psql`."""
        by = ", ".join(f"{source.total} by {source.name}" for source in self.sources[:3])
        used = f"{min(self.used, self.allowed)} of {self.allowed}"
        if self.used > self.allowed:
            # Superusers, and roles for which slots are reserved, connect beyond what the application may have.
            used += f", and {self.used - self.allowed} in reserved slots"
        return f"{used}; {by}" if by else used


def read_connections(cursor: Any) -> Connections:
    """Return the connections of the whole server, the largest source first."""
    cursor.execute(
        f"""
        SELECT {_SOURCE} AS source,
            count(*), count(*) FILTER (WHERE state = 'idle'),
            count(*) FILTER (WHERE state LIKE 'idle in transaction%')
        FROM pg_stat_activity WHERE backend_type = 'client backend' GROUP BY 1 ORDER BY 2 DESC, 1
        """  # noqa: S608 - constants of this module
    )
    sources = tuple(Source(*row) for row in cursor.fetchall())
    cursor.execute(
        """
        SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
            - coalesce(current_setting('reserved_connections', true)::int, 0)
        """
    )
    return Connections(sum(source.total for source in sources), cursor.fetchone()[0], sources)


@dataclass(frozen=True)
class Session:
    """A connection that does something: what it runs, for how long, and whom it waits for. Ages are in seconds.

    `query` is the shape of its statement, without values. `locks` are the tables that nobody else can use meanwhile.
    `is_ours` is whether the role that asks is a member of its role, and so may end it.
    """

    pid: int
    source: str
    state: str
    query_seconds: float
    transaction_seconds: float
    wait_seconds: float
    blocked_by: tuple[int, ...]
    locks: tuple[str, ...]
    query: str
    is_ours: bool = True

    @property
    def remedy(self) -> str:
        """Return the command that cancels its statement; if it runs none, the one that closes the session."""
        is_active = self.state == "active"
        if installation.kind() is installation.Kind.COMPOSE and not self.is_ours:
            return _as_superuser(f"pg_{'cancel' if is_active else 'terminate'}_backend({self.pid})")
        verb = "--cancel" if is_active else "--kill"
        return f"manage.py database {verb} {self.pid}"

    def describe(self) -> str:
        """Return such as `pid 41 (psql), idle in transaction for 40 s: LOCK TABLE chats`."""
        seconds = self.query_seconds if self.state == "active" else self.transaction_seconds
        return f"pid {self.pid} ({self.source}), {self.state} for {seconds:.0f} s: {self.query}"


def read_sessions(cursor: Any) -> list[Session]:
    """Return the sessions of this database that run a statement or hold a transaction open, the oldest first."""
    cursor.execute(
        f"""
        SELECT activity.pid, {_SOURCE}, state,
            coalesce(extract(epoch FROM clock_timestamp() - query_start), 0)::float,
            coalesce(extract(epoch FROM clock_timestamp() - xact_start), 0)::float,
            coalesce((SELECT extract(epoch FROM clock_timestamp() - min(waitstart)) FROM pg_locks
                WHERE pg_locks.pid = activity.pid AND NOT granted), 0)::float,
            CASE wait_event_type WHEN 'Lock' THEN pg_blocking_pids(activity.pid) ELSE '{{}}' END,
            coalesce((SELECT array_agg(DISTINCT relation::regclass::text) FROM pg_locks
                JOIN pg_class ON pg_class.oid = relation AND relkind IN ('r', 'p')
                WHERE pg_locks.pid = activity.pid AND granted AND mode = 'AccessExclusiveLock'), '{{}}'),
            query, coalesce(pg_has_role(usesysid, 'MEMBER'), false)
        FROM pg_stat_activity AS activity
        WHERE datname = current_database() AND backend_type = 'client backend' AND state <> 'idle'
            AND activity.pid <> pg_backend_pid()
        ORDER BY xact_start
        """  # noqa: S608 - constants of this module
    )
    return [
        Session(pid, source, state, query_s, transaction_s, wait_s, tuple(blocked_by), tuple(locks), shape(query), ours)
        for pid, source, state, query_s, transaction_s, wait_s, blocked_by, locks, query, ours in cursor.fetchall()
    ]


_VALUES = re.compile(
    r"""
    (?P<name> "[^"]*" | [a-z_][a-z0-9_$]*(?!\w*') )             # names and keywords stay
    | [ebxun]?&?'(?:[^'\\]|''|\\.)*(?:'|\Z)                      # texts; the last one may be cut off
    | \$(?P<tag>\w*)\$ .*? (?:\$(?P=tag)\$|\Z)                   # texts in dollars
    | (?<![\w$]) [+-]? (?:\d[\w.]*|\.\d\w*)                      # numbers
    | --[^\n]*(?:\n|\Z) | /\*.*?(?:\*/|\Z)                       # comments may contain anything
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def shape(query: str) -> str:
    """Return the statement without its values: `SELECT * FROM chats WHERE id = ?`. A value may be a person's text."""

    def replace(found: re.Match[str]) -> str:
        return found[0] if found["name"] else "" if found[0][:2] in ("--", "/*") else "?"

    text = " ".join(_VALUES.sub(replace, query).split())
    text = re.sub(r"\?(?:, ?\?)+", "?, …", text)
    return text if len(text) <= MAX_SHAPE else text[: MAX_SHAPE - 1] + "…"


def find_blindness(cursor: Any) -> str:
    """Return what the role of this cursor cannot see or end, or an empty text."""
    cursor.execute(
        "SELECT current_user, pg_has_role('pg_read_all_stats', 'USAGE'), pg_has_role('pg_signal_backend', 'USAGE')"
    )
    role, sees_all, ends_others = cursor.fetchone()
    if not sees_all:
        return f"{role} sees the statements of its own sessions only: as a superuser, GRANT pg_monitor TO {role}"
    return "" if ends_others else f"{role} can end its own sessions only; others take GRANT pg_signal_backend TO {role}"


@contextlib.contextmanager
def monitoring(*, seconds: float) -> Iterator[Any]:
    """Yield a cursor for which a slot is reserved, as the owner of the tables; without one, the application's.

    Each query has this time limit. Raise OperationalError.
    """
    owner = settings.DATABASE_OWNER
    if not owner:
        with connection.cursor() as cursor:
            yield cursor
        return
    with (
        connection.wrap_database_errors,
        psycopg.connect(
            host=owner["HOST"],
            port=owner["PORT"] or 5432,
            user=owner["USER"],
            password=owner["PASSWORD"],
            dbname=connection.settings_dict["NAME"],
            connect_timeout=2,
            application_name="relivchats health",
            options=f"-c statement_timeout={int(seconds * 1000)}",
            autocommit=True,
        ) as session,
    ):
        yield session.cursor()


def signal(pid: int, *, end: bool) -> bool:
    """Cancel the statement of a session or, with `end`, close the session. Return False if there is no such session.

    Raise ProgrammingError for a session of a superuser.
    """
    with monitoring(seconds=5) as cursor:
        cursor.execute("SELECT backend_type FROM pg_stat_activity WHERE pid = %s", [pid])
        if cursor.fetchone() != ("client backend",):
            return False
        cursor.execute(f"SELECT {'pg_terminate_backend' if end else 'pg_cancel_backend'}(%s)", [pid])
        return bool(cursor.fetchone()[0])


def close_idle(source: str) -> int:
    """Close the idle connections of one source, and return how many they were."""
    with monitoring(seconds=5) as cursor:
        cursor.execute(
            f"""
            SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
            WHERE {_OTHER_CLIENTS} AND state = 'idle' AND {_SOURCE} = %s
            """,  # noqa: S608 - constants of this module
            [source],
        )
        return int(cursor.fetchone()[0])


def limit_remedy(sources: Sequence[Source]) -> str:
    """Return the command that frees connections of the largest source."""
    is_compose = installation.kind() is installation.Kind.COMPOSE
    if not sources:
        # The application has no slot to look who it is, so the command looks, and prints it.
        of_clients = f"FROM pg_stat_activity WHERE {_OTHER_CLIENTS} GROUP BY 1 ORDER BY count(*) DESC LIMIT 1"
        return _end_connections(f"(SELECT {_SOURCE} {of_clients})") if is_compose else installation.restart("web")
    largest = sources[0]
    part = largest.name.removeprefix("relivchats ")
    if largest.name.startswith("relivchats ") and part in ("web", "worker", "beat"):
        return installation.restart(part)
    if is_compose:
        # A client chooses its name, so it may contain anything.
        name = largest.name.replace("'", "''")
        return _end_connections(f"'{name}'")
    return f"manage.py database --close-idle {shlex.quote(largest.name)}"


def _end_connections(source: str) -> str:
    """Return the command that ends the connections of a source in containers, by an SQL expression of its name."""
    return _as_superuser(
        f"{_SOURCE}, count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {_OTHER_CLIENTS}"
        f" AND {_SOURCE} = {source} GROUP BY 1"
    )


def _as_superuser(expressions: str) -> str:
    """Return the command that selects something in the container of Postgres.

    A superuser has slots of its own, and logs in there without a password.
    """
    statement = f"SELECT {expressions}"
    # In double quotes, a shell reads these characters itself.
    quoted = shlex.quote(statement) if re.search(r"[\\\"$`!]", statement) else f'"{statement}"'
    return f"docker-compose exec postgres psql -U relivchats -c {quoted}"
