"""Sessions of Postgres: what they do, and how to end one. The audit entry names the pid, never a statement."""

from __future__ import annotations

from django.db import DatabaseError, ProgrammingError

from ops import database
from relivchats import durations
from relivchats.errors import Conflict, NotFound
from relivchats.staff.bulk_actions import ActionContext, ActionResult, record
from relivchats.staff.reports import Level, Line, Report, Table


def report(*, min_seconds: float = 0) -> Report:
    """Return the connections by source and state, and the sessions that run a statement or hold a transaction open.

    With `min_seconds`, only sessions whose statement or transaction is at least so old, and those they keep waiting.
    """
    with database.monitoring(seconds=5) as cursor:
        connections = database.read_connections(cursor)
        blindness = database.find_blindness(cursor)
        everything = database.read_sessions(cursor)
    sessions = [each for each in everything if max(each.query_seconds, each.transaction_seconds) >= min_seconds]
    lines = [Line("connections", Level.FINE, connections.describe())]
    lines += [Line(source.name, Level.FINE, source.describe()) for source in connections.sources]
    if blindness:
        lines.append(Line("rights", Level.FINE, blindness))
    waiting_for = {pid for each in everything for pid in each.blocked_by}
    for session in everything:
        if session.pid in waiting_for and not session.blocked_by:
            behind = sum(session.pid in each.blocked_by for each in everything)
            text = f"{session.describe()}; {behind} {'waits' if behind == 1 else 'wait'} for it"
            lines.append(Line("blocker", Level.WARNING, text, session.remedy))
    rows = tuple(
        (
            session.pid,
            session.source,
            session.state,
            durations.format_seconds(session.query_seconds),
            durations.format_seconds(session.transaction_seconds),
            ", ".join(map(str, session.blocked_by)) or None,
            ", ".join(session.locks) or None,
            session.query,
        )
        for session in sessions
    )
    table = Table(("pid", "source", "state", "for", "transaction", "waits for", "keeps locked", "statement"), rows)
    data = {"sources": [vars(source) for source in connections.sources]}
    title = f"Database: at least {durations.format_seconds(min_seconds)} old" if min_seconds else "Database"
    return Report(title, tuple(lines), table, data)


def cancel(pid: int, *, context: ActionContext) -> Report:
    """Cancel the statement of a session. Raise NotFound or Conflict."""
    return _signal(pid, end=False, context=context)


def close(pid: int, *, context: ActionContext) -> Report:
    """Close a session; Postgres rolls its transaction back. Raise NotFound or Conflict."""
    return _signal(pid, end=True, context=context)


def close_idle(source: str, *, context: ActionContext) -> Report:
    """Close the idle connections of one source, which hold no lock and run nothing. Raise NotFound for no source."""
    with database.monitoring(seconds=5) as cursor:
        known = [each.name for each in database.read_connections(cursor).sources]
    if source not in known:
        raise NotFound(f"There is no source {source}. Connected are: {', '.join(known)}.")
    number = database.close_idle(source)
    text = f"{number} idle connections of {source} closed"
    _record("close idle connections", ActionResult(source[:100], done=bool(number), outcome=text), context)
    return Report("Closed", (Line("connections", Level.FINE, text),))


def _signal(pid: int, *, end: bool, context: ActionContext) -> Report:
    try:
        done = database.signal(pid, end=end)
    except ProgrammingError:
        raise Conflict(
            f"Session {pid} belongs to another role. Only a superuser can end it, or a role with pg_signal_backend."
        ) from None
    if not done:
        raise NotFound(f"There is no session {pid}.")
    text = "closed" if end else "its statement is cancelled"
    _record("close session" if end else "cancel statement", ActionResult(str(pid), done=True, outcome=text), context)
    return Report("Database", (Line(f"session {pid}", Level.FINE, text),))


def _record(action: str, result: ActionResult, context: ActionContext) -> None:
    try:
        record(action, result, context=context)
    except DatabaseError:
        # With all connections in use, as it may be now, the operator comes first.
        return
