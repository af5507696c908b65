"""One JSON line an event, with the request's id. Ids and numbers only: never chat text, names or tokens."""

from __future__ import annotations

import json
import logging
import re
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils.functional import SimpleLazyObject

request_id: ContextVar[str] = ContextVar("request_id", default="")

logger = logging.getLogger("relivchats.request")

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
# The last is a value that Django signed, as it stands in a link that opens by itself.
_SECRETS = re.compile(
    r"(?i)\b(bearer\s+|rc_|sk_|whsec_|key-)[A-Za-z0-9._~+/=-]{6,}|://[^\s/@]+@|(?<![\w-])[\w-]+(?::[\w-]{6,})?:[\w-]{27,}"
)


def scrub(text: str) -> str:
    """Hide what looks like a token or a URL's password."""
    return _SECRETS.sub("[hidden]", text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: value
        for name, value in vars(record).items()
        if name not in _STANDARD and isinstance(value, str | int | float | bool | None)
    }


class JSONFormatter(logging.Formatter):
    """Errors are logged by type and place; their message may quote a person's text, so it stays out."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": scrub(record.getMessage()),
        }
        if current := request_id.get():
            line["request_id"] = current
        for name, value in _fields(record).items():
            line[name] = scrub(value) if isinstance(value, str) else value
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
            line["where"] = _places(record)
        return json.dumps(line, ensure_ascii=False, default=str)


def _places(record: logging.LogRecord) -> list[str]:
    places = []
    traceback = record.exc_info[2] if record.exc_info else None
    while traceback:
        code = traceback.tb_frame.f_code
        places.append(f"{code.co_filename.rsplit('/', 1)[-1]}:{traceback.tb_lineno} {code.co_name}")
        traceback = traceback.tb_next
    return places[-12:]


class RequestMiddleware:
    """Give each request an id (the caller's, if it is a plain one), answer with it, log one line."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        given = request.headers.get("X-Request-ID", "")
        current = given if _ACCEPTABLE_ID.match(given) else uuid.uuid4().hex
        token = request_id.set(current)
        started = time.perf_counter()
        try:
            response = self.get_response(request)
            response["X-Request-ID"] = current
            self._log(request, response, milliseconds=(time.perf_counter() - started) * 1000)
            return response
        finally:
            request_id.reset(token)

    @staticmethod
    def _log(request: HttpRequest, response: HttpResponse, *, milliseconds: float) -> None:
        route = request.resolver_match.route if request.resolver_match else "unmatched"
        user = request.__dict__.get("user")
        if isinstance(user, SimpleLazyObject):
            # Only if somebody asked who it is: a log line costs no query, and none fails for want of a database.
            user = getattr(request, "_cached_user", None)
        logger.log(
            logging.ERROR if response.status_code >= 500 else logging.INFO,
            "request",
            extra={
                "method": request.method,
                "route": route,
                "status": response.status_code,
                "milliseconds": round(milliseconds, 1),
                "user": str(user.pk) if user is not None and user.is_authenticated else None,
            },
        )
