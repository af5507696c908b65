"""A limit refuses the requests above it, for each subject by itself, and nobody while the broker is down."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rest_framework.request import Request
from rest_framework.response import Response

from relivchats import throttling
from relivchats.throttling import Limit, TooManyRequests, limited
from tests.processes import BrokerHandle

NOWHERE = "redis://127.0.0.1:1/0"
LIMIT = Limit("test", "ORDERS_PER_MINUTE")


@pytest.fixture(autouse=True)
def two_a_minute(broker: BrokerHandle, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow two requests a minute, in an empty broker with time to answer on a slow machine."""
    monkeypatch.setattr(throttling, "BROKER_TIMEOUT_SECONDS", 30)
    settings.ORDERS_PER_MINUTE = 2


class View:
    """A view as `limited` sees it."""

    def __init__(self) -> None:
        self.headers: dict[str, str] = {}

    @limited("test-view", setting="ORDERS_PER_MINUTE")
    def post(self, request: Request) -> Response:
        return Response("done")


def send(view: View, person: str) -> str:
    request: Any = SimpleNamespace(user=SimpleNamespace(pk=person))
    return str(view.post(request).data)


def test_requests_above_the_limit_are_refused_until_the_window_ends() -> None:
    view = View()
    remaining = []
    for _ in range(2):
        assert send(view, "ann") == "done"
        remaining.append(view.headers["X-RateLimit-Remaining"])
    assert remaining == ["1", "0"]
    with pytest.raises(TooManyRequests) as refused:
        send(view, "ann")
    assert 0 < refused.value.extra["retry_after_seconds"] <= 60
    assert view.headers["X-RateLimit-Limit"] == "2"
    assert 0 < int(view.headers["X-RateLimit-Reset"]) <= 60
    assert send(view, "bob") == "done", "another person has a window of their own"


def test_nobody_is_refused_or_shown_a_limit_while_the_broker_is_down(settings: Any) -> None:
    settings.REDIS_URL = NOWHERE
    view = View()
    assert [send(view, "ann") for _ in range(3)] == ["done"] * 3
    assert not view.headers
    assert LIMIT.hit("ann") is None


def test_an_undone_request_is_free_again() -> None:
    windows = [LIMIT.hit("ann") for _ in range(2)]
    LIMIT.undo("ann")
    windows.append(LIMIT.hit("ann"))
    windows.append(LIMIT.hit("ann"))
    assert [window.exceeded for window in windows if window is not None] == [False, False, False, True]


def test_two_limits_count_the_same_subject_apart() -> None:
    other = Limit("other", "ORDERS_PER_MINUTE")
    for limit in (LIMIT, other):
        window = limit.hit("ann")
        assert window is not None
        assert window.remaining == 1


def test_keys_in_the_broker_contain_no_subject(broker: BrokerHandle) -> None:
    LIMIT.hit("ann@example.org")
    with broker.client as client:
        (key,) = client.keys("*test*")
    assert b"ann" not in key
