"""The overview while the database does not answer.

Nobody can be logged in then, because sessions and users are rows. A signed cookie of an earlier visit tells who is
staff.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.urls import reverse

from ops import database, health
from ops.console import overview
from ops.console.cached import Cached
from relivchats.staff.reports import Report

#: While the database does not answer, a run of the checks takes two seconds. All tabs of all staff share it.
SHARED_SECONDS = 5
#: An older report is of another outage, or of its beginning.
USABLE_SECONDS = 30
COOKIE = "overview"
#: Tells console.js that a page with the status 503 is the overview.
HEADER = "X-Overview"


class OutageMiddleware:
    """Answer the overview without the database while that does not answer, to staff who opened it before.

    It shows the findings of `health`, and nothing else. Staff who lost their rights since then see it as long as the
    cookie lasts, which is as long as a session.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the overview, and set the cookie with it; or the one without the database."""
        if request.path == reverse("admin:logout"):
            response = self.get_response(request)
            response.delete_cookie(COOKIE, path=reverse("admin:index"))
            return response
        if not _is_overview(request):
            return self.get_response(request)
        # A frozen server would let the request wait. It takes a millisecond if all is well.
        if _is_known(request) and database.find_fault():
            return _respond(request)
        response = self.get_response(request)
        if response.status_code == 200 and request.user.is_staff:
            response.set_cookie(
                COOKIE,
                signing.dumps(str(request.user.pk), salt=__name__),
                max_age=settings.SESSION_COOKIE_AGE,
                path=reverse("admin:index"),
                secure=settings.SESSION_COOKIE_SECURE,
                httponly=True,
                samesite="Strict",
            )
        return response

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """Return the overview if the database failed during the request."""
        is_outage = isinstance(exception, OperationalError | InterfaceError)
        return _respond(request) if is_outage and _is_overview(request) and _is_known(request) else None


def _check(outage: str) -> tuple[Report, datetime]:
    return health.report(), datetime.now(UTC)


cache = Cached(_check, seconds=SHARED_SECONDS, usable_seconds=USABLE_SECONDS)
clear_cache = cache.clear


def _is_overview(request: HttpRequest) -> bool:
    return request.path in (reverse("admin:index"), reverse("console:overview"))


def _is_known(request: HttpRequest) -> bool:
    try:
        signing.loads(request.COOKIES.get(COOKIE, ""), salt=__name__, max_age=settings.SESSION_COOKIE_AGE)
    except signing.BadSignature:
        return False
    return True


def _respond(request: HttpRequest) -> HttpResponse:
    # The log of requests would look for the user in the database.
    request.user = AnonymousUser()
    is_fragment = request.path == reverse("console:overview")
    # Not `health.latest`, which can be of the time before the outage.
    report, checked_at = cache.get("outage")
    context = overview.findings(report, checked_at=checked_at)
    text = render_to_string("ops/console/overview.html" if is_fragment else "ops/console/outage.html", context)
    headers = {HEADER: "without the database", "Cache-Control": "no-store"}
    return HttpResponse(text, status=503, headers=headers)
