"""Rehearsed failures of the services of docker-compose.yml, each with the command that is printed for containers.

The services run as they are written in the file. Without a container engine, tests/fakes/compose.py runs them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.demo.client import Document
from relivchats.crypto import Keyring
from tests.processes import PATIENCE_SECONDS, eventually
from tests.stack.composed import API, SILENT_SECONDS, Composed
from tests.stack.rehearsal import INTERVAL_SECONDS, line_of


def _can_contain() -> bool:
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    # Containers may lack the capability.
    words = ["unshare", "--mount", "--uts", "--ipc", "--pid", "--net", "--fork", "true"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not _can_contain(), reason="needs namespaces, as root on Linux")]

_A_WHILE_AGO = "now() - interval '90 seconds'"
_WORKER, _BEAT, _WEB = "[c]elery.* worker", "[c]elery.* beat", "relivchats[.]web_server"


@pytest.fixture(scope="module")
def _stacks() -> Iterator[list[Composed]]:
    stacks: list[Composed] = []
    yield stacks
    for stack in stacks:
        stack.stop()


@pytest.fixture
def composed(_stacks: list[Composed], tmp_path_factory: pytest.TempPathFactory) -> Composed:
    """One stack for all rehearsals: each calls `expect_fine` at its end. After one that did not, another stack."""
    if _stacks and not _stacks[-1].is_fine:
        _stacks.pop().stop()
    if not _stacks:
        _stacks.append(Composed(tmp_path_factory.mktemp("composed") / "relivchats"))
        _stacks[-1].log_in()
    _stacks[-1].is_fine = False
    return _stacks[-1]


def test_a_killed_worker_is_started_again_by_its_restart_policy(composed: Composed) -> None:
    (killed,) = composed.sql("SELECT started_at FROM heartbeats WHERE kind = 'worker'")
    composed.signal("celery_worker", _WORKER, "KILL")
    later = f"SELECT count(*), count(*) FILTER (WHERE started_at > '{killed}') FROM heartbeats WHERE kind = 'worker'"
    eventually(lambda: composed.sql(later) == ["1|1"], because=lambda: f"{composed.sql(later)}")
    eventually(lambda: "(healthy)" in composed.state("celery_worker"))
    composed.expect_fine()


@pytest.mark.parametrize(
    ("service", "pattern", "check"),
    [("celery_worker", _WORKER, "workers"), ("celery_beat", _BEAT, "beat")],
    ids=["worker", "beat"],
)
def test_a_frozen_process_is_silent_and_the_remedy_replaces_it(
    composed: Composed, service: str, pattern: str, check: str
) -> None:
    composed.signal(service, pattern, "STOP")
    line = composed.report(check, "critical", "killed or frozen", within_seconds=SILENT_SECONDS + INTERVAL_SECONDS)
    assert line["remedy"] == f"docker-compose restart -t 10 {service}; docker-compose up -d {service}"
    composed.expect_on_overview(check, "killed or frozen")
    composed.run(line["remedy"])
    composed.expect_fine()


def test_a_frozen_worker_stays_visible_when_another_one_starts_until_its_container_is_removed(
    composed: Composed,
) -> None:
    (frozen,) = composed.sql("SELECT name FROM heartbeats WHERE kind = 'worker'")
    composed.signal("celery_worker", _WORKER, "STOP")
    composed.report("workers", "critical", "killed or frozen", within_seconds=SILENT_SECONDS + INTERVAL_SECONDS)
    another = composed.run("docker-compose run -d --rm celery_worker").split()[-1]
    line = composed.report("workers", "warning", f"{frozen} is silent", within_seconds=PATIENCE_SECONDS)
    assert line["text"].endswith("; 1 alive")
    composed.run(f"docker stop {another}")
    composed.run("docker-compose kill celery_worker && docker-compose rm -sf celery_worker")
    composed.run("docker-compose up -d celery_worker")
    eventually(lambda: frozen not in composed.sql("SELECT name FROM heartbeats"))
    composed.expect_fine()


def test_frozen_web_processes_are_named_and_the_remedy_replaces_them(composed: Composed) -> None:
    composed.signal(API, _WEB, "STOP")
    line = composed.report("web", "critical", "is frozen")
    assert line["remedy"] == f"docker-compose restart -t 10 {API}"
    composed.run(line["remedy"])
    composed.expect_fine()


@pytest.mark.parametrize(
    ("service", "check", "how"), [("celery_worker", "workers", "rm -sf"), ("celery_beat", "beat", "stop")]
)
def test_a_service_that_was_stopped_or_removed_is_named_and_the_remedy_starts_it(
    composed: Composed, service: str, check: str, how: str
) -> None:
    composed.run(f"docker-compose {how} {service}")
    kind = service.removeprefix("celery_")
    line = composed.report(check, "critical", f"no {kind} is alive")
    assert line["remedy"] == f"docker-compose up -d {service}"
    composed.run(line["remedy"])
    composed.expect_fine()


def test_a_killed_web_service_is_named_by_another_container_and_the_remedy_starts_it(composed: Composed) -> None:
    composed.run(f"docker-compose kill {API}")
    # Its heartbeat ends first.
    eventually(lambda: line_of(composed.look_from_a_new_container()[1], "web")["level"] != "fine")
    status, document = composed.look_from_a_new_container()
    line = line_of(document, "web")
    assert (status, line["level"], line["cause"]) == (2, "critical", "")
    assert "no web process is alive" in line["text"]
    composed.run(line["remedy"])
    composed.expect_fine()


@pytest.mark.parametrize(
    ("service", "check", "words"),
    [("redis", "broker", "is down: it does not accept connections"), ("postgres", "database", "Postgres is down")],
)
def test_a_server_that_was_stopped_is_the_root_cause_and_the_remedy_starts_it(
    composed: Composed, service: str, check: str, words: str
) -> None:
    composed.run(f"docker-compose stop {service}")
    line = composed.report(check, "critical", words)
    assert line["remedy"] == f"docker-compose up -d {service}"
    composed.expect_on_overview(check, words)
    composed.run(line["remedy"])
    composed.expect_fine()


@pytest.mark.parametrize(("service", "check"), [("redis", "broker"), ("postgres", "database")])
def test_a_frozen_server_is_the_root_cause_and_the_remedy_replaces_it(
    composed: Composed, service: str, check: str
) -> None:
    composed.run(f"docker-compose kill -s SIGSTOP {service}")
    line = composed.report(check, "critical", "is frozen")
    assert line["remedy"] == f"docker-compose restart -t 10 {service}"
    composed.run(line["remedy"])
    composed.expect_fine()


def test_a_restarted_postgres_is_fine_again_without_an_operator(composed: Composed) -> None:
    composed.run("docker-compose restart postgres")
    composed.expect_fine()


def test_of_two_beats_the_remedy_stops_the_one_that_is_not_of_the_service(composed: Composed) -> None:
    (ours,) = composed.sql("SELECT name FROM heartbeats WHERE kind = 'beat'")
    composed.run("docker-compose run -d --rm celery_beat")
    line = composed.report("beat", "warning", "2 run, one is enough", within_seconds=PATIENCE_SECONDS)
    assert line["remedy"].startswith("docker stop ")
    composed.run(line["remedy"])
    composed.expect_fine()
    assert composed.sql("SELECT name FROM heartbeats WHERE kind = 'beat'") == [ours]


def test_a_full_broker_is_named_and_the_remedy_gives_it_memory(composed: Composed) -> None:
    composed.run("docker-compose exec redis redis-cli CONFIG SET maxmemory 1mb")
    line = composed.report("broker", "critical", "it takes no more messages")
    composed.run(line["remedy"])
    composed.expect_fine()


def test_at_the_connection_limit_the_remedy_ends_the_connections_of_the_largest_client(composed: Composed) -> None:
    with composed.session(API, "python", "-c", _CONNECT_OFTEN) as client:
        assert client.stdout
        assert int(client.stdout.readline()) > 50
        line = composed.report("database", "critical", "is at its connection limit")
        _, document = composed.look()
        assert document["headline"].startswith("root cause: database: Postgres is at its connection limit")
        assert "a report" in composed.run(line["remedy"])
        composed.expect_fine()


_CONNECT_OFTEN = """
import os, psycopg, time
held = []
try:
    while len(held) < 200:
        held.append(psycopg.connect(os.environ["DATABASE_URL"], application_name="a report"))
except psycopg.OperationalError:
    print(len(held), flush=True)
    time.sleep(600)
"""


def test_a_session_of_a_superuser_that_keeps_a_table_locked_is_ended_by_the_remedy(composed: Composed) -> None:
    with composed.session("postgres", *_PSQL, stdin="BEGIN;\nLOCK TABLE coin_reservations;\n"):
        line = composed.report("queries", "critical", "coin_reservations locked")
        composed.expect_on_overview("queries", "coin_reservations locked")
        composed.run(line["remedy"])
        composed.expect_fine()


@pytest.mark.parametrize("role", ["relivchats", "relivchats_app"])
def test_a_long_statement_is_shown_by_its_shape_and_the_remedy_cancels_it(composed: Composed, role: str) -> None:
    statement = f"SET SESSION AUTHORIZATION {role};\nSELECT pg_sleep(600), 'a private text';\n"
    with composed.session("postgres", *_PSQL, stdin=statement) as session:
        line = composed.report("queries", "warning", "SELECT pg_sleep(?), ?")
        assert "private" not in str(line)
        assert composed.run(line["remedy"])
        composed.expect_fine()
        assert session.poll() is None, "its statement has ended, not the session"


_PSQL = ("psql", "-U", "relivchats", "-q")


def test_a_pending_migration_is_applied_by_the_remedy(composed: Composed) -> None:
    # One that can be reversed while everything runs: it validates constraints and builds an index.
    composed.run("docker-compose run --rm migrate python manage.py migrate billing 0016_repairs")
    line = composed.report("migrations", "warning", "pending, first billing.0017")
    composed.run(line["remedy"])
    composed.expect_fine()


@pytest.fixture
def waiting(composed: Composed) -> Document:
    """A job whose insight no worker generates before tomorrow."""
    composed.signal("celery_worker", _WORKER, "STOP")
    job = composed.unlock_chat()
    composed.sql("UPDATE insights SET next_attempt_at = now() + interval '1 day' WHERE status = 'pending'")
    composed.signal("celery_worker", _WORKER, "CONT")
    return job


def test_an_insight_of_a_worker_that_stopped_is_continued_by_the_remedy(composed: Composed, waiting: Document) -> None:
    composed.sql(
        "UPDATE insights SET status = 'generating', attempt = 1, started_at = now(), lease_token = gen_random_uuid(),"
        f" lease_expires_at = {_A_WHILE_AGO}, next_attempt_at = now() WHERE status = 'pending'"
    )
    line = composed.report("insights", "warning", "1 stuck in generating")
    composed.run(line["remedy"])
    composed.expect_job(waiting, "completed")
    composed.expect_fine()


def test_a_job_past_its_deadline_is_ended_by_the_remedy(composed: Composed, waiting: Document) -> None:
    reserved = composed.customer.balance()["reserved"]
    composed.sql(
        f"UPDATE insight_generation_jobs SET deadline_at = {_A_WHILE_AGO} WHERE job_id = '{waiting['job_id']}'"
    )
    line = composed.report("jobs", "warning", "1 stuck")
    composed.run(line["remedy"])
    composed.expect_job(waiting, "failed")
    assert composed.customer.balance()["reserved"] == reserved - waiting["coins_reserved"]
    composed.expect_fine()


def test_an_overdue_reservation_is_released_by_the_remedy(composed: Composed, waiting: Document) -> None:
    reserved = composed.customer.balance()["reserved"]
    composed.sql(f"UPDATE coin_reservations SET expires_at = {_A_WHILE_AGO} WHERE status = 'active'")
    composed.sql(f"UPDATE insight_generation_jobs SET deadline_at = now() WHERE job_id = '{waiting['job_id']}'")
    line = composed.report("reservations", "warning", "1 overdue")
    composed.run(line["remedy"])
    assert composed.customer.balance()["reserved"] == reserved - waiting["coins_reserved"]
    composed.expect_fine()


def test_a_chat_that_failed_to_index_is_indexed_by_the_remedy(composed: Composed) -> None:
    composed.expect_job(composed.unlock_chat(), "completed")
    composed.sql(
        "UPDATE chats SET vector_status = 'failed', index_error_code = 'embedding_unavailable'"
        " WHERE id = (SELECT chat_id FROM insights ORDER BY created_at DESC LIMIT 1)"
    )
    line = composed.report("vectors", "warning", "1 failed to index")
    composed.run(line["remedy"])
    composed.expect_fine()


@pytest.mark.parametrize(
    ("how", "words"), [("rm -sf", "is down"), ("kill -s SIGSTOP", "is frozen")], ids=["removed", "frozen"]
)
def test_qdrant_that_does_not_answer_is_named_and_the_remedy_starts_it(
    composed: Composed, how: str, words: str
) -> None:
    composed.run(f"docker-compose {how} qdrant")
    line = composed.report("qdrant", "warning", words)
    composed.run(line["remedy"])
    # The stand-in of its server keeps nothing.
    eventually(lambda: composed.manage("reindex", "--qdrant").returncode == 0)
    composed.expect_fine()


def test_a_wallet_that_sql_changed_is_repaired_by_two_people(composed: Composed) -> None:
    before = composed.customer.balance()["balance"]
    composed.sql("UPDATE wallets SET balance = balance + 500 WHERE id = (SELECT max(id) FROM wallets)")
    line = composed.report("ledger", "critical", "such as “a wallet's balance is the sum of its transactions”")
    (preview,) = composed.follow(line["remedy"], statuses=(2,))
    (propose,) = composed.follow(preview, statuses=(1,))
    (approve,) = composed.follow(propose)
    (proposal,) = composed.sql("SELECT id FROM coin_adjustments WHERE status = 'pending'")
    assert f"/admin/billing/adjustment/{proposal}/change/" in approve
    page = "/admin/billing/adjustment/?status__exact=pending"
    composed.submit(page, {"action": "approve", "_selected_action": proposal, "reason": "checked"})
    composed.expect_fine()
    assert composed.customer.balance()["balance"] == before


def test_a_wrong_keyring_is_named_and_the_remedy_starts_everything_with_the_right_one(
    composed: Composed, tmp_path: Path
) -> None:
    composed.expect_job(composed.unlock_chat(), "completed")
    right, settings = tmp_path / "right", composed.directory / ".env"
    shutil.copy(settings, right)
    settings.write_text(
        re.sub(r"(?m)^ENCRYPTION_KEYS=.*$", f"ENCRYPTION_KEYS={Keyring.new_text()}", settings.read_text())
    )
    composed.run("docker-compose up -d")
    line = composed.report("keys", "critical", "ENCRYPTION_KEYS does not open")
    composed.run(line["remedy"], EDITOR=f"cp {right}")
    composed.expect_fine()


def test_a_missing_keyring_is_reported_by_a_new_container(composed: Composed, tmp_path: Path) -> None:
    right, settings = tmp_path / "right", composed.directory / ".env"
    shutil.copy(settings, right)
    settings.write_text(re.sub(r"(?m)^ENCRYPTION_KEYS=.*\n", "", settings.read_text()))
    status, document = composed.look_from_a_new_container()
    line = line_of(document, "settings")
    assert (status, line["level"]) == (2, "critical")
    assert "ENCRYPTION_KEYS" in line["text"]
    shutil.copy(right, settings)
    composed.run("docker-compose up -d")
    composed.expect_fine()
