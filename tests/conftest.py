"""Fixtures for all tests. tests/plugin.py starts the servers."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import itertools
import logging
import threading
import time
from collections.abc import Generator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import hypothesis
import psycopg
import pytest
from django.core.management.commands import flush
from django.db import connection
from django.db.models import DateTimeField, Value

from chats.key_models import KeyStoreIdentity
from ops import database, health, queues, views, workers
from ops.checks import ledger as ledger_check
from relivchats import database_roles, embedded, throttling
from relivchats.key_store import key_store
from relivchats.logs import JSONFormatter
from tests.processes import (
    PATIENCE_SECONDS,
    BrokerHandle,
    RunningProcess,
    ServerHandle,
    owner_database_url,
    start_celery,
)

# Their packages are installed by `./dev test -m browser`.
collect_ignore = [] if importlib.util.find_spec("playwright") else ["browser"]

# Every run draws the same values, so that a failure is caused by a change and not by chance.
hypothesis.settings.register_profile(
    "tests", deadline=None, derandomize=True, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")


#: Holds the connection as the owner while the test database is created or dropped.
_setting_up = contextlib.ExitStack()


@pytest.fixture(autouse=True)
def _postgres_that_runs_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let health judge heartbeats at once: right after a start of Postgres, it waits for them."""
    monkeypatch.setattr(workers, "DATABASE_STARTED_AT", Value(datetime(2020, 1, 1, tzinfo=UTC), DateTimeField()))


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Create the test database as the owner. The application may not."""
    _setting_up.enter_context(database_roles.as_owner(connection))


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """Run tests as the application's role, and restore the rows of a new database after one with several connections.

    Django's own way, to flush all tables and to emit post_migrate, takes thirty times as long.
    """
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        # Once: the files of a test stay, and a database without this row does not adopt a store that has files.
        store = key_store()
        assert store
        if not store.exists():
            store.create()
        KeyStoreIdentity.objects.update_or_create(defaults={"identity": store.identity()})
        tables = connection.introspection.django_table_names(include_views=False)
        # With --reuse-db it exists since an earlier run.
        cursor.execute("DROP SCHEMA IF EXISTS new CASCADE")
        cursor.execute("CREATE SCHEMA new")
        for table in tables:
            cursor.execute(f'CREATE TABLE new."{table}" AS TABLE "{table}"')
        triggers = (
            ("credit_transactions", "credit_transactions_append_only"),
            ("coin_debts", "debts_are_only_paid_or_cancelled"),
            ("content_accesses", "content_accesses_append_only"),
            ("content_reads", "content_reads_append_only"),
        )

    def renew(*_: object, **__: object) -> None:
        with psycopg.connect(owner_database_url(connection.settings_dict["NAME"])) as owner:
            owner.execute(f"LOCK TABLE {', '.join(tables)} IN EXCLUSIVE MODE")
            for table, trigger in triggers:
                owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}")
            owner.execute(
                "".join(f'DELETE FROM "{table}"; INSERT INTO "{table}" TABLE new."{table}";' for table in tables)
            )
            owner.execute("SET CONSTRAINTS ALL IMMEDIATE")
            for table, trigger in triggers:
                owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")

    _setting_up.close()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(flush.Command, "handle", renew)
        yield
    _setting_up.enter_context(database_roles.as_owner(connection))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked with `owner` as the owner of the tables, for tests that change tables."""
    if item.get_closest_marker("owner"):
        with database_roles.as_owner(connection):
            return (yield)
    return (yield)


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
    monkeypatch.setattr(database, "PROBE_SECONDS", PATIENCE_SECONDS)
    monkeypatch.setattr(queues, "TIMEOUT_SECONDS", 8.0)
    # Below what these tests call the time of a large ledger's audit.
    monkeypatch.setattr(ledger_check, "MAX_SECONDS", 8.0)


@pytest.fixture
def rate_clock(broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the time that rate limits read, half a minute into a window, and empty the broker."""
    now = [1_800_001_830.0]
    monkeypatch.setattr(throttling, "time", SimpleNamespace(time=lambda: now[0], monotonic=time.monotonic))
    # A slow machine counts in the broker as well.
    monkeypatch.setattr(throttling, "BROKER_TIMEOUT_SECONDS", 30)
    monkeypatch.setattr(throttling, "BROKER_PAUSE_SECONDS", 600)
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
