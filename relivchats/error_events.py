"""Warnings and errors of this process, kept in memory until a thread writes them to the database (`ops.recorder`).

An event has the constant text of its message, the type and place of an exception, and ids. It has no text of an
exception and no other value, because these may quote a chat.
"""

from __future__ import annotations

import hashlib
import logging
import re
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from uuid import UUID

from relivchats.logs import context, request_id, scrub

MAX_WAITING = 1000
OWN_PACKAGES = ("relivchats", "chats", "billing", "insights", "ops", "manage")
_REPOSITORY = str(Path(__file__).resolve().parent.parent)
#: A word of ours, such as an error code. A name or a text of a person is not taken for one, because of its extra.
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}\Z")
#: The extras that contain such a word, the most telling first.
#: A placeholder of a message's arguments.
_PLACEHOLDER = re.compile(r"%(\(\w+\))?[-+ #0]*(\d+|\*)?(\.\d+)?[a-zA-Z]")
#: Python's own words for a warning: `path:line: DeprecationWarning: text`.
_WARNING_CATEGORY = re.compile(r": (\w*Warning): ")
#: Attribute of a record that a user's mistake causes, such as a file that is no export. It is no warning of ours.
REFUSAL = "is_refusal"
_CODE_EXTRAS = ("error_code", "reason", "check", "source", "model", "wakeup")


@dataclass(frozen=True, slots=True)
class ErrorEvent:
    """One event. `location` is module:function:line of the innermost frame of ours; ids are None if unknown."""

    at: datetime
    level: str
    logger: str
    event: str
    error: str = ""
    location: str = ""
    code: str = ""
    route: str = ""
    status: int | None = None
    request_id: str = ""
    user_id: UUID | None = None
    job_id: UUID | None = None
    insight_id: UUID | None = None
    chat_id: UUID | None = None

    @property
    def fingerprint(self) -> str:
        """Return a digest that events of the same cause share."""
        place = self.location.rpartition(":")[0]
        parts = (self.logger, re.sub(r"\d+", "9", self.event), self.error, place, self.code, self.route)
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]

    @classmethod
    def of(cls, record: logging.LogRecord) -> ErrorEvent:
        """Return the event of a log record."""
        values = {**context(), **record.__dict__}
        exception, traceback = (record.exc_info[0], record.exc_info[2]) if record.exc_info else (None, None)
        request = values.get("request")
        match = getattr(request, "resolver_match", None)
        return cls(
            at=datetime.fromtimestamp(record.created, UTC),
            level=record.levelname[:8],
            logger=record.name[:100],
            event=_text(record),
            error=exception.__name__[:100] if exception else _code(values.get("error")),
            location=_place(traceback)
            or _given_place(values.get("where"))
            or f"{record.module}:{record.funcName}:{record.lineno}"[-200:],
            code=_task(record) or next((code for name in _CODE_EXTRAS if (code := _code(values.get(name)))), ""),
            route=str(values.get("route") or (match.route if match else ""))[:200],
            status=_status(values.get("status", values.get("status_code"))),
            request_id=request_id.get(),
            user_id=_uuid(values.get("user")),
            job_id=_uuid(values.get("job")),
            insight_id=_uuid(values.get("insight")),
            chat_id=_uuid(values.get("chat")),
        )


def _text(record: logging.LogRecord) -> str:
    """Return the constant part of a message. Messages of libraries may contain values, unless they have arguments."""
    if _task(record):
        return "task failed"
    if record.name == "django.request" and record.exc_info:
        return "unhandled exception"
    # Postgres stores no NUL.
    text = scrub(str(record.msg)).replace("\0", "")
    library = record.name.split(".")[0]
    if library in OWN_PACKAGES:
        return text[:200]
    if record.name == "py.warnings":
        category = _WARNING_CATEGORY.search(
            str(record.args[0] if isinstance(record.args, tuple) and record.args else "")
        )
        return f"Python: a {category[1] if category else 'warning'}"
    # The name of the library, because its words alone say little: psycopg.pool: discarding closed connection
    constant = " ".join(_PLACEHOLDER.sub("…", text).split()).rstrip(" :…") if record.args else ""
    if re.search("[a-z]", constant):
        return f"{record.name}: {constant}"[:200]
    return f"{record.name}: a message without constant text ({record.module}:{record.lineno})"[:200]


def _task(record: logging.LogRecord) -> str:
    """Return the name of the task that a record of Celery is about, or an empty string."""
    arguments = record.args
    if record.name == "celery.app.trace" and isinstance(arguments, Mapping):
        return str(arguments.get("name", ""))[:64]
    return ""


def _place(traceback: TracebackType | None) -> str:
    """Return the innermost frame of our code, or of any code if there is none."""
    place = ""
    is_own = False
    while traceback:
        code = traceback.tb_frame.f_code
        own = code.co_filename.startswith(_REPOSITORY) and "site-packages" not in code.co_filename
        if own or not is_own:
            is_own = own
            module = str(traceback.tb_frame.f_globals.get("__name__", ""))
            place = f"{module}:{code.co_name}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place[-200:]


def _status(value: object) -> int | None:
    return value if isinstance(value, int) and 0 < value < 1000 else None


def _given_place(value: object) -> str:
    """Return a place that the event names, such as the caller of a slow query."""
    return value[:200] if isinstance(value, str) and re.fullmatch(r"[\w.<>]+:[\w.<>]+:\d+", value) else ""


def _code(value: object) -> str:
    return value if isinstance(value, str) and _CODE.match(value) else ""


def _uuid(value: object) -> UUID | None:
    try:
        return UUID(str(value))
    except ValueError:
        return None


class EventQueue:
    """Events that are not written yet, at most MAX_WAITING. Adding one never waits; what has no room is counted."""

    def __init__(self, *, max_waiting: int = MAX_WAITING) -> None:
        self._lock = threading.Lock()
        self._events: deque[ErrorEvent] = deque()
        self._max_waiting = max_waiting
        self._dropped = 0
        #: Called after an event was added, to wake the thread that writes it.
        self.on_add: Callable[[], object] = lambda: None

    def __len__(self) -> int:
        return len(self._events)

    def add(self, event: ErrorEvent) -> None:
        """Add an event, or count it if there is no room."""
        with self._lock:
            if len(self._events) < self._max_waiting:
                self._events.append(event)
            else:
                self._dropped += 1
        self.on_add()

    def take(self) -> tuple[list[ErrorEvent], int]:
        """Return the events, and the number of those that had no room since the last call."""
        with self._lock:
            taken, dropped = list(self._events), self._dropped
            self._events.clear()
            self._dropped = 0
        return taken, dropped

    def put_back(self, events: Sequence[ErrorEvent], dropped: int) -> None:
        """Keep events that could not be written, the oldest first."""
        with self._lock:
            room = self._max_waiting - len(self._events)
            self._events.extendleft(reversed(events[:room]))
            self._dropped += dropped + len(events[room:])


queue = EventQueue()


def add_exception(event: str, *, code: str) -> None:
    """Add the exception that is being handled, which nothing else logs."""
    record = logging.LogRecord("manage", logging.ERROR, __file__, 0, event, None, sys.exc_info())
    record.error_code = code
    queue.add(ErrorEvent.of(record))


class EventHandler(logging.Handler):
    """Adds warnings, errors and refusals to the queue. An error in here is ignored: logging must break no caller."""

    #: What the recorder itself logs would be written again and again while the database does not answer.
    _OWN_LOGGER = "ops.recorder"

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self._latest = threading.local()

    def emit(self, record: logging.LogRecord) -> None:
        """Add the event of a record."""
        if record.levelno < logging.WARNING and not getattr(record, REFUSAL, False):
            return
        if record.name == self._OWN_LOGGER or threading.current_thread().name == self._OWN_LOGGER:
            return
        if record.name == "django.request" and not record.exc_info:
            # RequestMiddleware logs the same response, with its route.
            return
        current = request_id.get()
        if record.name == "relivchats.request" and current and getattr(self._latest, "explained", "") == current:
            # The response to an exception that was logged just before.
            return
        try:
            event = ErrorEvent.of(record)
        except Exception:
            # Records of libraries can hold anything.
            return
        if current and record.exc_info:
            self._latest.explained = current
        queue.add(event)
