"""Fixtures for all tests. tests/plugin.py starts the servers."""

from __future__ import annotations

import io
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import hypothesis
import pytest
from django.core.management.commands import flush
from django.db import connection, transaction

from ops import health, views
from ops.checks import ledger as ledger_check
from relivchats import embedded, throttling
from relivchats.logs import JSONFormatter
from tests.processes import PATIENCE_SECONDS, BrokerHandle, RunningProcess, ServerHandle, start_celery

# Every run draws the same values, so that a failure is caused by a change and not by chance.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Restore the rows of a new database after a test that uses several connections.

    Django's own way, to flush all tables and to emit post_migrate, takes thirty times as long.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        tables = connection.introspection.django_table_names(include_views=False)
        # With --reuse-db it exists since an earlier run.
        cursor.execute("DROP SCHEMA IF EXISTS new CASCADE")
        cursor.execute("CREATE SCHEMA new")
        for table in tables:
            cursor.execute(f'CREATE TABLE new."{table}" AS TABLE "{table}"')

    def renew(*_: object, **__: object) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
            cursor.execute("ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only")
            cursor.execute("ALTER TABLE coin_debts DISABLE TRIGGER debts_are_only_paid_or_cancelled")
            cursor.execute(
                "".join(f'DELETE FROM "{table}"; INSERT INTO "{table}" TABLE new."{table}";' for table in tables)
            )
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
            cursor.execute("ALTER TABLE credit_transactions ENABLE TRIGGER credit_transactions_append_only")
            cursor.execute("ALTER TABLE coin_debts ENABLE TRIGGER debts_are_only_paid_or_cancelled")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flush.Command, "handle", renew)
        yield


class StartCelery(Protocol):
    def __call__(self, *, app: str = "relivchats", **environment: str) -> RunningProcess: ...


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of whole stacks first: they take longest, and short tests at the end keep all cores busy."""
    items.sort(key=lambda item: "tests/stack/" not in item.nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown() -> None:
    """Wait for the dispatch threads that a test started, before the database is emptied."""
    for thread in threading.enumerate():
        if thread.name.startswith("dispatch-"):
            thread.join(PATIENCE_SECONDS)


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """Return a stream that receives all log lines, down to DEBUG, as they are written."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JSONFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield stream
    root.setLevel(level)
    root.removeHandler(handler)


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the health checks time on a slow machine: for tests of their results, not of their timeouts."""
    monkeypatch.setattr(health, "TOTAL_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(health, "CHECK_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(views, "READY_SECONDS", PATIENCE_SECONDS)
    # Below what these tests call the time of a large ledger's audit.
    monkeypatch.setattr(ledger_check, "MAX_SECONDS", 8.0)


@pytest.fixture
def rate_clock(broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that rate limits read, half a minute into a window, and empty the broker."""
    now = [1_800_001_830.0]
    monkeypatch.setattr(throttling, "time", SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic))
    # A slow machine counts in the broker as well.
    monkeypatch.setattr(throttling, "BROKER_TIMEOUT_SECONDS", 30)
    monkeypatch.setattr(throttling._pause, "until", 0.0)
    throttling._memory.cache_clear()
    return now


@pytest.fixture
def broker() -> BrokerHandle:
    """Return the broker of the test run, emptied."""
    handle = BrokerHandle(embedded.valkey())
    handle.flush()
    return handle


@pytest.fixture
def postgres() -> ServerHandle:
    """Return the Postgres of the test run."""
    return ServerHandle(embedded.postgres())


@pytest.fixture
def worker(transactional_db: None, broker: BrokerHandle, tmp_path: Path) -> Iterator[StartCelery]:
    """Start real workers on the test database, with environment variables as keywords: `worker(LOG_LEVEL="DEBUG")`."""
    yield from _celery("worker", tmp_path)


@pytest.fixture
def beat(transactional_db: None, broker: BrokerHandle, tmp_path: Path) -> Iterator[StartCelery]:
    """Start a real beat on the test database, with environment variables as keywords."""
    yield from _celery("beat", tmp_path)


def _celery(kind: str, directory: Path) -> Iterator[StartCelery]:
    started: list[RunningProcess] = []
    numbers = itertools.count(1)

    def start(*, app: str = "relivchats", **environment: str) -> RunningProcess:
        process = start_celery(
            kind,
            directory=directory,
            number=next(numbers),
            database=connection.settings_dict["NAME"],
            app=app,
            environment=environment,
        )
        started.append(process)
        process.wait_until_ready()
        return process

    yield start
    for process in started:
        process.stop()
