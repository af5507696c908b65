"""Requests are counted by every process, added up in the database, and summarised without losing any."""

from __future__ import annotations

import http.client
import random
import select
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.db.models import Sum
from django.test import Client

from ops import requests
from ops.monitoring_models import ErrorEvent, RequestCount, RequestTotal
from ops.recorder import Recorder
from relivchats import clock, following, request_counts
from relivchats.error_events import EventQueue
from relivchats.heavy_requests import MAX_PER_ADDRESS
from relivchats.request_bodies import LARGE_BYTES
from relivchats.request_counts import BOUNDS_MS, BUCKETS, Key, RequestCounter
from tests.processes import PATIENCE_SECONDS, ServerHandle, eventually, serving_web

HOUR = timedelta(hours=1)


def counted(*durations: float, route: str = "api/chats", method: str = "GET", status: int = 200) -> RequestCounter:
    counter = RequestCounter()
    for milliseconds in durations:
        counter.count(route=route, method=method, status=status, milliseconds=milliseconds)
    return counter


@pytest.mark.parametrize(
    ("durations", "share", "expected"),
    [
        ([], 0.5, None),
        ([400.5] * 4, 0.5, 450.0),
        ([1] * 95 + [9999] * 5, 0.95, 5.0),
        ([60_000], 0.95, float(BOUNDS_MS[-1])),
    ],
)
def test_a_quantile_is_interpolated_within_its_bucket(
    durations: list[float], share: float, expected: float | None
) -> None:
    (count,) = counted(*durations).take().values() or [None]
    assert requests.quantile_ms(count.buckets if count else [0] * BUCKETS, share) == expected


def test_a_quantile_lies_in_the_bucket_of_the_exact_one() -> None:
    durations = [random.Random(1).lognormvariate(4, 1) for _ in range(5000)]
    (count,) = counted(*durations).take().values()
    exact = sorted(durations)[int(0.95 * 5000)]
    estimate = requests.quantile_ms(count.buckets, 0.95)
    assert estimate is not None
    assert {bound >= exact for bound in BOUNDS_MS} == {True, False}
    assert [bound >= exact for bound in BOUNDS_MS] == [bound >= estimate for bound in BOUNDS_MS]


def test_clients_cannot_make_the_counts_grow_without_end() -> None:
    counter = RequestCounter(max_rows=10)
    for number in range(50):
        counter.count(route="api/chats", method=f"WORD{number}", status=405, milliseconds=1)
        counter.count(route=f"route-{number}", method="GET", status=200, milliseconds=1)
    counts = counter.take()
    assert len(counts) == 10
    assert {key.method for key in counts} == {"GET", "OTHER"}
    counter.put_back(counts)
    counter.put_back(counts)
    assert sum(sum(count.buckets) for count in counter.take().values()) == 2 * (50 + 9)


@pytest.mark.django_db
def test_the_counts_of_several_processes_add_up() -> None:
    for _ in range(2):
        requests.write(counted(20, 20, 800).take())
        requests.write(counted(60, status=503).take())
        requests.write(counted(7, route="health").take())
    summary = requests.summarize(HOUR)
    assert (summary.requests, summary.errors, summary.error_share) == (8, 2, 0.25)
    assert (summary.p50_ms, summary.p95_ms) == (25.0, 950.0)
    assert requests.summarize(HOUR, until=HOUR) == requests.Summary(0, 0, (0,) * BUCKETS)
    assert requests.summarize(HOUR, route="health").requests == 2
    assert [(each.route, each.requests) for each in requests.by_route(HOUR)] == [("api/chats", 8)]
    points = requests.series(HOUR, points=6)
    assert len(points) == 6
    assert sum(point.requests for point in points) == 8


@pytest.mark.django_db
def test_merging_minutes_keeps_every_request_and_pruning_keeps_the_totals() -> None:
    now = int(clock.now().timestamp()) // 60
    for age in (0, 60 * 24, 60 * 72, 60 * 72 + 1, 60 * 72 + 61, 60 * 24 * 40):
        requests.write({Key(now - age, "api/chats", "GET", 200): count for count in counted(20, 800).take().values()})
    before = requests.summarize(timedelta(days=50))
    for _ in range(2):
        requests.merge_old()
    assert requests.summarize(timedelta(days=50)) == before
    assert before.requests == 12
    old = RequestCount.objects.filter(at__lt=clock.now() - timedelta(hours=14))
    assert {row.at.minute for row in old} == {0}
    assert requests.prune() == 1
    assert RequestCount.objects.aggregate(total=Sum("requests"))["total"] == 10
    assert RequestTotal.objects.get().buckets[2] == 6
    assert RequestTotal.objects.get().requests == 12


@pytest.mark.django_db(transaction=True)
def test_counts_survive_an_outage_of_the_database(postgres: ServerHandle) -> None:
    counter = counted(20)
    recorder = Recorder(ErrorEvent.Role.WEB, counter=counter, events=EventQueue(), interval_seconds=0.05)
    connection.close()
    with postgres.down():
        recorder.start()
        eventually(lambda: not recorder.is_current)
        counter.count(route="api/chats", method="GET", status=200, milliseconds=1)
    eventually(lambda: requests.summarize(HOUR).requests == 2)
    recorder.stop()


def test_a_request_that_the_server_repeats_is_counted_once(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = RequestCounter()
    monkeypatch.setattr(request_counts, "counter", counter)
    client.get("/health/live")
    client.get("/health/live", **{following.FOLLOWED: "insight"})  # type: ignore[arg-type]
    ((key, count),) = counter.take().items()
    assert (key.route, key.method, key.status, sum(count.buckets)) == ("health/live", "GET", 200, 1)


def _get(port: int, path: str) -> int:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    client.request("GET", path)
    status = client.getresponse().status
    client.close()
    return status


def _announce_upload(port: int) -> http.client.HTTPConnection:
    """Send the headers of a large upload, and nothing of its body."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
    client.putrequest("POST", "/api/chats")
    client.putheader("Content-Length", str(2 * LARGE_BYTES))
    client.endheaders()
    return client


@pytest.mark.django_db(transaction=True)
def test_a_web_process_writes_its_last_counts_when_it_stops(tmp_path: Path) -> None:
    """By the pattern of the address, which contains no id; also requests that no view sees."""
    chat = "0f6c1c9e-6d0a-4c62-8f3e-2b8f5a7d9e10"
    with serving_web(tmp_path, database=connection.settings_dict["NAME"]) as port:
        assert _get(port, f"/api/chats/{chat}") == 401
        assert _get(port, "/static/nothing.css") == 404
        assert _get(port, "/no/such/page") == 404
        uploads = [_announce_upload(port) for _ in range(MAX_PER_ADDRESS + 1)]
        # One too many is refused before its body is read, whichever of them came last.
        ready, _, _ = select.select([upload.sock for upload in uploads], [], [], PATIENCE_SECONDS)
        assert ready
        for upload in uploads:
            upload.close()
    assert set(RequestCount.objects.values_list("route", "method", "status", "requests")) == {
        ("api/chats/<uuid:chat_id>", "GET", 401, 1),
        ("static", "GET", 404, 1),
        ("unmatched", "GET", 404, 1),
        ("api/chats", "POST", 503, 1),
    }
