"""Secrets are hidden before a line is written."""

from __future__ import annotations

import ast
import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from django.core import signing
from django.http import HttpResponse
from django.utils.functional import SimpleLazyObject

from relivchats.error_events import OWN_PACKAGES
from relivchats.logs import MAX_TRACEBACK_ENTRIES, JSONFormatter, RequestMiddleware, bind, bound, request_id
from tests.processes import PATIENCE_SECONDS, REPOSITORY


def written(message: str) -> str:
    return JSONFormatter().format(logging.LogRecord("test", logging.WARNING, "", 0, message, None, None))


@pytest.mark.parametrize(
    "secret",
    ["rc_abcdefgh12345678", "sk_test_1234567890", "whsec_1234567890", "key-0123456789", "Bearer abcdefgh12345678"],
)
def test_a_key_or_token_is_hidden(secret: str) -> None:
    assert secret not in written(f"something said {secret} aloud")


@pytest.mark.parametrize("signer", [signing.Signer(), signing.TimestampSigner()])
def test_a_signed_link_is_hidden(signer: signing.Signer) -> None:
    signed = signer.sign("42f7c1ee")
    line = written(f"Forbidden (CSRF cookie not set.): /sandbox/{signed}")
    assert signed.split(":", 1)[1] not in line
    assert "Forbidden" in line


@pytest.mark.parametrize("line", ["a" * 300_000, "aaaaaaaa:" * 30_000, "://" + "a" * 300_000])
def test_a_very_long_line_is_scrubbed_quickly(line: str) -> None:
    """A pattern that backtracks would take minutes."""
    assert written(line)


def test_times_and_ids_are_not_changed() -> None:
    text = "took 10:42:11 for 0f6c1c9e-6d0a-4c62-8f3e-2b8f5a7d9e10"
    assert text in written(text)


def line_of(**extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("test", logging.WARNING, "", 0, "an event", None, None)
    record.__dict__.update(extra)
    line: dict[str, Any] = json.loads(JSONFormatter().format(record))
    return line


def test_extras_are_plain_values_without_secrets() -> None:
    line = line_of(job="a job", token="rc_abcdefgh12345678", count=3, done=True, chat=object(), texts=["a message"])
    assert (line["job"], line["token"], line["count"], line["done"]) == ("a job", "[hidden]", 3, True)
    assert not {"chat", "texts"} & line.keys()


def deep(levels: int) -> int:
    return 1 // levels if levels == 0 else deep(levels - 1)


def test_an_exception_is_logged_with_its_last_places_and_without_its_message() -> None:
    try:
        deep(50)
    except ZeroDivisionError:
        line = line_of(exc_info=sys.exc_info())
    assert line["error"] == "ZeroDivisionError"
    assert len(line["where"]) == MAX_TRACEBACK_ENTRIES
    assert line["where"][-1].endswith(" deep")
    assert "division" not in str(line)


def test_a_line_that_quotes_its_exception_is_logged_without_the_quotation() -> None:
    try:
        raise ValueError("the password is swordfish")
    except ValueError as error:
        line = line_of(msg=f"Task a.task raised unexpected: {error!r} or {error}", exc_info=sys.exc_info())
    assert line["event"] == "Task a.task raised unexpected: ValueError or ValueError"
    assert "swordfish" not in str(line)


@pytest.mark.parametrize("nothing", [None, (None, None, None)])
def test_a_line_outside_of_an_exception_and_a_request_has_neither(nothing: Any) -> None:
    line = line_of(msg="None of it", exc_info=nothing)
    assert line["event"] == "None of it"
    assert not {"error", "where", "request_id"} & line.keys()


def test_an_exception_without_a_message_changes_no_line() -> None:
    try:
        raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert line_of(msg="an event", exc_info=sys.exc_info())["event"] == "an event"


def respond(
    rf: Any, caplog: pytest.LogCaptureFixture, *, status: int = 200, route: str = "", given: str = "", user: Any = None
) -> tuple[HttpResponse, dict[str, Any]]:
    """Send a request through the middleware, and return the response and the extras of its log line."""
    request = rf.get("/", headers={"X-Request-ID": given} if given else {})
    request.resolver_match = SimpleNamespace(route=route) if route else None
    if user is not None:
        request.user = user
    inside = []

    def view(_: object) -> HttpResponse:
        inside.append(request_id.get())
        return HttpResponse(status=status)

    caplog.clear()
    with caplog.at_level(logging.DEBUG, "relivchats.request"):
        response = RequestMiddleware(view)(request)
    (record,) = [record for record in caplog.records if record.name == "relivchats.request"]
    assert inside == [response["X-Request-ID"]]
    assert request_id.get() == "", "the next request of this thread starts without an id"
    return response, vars(record)


@pytest.mark.parametrize("given", ["", "a" * 65, "a" * 7, "id 12345678", "id;12345678", "a" * 100_000])
def test_a_request_id_that_does_not_fit_its_column_is_replaced(
    rf: Any, caplog: pytest.LogCaptureFixture, given: str
) -> None:
    response, _ = respond(rf, caplog, given=given)
    assert len(response["X-Request-ID"]) == 32
    assert response["X-Request-ID"] != given


@pytest.mark.parametrize("given", ["a" * 64, "a" * 8, "Aa0._-__"])
def test_a_request_id_that_fits_is_kept(rf: Any, caplog: pytest.LogCaptureFixture, given: str) -> None:
    response, _ = respond(rf, caplog, given=given)
    assert response["X-Request-ID"] == given


def test_only_a_fault_of_ours_is_logged_as_an_error(rf: Any, caplog: pytest.LogCaptureFixture) -> None:
    levels = [respond(rf, caplog, status=status)[1]["levelname"] for status in (200, 404, 499, 500, 503)]
    assert levels == ["INFO", "INFO", "INFO", "ERROR", "ERROR"]


def test_a_request_is_logged_with_its_route_and_never_with_its_path(rf: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert respond(rf, caplog, route="api/chats/<uuid:pk>")[1]["route"] == "api/chats/<uuid:pk>"
    assert respond(rf, caplog)[1]["route"] == "unmatched"


def test_a_request_is_logged_with_its_user_without_loading_one(rf: Any, caplog: pytest.LogCaptureFixture) -> None:
    def load() -> Any:
        raise AssertionError("a log line must not cost a query")

    ann = SimpleNamespace(pk=7, is_authenticated=True)
    anonymous = SimpleNamespace(pk=None, is_authenticated=False)
    users = [ann, anonymous, SimpleLazyObject(load), None]
    assert [respond(rf, caplog, user=user)[1]["user"] for user in users] == ["7", None, None, None]


def test_what_is_polled_is_logged_only_if_it_fails_or_is_slow(
    rf: Any, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    for route in ("health/ready", "metrics", "health"):
        assert respond(rf, caplog, route=route)[1]["levelname"] == "DEBUG"
        assert respond(rf, caplog, route=route, status=503)[1]["levelname"] == "ERROR"
    assert respond(rf, caplog, route="health")[1]["message"] == "request"
    settings.SLOW_REQUEST_MS = 0
    slow = respond(rf, caplog, route="health")[1]
    assert (slow["levelname"], slow["message"]) == ("WARNING", "slow request")


def test_lines_have_the_ids_that_are_bound_and_no_other_request_has_them() -> None:
    with bound(job="a-job"):
        bind(user="a-user", chat=None)
        line = line_of(event="x")
        assert (line["job"], line["user"]) == ("a-job", "a-user")
        assert "chat" not in line
        assert line_of(user="another")["user"] == "another"
    bind(user="nobody")
    assert not {"job", "user"} & line_of().keys()


def extras(source: str) -> set[str]:
    """Return the names that the log calls of a module pass as a dictionary of extras."""
    return {
        str(key.value)
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.keyword) and node.arg == "extra" and isinstance(node.value, ast.Dict)
        for key in node.value.keys
        if isinstance(key, ast.Constant)
    }


def test_no_extra_has_the_name_of_an_attribute_of_log_records() -> None:
    """Such a log call raises KeyError, in the place of what it reports."""
    reserved = {*vars(logging.makeLogRecord({})), "message", "asctime"}
    assert extras('logger.warning("x", extra={"thread": 1})') & reserved == {"thread"}
    paths = [path for package in OWN_PACKAGES[:-1] for path in (REPOSITORY / package).rglob("*.py")]
    assert len(paths) > 100
    assert {path.name: found for path in paths if (found := extras(path.read_text()) & reserved)} == {}


TERMINAL = """
import os, pty, sys
import django
reader, writer = pty.openpty()
if sys.argv[1] == "terminal":
    os.dup2(writer, 2)
django.setup()
import logging
logging.getLogger("relivchats.staff.bulk_actions").info("pause unlocks")
logging.getLogger("relivchats.staff.bulk_actions").warning("action failed")
os.write(writer, b"end\\n")
if sys.argv[1] == "terminal":
    print(os.read(reader, 10_000).decode())
"""


@pytest.mark.parametrize(
    ("stream", "role", "is_written"),
    [("terminal", "", False), ("pipe", "", True), ("terminal", "web", True), ("pipe", "web", True)],
)
def test_a_terminal_shows_the_report_of_a_command_and_every_other_log_has_each_line(
    stream: str, role: str, is_written: bool
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TERMINAL, stream],
        cwd=REPOSITORY,
        env={**os.environ, "RELIVCHATS_PROCESS": role},
        capture_output=True,
        text=True,
        check=True,
        timeout=PATIENCE_SECONDS,
    )
    shown = done.stdout + done.stderr
    assert "action failed" in shown
    assert ("pause unlocks" in shown) is is_written
