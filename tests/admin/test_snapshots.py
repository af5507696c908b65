"""The overview shows what beat computed, and when, so that it waits for nothing. What is old is computed again."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime, timedelta

import psutil
import pytest
from django.db import connection
from django.db.models import F
from django.test import Client
from django.test.utils import CaptureQueriesContext

from ops import health, ledger, metrics, page_recorder, snapshots
from ops.console import overview
from ops.monitoring_models import Snapshot
from relivchats import installation
from relivchats.staff.reports import Level, Line, Report
from tests.processes import eventually

pytestmark = pytest.mark.django_db

#: The session, the user, and three snapshots.
MAX_QUERIES = 6
FINDING = Line(
    "disk",
    Level.CRITICAL,
    "seen by beat",
    "manage.py database --tables",
    {"percent": 91},
    value=91.0,
    threshold="above 90 %",
    is_cause=False,
    since=datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC),
    age=timedelta(days=1, seconds=2),
    bad_for=timedelta(hours=3),
    changes=2,
)
REPORT = Report("Health", (FINDING, Line("queue", Level.FINE, "empty")), data={"milliseconds": 5}, headline="disk")


@pytest.fixture
def own_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The checks of this process, which has run for an hour, find nothing."""
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: time.time() - 3600)
    monkeypatch.setattr(health, "report", lambda: Report("Health", (Line("disk", Level.FINE, "seen by web"),)))


def grow_old(**age: int) -> None:
    Snapshot.objects.update(taken_at=F("taken_at") - timedelta(**age))


def test_a_stored_report_and_stored_metrics_are_loaded_as_they_were() -> None:
    snapshots.write_report(REPORT)
    stored = snapshots.read_report(max_age=timedelta(minutes=1))
    assert stored is not None
    assert stored[0] == REPORT
    measured = metrics.fetch(timedelta(hours=24))
    snapshots.write("metrics", [metric.as_json() for metric in measured])
    assert [metrics.load(each) for each in Snapshot.objects.get(name="metrics").data] == measured


def test_the_first_overview_of_a_process_waits_for_no_check_count_or_metric(desk: Client, own_checks: None) -> None:
    snapshots.write_report(REPORT)
    page_recorder.record_numbers()
    desk.get("/admin/password_change/")
    with CaptureQueriesContext(connection) as captured:
        page = desk.get("/admin/").content.decode()
    assert "seen by beat" in page
    assert len(captured) <= MAX_QUERIES
    assert not [query["sql"] for query in captured if "insights" in query["sql"] or "coin_" in query["sql"]]


def test_what_only_this_process_finds_is_shown_as_soon_as_it_is_known(desk: Client, own_checks: None) -> None:
    snapshots.write_report(REPORT)
    assert "seen by web" not in desk.get("/admin/overview").content.decode()
    eventually(lambda: "seen by web" in desk.get("/admin/overview").content.decode())


def test_the_overview_says_when_beat_ran_the_checks_and_measured(desk: Client, own_checks: None) -> None:
    snapshots.write_report(REPORT)
    page_recorder.record_numbers()
    grow_old(seconds=20)
    context = desk.get("/admin/overview").context
    times = dict(Snapshot.objects.values_list("name", "taken_at"))
    assert (context["checked_at"], context["measured_at"]) == (times["health"], times["metrics 24h"])


def test_without_beat_the_overview_computes_everything_itself(desk: Client, own_checks: None) -> None:
    snapshots.write_report(REPORT)
    snapshots.write(snapshots.WAITING, {"Failed indexing": 77})
    snapshots.write(snapshots.name_of_metrics("24h"), {"metrics": [], "counts": {}})
    grow_old(minutes=3)
    answer = desk.get("/admin/overview")
    assert "seen by web" in answer.content.decode()
    assert {item.number for item in answer.context["items"]} == {0}
    assert len(answer.context["metrics"]) == 6


def test_what_beat_found_before_this_process_started_is_not_shown(
    desk: Client, own_checks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It found the process before this one frozen, and a page that is served shows that this one is not."""
    snapshots.write_report(REPORT)
    grow_old(seconds=10)
    monkeypatch.setattr(psutil.Process, "create_time", lambda _: time.time() - 5)
    page = desk.get("/admin/overview").content.decode()
    assert "seen by web" in page
    assert "seen by beat" not in page


def test_what_a_beat_of_another_release_computed_is_not_shown(desk: Client, own_checks: None) -> None:
    """It may have other checks and metrics."""
    snapshots.write_report(REPORT)
    snapshots.write(snapshots.name_of_metrics("24h"), {"unknown": []})
    snapshots.write(snapshots.WAITING, {"unknown": 1})
    Snapshot.objects.update(version="0.0.1")
    assert "seen by beat" not in desk.get("/admin/overview").content.decode()


@pytest.mark.parametrize("lines", [[{"name": "disk", "level": "fine", "colour": "red"}], [{"level": "grave"}], None])
def test_what_has_another_shape_is_computed_again(desk: Client, own_checks: None, lines: object) -> None:
    """Two commits can have the same version."""
    snapshots.write(snapshots.HEALTH, {"lines": lines, "data": {}, "headline": "seen by beat"})
    snapshots.write(snapshots.name_of_metrics("24h"), {"metrics": [{"name": "another"}], "counts": {}})
    answer = desk.get("/admin/overview")
    assert "seen by web" in answer.content.decode()
    assert len(answer.context["metrics"]) == 6


def test_a_fault_does_not_end_the_thread_of_beat() -> None:
    calls = []

    def record() -> None:
        calls.append(1)
        raise RuntimeError("can't start new thread")

    recorder = page_recorder.Recorder("pages: a test", record, interval_seconds=0.01)
    recorder.start()
    eventually(lambda: len(calls) > 1)
    recorder.stop()


def test_a_chart_names_the_value_of_its_last_part_and_no_older_one() -> None:
    def latest(*series: float | None) -> str:
        return overview._chart("x", series, unit="s", window="24h", begin=datetime.now(UTC)).latest

    assert latest(4.0, 5.0) == "last 60 min: 5 s"
    assert latest(4.0, None) == "last 60 min: no data"
    assert latest(None, None) == latest() == "no data"


def test_beat_measures_long_windows_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = []
    fetch = metrics.fetch

    def count(window: timedelta, *, points: int) -> list[metrics.Metric]:
        measured.append(window.days)
        return fetch(window, points=points)

    monkeypatch.setattr(metrics, "fetch", count)
    for minutes in (0, 0, 2, 9, 60):
        grow_old(minutes=minutes)
        page_recorder.record_numbers()
    assert measured == [1, 7, 30, 1, 1, 7, 1, 7, 30]


def test_a_remedy_is_copied_if_it_is_a_command_and_leads_to_the_page_if_it_is_a_decision(
    desk: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Line("disk", Level.CRITICAL, "full", "manage.py database --tables")
    decision = Line("ledger", Level.WARNING, "one repair", ledger.remedy_of_repairs([7]))
    setting = Line("qdrant", Level.WARNING, "another version", "run qdrant/qdrant:v1")
    monkeypatch.setattr(health, "report", lambda: Report("Health", (command, decision, setting)))
    health.clear_cache()
    page = desk.get("/admin/overview").content.decode()
    assert re.findall('rc-command" data-copy="([^"]+)"', page) == [installation.as_typed("manage.py database --tables")]
    assert '<a class="rc-link" href="/admin/billing/adjustment/7/change/">Approve adjustment 7</a>' in page
    assert "createsuperuser" not in page, "the reader has a login"
    assert "<p>Run qdrant/qdrant:v1</p>" in page
