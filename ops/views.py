"""Health over HTTP for load balancers and monitors. Without a login, the answers contain only levels and counts."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from ops import health, prometheus
from ops.checks import get_check
from relivchats.accounts.tokens import BearerTokenAuthentication
from relivchats.staff.reports import Level
from relivchats.throttling import TooManyRequests

View = Callable[[HttpRequest], HttpResponse]

READY_SECONDS = 1.0

#: The words of the health+json draft (draft-inadarei-api-health-check).
_STATUS = {Level.FINE: "pass", Level.WARNING: "warn", Level.UNKNOWN: "warn", Level.CRITICAL: "fail"}


def _without_session(view: View) -> View:
    """Treat every request as anonymous: loading a session would query the database, which may be down."""

    @wraps(view)
    def wrapped(request: HttpRequest) -> HttpResponse:
        request.user = AnonymousUser()
        return view(request)

    # never_cache: a proxy that caches a response would hide an outage or its end.
    return require_safe(never_cache(wrapped))


@_without_session
def live(request: HttpRequest) -> HttpResponse:
    """Answer 200 without accessing any dependency: this process serves requests."""
    return _health_response({"status": "pass"})


@_without_session
def ready(request: HttpRequest) -> HttpResponse:
    """Answer 200 if the database responds within a second, otherwise 503."""
    # Not from the cache of `/health`: a load balancer must see a failure within its own interval.
    (line,) = health.run_checks([get_check("database")], timeout_seconds=READY_SECONDS)
    status = 503 if line.level is Level.CRITICAL else 200
    return _health_response({"status": _STATUS[line.level]}, status=status)


@require_safe
@never_cache
def summary(request: HttpRequest) -> HttpResponse:
    """Answer the most severe level of all checks, 503 if it is critical. Staff also get the line of each check."""
    is_staff = _is_staff(request)
    report = health.latest()
    body: dict[str, Any] = {"status": _STATUS[report.level]}
    if is_staff:
        body["checks"] = {
            line.name: {
                "status": _STATUS[line.level],
                "output": line.describe(),
                "remedy": line.command,
                "cause": line.cause,
                "page": line.page,
                **dict(line.data),
            }
            for line in report.lines
        }
    return _health_response(body, status=503 if report.level is Level.CRITICAL else 200)


@_without_session
def pool(request: HttpRequest) -> HttpResponse:
    """Answer the statistics of this process's connection pool, and the connections of the whole server."""
    (line,) = health.run_checks([get_check("connections")], timeout_seconds=READY_SECONDS)
    # None if this process does not pool, as in a worker.
    own_pool = getattr(connection, "pool", None)
    statistics: dict[str, int] | None = own_pool.get_stats() if own_pool else None
    body = {"status": _STATUS[line.level], "pool": statistics, "database": dict(line.data) or None}
    return _health_response(body, status=200 if line.data else 503)


@require_safe
@never_cache
def metrics(request: HttpRequest) -> HttpResponse:
    """Answer the metrics for Prometheus to its token (METRICS_TOKEN) or to staff, otherwise 401."""
    if _has_metrics_token(request):
        # Without a session, which would query the database: it may be what is down.
        request.user = AnonymousUser()
    elif not _is_staff(request):
        text = "Send the token of METRICS_TOKEN, or that of a member of staff: Authorization: Bearer …\n"
        return HttpResponse(text, status=401, content_type="text/plain", headers={"WWW-Authenticate": "Bearer"})
    return HttpResponse(prometheus.scrape(), content_type=prometheus.CONTENT_TYPE)


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Redirect to the API's documentation."""
    return HttpResponseRedirect(reverse("docs"))


def _health_response(body: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return JsonResponse(body, status=status, content_type="application/health+json")


def _has_metrics_token(request: HttpRequest) -> bool:
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    expected = settings.METRICS_TOKEN
    return bool(expected) and scheme.lower() == "bearer" and constant_time_compare(token.strip(), expected)


def _is_staff(request: HttpRequest) -> bool:
    """Return whether a session or a bearer token identifies staff. If the database is down, nobody is staff."""
    try:
        identified = BearerTokenAuthentication().authenticate(Request(request))
        user: Any = identified[0] if identified else request.user
        if user.is_authenticated and user.is_active and user.is_staff:
            return True
    except (AuthenticationFailed, TooManyRequests, DatabaseError):
        # A wrong token is no error here: its sender gets the public answer.
        pass
    # The lazy user of the session would query the database again, for example in the request log.
    request.user = AnonymousUser()
    return False
