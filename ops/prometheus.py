"""`/metrics`: the metrics of the whole installation in Prometheus' format, read from rows when Prometheus asks.

A process of ours keeps no counters of its own: several run, and each would answer with its part only. While Postgres
does not answer, only `relivchats_database_up`, `relivchats_build_info` and the levels of the health checks are served.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import timedelta

from django.conf import settings
from django.db import Error, connection, transaction
from django.db.models import Count as CountRows
from django.db.models import Q
from django.db.models.functions import Now
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from insights.models import Insight
from ops import health, metrics, samples
from ops.models import Heartbeat
from ops.monitoring_models import RequestTotal
from relivchats.request_counts import BOUNDS_MS, Count
from relivchats.staff.reports import Level, worst

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Of the key metrics. Prometheus keeps the longer history.
WINDOW = timedelta(hours=1)
#: Within which insights that failed, without one that was completed, are an outage.
RECENT = timedelta(minutes=10)
QUERY_SECONDS = 5

#: The admin has hundreds of routes, which nobody watches one by one.
_ADMIN = "admin"

#: The name and factor of each key metric, in Prometheus' base units.
_KEY_METRICS = {
    metrics.UPLOAD_SUCCESS: ("upload_success_ratio", 0.01),
    metrics.UNLOCK_CONVERSION: ("unlock_conversion_ratio", 0.01),
    metrics.INSIGHT_SUCCESS: ("insight_success_ratio", 0.01),
    metrics.TIME_PER_INSIGHT: ("time_per_insight_seconds", 1.0),
    metrics.REFUND_RATE: ("refund_ratio", 0.01),
    metrics.API_P95: ("api_p95_seconds", 0.001),
}


def scrape() -> bytes:
    """Return the metrics as text."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector())
    return generate_latest(registry)


class _Collector(Collector):
    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        # At most ten seconds old, and within two seconds: it tells whether the database would answer.
        lines = health.latest().lines
        yield _gauge("build_info", "The version of RelivChats.", [({"version": _version()}, 1)])
        yield _gauge(
            "check_level",
            "The level of each health check: 0 fine, 1 warning, 2 critical, 3 unknown.",
            [({"check": line.name}, line.level.exit_status) for line in lines],
        )
        level = worst([line.level for line in lines])
        yield _gauge("health_level", "The most severe level of all health checks.", [({}, level.exit_status)])
        rows: list[Metric] = []
        is_up = not any(line.name == "database" and line.level in (Level.CRITICAL, Level.UNKNOWN) for line in lines)
        if is_up:
            try:
                rows = list(_from_rows())
            except (Error, OSError):
                is_up = False
        yield _gauge("database_up", "1 if the database answered.", [({}, int(is_up))])
        yield from rows


def _version() -> str:
    return str(settings.SPECTACULAR_SETTINGS["VERSION"])


def _from_rows() -> Iterator[Metric]:
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{QUERY_SECONDS}s"])
        yield from _requests()
        limit = Now() - timedelta(seconds=settings.HEALTH_HEARTBEAT_SECONDS)
        alive = Heartbeat.objects.filter(beat_at__gte=limit).exclude(kind=Heartbeat.Kind.CANARY)
        kinds = dict(alive.values_list("kind").annotate(number=CountRows("pk")))
        roles = [kind for kind in Heartbeat.Kind if kind is not Heartbeat.Kind.CANARY]
        yield _gauge(
            "processes", "Processes with a recent heartbeat.", [({"role": role}, kinds.get(role, 0)) for role in roles]
        )
        ended = Insight.objects.filter(finished_at__gte=Now() - RECENT).aggregate(
            completed=CountRows("pk", filter=Q(status=Insight.Status.COMPLETED)),
            failed=CountRows("pk", filter=Q(status=Insight.Status.FAILED)),
        )
        yield _gauge(
            "insights_ended_10m",
            "Insights that ended within the last ten minutes.",
            [({"status": status}, number) for status, number in ended.items()],
        )
        latest = samples.latest()
        for name, meaning in samples.MEANINGS.items():
            # A sample that is missing has no value, so that an alert can tell it from zero.
            yield _gauge(name, f"{meaning.capitalize()}.", [({}, latest[name])] if name in latest else [])
        for metric in metrics.fetch(WINDOW, points=1):
            name, factor = _KEY_METRICS[metric.definition]
            meaning = metric.definition.meaning.capitalize()
            values = [] if metric.value is None else [metric.value * factor]
            yield _gauge(name, f"{meaning}, within the last hour.", [({}, value) for value in values])


def _requests() -> Iterator[Metric]:
    requests = CounterMetricFamily(
        "relivchats_http_requests", "Requests by route, method and status.", labels=["route", "method", "status"]
    )
    durations = HistogramMetricFamily(
        "relivchats_http_request_duration_seconds", "Durations of requests by route.", labels=["route"]
    )
    by_status: dict[tuple[str, str, str], int] = {}
    by_route: dict[str, Count] = {}
    for row in RequestTotal.objects.order_by("pk").iterator():
        route = _ADMIN if row.route.startswith(_ADMIN) else row.route
        key = (route, row.method, str(row.status))
        by_status[key] = by_status.get(key, 0) + row.requests
        by_route.setdefault(route, Count()).add(Count(list(row.buckets), row.milliseconds))
    for labels, number in by_status.items():
        requests.add_metric(labels, number)
    for route, count in by_route.items():
        total = 0
        buckets = []
        for bound, number in zip([*(str(bound / 1000) for bound in BOUNDS_MS), "+Inf"], count.buckets, strict=True):
            total += number
            buckets.append((bound, total))
        durations.add_metric([route], buckets, count.milliseconds / 1000)
    yield requests
    yield durations


def _gauge(name: str, documentation: str, values: Iterable[tuple[dict[str, str], float]]) -> GaugeMetricFamily:
    values = list(values)
    gauge = GaugeMetricFamily(f"relivchats_{name}", documentation, labels=list(values[0][0]) if values else ())
    for labels, value in values:
        gauge.add_metric(list(labels.values()), value)
    return gauge
