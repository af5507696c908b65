"""Checks of the requests of the API: how many fail, and how long they take."""

from __future__ import annotations

import math
from datetime import timedelta

from django.conf import settings

from ops import metrics, requests
from ops.checks.registry import health_check
from relivchats.staff.reports import Level, Line

_WINDOW = timedelta(hours=1)
#: Shares and percentiles of fewer requests mean nothing.
_MIN_REQUESTS = 20
_PAGE = "/admin/ops/requestcount/"
_SLOW_ROUTES = "manage.py metrics --routes --since 1h"


@health_check("errors", needs=("database", "broker", "web"), page=_PAGE, remedy="manage.py errors --since 1h")
def errors() -> Line:
    """Return the share of the API's requests of the last hour that ended with a status from 500."""
    found = requests.summarize(_WINDOW)
    percent = round(100 * found.error_share, 1)
    data = {"requests": found.requests, "errors": found.errors}
    threshold = f"{settings.HEALTH_ERRORS_WARNING_PERCENT} % of {_MIN_REQUESTS} requests or more warns"
    text = f"{percent} % of {found.requests} requests failed within an hour"
    if found.requests >= _MIN_REQUESTS and percent > settings.HEALTH_ERRORS_WARNING_PERCENT:
        worst = max(requests.by_route(_WINDOW), key=lambda route: route.errors)
        text = f"{text}; most of {worst.route}: {worst.errors} of {worst.requests}"
        return Line("errors", Level.WARNING, text, "manage.py errors --since 1h", data, percent, threshold)
    return Line("errors", Level.FINE, text, "", data, percent, threshold)


@health_check("latency", needs=("database", "broker", "web"), page=_PAGE, remedy=_SLOW_ROUTES)
def latency() -> Line:
    """Return the duration that 95 % of the API's requests of the last hour did not exceed."""
    found = requests.summarize(_WINDOW)
    threshold = f"{settings.HEALTH_P95_WARNING_MS} ms or more warns, of {_MIN_REQUESTS} requests or more"
    if found.p95_ms is None:
        return Line("latency", Level.FINE, "no request within an hour", threshold=threshold)
    # Not rounded up to the target, which would be a warning.
    milliseconds = math.floor(found.p95_ms)
    text, data = f"95 % of the requests took up to {milliseconds} ms", {"p95_ms": milliseconds}
    if found.requests >= _MIN_REQUESTS and not metrics.API_P95.is_met(found.p95_ms):
        slowest = max(requests.by_route(_WINDOW), key=lambda route: route.p95_ms or 0)
        text = f"{text}; the slowest route is {slowest.route}, up to {slowest.p95_ms or 0:.0f} ms"
        return Line("latency", Level.WARNING, text, _SLOW_ROUTES, data, milliseconds, threshold)
    return Line("latency", Level.FINE, text, "", data, milliseconds, threshold)
