"""Every refusal and every error is a problem document that says what to do."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any
from urllib.parse import quote

import pytest
from django.conf import settings
from django.core.management import get_commands, load_command_class
from django.db import OperationalError

from chats import views
from relivchats.errors import DomainError
from relivchats.logs import JSONFormatter
from relivchats.problems import problem_response
from tests import exports
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

APPS = ("relivchats", "chats", "billing", "insights", "ops")
PRIVATE = "Meera said the password is swordfish"

#: The `type` of each refusal, without its prefix. Clients compare it, so none may change or disappear.
SLUGS = [
    "access-ended",
    "account-deleted",
    "backup",
    "backup-failed",
    "bad-request",
    "bad-signature",
    "chat-changes",
    "chat-key-gone",
    "chat-recognised",
    "conflict",
    "damaged-archive",
    "damaged-export",
    "data-unreadable",
    "database-unavailable",
    "does-not-fit",
    "empty-export",
    "export-refused",
    "export-too-large",
    "formatted-text",
    "idempotency-key-reused",
    "idempotency-mismatch",
    "insufficient-coins",
    "invalid-movement",
    "length-required",
    "limit-reached",
    "malformed-idempotency-key",
    "merge-too-costly",
    "no-chat-text",
    "no-messages",
    "no-such-chat",
    "not-a-chat-export",
    "not-by-same-person",
    "not-found",
    "not-searchable",
    "not-set-up",
    "not-text",
    "not-this-chat",
    "nothing-asked",
    "only-system-messages",
    "other-archive",
    "other-json",
    "parsing-interrupted",
    "password-protected",
    "pdf",
    "picture",
    "provider-refused",
    "provider-unavailable",
    "question-refused",
    "questions-unavailable",
    "rate-limited",
    "recording",
    "refund-failed",
    "refund-impossible",
    "request-still-running",
    "request-timeout",
    "request-too-large",
    "reservation-resolved",
    "service-busy",
    "several-chats",
    "staff-account",
    "storage-full",
    "storage-unavailable",
    "token-revoked",
    "too-costly",
    "too-many-open-insights",
    "too-many-people",
    "unexpected",
    "unknown-language",
    "unlocks-unavailable",
    "unpacked-too-large",
    "unreadable-event",
    "unreadable-file",
    "wallet-broken",
    "web-page",
    "wrong-keys",
]


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that makes the list of chats raise an error."""

    def install(error: Exception) -> None:
        def fail(self: object) -> None:
            raise error

        monkeypatch.setattr(views.ChatListView, "get_queryset", fail)

    return install


def test_a_response_to_a_request_without_a_token_explains_how_to_send_one(nobody: Api) -> None:
    response = nobody.send("GET", "/api/chats")
    assert (response.status_code, response["WWW-Authenticate"]) == (401, "Bearer")
    assert response.json()["error_code"] == "ERR_1003"
    assert "Authorization: Bearer" in response.json()["detail"]


@pytest.mark.parametrize("token", ["rc_unknown", "", "é", "rc_" + "x" * 10_000])
def test_an_unknown_token_is_refused(nobody: Api, token: str) -> None:
    response = nobody.send("GET", "/api/chats", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, response.json()["title"]) == (401, "You are not signed in")


def test_a_response_to_an_unsupported_method_lists_the_supported_ones(api: Api) -> None:
    response = api.send("PUT", "/api/chats")
    assert response.status_code == 405
    assert "GET" in response["Allow"]


@pytest.mark.parametrize("path", ["/api/nothing", "/api/chats/not-an-id", "/api/chats/", "/api/"])
def test_an_unknown_path_is_a_404_that_names_the_documentation(nobody: Api, path: str) -> None:
    response = nobody.send("GET", path)
    assert (response.status_code, response.json()["error_code"]) == (404, "ERR_1002")
    assert "/api/docs" in response.json()["detail"]


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[" * 60_000, b'{"chat_id": NaN}', b"\xff\xfe", b'"text"', b"[]", b"null", b"12"],
    ids=["empty", "cut off", "deeply nested", "NaN", "not UTF-8", "a text", "a list", "null", "a number"],
)
def test_a_malformed_body_is_a_client_error_and_never_a_server_error(api: Api, body: bytes) -> None:
    response = api.send("POST", "/api/insights/unlock", data=body, content_type="application/json")
    assert response.status_code in (400, 422)
    assert response.json()["error_code"] == "ERR_1001"


@pytest.mark.parametrize("content_type", ["application/json", "Application/JSON; charset=utf-8"])
@pytest.mark.parametrize("size", [100_000, 3_000_000])
def test_a_body_that_is_too_large_is_refused_before_it_is_read(api: Api, size: int, content_type: str) -> None:
    body = json.dumps({"chat_id": "x" * size})
    response = api.send("POST", "/api/insights/unlock", data=body, content_type=content_type)
    assert (response.status_code, response.json()["limit_bytes"]) == (413, 65536)


@pytest.mark.parametrize(
    "path",
    [
        "/api/insights/unlock",
        "/api/chats/upload",
        "/api/payments/webhooks/razorpay",
        "/api/payments/webhooks/stripe",
    ],
)
def test_a_chunked_body_is_refused_with_a_hint_to_declare_its_length(api: Api, path: str) -> None:
    response = api.send("POST", path, headers={"Transfer-Encoding": "chunked"}, content_type="application/json")
    assert response.status_code == 411
    assert "Content-Length" in response.json()["detail"]


def test_a_body_in_another_format_is_refused_with_the_supported_one(api: Api) -> None:
    response = api.send("POST", "/api/insights/unlock", data=b"chat_id=1", content_type="text/plain")
    assert response.status_code == 415
    assert "application/json" in response.json()["detail"]


def test_a_request_for_an_unknown_format_is_refused_in_json(api: Api) -> None:
    assert api.send("GET", "/api/me", headers={"Accept": "application/xml"}).status_code == 406


def test_the_response_points_to_each_invalid_value(api: Api) -> None:
    problem = api.post("/api/insights/unlock", {"insight_type_ids": ["fine", "not fine!"]}, status=422)
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [
        ("#/chat_id", "required"),
        ("#/insight_type_ids/1", "invalid"),
    ]
    assert "chat_id: This field is required." in problem["detail"]


def test_a_problem_document_contains_the_type_and_the_extra_values() -> None:
    class TooEarly(DomainError):
        code, status, title = "ERR_1005", 429, "Too early"

    response = problem_response(TooEarly("Come back in 3 seconds.", retry_after_seconds=3.2, status=200), {})
    assert response is not None
    problem = json.loads(response.content)
    assert list(problem)[:4] == ["type", "title", "status", "detail"]
    assert (problem["type"], problem["retry_after_seconds"]) == ("urn:relivchats:problem:too-early", 3.2)
    assert (response["Retry-After"], problem["status"]) == ("3", 429)


def test_a_problems_type_can_stay_when_its_class_is_renamed() -> None:
    class Renamed(DomainError):
        slug = "first-name"

    class Narrower(Renamed):
        pass

    types = [
        json.loads(response.content)["type"]
        for error in (Renamed, Narrower)
        if (response := problem_response(error(), {}))
    ]
    assert types == ["urn:relivchats:problem:first-name", "urn:relivchats:problem:narrower"]


def test_the_type_of_every_problem_stays_as_clients_know_it() -> None:
    # The URLs import every view and admin, the commands the rest: every module that raises a DomainError.
    import_module(settings.ROOT_URLCONF)
    for command, app in get_commands().items():
        if app.split(".")[0] in APPS:
            load_command_class(app, command)
    classes = [DomainError]
    for error_class in classes:
        classes += error_class.__subclasses__()
    slugs = {error_class.slug for error_class in classes if error_class.__module__.split(".")[0] in APPS}
    assert sorted(slugs) == SLUGS


def test_an_unexpected_error_reveals_nothing_and_is_logged_once_without_its_message(
    api: Api, failing: Any, caplog: pytest.LogCaptureFixture
) -> None:
    failing(RuntimeError(PRIVATE))
    response = api.send("GET", "/api/chats")
    assert (response.status_code, response.json()["error_code"]) == (500, "ERR_1000")
    assert "swordfish" not in response.content.decode()
    errors = [record for record in caplog.records if record.exc_info]
    assert len(errors) == 1
    lines = [JSONFormatter().format(record) for record in caplog.records]
    assert not any("swordfish" in line for line in lines)


@pytest.mark.parametrize("accept", ["text/html,*/*", "application/json"])
def test_with_debug_an_unexpected_error_shows_code_and_no_content(
    api: Api, monkeypatch: pytest.MonkeyPatch, settings: Any, accept: str
) -> None:
    settings.DEBUG = True

    def fail(*_: Any, **__: Any) -> None:
        text = PRIVATE
        try:
            raise ValueError(text)
        except ValueError as error:
            error.add_note(PRIVATE)
            raise UnicodeDecodeError("utf-8", text.encode(), 0, 1, text) from error

    monkeypatch.setattr(views.ChatListView, "get_queryset", fail)
    headers = {**api.headers, "Accept": accept, "Cookie": f"a={quote(PRIVATE)}", "X-Note": PRIVATE}
    response = api.client.get(f"/api/chats?q={quote(PRIVATE)}", headers=headers, secure=True)
    shown = response.content.decode()
    assert response.status_code == 500
    assert "UnicodeDecodeError" in shown
    assert "fail" in shown
    assert "swordfish" not in shown.replace("PRIVATE", "")


def test_an_unreachable_database_is_a_503_that_says_when_to_retry(api: Api, failing: Any) -> None:
    failing(OperationalError("connection to server at 10.0.0.7 failed"))
    response = api.send("GET", "/api/chats")
    assert (response.status_code, response.json()["error_code"]) == (503, "ERR_2002")
    assert int(response["Retry-After"]) > 0
    assert "10.0.0.7" not in response.content.decode()


@pytest.mark.parametrize(
    "given", ["a" * 65, "a" * 7, "a b c d e f", "id\n12345678", "swörd-fish", "<script>1", "id;12345678"]
)
def test_a_long_or_malformed_request_id_is_replaced(api: Api, given: str) -> None:
    response = api.send("GET", "/api/chats", headers={"X-Request-ID": given})
    assert response.status_code == 200
    assert re.fullmatch("[0-9a-f]{32}", response["X-Request-ID"])


def test_a_valid_request_id_is_kept(api: Api) -> None:
    given = "Aa0._-" + "b" * 58
    assert api.send("GET", "/api/nothing", headers={"X-Request-ID": given}).json()["request_id"] == given


@pytest.mark.parametrize(("path", "status"), [("/api/me", 200), ("/api/nothing", 404)])
def test_a_json_response_ends_with_a_newline(api: Api, path: str, status: int) -> None:
    response = api.send("GET", path)
    assert (response.status_code, response.content[-2:]) == (status, b"}\n")


def test_a_response_without_a_body_stays_empty(api: Api) -> None:
    created = api.upload(exports.text(30))
    assert api.send("DELETE", f"/api/chats/{created['id']}").content == b""


def test_pages_outside_the_api_keep_djangos_own_responses(nobody: Api) -> None:
    response = nobody.client.get("/nothing", secure=True)
    assert response.status_code == 404
    assert "problem" not in response["Content-Type"]


def test_an_unknown_host_is_refused_with_a_problem_document(nobody: Api) -> None:
    response = nobody.send("GET", "/api/chats", headers={"Host": "evil.example"})
    assert response.status_code == 400
