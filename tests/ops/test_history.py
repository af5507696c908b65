"""The history of health: a row per change of a level, its age, and whether it flaps."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from ops import checks, health, history, page_recorder
from ops.causes import find_causes
from ops.models import CheckState
from relivchats.staff.reports import Level, Line
from tests.concurrency import call_at_once

pytestmark = pytest.mark.django_db(transaction=True)


def _line(level: Level = Level.CRITICAL) -> Line:
    return Line("workers", level, "no worker is alive", "start one")


def test_only_a_change_of_level_adds_a_row_and_the_line_says_since_when() -> None:
    history.record([_line()])
    CheckState.objects.update(since=F("since") - timedelta(minutes=12))
    history.record([_line()])
    (line,) = history.annotate([_line()])
    assert CheckState.objects.count() == 1
    assert line.describe() == "no worker is alive (for 12 min)"
    history.record([_line(Level.FINE)])
    assert list(CheckState.objects.order_by("pk").values_list("level", flat=True)) == ["critical", "fine"]


def test_a_level_that_is_not_recorded_yet_has_no_age() -> None:
    history.record([_line(Level.FINE)])
    (line,) = history.annotate([_line()])
    assert (line.since, line.describe()) == (None, "no worker is alive")


@pytest.mark.parametrize("recorded_beat", [Level.FINE, None], ids=["fine", "never"])
def test_what_was_not_fine_before_beat_failed_keeps_its_remedy_although_a_dead_beat_records_nothing(
    recorded_beat: Level | None,
) -> None:
    history.record([Line("insights", Level.CRITICAL, "five failed"), Line("jobs", Level.FINE, "none is overdue")])
    if recorded_beat:
        history.record([Line("beat", recorded_beat, "alive")])
    CheckState.objects.update(since=F("since") - timedelta(hours=2))
    found = [
        Line("beat", Level.CRITICAL, "no beat is alive", "start it"),
        Line("insights", Level.CRITICAL, "five failed", "read the errors"),
        Line("jobs", Level.WARNING, "one is overdue", "recover"),
    ]
    by_name = {check.name: check for check in checks.ALL}
    beat, insights, jobs = find_causes(history.annotate(found), by_name)
    assert (beat.remedy, insights.cause, insights.remedy) == ("start it", "", "read the errors")
    assert (jobs.cause, jobs.remedy) == ("beat", "")


def test_a_finding_that_gets_worse_has_not_been_fine_since_it_began() -> None:
    history.record([_line(Level.WARNING)])
    CheckState.objects.update(since=F("since") - timedelta(minutes=12))
    (line,) = history.annotate([_line()])
    assert line.bad_for
    assert line.bad_for >= timedelta(minutes=12)
    assert line.age is None


def test_a_line_that_flaps_says_so() -> None:
    for level in (Level.CRITICAL, Level.FINE) * 2 + (Level.CRITICAL,):
        history.record([_line(level)])
    (line,) = history.annotate([_line()])
    assert "changed 5 times within an hour" in line.describe()
    CheckState.objects.update(since=F("since") - timedelta(hours=2))
    (line,) = history.annotate([_line()])
    assert "changed" not in line.describe()


def test_a_check_that_did_not_finish_is_no_change_of_its_level() -> None:
    history.record([_line()])
    history.record([Line("workers", Level.UNKNOWN, "did not finish within 1.8 s", is_unfinished=True)])
    history.record([_line()])
    assert list(CheckState.objects.values_list("level", flat=True)) == ["critical"]


def test_only_beat_adds_to_the_history(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_run_all", lambda selected: [Line("database", Level.FINE, "answers"), _line()])
    CheckState.objects.create(name="workers", level="critical", text="")
    report = health.report()
    assert (report.lines[1].changes, CheckState.objects.count()) == (1, 1)
    page_recorder.record_health()
    assert set(CheckState.objects.values_list("name", flat=True)) == {"workers", "database"}


def test_two_recorders_at_once_add_one_row() -> None:
    call_at_once([lambda: history.record([_line()])] * 4)
    assert CheckState.objects.count() == 1


def test_pruning_keeps_the_newest_state_of_each_check(settings: object) -> None:
    for level in (Level.FINE, Level.CRITICAL):
        history.record([_line(level)])
    CheckState.objects.update(since=Now() - timedelta(days=400))
    assert history.prune() == 1
    assert CheckState.objects.get().level == "critical"


def test_health_is_reported_while_its_history_is_locked() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [history._LOCK])
    try:
        assert health.report(is_recorded=True).lines[0].level is Level.FINE
        assert not CheckState.objects.exists()
    finally:
        connection.close()
