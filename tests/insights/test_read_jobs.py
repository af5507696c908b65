"""What an unlock costs when a chat is read first: what cannot be delivered is not charged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from django.db.models import Sum

from chats.models import Chat
from insights import engines, generation, reading, unlocking
from insights.engines.base import Brief, Draft, SectionDraft
from insights.episodes import Danger, Relationship, Window, WindowReading
from insights.models import ChatReading, GenerationJob, Insight
from insights.reading import stage
from insights.scales import NOT_ENOUGH_DATA
from relivchats.accounts.models import User
from tests.fakes.reader import FakeReader, find_one_episode

pytestmark = pytest.mark.django_db(transaction=True)


class FakeWriter(FakeReader):
    """A reading engine that rates nothing."""

    def write(self, brief: Brief) -> Draft:
        sections = {
            entry.section.key: SectionDraft(NOT_ENOUGH_DATA if entry.section.scale else None, "")
            for entry in brief.sections
        }
        return Draft(None, "", sections, ())


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeWriter:
    writer = FakeWriter()
    monkeypatch.setattr(engines, "get_engine", lambda: writer)
    monkeypatch.setattr("relivchats.leases.publish", lambda task, row_id: True)
    return writer


def run_job(user: User, chat: Chat, **what: Any) -> GenerationJob:
    """Unlock, read the chat, and generate all insights. Return the closed job."""
    job = unlocking.unlock(user=user, chat=chat, **what).job
    stage.run(ChatReading.objects.get(chat=chat).pk)
    for insight in job.insights.all():
        generation.run(insight.pk)
    job.refresh_from_db()
    return job


def changed(**changes: Any) -> Callable[[Window], WindowReading]:
    return lambda window: replace(find_one_episode(window), **changes)


def test_a_category_that_is_not_for_the_people_of_a_chat_costs_nothing(
    engine: FakeWriter, person: User, chat: Chat
) -> None:
    engine.answers = changed(relationship=Relationship.COLLEAGUES)
    job = run_job(person, chat, category_id="romantic")
    assert job.status == GenerationJob.Status.FAILED
    assert set(job.insights.values_list("error_code", "attempt")) == {("does_not_fit", 1)}
    person.wallet.refresh_from_db()
    assert (person.wallet.reserved, person.wallet.balance) == (0, 400)
    with pytest.raises(unlocking.NotEligible, match="colleagues"):
        unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert GenerationJob.objects.count() == 1, "no coins were reserved again"


def test_an_insight_that_withholds_ratings_is_delivered_and_not_charged(
    engine: FakeWriter, person: User, chat: Chat
) -> None:
    def speak_of_danger(window: Window) -> WindowReading:
        danger = Danger("violence", (window.messages[0].number,), 0, current=True)
        return replace(find_one_episode(window), dangers=(danger,))

    engine.answers = speak_of_danger
    job = run_job(person, chat, category_id="romantic")
    assert job.status == GenerationJob.Status.COMPLETED
    voided = job.insights.filter(voided=True)
    assert "conflict_resolution" in voided.values_list("insight_type_id", flat=True)
    assert not voided.filter(insight_type="communication_basics").exists(), "nothing of it is withheld"
    person.wallet.refresh_from_db()
    charged = job.insights.filter(voided=False).aggregate(coins=Sum("price"))["coins"]
    assert person.wallet.balance == 400 - charged
    assert person.wallet.reserved == 0
    document = voided[0].open_document()
    assert document is not None
    assert document["overall"]["score"] is None
    assert "14416" in document["overall"]["summary"]


@pytest.mark.parametrize(
    "danger", [Danger("violence", (1,), 0, current=False), Danger("self_harm", (1,), None, current=True)]
)
def test_what_is_long_past_or_about_somebody_else_withholds_nothing(
    engine: FakeWriter, person: User, chat: Chat, danger: Danger
) -> None:
    engine.answers = changed(dangers=(danger,))
    job = run_job(person, chat, type_ids=["conflict_resolution"])
    assert not Insight.objects.get(job=job).voided


def test_a_second_unlock_does_not_read_again(engine: FakeWriter, person: User, chat: Chat) -> None:
    run_job(person, chat, type_ids=["communication_basics"])
    n_windows = len(engine.windows)
    run_job(person, chat, type_ids=["love_language"])
    assert len(engine.windows) == n_windows
    assert reading.load(chat) is not None
