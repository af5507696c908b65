"""What an unlock costs when a chat is read first: what cannot be delivered is not charged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from insights import engines, generation, reading, recovery, settlement, unlocking
from insights.engines.base import Brief, Draft, EngineRefused, SectionDraft
from insights.episodes import Danger, Relationship, Window, WindowReading
from insights.models import ChatReading, GenerationJob, Insight
from insights.reading import planning, result, stage
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
    voided = job.insights.filter(voided=True)
    assert "conflict_resolution" in voided.values_list("insight_type_id", flat=True)
    assert set(voided.values_list("status", flat=True)) == {Insight.Status.COMPLETED}
    # Nothing of the others is withheld, and this engine finds nothing to say: they are not charged either.
    assert not job.insights.filter(voided=False).exists()
    person.wallet.refresh_from_db()
    assert person.wallet.balance == 400
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
    document = Insight.objects.select_related("chat").get(job=job).open_document()
    assert document is not None
    assert "14416" not in document["overall"]["summary"]
    assert "withheld" not in str(document["sufficiency"])


def test_a_second_unlock_does_not_read_again(engine: FakeWriter, person: User, chat: Chat) -> None:
    run_job(person, chat, type_ids=["communication_basics"])
    n_windows = len(engine.windows)
    run_job(person, chat, type_ids=["love_language"])
    assert len(engine.windows) == n_windows
    assert reading.load(chat) is not None


def make_dangerous_chat(person: User, *, at: int, text: str = "I will kill myself tonight, I have the pills") -> Chat:
    """Return an indexed chat of 300 harmless messages and this text as message number `at`."""
    lines = [
        f"{1 + i // 20:02}/03/2024, {10 + i % 20 // 2}:{i * 7 % 60:02} - {('Asha', 'Ravi')[i % 2]}: "
        + (text if i + 1 == at else f"the bus is late again, number {i}, and the tea is cold")
        for i in range(300)
    ]
    chat = import_chat(owner=person, upload="\n".join(lines).encode())
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    return chat


def assert_withheld_and_free(job: GenerationJob, person: User) -> None:
    insight = Insight.objects.get(job=job)
    assert (job.status, insight.voided) == (GenerationJob.Status.COMPLETED, True)
    document = insight.open_document()
    assert document is not None
    assert document["overall"]["score"] is None
    assert "14416" in document["overall"]["summary"]
    person.wallet.refresh_from_db()
    assert (person.wallet.balance, person.wallet.reserved) == (400, 0)


def test_danger_in_a_part_that_the_provider_refuses_withholds_ratings_and_names_help(
    engine: FakeWriter, person: User
) -> None:
    chat = make_dangerous_chat(person, at=151)

    def answer(window: Window) -> WindowReading:
        if any("kill myself" in message.text for message in window.messages):
            raise EngineRefused("blocked_prompt")
        return replace(find_one_episode(window), dangers=())

    engine.answers = answer
    assert_withheld_and_free(run_job(person, chat, type_ids=["conflict_resolution"]), person)
    found = reading.load(chat)
    assert found is not None
    assert [danger.numbers for danger in found.dangers if danger.is_listed] == [(151,)]


def test_danger_in_what_the_budget_leaves_out_withholds_ratings_and_names_help(
    engine: FakeWriter, person: User, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.READING_TOKEN_BUDGET = 2_000
    # Otherwise the message would be among the first to be selected.
    monkeypatch.setattr(planning, "_search", lambda chat: ([], set()))
    harmless = make_dangerous_chat(person, at=0)
    plan = planning.plan_new_messages(harmless, [], read_before=0, window_tokens=engine.window_tokens)
    is_read = {number for window in plan.windows for first, last in window.spans for number in range(first, last + 1)}
    unread = next(number for number in range(150, 300) if number not in is_read)
    chat = make_dangerous_chat(person, at=unread)
    engine.answers = lambda window: replace(find_one_episode(window), dangers=())
    job = run_job(person, chat, type_ids=["conflict_resolution"])
    assert unread not in engine.numbers
    assert_withheld_and_free(job, person)


def test_danger_after_the_place_at_which_a_message_is_cut_withholds_ratings_and_names_help(
    engine: FakeWriter, person: User
) -> None:
    chat = make_dangerous_chat(person, at=151, text="the bus is late. " * 500 + "I will kill myself tonight.")
    engine.answers = lambda window: replace(find_one_episode(window), dangers=())
    job = run_job(person, chat, type_ids=["conflict_resolution"])
    assert 151 in engine.numbers
    assert_withheld_and_free(job, person)


@pytest.mark.parametrize("text", ["I watched a movie, he wants to kill himself in it", "the bus is late"])
def test_a_harmless_part_that_nobody_read_withholds_nothing(engine: FakeWriter, person: User, text: str) -> None:
    chat = make_dangerous_chat(person, at=151, text=text)

    def answer(window: Window) -> WindowReading:
        if any(message.number == 151 for message in window.messages):
            raise EngineRefused("blocked_prompt")
        return replace(find_one_episode(window), dangers=())

    engine.answers = answer
    job = run_job(person, chat, type_ids=["conflict_resolution"])
    document = Insight.objects.select_related("chat").get(job=job).open_document()
    assert document is not None
    assert "14416" not in document["overall"]["summary"]


def test_the_relationship_of_a_chat_is_known_without_opening_what_was_read(
    engine: FakeWriter, person: User, chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.answers = changed(relationship=Relationship.COLLEAGUES)
    run_job(person, chat, type_ids=["communication_basics"])

    def open_window(*_: Any) -> None:
        raise AssertionError("a window was opened")

    monkeypatch.setattr(result, "open_window", open_window)
    assert reading.load_relationship(chat) == Relationship.COLLEAGUES
    with pytest.raises(unlocking.NotEligible, match="colleagues"):
        unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])


def test_insights_of_a_job_past_its_deadline_keep_the_error_that_they_waited_for(
    engine: FakeWriter, person: User, chat: Chat, make_chat: Callable[..., Chat]
) -> None:
    other = make_chat(person, messages=60, searchable=False)
    ChatReading.objects.create(chat=other, engine="other", model="other", version=1, error_code="other")
    job = unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics", "love_language"]).job
    ChatReading.objects.filter(chat=chat).update(error_code="invalid_key")
    job.insights.filter(insight_type="love_language").update(error_code="rate_limited")
    GenerationJob.objects.filter(pk=job.pk).update(deadline_at=Now() - timedelta(seconds=1))
    recovery.recover_job(job.pk)
    messages = dict(job.insights.values_list("insight_type_id", "error_message"))
    assert messages["communication_basics"].endswith("Last error: invalid_key")
    assert messages["love_language"].endswith("Last error: rate_limited")
    causes = dict(job.insights.values_list("insight_type_id", "error_code"))
    assert causes == {"communication_basics": "invalid_key", "love_language": "rate_limited"}


def test_insights_that_fail_before_the_deadline_have_the_cause_that_ended_them(
    engine: FakeWriter, person: User, chat: Chat
) -> None:
    job = unlocking.unlock(user=person, chat=chat, type_ids=["love_language"]).job
    job.insights.update(error_code="rate_limited")
    assert settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    assert job.insights.get().error_code == "test"
