"""The committed openapi.json is the served one, and every operation in it is described."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command

from chats.models import Chat
from tests.api.conftest import Api

COMMITTED = Path(__file__).resolve().parents[2] / "openapi.json"
REFRESH = "./dev manage spectacular --format openapi-json --file openapi.json"


@pytest.fixture(scope="module")
def schema() -> Any:
    out = io.StringIO()
    call_command("spectacular", format="openapi-json", validate=True, fail_on_warn=True, stdout=out)
    return json.loads(out.getvalue())


def operations(schema: Any) -> Iterator[tuple[str, Any]]:
    for path, methods in schema["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_the_committed_schema_is_the_served_one(schema: Any) -> None:
    assert json.loads(COMMITTED.read_text()) == schema, f"openapi.json is out of date. Run: {REFRESH}"


def test_every_operation_is_explained_with_examples_and_errors(schema: Any) -> None:
    for name, operation in operations(schema):
        assert operation["summary"], name
        assert operation["description"], name
        answers = {status: answer for status, answer in operation["responses"].items() if "content" in answer}
        for status, answer in answers.items():
            for media in answer["content"].values():
                assert media.get("examples"), f"{name} {status} has no example"
        assert "503" in answers, name
        assert "401" in answers or not operation.get("security"), name
        assert "404" in answers or "{" not in name, name


def test_every_figure_of_the_statistics_is_in_the_schema(schema: Any, api: Api, chat: Chat) -> None:
    statistics = api.get(f"/api/chats/{chat.pk}/statistics")
    described = schema["components"]["schemas"]
    assert statistics.keys() == described["PeriodStatistics"]["properties"].keys()
    assert statistics["user_stats"]["Aarav"].keys() == described["PersonFigures"]["properties"].keys()


def test_bodies_without_unknown_fields_are_closed_in_the_schema(schema: Any) -> None:
    described = schema["components"]["schemas"]
    for name in ("PatchedChatChanges", "Participant", "OrderRequest", "Unlock"):
        assert described[name]["additionalProperties"] is False


def test_an_upload_is_a_file_and_not_a_url_in_the_schema(schema: Any) -> None:
    form = schema["components"]["schemas"]["Upload"]["properties"]
    assert (form["file"]["type"], form["file"]["format"]) == ("string", "binary")


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/api/schema", "/api/docs"])
def test_the_schema_is_public(nobody: Api, path: str) -> None:
    assert nobody.client.get(path, secure=True).status_code == 200
