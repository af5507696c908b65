"""An unlock reserves the right coins once, or is rejected before any coin is reserved."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from billing.audit import audit
from billing.ledger import InsufficientCoins
from billing.models import CoinReservation
from chats import erasure
from chats.importing import import_chat
from chats.models import Chat
from insights import engines, settlement, unlocking
from insights.eligibility import NotEligible
from insights.models import Category, GenerationJob, Insight, InsightType
from relivchats.accounts.models import User
from relivchats.errors import Conflict, NotFound
from tests.concurrency import call_at_once
from tests.insights.conftest import ROMANTIC_PRICE

pytestmark = pytest.mark.django_db


def test_a_category_costs_its_price_and_the_parts_sum_to_it(person: User, chat: Chat) -> None:
    unlocked = unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert unlocked.created
    assert unlocked.coins == 400
    assert unlocked.spendable == 0
    assert sum(insight.price for insight in unlocked.insights) == 400
    assert {insight.insight_type_id for insight in unlocked.insights} == set(
        InsightType.objects.filter(category="romantic").values_list("pk", flat=True)
    )
    person.wallet.refresh_from_db()
    assert (person.wallet.balance, person.wallet.reserved) == (400, 400)


def test_single_types_cost_their_own_prices(person: User, chat: Chat) -> None:
    unlocked = unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics", "love_language"])
    assert (unlocked.coins, unlocked.spendable) == (150, 250)


def test_the_signup_bonus_buys_one_small_insight(make_chat: Callable[..., Chat]) -> None:
    newcomer = User.objects.create_user("newcomer@example.org")
    unlocked = unlocking.unlock(user=newcomer, chat=make_chat(newcomer), type_ids=["communication_basics"])
    assert (unlocked.coins, unlocked.spendable) == (50, 0)


def test_an_insight_that_is_unlocked_already_is_returned_and_costs_nothing(person: User, chat: Chat) -> None:
    first = unlocking.unlock(user=person, chat=chat, category_id="romantic")
    again = unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert not again.created
    assert again.coins == 0
    assert again.job == first.job
    assert {insight.pk for insight in again.insights} == {insight.pk for insight in first.insights}
    assert GenerationJob.objects.count() == 1


def test_the_rest_of_a_category_costs_only_the_rest(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=1000)
    chat = make_chat(person)
    unlocking.unlock(user=person, chat=chat, type_ids=["love_language", "emotional_intimacy"])
    rest = unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert rest.coins == 300
    assert len(rest.insights) == 4


def test_too_few_coins_are_rejected_with_the_numbers(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=399)
    chat = make_chat(person)
    with pytest.raises(InsufficientCoins) as rejected:
        unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert rejected.value.extra == {"required": 400, "available": 399, "deficit": 1}
    assert nothing_was_created()


def test_too_few_messages_are_rejected_before_coins_are_reserved(person: User, make_chat: Callable[..., Chat]) -> None:
    chat = make_chat(person, messages=12)
    with pytest.raises(unlocking.NotEligible) as rejected:
        unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert "communication_basics" in rejected.value.extra["too_few_messages"]
    assert nothing_was_created()


def test_each_insight_names_the_messages_it_needs(person: User, make_chat: Callable[..., Chat]) -> None:
    chat = make_chat(person, messages=61)
    with pytest.raises(unlocking.NotEligible) as rejected:
        unlocking.unlock(user=person, chat=chat, category_id="romantic")
    minimum = InsightType.objects.get(pk="communication_basics").min_messages
    assert minimum <= chat.message_count
    assert rejected.value.extra["possible"] == ["communication_basics"]
    for insight_type in InsightType.objects.filter(category="romantic").exclude(pk="communication_basics"):
        assert f"{insight_type.title} needs {insight_type.min_messages}" in rejected.value.detail


def test_a_monologue_is_rejected_before_coins_are_reserved(person: User, make_chat: Callable[..., Chat]) -> None:
    with pytest.raises(unlocking.NotEligible, match="one person"):
        unlocking.unlock(user=person, chat=make_chat(person, people=1), type_ids=["communication_basics"])
    assert nothing_was_created()


def test_too_many_people_are_rejected_and_the_eligible_types_are_named(
    person: User, make_chat: Callable[..., Chat]
) -> None:
    chat = make_chat(person, people=5)
    with pytest.raises(unlocking.NotEligible) as rejected:
        unlocking.unlock(user=person, chat=chat, category_id="romantic")
    assert rejected.value.extra["possible"] == ["communication_basics"]
    assert nothing_was_created()
    assert unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"]).created


def test_somebody_elses_chat_is_not_found(chat: Chat, make_person: Callable[..., User]) -> None:
    with pytest.raises(NotFound):
        unlocking.unlock(user=make_person(coins=400), chat=chat, category_id="romantic")
    assert nothing_was_created()


@pytest.mark.parametrize("asked", [{"category_id": "unknown"}, {"type_ids": ["communication_basics", "unknown"]}])
def test_what_is_not_in_the_catalogue_is_not_found(person: User, chat: Chat, asked: dict[str, object]) -> None:
    with pytest.raises(NotFound):
        unlocking.unlock(user=person, chat=chat, **asked)  # type: ignore[arg-type]


def test_an_empty_request_is_rejected(person: User, chat: Chat) -> None:
    with pytest.raises(unlocking.NothingRequested):
        unlocking.unlock(user=person, chat=chat)


def test_an_unsupported_language_is_rejected(person: User, chat: Chat) -> None:
    with pytest.raises(unlocking.UnsupportedLanguage, match="en"):
        unlocking.unlock(user=person, chat=chat, category_id="romantic", language="fr")
    assert nothing_was_created()


def test_a_withdrawn_type_cannot_be_unlocked(person: User, chat: Chat) -> None:
    InsightType.objects.filter(pk="love_language").update(active=False)
    with pytest.raises(NotFound):
        unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])
    assert unlocking.unlock(user=person, chat=chat, category_id="romantic").coins == 400


def test_a_type_of_a_withdrawn_category_cannot_be_unlocked(person: User, chat: Chat) -> None:
    Category.objects.filter(pk="romantic").update(active=False)
    with pytest.raises(NotFound):
        unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])


def test_types_of_two_categories_are_rejected(person: User, chat: Chat) -> None:
    other = Category.objects.create(id="other", title="Other", price=100)
    InsightType.objects.filter(pk="love_language").update(category=other)
    with pytest.raises(unlocking.NothingRequested, match="one category"):
        unlocking.unlock(user=person, chat=chat, type_ids=["love_language", "communication_basics"])
    assert nothing_was_created()
    unlocked = unlocking.unlock(user=person, chat=chat, category_id="other")
    assert [insight.insight_type_id for insight in unlocked.insights] == ["love_language"]


def test_each_chat_has_insights_of_its_own(person: User, make_chat: Callable[..., Chat]) -> None:
    chats = sorted((make_chat(person, searchable=False) for _ in range(2)), key=lambda chat: chat.pk)
    for chat in chats:
        unlocked = unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"])
        assert unlocked.created
        assert unlocked.job.chat == chat


def test_a_searchable_chat_is_not_indexed_again(person: User, chat: Chat) -> None:
    unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"])
    chat.refresh_from_db()
    assert chat.vector_status == "completed"


def test_a_chat_of_another_embedding_engine_is_indexed_again(person: User, chat: Chat) -> None:
    chat.index_engine = "another"
    chat.save(update_fields=["index_engine"])
    unlocking.unlock(user=person, chat=chat, type_ids=["communication_basics"])
    chat.refresh_from_db()
    assert chat.vector_status == "pending"


def test_a_failed_insight_is_retried_for_its_own_price(person: User, chat: Chat) -> None:
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    failed = Insight.objects.get(job=job, insight_type="love_language")
    retried = unlocking.retry(failed)
    assert retried.created
    assert retried.coins == failed.price < failed.insight_type.price
    assert retried.job != job
    assert Insight.objects.get(pk=failed.pk).status == "failed", "the failed row stays as history"
    assert not unlocking.retry(failed).created, "a second retry returns the insight of the first"


def test_only_a_failed_insight_can_be_retried(person: User, chat: Chat) -> None:
    (insight,) = unlocking.unlock(user=person, chat=chat, type_ids=["love_language"]).insights
    with pytest.raises(Conflict):
        unlocking.retry(insight)


def test_an_insight_whose_chat_was_deleted_cannot_be_retried(person: User, chat: Chat) -> None:
    (insight,) = unlocking.unlock(user=person, chat=chat, type_ids=["love_language"]).insights
    erasure.erase(chat)
    with pytest.raises(Conflict, match="deleted"):
        unlocking.retry(Insight.objects.get(pk=insight.pk))


def test_a_reservation_expires_after_the_deadline_of_its_job(person: User, chat: Chat) -> None:
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    assert job.reservation.expires_at > job.deadline_at


def nothing_was_created() -> bool:
    return not GenerationJob.objects.exists() and not CoinReservation.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_two_concurrent_unlocks_charge_once(make_person: Callable[..., User], make_chat: Callable[..., Chat]) -> None:
    person = make_person(coins=1000)
    chat = make_chat(person)
    results = call_at_once([lambda: unlocking.unlock(user=person, chat=chat, category_id="romantic")] * 2)
    assert sorted(result.created for result in results) == [False, True]
    assert len({result.job.pk for result in results}) == 1
    person.wallet.refresh_from_db()
    assert person.wallet.reserved == 400
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_of_fifty_concurrent_unlocks_on_a_balance_for_one_one_succeeds(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=100)
    chats = [make_chat(person, messages=120, searchable=False) for _ in range(50)]
    results = call_at_once(
        [lambda chat=chat: unlocking.unlock(user=person, chat=chat, type_ids=["love_language"]) for chat in chats]  # type: ignore[misc]
    )
    assert sum(isinstance(result, unlocking.UnlockResult) for result in results) == 1
    assert sum(isinstance(result, InsufficientCoins) for result in results) == 49
    person.wallet.refresh_from_db()
    assert (person.wallet.balance, person.wallet.reserved) == (100, 100)
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_fifty_concurrent_unlocks_of_one_chat_charge_once(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=10_000)
    chat = make_chat(person, messages=120, searchable=False)
    results = call_at_once([lambda: unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])] * 50)
    assert sorted(result.created for result in results) == [False] * 49 + [True]
    person.wallet.refresh_from_db()
    assert (person.wallet.reserved, GenerationJob.objects.count()) == (100, 1)
    assert audit() == []


@pytest.mark.django_db(transaction=True)
def test_twenty_concurrent_retries_of_a_failed_insight_reserve_its_price_once(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=10_000)
    chat = make_chat(person, messages=120, searchable=False)
    job = unlocking.unlock(user=person, chat=chat, type_ids=["love_language", "communication_basics"]).job
    settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    failed = Insight.objects.get(job=job, insight_type="love_language")
    results = call_at_once([lambda: unlocking.retry(Insight.objects.get(pk=failed.pk))] * 20)
    assert sorted(result.created for result in results) == [False] * 19 + [True]
    person.wallet.refresh_from_db()
    assert person.wallet.reserved == failed.price
    assert audit() == []


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_of_a_thousand_unlocks_on_a_balance_for_one_one_succeeds(
    make_person: Callable[..., User], make_chat: Callable[..., Chat]
) -> None:
    person = make_person(coins=100)
    chats = [make_chat(person, messages=120, searchable=False) for _ in range(1000)]
    outcomes: list[object] = []

    def unlock(chat: Chat) -> object:
        try:
            return unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])
        except InsufficientCoins as error:
            return error
        finally:
            connections.close_all()

    with ThreadPoolExecutor(50) as pool:
        outcomes += pool.map(unlock, chats)
    assert sum(isinstance(outcome, unlocking.UnlockResult) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, InsufficientCoins) for outcome in outcomes) == 999
    person.wallet.refresh_from_db()
    assert (person.wallet.balance, person.wallet.reserved) == (100, 100)
    assert audit() == []


SENTENCES = {
    "spanish": ("hola mi amor, que tal el día de hoy", "muy bien, pero tengo mucho trabajo y estoy cansada"),
    "german": ("ich habe heute leider keine Zeit für dich", "das ist nicht schlimm, wir sehen uns dann morgen"),
    "arabic": ("كيف حالك اليوم يا صديقي", "أنا بخير والحمد لله وأنت"),
    "english": ("how was your day at the office", "it was fine, thanks for asking"),
    "hinglish": ("kya kar rahe ho yaar", "kuch nahi bas ghar pe hoon"),
    "hindi": ("क्या कर रहे हो आज", "मैं घर पर हूँ और काम है"),
}


@pytest.fixture
def chat_in(make_person: Callable[..., User]) -> Callable[..., Chat]:
    def make(*languages: str) -> Chat:
        lines = [line for language in languages for line in SENTENCES[language]] * 80
        records = [
            f"{1 + n // 60:02}/03/2024, {n // 60:02}:{n % 60:02} - {('Asha', 'Ravi')[n % 2]}: {line}\n"
            for n, line in enumerate(lines)
        ]
        return import_chat(owner=make_person(coins=ROMANTIC_PRICE), upload="".join(records).encode())

    return make


@pytest.mark.parametrize("language", ["spanish", "german", "arabic"])
def test_a_language_without_phrases_is_refused_before_coins_are_held(
    chat_in: Callable[..., Chat], language: str
) -> None:
    chat = chat_in(language)
    with pytest.raises(NotEligible) as refused:
        unlocking.unlock(user=chat.owner, chat=chat, category_id="romantic")
    assert "This chat is mostly in " in refused.value.detail
    assert "docs/" not in refused.value.detail, "a path in the repository means nothing to users of an app"
    assert "_" not in refused.value.detail
    assert "English, Hindi, Hinglish" in refused.value.detail
    assert refused.value.extra["possible"] == []
    assert not CoinReservation.objects.exists()
    quote = unlocking.quote(user=chat.owner, chat=chat, category_id="romantic")
    assert not quote.plan.eligibility.eligible


@pytest.mark.parametrize(
    "languages", [["english"], ["hinglish"], ["hindi"], ["english", "spanish"], ["hindi", "arabic"]]
)
def test_a_chat_that_is_half_in_known_languages_is_accepted(chat_in: Callable[..., Chat], languages: list[str]) -> None:
    chat = chat_in(*languages)
    assert unlocking.unlock(user=chat.owner, chat=chat, category_id="romantic").created


def test_an_engine_that_knows_every_language_accepts_any_chat(
    chat_in: Callable[..., Chat], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines.get_engine(), "chat_languages", None)
    chat = chat_in("spanish")
    assert unlocking.unlock(user=chat.owner, chat=chat, category_id="romantic").created
