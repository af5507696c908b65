"""No value in any documented place causes a server error."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.core.management import call_command

from chats.models import Chat
from insights import unlocking
from insights.models import Insight
from relivchats.accounts.models import User
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

TEXTS = ["", " ", "\0", "é𝕏" * 300, "-1", "1e309", "0x10", "9" * 4400, "NaN", "'; --", "../..", "%00", "true", "*"]
VALUES: list[Any] = [*TEXTS, "\ud800", None, True, -1, 2**63, 1.5, [], [[]], {}, {"id": 1}, ["a"] * 1000]


@pytest.fixture
def names(owner: User, chat: Chat) -> dict[str, str]:
    job = unlocking.unlock(user=owner, chat=chat, type_ids=["communication_basics"]).job
    insight = Insight.objects.get(job=job)
    return {
        "chat_id": str(chat.pk),
        "job_id": str(job.pk),
        "insight_id": str(insight.pk),
        "category_id": "romantic",
        "question_id": str(uuid4()),
        "order_id": str(uuid4()),
    }


@pytest.fixture
def operations() -> list[tuple[str, str, Any]]:
    out = io.StringIO()
    call_command("spectacular", format="openapi-json", stdout=out)
    paths = json.loads(out.getvalue())["paths"]
    return [
        (method.upper(), path, operation) for path, methods in paths.items() for method, operation in methods.items()
    ]


def query_strings(operation: Any) -> Iterator[str]:
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            yield from (f"{parameter['name']}={quote(text)}" for text in TEXTS)


def test_no_query_string_breaks_a_list(api: Api, operations: list[tuple[str, str, Any]], names: dict[str, str]) -> None:
    request_count = 0
    for method, path, operation in operations:
        for query in query_strings(operation):
            response = api.send(method, f"{path.format(**names)}?{query}")
            assert response.status_code in (200, 422), f"{method} {path}?{query[:80]}"
            request_count += 1
    assert request_count > 100


def test_no_text_in_a_path_breaks_a_route(api: Api, operations: list[tuple[str, str, Any]]) -> None:
    for method, path, _ in operations:
        if "{" in path:
            for text in TEXTS:
                broken = quote(text).join(re.split(r"\{\w+\}", path))
                assert api.send(method, broken).status_code in (404, 405), f"{method} {broken[:80]}"


def test_no_value_breaks_an_unlock(api: Api, names: dict[str, str]) -> None:
    good = {"chat_id": names["chat_id"], "insight_type_ids": ["communication_basics"], "language": "en"}
    for field in (*good, "category_id"):
        for value in VALUES:
            body = json.dumps({**good, field: value})
            response = api.send("POST", "/api/insights/unlock", data=body, content_type="application/json")
            assert response.status_code in (200, 404, 422), f"{field}={value!r:.80}"


def test_no_value_breaks_a_change_of_a_chat(api: Api, chat: Chat) -> None:
    for value in VALUES:
        people = [{"name": value, "aliases": ["Aarav"]}]
        for change in ({"title": value}, {"time_zone": value}, {"people": value}, {"people": people}):
            body = json.dumps(change)
            response = api.send("PATCH", f"/api/chats/{chat.pk}", data=body, content_type="application/json")
            assert response.status_code in (200, 422), f"{change!r:.80}"
        body = json.dumps({"people": [{"name": "x", "aliases": [value]}]})
        assert api.send("PATCH", f"/api/chats/{chat.pk}", data=body, content_type="application/json").status_code == 422


def test_no_field_breaks_an_upload(api: Api) -> None:
    for text in (*TEXTS, "x" * 3_000_000):
        fields = {"file": text, "date_order": text, text or "unnamed": text}
        response = api.client.post("/api/chats/upload", fields, headers=api.headers, secure=True)
        assert response.status_code in (400, 422), text[:80]


def test_no_unknown_field_breaks_a_route(
    api: Api, operations: list[tuple[str, str, Any]], names: dict[str, str]
) -> None:
    bodies = (b'{"\\ud800": 1}', b'{"a\\udfff": "\\ud800"}', b'{"\\u0000": {"\\ud800": []}}', b'{"<script>": "<"}')
    for method, path, _ in operations:
        if method in ("POST", "PATCH", "PUT"):
            for body in bodies:
                response = api.send(method, path.format(**names), data=body, content_type="application/json")
                assert response.status_code < 500, f"{method} {path} {body!r}"


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=idna",
        "application/json; charset=utf-7",
        "application/json; charset=rot13",
        "application/json; charset=zip",
        "multipart/form-data; boundary=b; charset=idna",
        "multipart/form-data; boundary=b; charset=punycode",
        "multipart/form-data; boundary=b; charset=unknown",
        "multipart/form-data; boundary=" + "b" * 300,
        "multipart/form-data; boundary*=utf-8''%00",
        "multipart/form-data",
        "application/x-www-form-urlencoded; charset=idna",
        "text/plain; charset=" + "x" * 5000,
        ";;;=",
    ],
)
def test_no_content_type_breaks_a_route(
    api: Api, operations: list[tuple[str, str, Any]], names: dict[str, str], content_type: str
) -> None:
    body = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="xn--a\xff"\r\n\r\n' + b"x" * 5000 + b"\r\n--b--"
    )
    for method, path, _ in operations:
        if method in ("POST", "PATCH", "PUT"):
            response = api.send(method, path.format(**names), data=body, content_type=content_type)
            assert response.status_code < 500, f"{method} {path}"
    login = api.client.generic("POST", "/admin/login/", body, content_type=content_type, secure=True)
    assert login.status_code < 500


def test_other_methods_are_refused(
    api: Api, nobody: Api, operations: list[tuple[str, str, Any]], names: dict[str, str]
) -> None:
    for _, path, _ in operations:
        for client in (api, nobody):
            assert client.send("OPTIONS", path.format(**names)).status_code in (401, 405), path
            assert client.send("TRACE", path.format(**names)).status_code in (401, 405), path
