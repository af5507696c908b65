"""A limit counts the requests of each subject by itself, also while the broker is down."""

from __future__ import annotations

import time
from typing import Any

import pytest

from relivchats import throttling
from relivchats.throttling import Limit
from tests.processes import BrokerHandle

NOWHERE = "redis://127.0.0.1:1/0"
LIMIT = Limit("test", "REQUESTS_PER_MINUTE")


@pytest.fixture(autouse=True)
def two_a_minute(rate_clock: list[float], settings: Any) -> None:
    settings.REQUESTS_PER_MINUTE = 2


def test_a_broker_that_does_not_answer_is_not_asked_by_every_request(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.REDIS_URL = NOWHERE
    LIMIT.hit("ann")
    asked: list[str] = []
    monkeypatch.setattr(throttling, "_redis", lambda *arguments: asked.append("asked"))
    LIMIT.hit("ann")
    assert asked == []
    assert throttling._pause.until > time.monotonic()


def test_an_undone_request_is_free_again() -> None:
    windows = [LIMIT.hit("ann") for _ in range(2)]
    assert windows[0] is not None
    LIMIT.undo(windows[0])
    windows.append(LIMIT.hit("ann"))
    windows.append(LIMIT.hit("ann"))
    assert [window.exceeded for window in windows if window is not None] == [False, False, False, True]


def test_a_request_is_taken_back_from_the_window_that_counted_it(rate_clock: list[float]) -> None:
    rate_clock[0] += 29.9
    late = LIMIT.hit("ann")
    assert late is not None
    rate_clock[0] += 0.2
    LIMIT.undo(late)
    windows = [LIMIT.hit("ann") for _ in range(3)]
    assert [window.exceeded for window in windows if window is not None] == [False, False, True]


def test_a_request_stays_counted_while_the_broker_is_down() -> None:
    window = LIMIT.hit("ann")
    assert window is not None
    LIMIT.undo(window._replace(storage=throttling._redis(NOWHERE, 0.1)))
    windows = [LIMIT.hit("ann") for _ in range(2)]
    assert [window.exceeded for window in windows if window is not None] == [False, True]


def test_two_limits_count_the_same_subject_apart() -> None:
    other = Limit("other", "REQUESTS_PER_MINUTE")
    for limit in (LIMIT, other):
        window = limit.hit("ann")
        assert window is not None
        assert window.remaining == 1


def test_keys_in_the_broker_contain_no_subject(broker: BrokerHandle) -> None:
    LIMIT.hit("ann@example.org")
    with broker.client as client:
        (key,) = client.keys("*test*")
    assert b"ann" not in key
