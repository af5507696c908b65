"""Objects of another user are not found, on every route of the URL configuration."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from billing.models import Wallet
from chats.models import Chat
from insights import questions, unlocking
from insights.models import GenerationJob, Insight
from relivchats.accounts.models import User
from tests.api.conftest import Api
from tests.billing.conftest import MakeOrder, make_order

__all__ = ["make_order"]

pytestmark = pytest.mark.django_db

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
#: Parameters that name public objects.
PUBLIC_PARAMETERS = {"category_id"}


def routes(patterns: Any = None, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for entry in get_resolver().url_patterns if patterns is None else patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from routes(entry.url_patterns, route)
        elif route.startswith("api/"):
            yield route, entry


def owned_routes() -> list[tuple[str, str]]:
    """Return route and method of each endpoint whose path names an object of a user."""
    owned = []
    for route, entry in routes():
        if set(entry.pattern.converters) - PUBLIC_PARAMETERS:
            view: Any = entry.callback
            owned += [(route, method) for method in METHODS if hasattr(view.view_class, method.lower())]
    return owned


@pytest.fixture
def job(owner: User, chat: Chat) -> GenerationJob:
    return unlocking.unlock(user=owner, chat=chat, type_ids=["communication_basics"]).job


@pytest.fixture
def names(chat: Chat, job: GenerationJob, make_order: MakeOrder) -> dict[str, uuid.UUID]:
    """Objects of the owner, by route parameter. Add every new parameter here."""
    return {
        "chat_id": chat.pk,
        "job_id": job.pk,
        "insight_id": Insight.objects.get(job=job).pk,
        "question_id": questions.ask(user=chat.owner, chat=chat, text="Where?").pk,
        "order_id": make_order(Wallet.objects.get(user=chat.owner)).pk,
    }


def address(route: str, names: dict[str, uuid.UUID]) -> str:
    for name, value in names.items():
        route = route.replace(f"<uuid:{name}>", str(value))
    assert "<" not in route, f"add an object of the owner for {route} to `names`"
    return f"/{route}"


def test_the_routes_are_found() -> None:
    assert ("api/chats/<uuid:chat_id>", "DELETE") in owned_routes()
    assert len(owned_routes()) >= 9


@pytest.mark.parametrize(("route", "method"), owned_routes())
def test_an_object_of_another_user_is_not_found(
    stranger: Api, names: dict[str, uuid.UUID], route: str, method: str
) -> None:
    response = stranger.send(method, address(route, names), data=b"{}", content_type="application/json")
    assert (response.status_code, response.json()["error_code"]) == (404, "ERR_1002")
    assert Chat.objects.filter(pk=names["chat_id"]).exists()


@pytest.mark.parametrize(("route", "method"), owned_routes())
def test_an_unknown_object_gets_the_same_answer_as_one_of_another_user(
    stranger: Api, names: dict[str, uuid.UUID], route: str, method: str
) -> None:
    unknown = {name: uuid.uuid4() for name in names}
    answers = [
        stranger.send(method, address(route, parameters), data=b"{}", content_type="application/json").json()
        for parameters in (names, unknown)
    ]
    for answer in answers:
        del answer["request_id"]
    assert answers[0] == answers[1]


@pytest.mark.parametrize(("route", "method"), owned_routes())
def test_without_a_token_every_owned_route_is_unauthorized(
    nobody: Api, names: dict[str, uuid.UUID], route: str, method: str
) -> None:
    response = nobody.send(method, address(route, names), data=b"{}", content_type="application/json")
    assert response.status_code == 401


def test_insights_of_another_users_chat_cannot_be_unlocked(stranger: Api, chat: Chat) -> None:
    problem = stranger.post("/api/insights/unlock", {"chat_id": str(chat.pk), "category_id": "romantic"}, status=404)
    assert problem["error_code"] == "ERR_1002"
    assert not GenerationJob.objects.exists()


def test_every_route_that_is_not_public_requires_a_token(nobody: Api, names: dict[str, uuid.UUID]) -> None:
    public = {
        "api/categories",
        "api/categories/<slug:category_id>/insights",
        "api/credits/packages",
        # The provider signs these instead.
        "api/payments/webhooks/razorpay",
        "api/payments/webhooks/stripe",
        "api/schema",
        "api/docs",
    }
    without_token = set()
    for route, entry in routes():
        view: Any = entry.callback
        for method in METHODS:
            if hasattr(view.view_class, method.lower()):
                path = address(route.replace("<slug:category_id>", "romantic"), names)
                if nobody.send(method, path, data=b"{}", content_type="application/json").status_code != 401:
                    without_token.add(route)
    assert without_token == public
