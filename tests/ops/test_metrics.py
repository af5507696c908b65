"""The six key metrics are computed from rows, compared with their targets and with the window before."""

from __future__ import annotations

import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now
from django.test.utils import CaptureQueriesContext

from billing.models import CoinReservation, PaymentRefund
from chats.models import Chat, ChatUpload
from insights.models import GenerationJob, Insight
from ops import metrics, requests
from relivchats.request_counts import RequestCounter
from relivchats.staff.reports import Level
from tests.admin.everything import payments
from tests.ops import rows

pytestmark = pytest.mark.django_db
DAY = timedelta(days=1)


def values() -> dict[str, metrics.Metric]:
    return {metric.definition.name: metric for metric in metrics.fetch(DAY)}


def upload(outcome: str, *, number: int, age: timedelta = timedelta(hours=1)) -> None:
    user = rows.person()
    for _ in range(number):
        ChatUpload.objects.create(owner=user, outcome=outcome, size_bytes=1, milliseconds=1)
    ChatUpload.objects.filter(owner=user).update(created_at=Now() - age)


def finished_job(status: str, *, seconds: int = 60, age: timedelta = timedelta(hours=3)) -> GenerationJob:
    """A job of two insights that ended, in a window that ended with them."""
    job = rows.job()
    job.insights.update(
        status=status,
        started_at=Now() - age - timedelta(seconds=seconds),
        finished_at=Now() - age,
        sealed_document=b"sealed" if status == "completed" else None,
        error_code="" if status == "completed" else "internal_error",
    )
    CoinReservation.objects.filter(pk=job.reservation_id).update(
        status="captured" if status == "completed" else "released",
        captured_coins=F("coins") if status == "completed" else 0,
        resolved_at=Now() - age,
    )
    return job


def test_without_rows_there_is_no_value_and_no_warning() -> None:
    for metric in values().values():
        assert (metric.value, metric.before, metric.number, metric.level) == (None, None, 0, Level.FINE)


def test_a_file_that_is_no_export_is_no_failed_upload() -> None:
    upload("accepted", number=18)
    upload("failed", number=2)
    upload("refused", number=30)
    upload("identical", number=1, age=timedelta(hours=30))
    metric = values()["upload success"]
    assert (metric.value, metric.before, metric.number, metric.level) == (90, 100, 20, Level.WARNING)
    assert metric.detail == "30 files refused as no export"
    assert [value for value in metric.series if value is not None] == [90]


def test_a_chat_counts_as_converted_once() -> None:
    rows.job()
    rows.chat(rows.person())
    assert values()["unlock conversion"].value == 50
    Chat.objects.update(created_at=Now() - timedelta(hours=40))
    metric = values()["unlock conversion"]
    assert (metric.value, metric.before) == (None, 50)


def test_insights_that_failed_miss_the_target_once_there_are_enough() -> None:
    for _ in range(4):
        finished_job("completed", seconds=100)
    finished_job("failed")
    finished_job("completed", age=timedelta(hours=30), seconds=10)
    found = values()
    success, time, refunds = found["insight success"], found["time per insight"], found["refund rate"]
    assert (success.value, success.before, success.level) == (80, 100, Level.WARNING)
    assert (time.value, time.before, time.number, time.level) == (100, 10, 8, Level.FINE)
    assert time.detail == "p95 100.0 s"
    assert (refunds.value, refunds.before) == (20, 0)
    assert "target < 5 %, too few to judge" in refunds.text
    assert "too few" not in success.text
    Insight.objects.filter(status="failed").delete()
    assert values()["insight success"].value == 100


def test_refunded_orders_count_as_refunds() -> None:
    job = finished_job("completed")
    payments(1, user=rows.person())
    refunds = values()["refund rate"]
    assert refunds.value == round(100 * 10 / job.reservation.coins, 2)
    assert (refunds.number, refunds.level) == (1, Level.FINE), "one reservation is too little to judge"
    assert refunds.detail.startswith("10 coins: 0 of failed insights, 10 of refunded orders")
    assert refunds.remedy == "manage.py payments"
    PaymentRefund.objects.update(status="completed", taken_coins=4)
    assert values()["refund rate"].detail.endswith("10 of refunded orders, 6 of them spent before and owed")
    PaymentRefund.objects.update(status="failed", taken_coins=0)
    assert values()["refund rate"].value == 0


def test_the_p95_of_the_api_is_that_of_all_processes() -> None:
    counter = RequestCounter()
    for milliseconds in [20.0] * 90 + [900.0] * 10:
        counter.count(route="api/chats", method="GET", status=200, milliseconds=milliseconds)
    counter.count(route="health", method="GET", status=200, milliseconds=9000)
    requests.write(counter.take())
    metric = values()["API p95"]
    assert (metric.value, metric.before, metric.number, metric.level) == (875.0, None, 100, Level.WARNING)


def test_the_command_exits_with_1_if_a_target_is_missed() -> None:
    upload("failed", number=20)
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("metrics", "--since", "7d", "--json", stdout=out)
    assert ended.value.code == 1
    lines: list[dict[str, Any]] = json.loads(out.getvalue())["lines"]
    (late,) = [line for line in lines if line["level"] == "warning"]
    assert (late["name"], late["data"]["value"], late["data"]["target"]) == ("upload success", 0, "> 99 %")
    assert "errors --since 24h --grep upload" in late["remedy"]
    assert "▁" in late["text"]


@pytest.mark.owner
def test_each_metric_takes_one_query_that_reads_an_index_of_its_window() -> None:
    # Postgres reads any index of an empty table.
    for days in range(60):
        age = timedelta(days=days)
        job = finished_job("completed", age=age)
        upload("accepted", number=1, age=age)
        payments(days, user=job.user)
        PaymentRefund.objects.filter(order__wallet__user=job.user).update(created_at=Now() - age)
        GenerationJob.objects.filter(reservation=job.reservation).update(created_at=Now() - age)
        Chat.objects.filter(jobs=job).update(created_at=Now() - age)
    with CaptureQueriesContext(connection) as captured:
        metrics.fetch(DAY)
    # The series of requests reads the time of the database a second time.
    assert len(captured) == 7
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
        cursor.execute("SET LOCAL enable_seqscan = off")
        for query in captured.captured_queries:
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan" not in plan, plan
            if "FROM request_counts" not in query["sql"] and "epoch FROM now()) /" not in query["sql"]:
                assert "Index Cond: ((created_at >=" in plan or "Index Cond: ((finished_at >=" in plan, plan


@pytest.mark.parametrize(
    ("series", "expected"), [((), ""), ((None, None), ""), ((1.0, None, 8.0), "▁ █"), ((5.0, 5.0), "▁▁")]
)
def test_a_sparkline_has_a_bar_for_each_value(series: tuple[float | None, ...], expected: str) -> None:
    assert metrics.sparkline(series) == expected
