"""Health over HTTP, for load balancers, monitors and operators: numbers and levels only, no log-in."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from ops import checks, health
from relivchats.accounts.tokens import BearerTokenAuthentication
from relivchats.staff.reports import Level

View = Callable[[HttpRequest], HttpResponse]

READY_SECONDS = 1.0

_STATUS = {Level.FINE: "pass", Level.WARNING: "warn", Level.UNKNOWN: "warn", Level.CRITICAL: "fail"}


def _without_session(view: View) -> View:
    """Whoever asks is nobody: reading a session would ask the database, which may be what is down."""

    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        request.user = AnonymousUser()
        return view(request)

    return require_safe(never_cache(wrapped))


@_without_session
def live(request: HttpRequest) -> HttpResponse:
    """This process answers. Touches nothing else."""
    return _answer({"status": "pass"})


@_without_session
def ready(request: HttpRequest) -> HttpResponse:
    """The database answers within a second, so this process can serve."""
    (line,) = health.look(checks.READY, seconds=READY_SECONDS)
    failed = line.level is Level.CRITICAL
    return _answer({"status": _STATUS[line.level]}, status=503 if failed else 200)


def summary(request: HttpRequest) -> HttpResponse:
    """The worst level of all checks; each check's line only for staff."""
    staff = _is_staff(request)
    report = health.latest()
    body: dict[str, Any] = {"status": _STATUS[report.level]}
    if staff:
        body["checks"] = {line.name: _detail(line.as_json()) for line in report.lines}
    return _answer(body, status=503 if report.level is Level.CRITICAL else 200)


summary = require_safe(never_cache(summary))


@_without_session
def pool(request: HttpRequest) -> HttpResponse:
    """This process's pool, and the connections of the whole database against its limit."""
    (line,) = health.look(checks.CONNECTIONS, seconds=READY_SECONDS)
    body = {"status": _STATUS[line.level], "pool": _pool(), "database": dict(line.data) or None}
    return _answer(body, status=200 if line.data else 503)


def home(request: HttpRequest) -> HttpResponse:
    return HttpResponseRedirect(reverse("docs"))


home = require_safe(home)


def _answer(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return JsonResponse(body, status=status, content_type="application/health+json")


def _detail(line: dict[str, Any]) -> dict[str, Any]:
    return {"status": _STATUS[line["level"]], "output": line["text"], "remedy": line["remedy"], **line["data"]}


def _pool() -> dict[str, int] | None:
    """Sizes and waits, or None where this process does not pool."""
    own = getattr(connection, "pool", None)
    if own is None:
        return None
    numbers: dict[str, int] = own.get_stats()
    return numbers


def _is_staff(request: HttpRequest) -> bool:
    """By a staff member's session or bearer token. With the database down nobody is known, so nobody is staff."""
    try:
        signed_in = BearerTokenAuthentication().authenticate(Request(request))
        user: Any = signed_in[0] if signed_in else request.user
        if user.is_authenticated and user.is_active and user.is_staff:
            return True
    except (AuthenticationFailed, DatabaseError):
        pass
    request.user = AnonymousUser()
    return False
