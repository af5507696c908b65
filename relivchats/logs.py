"""One JSON line per log event, with the id of the request. Lines contain ids and numbers, never chat text or names.

The page about an exception, which only `DEBUG` shows, follows the same rule.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject
from django.views.debug import ExceptionReporter
from pythonjsonlogger.core import merge_record_extra
from pythonjsonlogger.json import JsonFormatter

from relivchats import following, request_counts, roles

request_id: ContextVar[str] = ContextVar("request_id", default="")
#: Ids that every line has while a request is answered or an insight generated. None outside of them.
_context: ContextVar[dict[str, str] | None] = ContextVar("log_context", default=None)

logger = logging.getLogger("relivchats.request")

MAX_TRACEBACK_ENTRIES = 12
#: Responses of these are logged only if they failed or were slow.
QUIET_ROUTES = ("health", "metrics", request_counts.STATIC)
# Columns that store the id have room for 64 characters, and a log line must not be broken by it.
_SAFE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
# The last alternative is a value signed by Django, as it appears in a link that opens without a login.
_SECRETS = re.compile(
    r"(?i)\b(bearer\s+|rc_|sk_|whsec_|key-)[A-Za-z0-9._~+/=-]{6,}|://[^\s/@]+@|(?<![\w-])[\w-]+(?::[\w-]{6,})?:[\w-]{27,}"
)


def is_request_id(text: str) -> bool:
    """Return whether a text can be the id of a request: 8 to 64 letters, digits, dots, underscores or hyphens."""
    return _SAFE_REQUEST_ID.match(text) is not None


@contextmanager
def bound(**ids: object) -> Iterator[None]:
    """Add these ids to every line of the block, and those of `bind` within it."""
    token = _context.set({**context(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _context.reset(token)


def bind(**ids: object) -> None:
    """Add ids to every further line of the block of `bound`; do nothing outside of one."""
    current = _context.get()
    if current is not None:
        current |= {name: str(value) for name, value in ids.items() if value is not None}


def context() -> Mapping[str, str]:
    """Return the ids that are bound."""
    return _context.get() or {}


def scrub(text: str) -> str:
    """Replace everything that looks like a token, or the password of a URL, with `[hidden]`."""
    return _SECRETS.sub("[hidden]", text)


class QuietOnTerminal(logging.Filter):
    """Keep what is no warning off a terminal: a person there reads the report of the command, which says the same.

    Cron and containers have no terminal, so their logs have every line.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether the record is written."""
        return record.levelno >= logging.WARNING or roles.current() != "command" or not sys.stderr.isatty()


class JSONFormatter(JsonFormatter):
    """Format a record as one line of scrubbed JSON: `at, level, logger, event`, the ids that are bound, and the extras.

    An exception is logged as its type and the places of its traceback. Its message is left out: it may quote the text
    of a chat.
    """

    def __init__(self) -> None:
        super().__init__(json_ensure_ascii=False, json_default=str)

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        """Fill in the fields of one line. Extras that are not a plain value are left out."""
        log_data["at"] = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        log_data["level"] = record.levelname
        log_data["logger"] = record.name
        log_data["event"] = scrub(_without_exception(record))
        if current := request_id.get():
            log_data["request_id"] = current
        log_data |= context()
        for name, value in merge_record_extra(record, {}, self.reserved_attrs).items():
            if isinstance(value, str):
                log_data[name] = scrub(value)
            elif isinstance(value, int | float | bool | None):
                log_data[name] = value
        if record.exc_info and record.exc_info[0]:
            log_data["error"] = record.exc_info[0].__name__
            log_data["where"] = _places(record.exc_info[2])

    def formatException(self, ei: Any) -> str:
        """Return no text: the base class would render the exception with its message, only to be dropped."""
        return ""


def _without_exception(record: logging.LogRecord) -> str:
    """Return the text of the record. Celery's quotes the exception that it logs."""
    text = record.getMessage()
    exception = record.exc_info[1] if record.exc_info else None
    if exception is not None:
        for quoted in (repr(exception), str(exception)):
            text = text.replace(quoted, type(exception).__name__) if quoted else text
    return text


def _places(traceback: TracebackType | None) -> list[str]:
    places = []
    while traceback:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places[-MAX_TRACEBACK_ENTRIES:]


class RequestMiddleware:
    """Give each request an id, return it in X-Request-ID, count the request, and log one line about it.

    An id that the caller sends is kept if it is 8 to 64 letters, digits, dots, underscores or hyphens.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response with its X-Request-ID."""
        given = request.headers.get("X-Request-ID", "")
        current = given if is_request_id(given) else uuid.uuid4().hex
        token = request_id.set(current)
        started = time.perf_counter()
        try:
            with bound():
                response = self.get_response(request)
                response["X-Request-ID"] = current
                self._record(request, response, milliseconds=(time.perf_counter() - started) * 1000)
            return response
        finally:
            request_id.reset(token)

    @staticmethod
    def _record(request: HttpRequest, response: HttpResponse, *, milliseconds: float) -> None:
        if request.resolver_match:
            route = request.resolver_match.route
        else:
            is_static = request.path.startswith(settings.STATIC_URL)
            route = request_counts.STATIC if is_static else request_counts.UNMATCHED
        if not following.followed(request):
            # A request that the server repeats is the client's first one, and was counted.
            request_counts.counter.count(
                route=route, method=str(request.method), status=response.status_code, milliseconds=milliseconds
            )
        user = request.__dict__.get("user")
        if isinstance(user, SimpleLazyObject):
            # Only if the view already loaded the user: a log line must not cost a query, or fail without a database.
            user = getattr(request, "_cached_user", None)
        if response.status_code >= 500:
            level = logging.ERROR
        elif milliseconds > settings.SLOW_REQUEST_MS:
            level = logging.WARNING
        else:
            # What load balancers and browsers request every few seconds would be most of the log.
            is_quiet = response.status_code < 400 and route.startswith(QUIET_ROUTES)
            level = logging.DEBUG if is_quiet else logging.INFO
        logger.log(
            level,
            "slow request" if level == logging.WARNING else "request",
            extra={
                "method": request.method,
                "route": route,
                "status": response.status_code,
                "milliseconds": round(milliseconds, 1),
                "user": str(user.pk) if user is not None and user.is_authenticated else context().get("user"),
            },
        )


class PrivateExceptionReporter(ExceptionReporter):
    """Django's page about an exception with `DEBUG`, without anything that may quote a chat.

    It shows the exception's type, the places in the code, and the settings. It leaves out the message, the values of
    variables, and what the request contained.
    """

    def get_traceback_data(self) -> dict[str, Any]:
        """Return the values of the page."""
        data = super().get_traceback_data()
        for frame in data["frames"]:
            frame.update(vars=[], exc_cause=None)
        emptied = (
            "filtered_POST_items",
            "request_COOKIES_items",
            "request_FILES_items",
            "request_GET_items",
            "request_meta",
        )
        data.update(dict.fromkeys(emptied, ()), unicode_hint="", request_insecure_uri="")
        data["exception_value"] = "The message is left out, because it may quote a chat."
        data.pop("exception_notes", None)
        return data
