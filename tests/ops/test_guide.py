"""The SQL queries that operators know still work, and docs/operations.md names only what exists."""

from __future__ import annotations

import re
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import get_commands, load_command_class
from django.db import connection
from django.db.models.functions import Now
from django.urls import Resolver404, resolve

from billing.models import CreditTransaction
from chats.models import Chat
from insights.models import GenerationJob
from ops import checks
from tests.ops import rows
from tests.processes import database_url, eventually

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operations.md"

ACTIVE_CONNECTIONS = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = %s;"

RECENT_TRANSACTIONS = "SELECT * FROM credit_transactions ORDER BY created_at DESC LIMIT 10;"

VECTOR_STATUS = "SELECT vector_status, COUNT(*) FROM chats GROUP BY vector_status;"

ACTIVE_JOBS = """
SELECT job_id, status, completed_insights, total_insights, created_at
FROM insight_generation_jobs
WHERE status IN ('queued', 'running')
ORDER BY created_at DESC;
"""

FAILED_INSIGHTS = """
SELECT chat_id, insight_type_id, error_message, created_at
FROM insights
WHERE status = 'failed'
ORDER BY created_at DESC
LIMIT 20;
"""

STUCK_RESERVATIONS = """
SELECT * FROM coin_reservations
WHERE status = 'active'
  AND expires_at < NOW();
"""

LONG_RUNNING = """
SELECT pid, now() - query_start AS duration, query, state
FROM pg_stat_activity
WHERE state = 'active'
  AND now() - query_start > interval '30 seconds'
ORDER BY duration DESC;
"""

RUNNING_JOBS = "SELECT * FROM insight_generation_jobs WHERE status = 'running';"


def run_query(query: str, *parameters: str) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(query, parameters or None)
        names = [column.name for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


pytestmark = pytest.mark.django_db


def test_active_connections_counts_this_one() -> None:
    assert run_query(ACTIVE_CONNECTIONS, connection.settings_dict["NAME"])[0]["count"] >= 1


def test_recent_transactions_are_the_latest_ten_of_the_ledger() -> None:
    for _ in range(6):
        rows.person()
    latest = CreditTransaction.objects.order_by("-created_at", "-id")
    found = run_query(RECENT_TRANSACTIONS)
    assert len(found) == 10
    assert {row["id"] for row in found} <= set(latest.values_list("id", flat=True))
    assert {"wallet_id", "type", "amount", "balance_after"} <= set(found[0])


def test_vector_status_counts_every_chat() -> None:
    owner = rows.person()
    for status in ("completed", "failed", "failed", "pending"):
        rows.chat(owner, vector_status=status)
    counts = {row["vector_status"]: row["count"] for row in run_query(VECTOR_STATUS)}
    assert counts == {"completed": 1, "failed": 2, "pending": 1}
    assert set(counts) <= set(Chat.VectorStatus)


def test_active_jobs_lists_the_open_ones_with_their_progress() -> None:
    rows.failed_job()
    job = rows.job()
    (found,) = run_query(ACTIVE_JOBS)
    assert (found["job_id"], found["completed_insights"], found["total_insights"]) == (job.pk, 0, 2)


def test_failed_insights_have_their_reason() -> None:
    job = rows.failed_job()
    rows.job()
    found = run_query(FAILED_INSIGHTS)
    assert {row["chat_id"] for row in found} == {job.chat_id}
    assert {row["error_message"] for row in found} == {"The engine did not answer."}
    assert {row["insight_type_id"] for row in found} == set(job.insights.values_list("insight_type", flat=True))


def test_stuck_reservations_are_the_overdue_ones() -> None:
    rows.job()
    assert run_query(STUCK_RESERVATIONS) == []
    stuck = rows.orphaned_reservation()
    assert [row["id"] for row in run_query(STUCK_RESERVATIONS)] == [stuck.pk]


# Within one transaction, pg_stat_activity repeats its first snapshot.
@pytest.mark.django_db(transaction=True)
def test_long_running_queries_are_found_by_their_age() -> None:
    sleeping = psycopg.connect(database_url(connection.settings_dict["NAME"]))
    thread = threading.Thread(target=_sleep, args=(sleeping,))
    thread.start()
    try:
        longer_than_nothing = LONG_RUNNING.replace("30 seconds", "0 seconds")
        eventually(lambda: "SELECT pg_sleep(60)" in {row["query"] for row in run_query(longer_than_nothing)})
        assert run_query(LONG_RUNNING) == []
    finally:
        sleeping.cancel_safe()
        thread.join()
        sleeping.close()


def _sleep(session: psycopg.Connection) -> None:
    with suppress(psycopg.errors.QueryCanceled):
        session.execute("SELECT pg_sleep(60)")


def test_running_jobs_are_those_that_a_worker_has_started() -> None:
    assert run_query(RUNNING_JOBS) == []
    job = rows.job()
    GenerationJob.objects.filter(pk=job.pk).update(status="running", started_at=Now())
    assert [row["job_id"] for row in run_query(RUNNING_JOBS)] == [job.pk]


COMMANDS = re.findall(r"manage\.py ((?:[a-z_-]+)(?: [^`\n#|]*)?)", GUIDE.read_text())
ADDRESSES = re.findall(r"localhost:8000(/[^\s`|]*)", GUIDE.read_text())


@pytest.mark.parametrize("written", sorted(set(COMMANDS)))
def test_the_guide_names_only_commands_and_flags_that_exist(written: str) -> None:
    name, *arguments = written.split()
    assert name in get_commands()
    known = load_command_class(get_commands()[name], name).create_parser("manage.py", name)._option_string_actions
    flags = {argument.strip("[]") for argument in arguments if argument.strip("[]").startswith("--")}
    assert flags <= set(known)


@pytest.mark.parametrize("address", sorted(set(ADDRESSES)))
def test_the_guide_names_only_addresses_that_exist(address: str) -> None:
    try:
        resolve(address.replace("CHAT", "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11"))
    except Resolver404:
        pytest.fail(f"{address} leads nowhere")


def test_every_health_check_has_its_row_in_the_guide() -> None:
    """And in the order in which `health` prints them, so that an operator finds the row of a line."""
    table = GUIDE.read_text().partition("| check | reports a problem if |")[2].partition("\n\n")[0]
    documented = re.findall(r"^\| (\w+) \|", table, re.MULTILINE)
    assert documented == [check.name for check in (*checks.ALL, *checks.VERBOSE)]


def test_the_commands_and_addresses_of_the_guide_are_found() -> None:
    assert len(set(COMMANDS)) >= 12
    assert "/health" in ADDRESSES
