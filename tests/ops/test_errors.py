"""Warnings and errors of every process become rows without private text, and operators find them."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import subprocess
import sys
import threading
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.db.models.functions import Now

from chats import indexing
from chats.exports.errors import EmptyExport
from chats.models import ChatUpload
from chats.upload_log import UploadLog
from ops import errors
from ops.monitoring_models import ErrorEvent
from ops.recorder import Recorder
from relivchats import error_events, logs
from relivchats.error_events import EventHandler, EventQueue
from relivchats.request_counts import RequestCounter
from tests.canary import unique
from tests.conftest import StartCelery
from tests.ops import rows
from tests.processes import REPOSITORY, BrokerHandle, ServerHandle, eventually, process_environment

HOUR = timedelta(hours=1)
SECRET = unique("secret")


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> EventQueue:
    """Return an empty queue that receives the events of this process."""
    queue = EventQueue()
    monkeypatch.setattr(error_events, "queue", queue)
    return queue


def written(queue: EventQueue) -> list[ErrorEvent]:
    events, dropped = queue.take()
    errors.write(events, role=ErrorEvent.Role.WEB, dropped=dropped)
    return list(ErrorEvent.objects.order_by("pk"))


def report(*arguments: str) -> list[dict[str, Any]]:
    out = io.StringIO()
    call_command("errors", *arguments, "--json", stdout=out)
    found: list[dict[str, Any]] = json.loads(out.getvalue())["rows"]
    return found


def fail(secret: str = SECRET) -> None:
    raise ValueError(secret)


@pytest.mark.django_db
def test_an_event_has_its_place_and_ids_and_no_value(queue: EventQueue) -> None:
    insight, user = uuid4(), uuid4()
    with logs.bound(job=uuid4(), user=user):
        try:
            fail()
        except ValueError:
            extra = {"insight": str(insight), "error_code": f"a {SECRET}", "reason": "internal_error", "text": SECRET}
            logging.getLogger("insights.generation").exception("insight not generated", extra=extra)
    logging.getLogger("celery.app.trace").error("Task %(name)s: %(exc)s", {"name": "chats.tasks.index", "exc": SECRET})
    logging.getLogger("somebody.else").warning(f"saw {SECRET}")
    logging.getLogger("somebody.else").warning("saw %s", SECRET)
    event, task, other, formatted = written(queue)
    assert (event.level, event.event, event.error, event.code) == (
        "ERROR", "insight not generated", "ValueError", "internal_error",
    )  # fmt: skip
    assert event.location.startswith("tests.ops.test_errors:fail:")
    assert (event.user_id, event.insight_id) == (user, insight)
    assert event.job_id is not None
    assert (task.event, task.code) == ("task failed", "chats.tasks.index")
    assert "without constant text (test_errors:" in other.event
    assert formatted.event == "somebody.else: saw"
    assert SECRET not in str(list(ErrorEvent.objects.values()))


@pytest.mark.django_db
def test_events_of_one_cause_are_one_group_with_counts_and_a_request(queue: EventQueue) -> None:
    for number in (1, 2, 3):
        token = logs.request_id.set(f"request-{number}")
        logging.getLogger("insights.settlement").error(f"failed after {number} attempts")
        logs.request_id.reset(token)
    logging.getLogger("chats.points").warning("points not stored", extra={"error_code": "timeout"})
    written(queue)
    by_event = {row["event"]: row for row in report()}
    assert by_event["failed after 3 attempts"]["times"] == 3
    assert by_event["failed after 3 attempts"]["request"] == "request-3"
    assert by_event["failed after 3 attempts"]["first"] <= by_event["failed after 3 attempts"]["last"]
    assert len(by_event) == 2
    assert len(report("--list")) == 4
    assert [row["event"] for row in report("--grep", "failed AFTER 3 attempts")] == ["failed after 3 attempts"]
    assert len(report("--grep", "timeout|failed after")) == 2
    assert report("--grep", "CRITICAL") == []
    ErrorEvent.objects.update(at=Now() - 2 * HOUR)
    assert report("--since", "1h") == []
    assert len(report("--since", "3h")) == 2
    with pytest.raises(CommandError, match="30m, 1h or 7d"):
        report("--since", "yesterday")


@pytest.mark.django_db
def test_the_events_of_a_request_are_found_by_its_id_whenever_it_was_and_refusals_too(queue: EventQueue) -> None:
    for number in (1, 2):
        token = logs.request_id.set(f"request-{number}")
        logging.getLogger("insights.settlement").error("failed")
        logs.request_id.reset(token)
    written(queue)
    ErrorEvent.objects.update(at=Now() - 30 * 24 * HOUR)
    ErrorEvent.objects.filter(request_id="request-2").update(level="INFO")
    for wanted in ("request-1", "request-2"):
        assert [row["request"] for row in report("--request", wanted)] == [wanted]
    assert [row["request"] for row in report("--grep", "request-1", "--since", "40d", "--list")] == ["request-1"]


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("environment", "command"),
    [
        ({}, "./dev manage logs web --grep=request-9"),
        ({"RELIVCHATS_INSTALLATION": "compose"}, "docker-compose logs relivchats-api | grep -F -e request-9"),
        ({"DATABASE_URL": "postgres://elsewhere/x"}, "search the log of relivchats-api for request-9"),
    ],
    ids=["dev", "compose", "other"],
)
def test_for_a_request_without_events_the_command_that_shows_its_line_in_the_log_is_printed(
    environment: dict[str, str], command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    out = io.StringIO()
    call_command("errors", "--request", "request-9", stdout=out)
    assert "only in the log of web" in out.getvalue()
    assert out.getvalue().rstrip().endswith(command)


@pytest.mark.parametrize(
    "option",
    [
        ["--since", "7d"],
        ["--user", "ann@example.org"],
        ["--grep", "x"],
        ["--refusals"],
        ["--follow"],
    ],
    ids="".join,
)
def test_a_request_is_selected_by_its_id_alone(option: list[str]) -> None:
    with pytest.raises(CommandError, match=rf"--request lists .*{option[0]}"):
        report("--request", "request-9", *option)


@pytest.mark.parametrize("malformed", ["short", "a; rm -rf x", "x" * 65])
def test_what_is_no_request_id_is_refused(malformed: str) -> None:
    with pytest.raises(CommandError, match="is no request id"):
        report("--request", malformed)


@pytest.mark.django_db
def test_the_events_of_a_person_include_those_of_their_insights_and_chats(queue: EventQueue) -> None:
    mine, other = rows.abandoned_insight(), rows.abandoned_insight()
    assert mine.job.user is not None
    log = logging.getLogger("insights")
    log.warning("direct", extra={"user": str(mine.job.user_id)})
    for insight in (mine, other):
        log.warning("insight rescheduled", extra={"insight": str(insight.pk)})
        log.warning("job", extra={"job": str(insight.job_id)})
        log.warning("points not stored", extra={"chat": str(insight.chat_id)})
    written(queue)
    for name in (str(mine.job.user.email).upper(), str(mine.job.user_id)):
        assert len(report("--user", name, "--list")) == 4
    for name in ("nobody@example.org", "nobody"):
        with pytest.raises(CommandError, match="no user"):
            report("--user", name)


@pytest.mark.django_db
def test_an_exception_of_a_request_is_one_event(
    queue: EventQueue, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A view that answers 503 is logged by Django as well, without its route.
    logging.getLogger("django.request").error("%s: %s", "Service Unavailable", "/health")
    monkeypatch.setattr("ops.views.health.latest", fail)
    client.raise_request_exception = False
    assert client.get("/health", headers={"X-Request-ID": "request-of-a-test"}).status_code == 500
    (event,) = written(queue)
    assert (event.event, event.error, event.route) == ("unhandled exception", "ValueError", "health")
    assert (event.status, event.request_id) == (500, "request-of-a-test")


def test_a_full_queue_counts_what_it_drops_and_never_waits() -> None:
    queue = EventQueue(max_waiting=2)
    events = [
        error_events.ErrorEvent.of(logging.LogRecord("ops", logging.ERROR, "", 0, str(number), None, None))
        for number in range(5)
    ]
    for event in events[2:]:
        queue.add(event)
    queue.put_back(events[:2], 1)
    taken, dropped = queue.take()
    assert [event.event for event in taken] == ["2", "3"]
    assert dropped == 1 + 1 + 2
    assert queue.take() == ([], 0)


def test_a_record_that_cannot_be_read_breaks_nothing(queue: EventQueue) -> None:
    record = logging.LogRecord("ops", logging.ERROR, "", 0, "x", None, None)
    record.__dict__.update(request=SimpleNamespace(resolver_match=1), user=object(), status="a")
    EventHandler().handle(record)


@pytest.mark.django_db(transaction=True)
def test_events_of_an_outage_are_written_after_it(postgres: ServerHandle, queue: EventQueue) -> None:
    recorder = Recorder(ErrorEvent.Role.WEB, counter=RequestCounter(), events=queue, interval_seconds=0.05)
    connection.close()
    with postgres.down():
        recorder.start()
        logging.getLogger("chats").warning("points not stored")
        eventually(lambda: not recorder.is_current)
        threading.Thread(target=logging.getLogger("chats").error, args=("sealed data does not open",)).start()
    eventually(lambda: ErrorEvent.objects.count() == 2)
    recorder.stop()


@pytest.mark.django_db(transaction=True)
def test_an_event_that_cannot_be_stored_does_not_stop_those_after_it(queue: EventQueue) -> None:
    broken = replace(
        error_events.ErrorEvent.of(logging.LogRecord("ops", logging.ERROR, "", 0, "x", None, None)), status=10**9
    )
    recorder = Recorder(ErrorEvent.Role.WEB, counter=RequestCounter(), events=queue, interval_seconds=0.05)
    queue.add(broken)
    recorder.start()
    eventually(lambda: not len(queue))
    logging.getLogger("chats").warning("points not stored")
    eventually(ErrorEvent.objects.filter(event="points not stored").exists)
    recorder.stop()


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_worker_records_what_fails_with_the_chat(worker: StartCelery, broker: BrokerHandle) -> None:
    worker()
    user = rows.person()
    chat = rows.chat(user, vector_status="pending")
    indexing.request(chat)
    eventually(ErrorEvent.objects.filter(role="worker", event="indexing failed").exists)
    (row, *_) = report("--user", str(user.email), "--grep", "indexing failed")
    assert row["where"].startswith("relivchats.crypto:open:")


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_command_records_the_exception_that_ends_it() -> None:
    environment = process_environment(connection.settings_dict["NAME"])
    code = f"raise ValueError('{SECRET}')"
    done = subprocess.run(
        [sys.executable, "manage.py", "shell", "-c", code], cwd=REPOSITORY, env=environment, capture_output=True
    )
    assert done.returncode == 1
    event = ErrorEvent.objects.get()
    assert (event.role, event.event, event.error, event.code) == ("command", "command failed", "ValueError", "shell")
    assert SECRET not in str(list(ErrorEvent.objects.values()))


@pytest.mark.parametrize(
    ("name", "message", "arguments", "text"),
    [
        ("psycopg.pool", "discarding closed connection: %s", (SECRET,), "psycopg.pool: discarding closed connection"),
        ("granian", "%s (%r)", (SECRET, SECRET), "granian: a message without constant text (somewhere:1)"),
        ("granian", SECRET, (), "granian: a message without constant text (somewhere:1)"),
        ("py.warnings", "%s", (f"a.py:1: DeprecationWarning: {SECRET}\n",), "Python: a DeprecationWarning"),
        ("ops.health", "a health check failed", (), "a health check failed"),
    ],
    # The secret is another one in each process of pytest-xdist.
    ids=["constant words", "none but arguments", "formatted already", "a warning", "one of ours"],
)
def test_an_event_of_a_library_has_its_name_and_readable_constant_words(
    name: str, message: str, arguments: tuple[object, ...], text: str
) -> None:
    record = logging.LogRecord(name, logging.WARNING, "somewhere.py", 1, message, arguments, None)
    assert error_events.ErrorEvent.of(record).event == text


@pytest.mark.django_db
def test_a_refused_upload_is_listed_only_if_asked_for_and_a_failed_one_always(queue: EventQueue) -> None:
    log = UploadLog(owner=rows.person(), request_id="", size_bytes=1)
    with contextlib.ExitStack() as stack:
        logger, handler = logging.getLogger("chats.upload_log"), EventHandler()
        logger.addHandler(handler)
        stack.callback(logger.removeHandler, handler)
        log.record_failure(ChatUpload.Outcome.REFUSED, EmptyExport())
        log.record_failure(ChatUpload.Outcome.FAILED, MemoryError())
    logging.getLogger("chats.upload_log").info("no refusal")
    assert {(event.level, event.event) for event in written(queue)} == {
        ("INFO", "upload refused"),
        ("WARNING", "upload failed"),
    }
    assert [row["event"] for row in report("--since", "1h")] == ["upload failed"]
    assert len(report("--since", "1h", "--refusals")) == 2
