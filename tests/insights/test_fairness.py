"""Indexing, reading and writing take turns between users: nobody waits for another user's long queue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from chats import indexing
from chats.models import Chat
from insights import dispatch, engines
from insights.models import ChatReading
from insights.reading import queue as readings
from relivchats import clock
from relivchats.accounts.models import User
from relivchats.leases import LeaseQueue
from tests.fakes.reader import FakeReader
from tests.ops import rows

pytestmark = pytest.mark.django_db


@dataclass
class Stage:
    """One of the three queues, and how a user gets a row into it. `owner` is the path from a row to its user."""

    queue: LeaseQueue[Any]
    owner: str
    add: Callable[[User], object]
    dispatch: Callable[[], int]
    set_places: Callable[[int], None]

    def work(self) -> list[User]:
        """Dispatch, claim what was published, and return the users whose rows are worked on now."""
        prefix, rows_of_queue = self.queue.prefix, self.queue.model._default_manager
        self.dispatch()
        published = {f"{prefix}dispatched_at__isnull": False, self.queue.status_column: self.queue.pending}
        # By the clock: a test is one transaction, in which Now() stands still.
        started: dict[str, Any] = {} if self.queue.model is Chat else {"started_at": clock.now()}
        for row_id in rows_of_queue.filter(**published).values_list("pk", flat=True):
            assert self.queue.claim(row_id, **started)
        leased = rows_of_queue.filter(**{self.queue.status_column: self.queue.leased})
        return list(User.objects.in_bulk(list(leased.values_list(self.owner, flat=True))).values())

    def end_one_of(self, user: User) -> None:
        row = self.queue.model._default_manager.filter(
            **{self.owner: user, self.queue.status_column: self.queue.leased}
        )[0]
        setattr(row, self.queue.status_column, "completed")
        setattr(row, f"{self.queue.prefix}lease_token", None)
        setattr(row, f"{self.queue.prefix}lease_expires_at", None)
        setattr(row, "indexed_at" if self.queue.model is Chat else "finished_at", clock.now())
        row.save()


def add_index(user: User) -> None:
    chat = rows.chat(user, vector_status="pending")
    Chat.objects.filter(pk=chat.pk).update(index_requested_at=clock.now())


def add_reading(user: User) -> None:
    job = rows.job(owner=user, types=1)
    ChatReading.objects.filter(chat=job.chat).update(next_attempt_at=Now() - timedelta(seconds=1))


@pytest.fixture(params=["indexing", "reading", "insights"])
def stage(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Stage:
    monkeypatch.setattr("relivchats.leases.publish", lambda task, row_id: True)
    for module in (dispatch, readings, indexing):
        monkeypatch.setattr(module, "dispatch_soon", lambda: None)

    def set_places(places: int) -> None:
        settings.MAX_CONCURRENT_INSIGHTS = places
        monkeypatch.setattr(indexing, "MAX_CONCURRENT", places)

    if request.param == "indexing":
        return Stage(indexing.queue, "owner", add_index, indexing.dispatch, set_places)
    if request.param == "insights":
        add_insight = lambda user: rows.job(owner=user, types=1)  # noqa: E731
        return Stage(dispatch.queue, "job__user", add_insight, dispatch.dispatch, set_places)
    reader = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: reader)
    return Stage(readings.queue, "chat__owner", add_reading, readings.dispatch, set_places)


def test_a_long_queue_of_one_user_does_not_delay_another(stage: Stage) -> None:
    stage.set_places(2)
    busy, other = rows.person(coins=1000), rows.person()
    for _ in range(5):
        stage.add(busy)
    assert stage.work() == [busy]
    stage.add(other)
    assert stage.work() == [busy], "nothing is interrupted"
    stage.end_one_of(busy)
    assert set(stage.work()) == {busy, other}


def test_users_take_turns_even_if_more_of_them_wait_than_there_are_places(stage: Stage) -> None:
    stage.set_places(1)
    people = [rows.person() for _ in range(3)]
    for person in people:
        for _ in range(3):
            stage.add(person)
    served = []
    for _ in range(9):
        (working,) = stage.work()
        served.append(working)
        stage.end_one_of(working)
        if len(served) == 4:
            newcomer = rows.person()
            stage.add(newcomer)
    for number in range(len(served) + 1):
        counts = [served[:number].count(person) for person in people[:3]]
        assert max(counts) - min(counts) <= 1, served
    assert served.index(newcomer) <= 7, "after one more turn of each of the others"
