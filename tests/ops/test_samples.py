"""What is sampled every minute can be charted, and its growth measured, also over months."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ops import samples
from ops.monitoring_models import ErrorEvent, Sample
from ops.recorder import Recorder
from relivchats import clock
from relivchats.error_events import EventQueue
from relivchats.request_counts import RequestCounter
from tests.ops import rows
from tests.processes import BrokerHandle

HOUR = timedelta(hours=1)


def add(value: float, *, minutes_ago: float, name: str = "queue_due") -> None:
    at = clock.now().replace(second=0, microsecond=0) - timedelta(minutes=minutes_ago)
    Sample.objects.create(name=name, at=at, value=value)


@pytest.mark.django_db(transaction=True)
def test_beat_samples_the_installation_and_every_process_its_memory(broker: BrokerHandle) -> None:
    rows.abandoned_insight(late=-rows.LONG)
    rows.failed_job()
    for role in (ErrorEvent.Role.WEB, ErrorEvent.Role.WEB, ErrorEvent.Role.BEAT):
        recorder = Recorder(role, counter=RequestCounter(), events=EventQueue(), interval_seconds=0.01, first_minute=0)
        recorder.start()
        recorder.stop()
    found = dict(Sample.objects.values_list("name", "value"))
    assert found.keys() | {"memory_worker_bytes"} == samples.MEANINGS.keys()
    assert (found["insights_generating"], found["jobs_open"]) == (1, 1)
    assert found["memory_web_bytes"] > 1.5 * found["memory_beat_bytes"] > 0


@pytest.mark.django_db(transaction=True)
def test_a_process_that_replaces_another_one_is_not_added_to_it() -> None:
    recorder = Recorder(ErrorEvent.Role.WEB, counter=RequestCounter(), events=EventQueue())
    recorder.start()
    recorder.stop()
    assert not Sample.objects.exists()


@pytest.mark.django_db
def test_a_series_has_the_mean_of_each_part_and_none_where_nothing_was_sampled() -> None:
    for minutes, value in ((0, 4.0), (61, 10.0), (62, 20.0), (600, 1.0)):
        add(value, minutes_ago=minutes)
    values = [value for _, value in samples.series("queue_due", 3 * HOUR, points=3)]
    assert len(values) == 3
    assert {15.0, 10.0, 20.0} & set(values)
    assert values[2] == 4.0
    assert samples.series("unknown", HOUR, points=2)[0][1] is None


@pytest.mark.django_db
def test_the_slope_is_the_growth_in_an_hour() -> None:
    assert samples.slope_per_hour("queue_due", HOUR) is None
    for minutes in range(1, 50):
        add(1000 - 5 * minutes, minutes_ago=minutes)
    add(9999, minutes_ago=0)
    slope = samples.slope_per_hour("queue_due", HOUR)
    assert slope is not None
    assert round(slope) == 300
    assert samples.latest() == {"queue_due": 995}


@pytest.mark.django_db
def test_old_minutes_become_the_mean_of_their_hour_once() -> None:
    hour = clock.now().replace(minute=0, second=0, microsecond=0) - timedelta(days=3)
    for minute, value in ((0, 1.0), (1, 2.0), (59, 6.0)):
        Sample.objects.create(name="queue_due", at=hour + timedelta(minutes=minute), value=value)
    add(7, minutes_ago=1)
    add(8, minutes_ago=60 * 24 * 40)
    for _ in range(2):
        samples.merge_old()
    assert Sample.objects.get(at=hour).value == 3.0
    assert samples.prune() == 1
    assert sorted(Sample.objects.values_list("value", flat=True)) == [3.0, 7.0]
