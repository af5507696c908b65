"""/metrics is valid, needs a token, never falls, and answers without the database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from django.test import Client
from prometheus_client.parser import text_string_to_metric_families

from ops import health, prometheus, requests
from ops.monitoring_models import RequestCount
from relivchats.accounts import tokens
from relivchats.request_counts import RequestCounter
from tests.ops import rows
from tests.ops.test_samples import add
from tests.processes import ServerHandle

TOKEN = "a-token-for-prometheus"

pytestmark = pytest.mark.usefixtures("patient")


@pytest.fixture(autouse=True)
def fresh(settings: Any) -> None:
    settings.METRICS_TOKEN = TOKEN
    health.clear_cache()


def read(client: Client, token: str = TOKEN) -> dict[str, float]:
    """Return the value of each sample by its name and labels."""
    response = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    values = {}
    for family in text_string_to_metric_families(response.content.decode()):
        assert family.name.startswith("relivchats_")
        assert family.documentation, family.name
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}"] = sample.value
    return values


def count(*durations: float, route: str = "api/chats", status: int = 200) -> None:
    counter = RequestCounter()
    for milliseconds in durations:
        counter.count(route=route, method="GET", status=status, milliseconds=milliseconds)
    requests.write(counter.take())


@pytest.mark.django_db
def test_only_prometheus_and_staff_may_read_it(client: Client, settings: Any) -> None:
    person = rows.person()
    for token in ("", "wrong", "é", tokens.issue(person)):
        response = client.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        assert (response.status_code, response.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert b"relivchats_" not in response.content
    person.is_staff = True
    person.save()
    assert read(client, tokens.issue(person))
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", headers={"Authorization": "Bearer "}).status_code == 401
    client.force_login(person)
    assert client.get("/metrics").status_code == 200


@pytest.mark.django_db
def test_requests_are_counters_and_a_histogram_that_never_fall(client: Client) -> None:
    count(4, 5, 80, 99_999)
    count(30, status=503)
    count(30, route="admin/billing/wallet/", status=200)
    count(30, route="admin/<path>", status=200)
    values = read(client)
    assert values["relivchats_http_requests_total{method=GET,route=api/chats,status=200}"] == 4
    assert values["relivchats_http_requests_total{method=GET,route=api/chats,status=503}"] == 1
    assert values["relivchats_http_requests_total{method=GET,route=admin,status=200}"] == 2
    bucket = "relivchats_http_request_duration_seconds_bucket{{le={},route=api/chats}}"
    assert [values[bucket.format(bound)] for bound in ("0.005", "0.1", "30.0", "+Inf")] == [2, 4, 4, 5]
    assert values["relivchats_http_request_duration_seconds_count{route=api/chats}"] == 5
    assert values["relivchats_http_request_duration_seconds_sum{route=api/chats}"] == pytest.approx(100.118)
    RequestCount.objects.update(at=Now() - timedelta(days=100))
    requests.merge_old()
    assert requests.prune()
    again = read(client)
    assert {name: value for name, value in values.items() if "http_request" in name}.items() <= again.items()


@pytest.mark.django_db
def test_gauges_have_the_latest_samples_and_the_key_metrics(client: Client) -> None:
    add(7, minutes_ago=1)
    count(*[900.0] * 20)
    rows.heartbeat("worker")
    rows.failed_job()
    values = read(client)
    assert values["relivchats_queue_due{}"] == 7
    assert values["relivchats_processes{role=worker}"] == 1
    assert values["relivchats_processes{role=beat}"] == 0
    assert values["relivchats_insights_ended_10m{status=failed}"] == 2
    assert values["relivchats_insight_success_ratio{}"] == 0
    assert values["relivchats_api_p95_seconds{}"] == pytest.approx(0.9875)
    assert values["relivchats_database_up{}"] == 1
    assert values["relivchats_check_level{check=beat}"] == 2
    assert "relivchats_queue_oldest_seconds{}" not in values, "no sample is not zero"


@pytest.mark.django_db(transaction=True)
def test_an_outage_of_the_database_is_a_value(client: Client, postgres: ServerHandle) -> None:
    connection.close()
    with postgres.down():
        values = read(client)
    assert values["relivchats_database_up{}"] == 0
    assert values["relivchats_check_level{check=database}"] == 2
    assert not [name for name in values if "http_request" in name]


@pytest.mark.django_db
def test_the_number_of_queries_does_not_depend_on_the_routes(
    client: Client, django_assert_max_num_queries: Any
) -> None:
    for number in range(50):
        count(1, route=f"api/route-{number}")
    health.latest()
    with django_assert_max_num_queries(16):
        text = prometheus.scrape()
    assert text.count(b"_count{") == 50
