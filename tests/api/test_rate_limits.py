"""Rate limits of the API: per user, per address without one, also while the broker is down."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from chats.models import Chat
from relivchats import following
from tests.api.conftest import Api

NOWHERE = "redis://127.0.0.1:1/0"
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(rate_clock: list[float], settings: Any) -> list[float]:
    """Return the time that limits read, and allow two requests a minute."""
    settings.REQUESTS_PER_MINUTE = 2
    return rate_clock


def test_requests_above_the_limit_are_refused_until_the_window_ends(api: Api, clock: list[float]) -> None:
    responses = [api.send("GET", "/api/me") for _ in range(3)]
    assert [response.status_code for response in responses] == [200, 200, 429]
    assert [response["X-RateLimit-Remaining"] for response in responses] == ["1", "0", "0"]
    assert {response["X-RateLimit-Limit"] for response in responses} == {"2"}
    assert responses[2]["Retry-After"] == responses[2]["X-RateLimit-Reset"] == "30"
    assert "2 of these requests per minute. Send this one again in 30 s." in responses[2].json()["detail"]
    clock[0] += 30
    assert api.send("GET", "/api/me").status_code == 200


def test_every_user_has_a_limit_of_their_own(api: Api, stranger: Api) -> None:
    assert [api.send("GET", "/api/me").status_code for _ in range(3)][-1] == 429
    assert stranger.send("GET", "/api/me").status_code == 200


def test_without_a_user_the_address_is_limited(client: Client) -> None:
    def get(address: str) -> int:
        return client.get("/api/categories", secure=True, REMOTE_ADDR=address).status_code

    assert [get("192.0.2.1") for _ in range(3)] == [200, 200, 429]
    assert get("192.0.2.2") == 200


@pytest.mark.parametrize(
    ("setting", "path", "period"),
    [
        ("UPLOADS_PER_HOUR", "/api/chats/upload", "hour"),
        ("UNLOCKS_PER_MINUTE", "/api/insights/unlock", "minute"),
        ("UNLOCKS_PER_HOUR", "/api/insights/unlock", "hour"),
        ("ASKS_PER_MINUTE", "/api/rag/query", "minute"),
        ("ORDERS_PER_MINUTE", "/api/payments/orders", "minute"),
    ],
)
def test_what_costs_more_has_a_limit_of_its_own(
    api: Api, chat: Chat, settings: Any, setting: str, path: str, period: str
) -> None:
    setattr(settings, setting, 1)
    statuses = []
    for _ in range(2):
        response = api.send("POST", path)
        statuses.append(response.status_code)
    assert statuses[0] != 429
    assert statuses[1] == 429
    assert f"1 of these requests per {period}" in response.json()["detail"]
    assert api.send("GET", "/api/me").status_code == 200, "other requests are counted apart"


@pytest.mark.parametrize(("per_minute", "per_hour"), [(3, 2), (2, 3)])
def test_the_headers_name_the_limit_that_is_nearest(
    api: Api, chat: Chat, settings: Any, per_minute: int, per_hour: int
) -> None:
    settings.UNLOCKS_PER_MINUTE, settings.UNLOCKS_PER_HOUR = per_minute, per_hour
    seen = []
    for _ in range(3):
        response = api.send("POST", "/api/insights/unlock")
        seen.append((response["X-RateLimit-Limit"], response["X-RateLimit-Remaining"]))
    assert seen == [("2", "1"), ("2", "0"), ("2", "0")]
    assert response.status_code == 429
    assert (int(response["Retry-After"]) > 60) == (per_hour < per_minute)


def test_a_request_that_the_server_repeats_is_not_counted_again(api: Api) -> None:
    for _ in range(3):
        environment: Any = {following.FOLLOWED: "ask"}
        repeated = api.send("GET", "/api/me", **environment)
        assert (repeated.status_code, "X-RateLimit-Limit" in repeated) == (200, False)


def test_a_limit_of_zero_counts_nothing(api: Api, settings: Any) -> None:
    settings.REQUESTS_PER_MINUTE = 0
    responses = [api.send("GET", "/api/me") for _ in range(3)]
    assert {response.status_code for response in responses} == {200}
    assert "X-RateLimit-Limit" not in responses[0]


def test_while_the_broker_is_down_each_process_counts_for_itself(api: Api, settings: Any) -> None:
    settings.REDIS_URL = NOWHERE
    statuses = [api.send("GET", "/api/me").status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
