"""The disclosure shows the owner, and nobody else, exactly what an unlock would send."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from insights import engines, unlocking
from insights.engines.client import ModelAnswer, ModelRequest
from insights.engines.model_engine import ModelEngine
from insights.models import ChatReading, GenerationJob
from insights.reading import stage
from relivchats.accounts.models import User
from relivchats.language_models import quota
from tests import exports
from tests.api.conftest import Api, MakePerson

pytestmark = pytest.mark.django_db(transaction=True)

EMPTY_READING = {"episodes": [], "dangers": [], "relationship": "couple", "languages": ["English"]}


class RecordingClient:
    """Keeps the requests, and finds nothing."""

    name = "recording"
    address = "https://models.example.org/v1"

    def __init__(self) -> None:
        self.requests: list[ModelRequest] = []

    def missing_settings(self) -> tuple[str, ...]:
        return ()

    def generate(self, request: ModelRequest) -> ModelAnswer:
        self.requests.append(request)
        return ModelAnswer(json.dumps(EMPTY_READING), tokens_in=100, tokens_out=10, model="m")


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> RecordingClient:
    client = RecordingClient()
    engine = ModelEngine(
        client, name="test", model="m", reading_model="r", window_tokens=700, parallel_windows=2, write_tokens=2_000
    )
    monkeypatch.setattr(engines, "get_engine", lambda: engine)
    monkeypatch.setattr(quota, "call", lambda request, *, send, **_: send(request))
    monkeypatch.setattr("relivchats.leases.publish", lambda task, row_id: True)
    return client


@pytest.fixture
def owner(make_person: MakePerson) -> User:
    return make_person(coins=400)


@pytest.fixture
def chat(owner: User) -> Chat:
    return import_chat(owner=owner, upload=exports.text(300))


def read_all(api: Api, chat: Chat, *, limit: int = 3) -> list[dict[str, Any]]:
    """Return all texts, by following `next`."""
    url, found = f"/api/chats/{chat.pk}/disclosure?limit={limit}", []
    while url:
        page = api.get(url)
        assert len(page["results"]) <= limit
        found += page["results"]
        url = page["next"]
    return found


def run_reading(user: User, chat: Chat) -> None:
    unlocking.unlock(user=user, chat=chat, type_ids=["communication_basics"])
    indexing.index_chat(chat.pk)
    stage.run(ChatReading.objects.get(chat=chat).pk)


def test_the_texts_are_exactly_those_that_an_unlock_then_sends(
    client: RecordingClient, owner: User, chat: Chat
) -> None:
    api = Api(owner)
    shown = api.get(f"/api/chats/{chat.pk}/disclosure")
    texts = read_all(api, chat)
    assert client.requests == []
    assert not GenerationJob.objects.exists()
    assert shown["texts"] == len(texts) > 3
    assert [text["number"] for text in texts] == list(range(1, len(texts) + 1))
    assert shown["tokens"] == sum(text["tokens"] for text in texts) > 0
    run_reading(owner, chat)
    assert sorted(request.content for request in client.requests) == sorted(text["text"] for text in texts)
    assert {request.instructions for request in client.requests} == {shown["instructions"]}
    assert {request.model for request in client.requests} == {shown["reading_model"]}


def test_it_says_where_the_texts_go_and_that_names_are_replaced(
    client: RecordingClient, owner: User, chat: Chat
) -> None:
    shown = Api(owner).get(f"/api/chats/{chat.pk}/disclosure")
    assert (shown["engine"], shown["sends"], shown["host"]) == ("test", True, "models.example.org")
    assert (shown["reading_model"], shown["writing_model"], shown["pseudonyms"]) == ("r", "m", True)
    assert "two calls for each insight" in shown["note"]
    text = " ".join(text["text"] for text in read_all(Api(owner), chat, limit=20))
    assert " P1] " in text
    for name in chat.participants:
        assert not any(part.casefold() in text.casefold().split() for part in name.split())


def test_no_request_body_has_a_name_of_a_participant(client: RecordingClient, owner: User) -> None:
    lines = [
        "14/03/2024, 21:05 - Priyanka Sharma ❤️: hey Raviii, priyu here, call 98765 43210",
        "14/03/2024, 21:06 - Dr. Ravi Kumar: Priyanka! RAVI is at https://ravi-kumar.example/me?u=priya",
        "14/03/2024, 21:07 - Priyanka Sharma ❤️: रवि, mail priyanka.sharma@example.org or @ravi_k",
    ] * 20
    chat = import_chat(owner=owner, upload="\n".join(lines).encode())
    run_reading(owner, chat)
    assert client.requests
    body = " ".join(f"{request.instructions} {request.content} {request.schema}" for request in client.requests)
    for secret in ("priya", "priyu", "sharma", "ravi", "kumar", "रवि", "98765", "43210", "❤️'s"):
        assert secret not in body.casefold(), secret


def test_after_the_reading_nothing_is_read_again(client: RecordingClient, owner: User, chat: Chat) -> None:
    run_reading(owner, chat)
    shown = Api(owner).get(f"/api/chats/{chat.pk}/disclosure")
    assert (shown["texts"], shown["tokens"], shown["results"]) == (0, 0, [])
    assert "read before" in shown["note"]


def test_an_engine_that_counts_sends_nothing(owner: User, chat: Chat) -> None:
    shown = Api(owner).get(f"/api/chats/{chat.pk}/disclosure")
    assert (shown["engine"], shown["sends"], shown["texts"], shown["tokens"]) == ("local", False, 0, 0)
    assert (shown["host"], shown["results"]) == ("", [])


def test_a_chat_larger_than_the_budget_is_shown_once_it_is_searchable(
    client: RecordingClient, owner: User, chat: Chat, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    settings.READING_TOKEN_BUDGET = 2_000
    api = Api(owner)
    shown = api.get(f"/api/chats/{chat.pk}/disclosure")
    assert (shown["texts"], shown["results"]) == (None, [])
    assert "reindex" in shown["note"]
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    texts = read_all(api, chat)
    run_reading(owner, chat)
    assert sorted(request.content for request in client.requests) == sorted(text["text"] for text in texts)


def test_only_the_owner_gets_it_also_not_staff(
    client: RecordingClient, chat: Chat, make_person: MakePerson, owner: User
) -> None:
    staff = make_person()
    staff.is_staff = staff.is_superuser = True
    staff.save()
    for other in (make_person(), staff):
        Api(other).get(f"/api/chats/{chat.pk}/disclosure", status=404)
    browser = Client()
    browser.force_login(staff)
    assert browser.get(f"/api/chats/{chat.pk}/disclosure", secure=True).status_code == 404


def test_no_page_of_the_admin_gives_it() -> None:
    def names(patterns: list[URLPattern | URLResolver], prefix: str = "") -> list[str]:
        found = []
        for pattern in patterns:
            path = f"{prefix}{pattern.pattern}"
            found += names(pattern.url_patterns, path) if isinstance(pattern, URLResolver) else [path]
        return found

    assert [path for path in names(get_resolver().url_patterns) if "disclos" in path] == [
        "api/chats/<uuid:chat_id>/disclosure"
    ]


@pytest.mark.parametrize("query", ["limit=0", "limit=21", "after=-1", "page=2"])
def test_a_wrong_query_is_refused(client: RecordingClient, owner: User, chat: Chat, query: str) -> None:
    Api(owner).get(f"/api/chats/{chat.pk}/disclosure?{query}", status=422)
