"""Unlocks and errors are in the charts of the overview at once, in the part of the window in which they happened."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from insights.models import GenerationJob
from ops import event_counts
from ops.console import overview
from ops.monitoring_models import ErrorEvent
from tests.ops import rows

pytestmark = pytest.mark.django_db

DAY = timedelta(hours=24)


def move(job: GenerationJob, **age: float) -> None:
    GenerationJob.objects.filter(pk=job.pk).update(created_at=Now() - timedelta(**age))


def test_unlocks_are_counted_in_their_hour() -> None:
    assert event_counts.per_hour("unlocks", DAY, points=24) == [0] * 24
    _, earlier, old = rows.job(), rows.job(), rows.job()
    move(earlier, minutes=90)
    move(old, hours=23, minutes=59)
    assert event_counts.per_hour("unlocks", DAY, points=24) == [1, *[0] * 21, 1, 1]
    move(old, hours=24, minutes=1)
    assert sum(event_counts.per_hour("unlocks", DAY, points=24)) == 2
    assert event_counts.per_hour("unlocks", 30 * DAY, points=30)[-1] == pytest.approx(2 / 24)


def test_errors_are_counted_and_warnings_are_not() -> None:
    for level in ("ERROR", "CRITICAL", "WARNING"):
        ErrorEvent.objects.create(
            at=Now(), level=level, role="web", host="host", pid=1, event="an event", logger="relivchats", times=3
        )
    assert event_counts.per_hour("errors", DAY, points=24)[-1] == 6


def test_the_overview_shows_an_unlock_without_a_sample() -> None:
    rows.job()
    _, charts, _ = overview._measure("24h")
    assert {chart.title: chart.latest for chart in charts}["Unlocks per hour"] == "last 60 min: 1"
