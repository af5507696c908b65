"""From planted conversations to insights: nothing is lost on the way, and nothing that a model invents arrives.

Small chats. `python -m tests.truth` measures chats of 2,000 messages.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache

import pytest
from django.test import override_settings

from insights.episodes import Relationship
from insights.scales import NOT_ENOUGH_DATA
from tests.truth import measure, pipeline, report
from tests.truth.adversaries import INJECTION, ORACLES
from tests.truth.circles import CIRCLES, PEOPLE, generate_circle
from tests.truth.generator import PlantedChat, generate
from tests.truth.groups import GROUPS, generate_group
from tests.truth.measure import Figures
from tests.truth.oracle import Oracle
from tests.truth.pipeline import ChatResult

pytestmark = pytest.mark.django_db(transaction=True)

STORMY = {"conflict": 3, "put_down": 2, "repair": 1, "affection": 1, "support": 1, "stress": 2, "tease": 1, "plan": 1}
WARM = {
    "conflict": 2,
    "repair": 3,
    "affection": 3,
    "touch": 3,
    "support": 2,
    "stress": 1,
    "tease": 2,
    "joke": 2,
    "plan": 2,
    "dream": 2,
}


def plant(traits: Mapping[str, int], *, language: str = "english", seed: int = 1, messages: int = 320) -> PlantedChat:
    """Return a small chat in which some kinds are planted, among them every distractor, and an injected instruction."""
    return generate(
        seed,
        language=language,
        traits=traits,
        default_level=0,
        messages=messages,
        distractors=16,
        months=3,
        extra_lines=[INJECTION],
    )


def run(planted_chat: PlantedChat, *, engine: str = "gemini", oracle: type[Oracle] = Oracle) -> ChatResult:
    return pipeline.run_chat(planted_chat.truth, planted_chat.export.encode(), engine=engine, oracle=oracle)


@cache
def evaluate(oracle: str) -> Figures:
    """Return the figures of one oracle over a small warm chat. They are plain values, so tests can share them."""
    return measure.measure([run(plant(WARM), oracle=ORACLES[oracle])])


def assert_nothing_is_false(figures: Figures) -> None:
    assert figures.false_statements == []
    assert figures.unsupported_sentences == []
    assert figures.total().rated_on_too_little == 0


@pytest.mark.parametrize(
    ("engine", "language"),
    [("gemini", "english"), ("gemini", "spanish"), ("openai", "english"), ("openai", "hinglish")],
)
def test_what_is_planted_is_read_kept_and_quoted(engine: str, language: str) -> None:
    figures = measure.measure([run(plant(WARM, language=language), engine=engine)])
    assert figures.documents == 6
    assert figures.planted == figures.read == figures.kept > 25
    total = figures.total()
    assert total.shown == total.quotable
    assert total.cited == total.slots
    assert total.quoted >= 0.9 * total.slots
    assert total.plain_quoted >= 0.5 * total.plain_slots
    assert (total.misplaced, total.false_quotes) == (0, 0)
    assert_nothing_is_false(figures)


def test_every_sentence_of_a_perfect_reader_is_in_the_document() -> None:
    figures = evaluate("perfect")
    assert figures.claims["confirmed"] == figures.claims["asked"] > 20
    assert (figures.claims["refuted"], figures.claims["unsupported"]) == (0, 0)
    assert figures.lost_sentences == []


def test_figures_are_printed_as_json_by_type_and_section() -> None:
    figures = evaluate("perfect")
    data = json.loads(json.dumps(report.to_json(figures)))
    assert set(data["types"]) == {type_id for type_id, _ in figures.sections}
    assert data["types"]["future_planning"]["quoted"] == sum(
        count["quoted"] for key, count in data["sections"].items() if key.startswith("future_planning.")
    )
    assert data["claims"] == dict(figures.claims)


@override_settings(PSEUDONYMS=False)
def test_nothing_is_lost_where_names_are_not_replaced() -> None:
    figures = measure.measure([run(plant(WARM))])
    assert figures.claims["confirmed"] == figures.claims["asked"] > 20
    assert_nothing_is_false(figures)


def test_ratings_are_in_the_order_of_what_is_planted() -> None:
    kinds = ("hard_feelings", "check_in", "gratitude", "praise", "affection", "touch", "joke", "silliness", "tease")
    calm = dict.fromkeys(kinds, 3) | {"conflict": 1, "put_down": 1}
    quarrelsome = dict.fromkeys(kinds, 1) | {"conflict": 3, "put_down": 3}
    total = measure.measure([run(plant(traits, messages=500)) for traits in (calm, quarrelsome)]).total()
    assert total.right >= 5
    assert (total.tied, total.wrong, total.missing_pairs) == (0, 0, 0)


def test_severe_conflict_in_plain_words_is_scored_low() -> None:
    planted_chat = generate(1, traits={"conflict": 3, "put_down": 3}, default_level=0, messages=250, only_plain=True)
    document = run(planted_chat).documents["conflict_resolution"]
    presence = next(section for section in document["sections"] if section["key"] == "conflict_presence")
    assert presence["rating"] == "frequent"
    assert document["overall"]["score"] is None or document["overall"]["score"] <= 3


@pytest.mark.parametrize("name", [name for name in ORACLES if name != Oracle.name])
def test_nothing_that_a_model_invents_reaches_a_document(name: str) -> None:
    assert_nothing_is_false(evaluate(name))


@pytest.mark.parametrize("name", ["repeats", "cut off", "invents quotes"])
def test_a_model_that_invents_loses_no_quote(name: str) -> None:
    total = evaluate(name).total()
    assert total.quoted >= 0.9 * total.slots


@pytest.mark.parametrize("language", ["english", "hinglish"])
def test_the_local_engine_rates_nothing_on_fewer_than_three_messages(language: str) -> None:
    results = [run(plant(traits, language=language), engine="local") for traits in (STORMY, WARM)]
    figures = measure.measure(results)
    assert figures.documents == 12
    assert figures.total().rated > 0
    assert_nothing_is_false(figures)


def test_the_local_engine_refuses_a_chat_in_a_language_without_phrases() -> None:
    assert run(plant(WARM, language="spanish"), engine="local").refused == "does-not-fit"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_local_engine_does_not_rate_severe_conflict_in_plain_words(seed: int) -> None:
    planted_chat = generate(seed, traits={"conflict": 3, "put_down": 3}, default_level=0, messages=250, only_plain=True)
    result = run(planted_chat, engine="local")
    written = {
        (type_id, section["key"]): section
        for type_id, document in result.documents.items()
        for section in document["sections"]
    }
    for type_id, key in (
        ("conflict_resolution", "conflict_presence"),
        ("conflict_resolution", "conflict_intensity"),
        ("conflict_resolution", "destructive_patterns"),
        ("conflict_resolution", "repair_recovery"),
        ("emotional_intimacy", "conflict_and_repair"),
    ):
        scale = result.definitions[type_id].section(key).scale
        assert written[type_id, key]["rating"] in {NOT_ENOUGH_DATA, scale[-1]}, key
    assert result.documents["conflict_resolution"]["overall"]["score"] is None


#: Kinds of which much is planted in a small chat of each relationship, and of which little is planted.
SMALL_CIRCLES = {
    Relationship.FRIENDS: (
        ("showing_up", "secret_kept", "support", "check_in", "deep_talk", "hard_feelings", "gratitude"),
        ("let_down", "unanswered_need", "joke", "story"),
    ),
    Relationship.FAMILY: (
        ("own_choice", "blessing", "worry", "affection", "support", "mediation", "fair_talk"),
        ("control", "conflict", "avoidance", "expectation"),
    ),
    Relationship.COLLEAGUES: (
        ("status_update", "coordination", "feedback", "ownership", "admission", "praise", "speaking_up"),
        ("unclear", "status_request", "no_owner", "pressure"),
    ),
}


def plant_circle(
    relationship: Relationship, much: tuple[str, ...], little: tuple[str, ...], *, language: str = "english"
) -> PlantedChat:
    """Return a small chat of two friends, a family of four or a team of five."""
    return generate(
        1,
        relationship=relationship,
        language=language,
        traits={**dict.fromkeys(much, 3), **dict.fromkeys(little, 1)},
        default_level=0,
        messages=300,
        people=PEOPLE[relationship],
        months=3,
    )


@pytest.mark.parametrize(
    ("relationship", "language"),
    [(Relationship.FRIENDS, "hinglish"), (Relationship.FAMILY, "english"), (Relationship.COLLEAGUES, "english")],
)
def test_friends_families_and_teams_are_read_and_quoted(relationship: Relationship, language: str) -> None:
    planted_chat = plant_circle(relationship, *SMALL_CIRCLES[relationship], language=language)
    result = run(planted_chat)
    figures = measure.measure([result])
    assert figures.documents == 3
    assert figures.planted == figures.read == figures.kept >= 9
    total = figures.total()
    assert total.quoted >= 0.9 * total.slots
    assert (total.misplaced, total.false_quotes) == (0, 0)
    assert figures.lost_sentences == []
    assert_nothing_is_false(figures)


@pytest.mark.parametrize("relationship", SMALL_CIRCLES)
def test_ratings_of_friends_families_and_teams_are_in_order(relationship: Relationship) -> None:
    own = [circle for circle in CIRCLES if circle.relationship == relationship and circle.language == "english"]
    chats = [generate_circle(circle, seed, messages=1600) for seed, circle in enumerate(own[:2])]
    total = measure.measure([run(chat) for chat in chats]).total()
    assert total.right >= 5
    assert (total.tied, total.wrong) == (0, 0)


@pytest.mark.parametrize("relationship", SMALL_CIRCLES)
def test_without_reading_no_circle_is_rated_on_little(relationship: Relationship) -> None:
    result = run(plant_circle(relationship, *SMALL_CIRCLES[relationship]), engine="local")
    assert_nothing_is_false(measure.measure([result]))
    for type_id, document in result.documents.items():
        for section in document["sections"]:
            if result.definitions[type_id].section(section["key"]).needs_reading:
                assert section["rating"] == NOT_ENOUGH_DATA
                assert "it takes an engine that reads" in section["finding"]


@cache
def evaluate_group(name: str, oracle: str) -> Figures:
    """Return the figures of one oracle over a group whose people are easy to confuse."""
    group = GROUPS[name]
    planted_chat = generate_group(group, extra_lines=[INJECTION])
    result = pipeline.run_chat(
        planted_chat.truth,
        planted_chat.export.encode(),
        engine="gemini",
        oracle=ORACLES[oracle],
        type_ids=group.type_ids,
    )
    assert len(result.documents) + len(result.failures) == len(group.type_ids)
    return measure.measure([result])


@pytest.mark.parametrize("name", ["family of five", "club of fifty"])
def test_nothing_is_lost_in_groups_of_people_who_are_easy_to_confuse(name: str) -> None:
    figures = evaluate_group(name, "perfect")
    total = figures.total()
    assert figures.planted == figures.read == figures.kept > 25
    assert figures.lost_sentences == []
    assert total.quoted >= 0.9 * total.slots
    assert (total.misplaced, total.false_quotes) == (0, 0)
    assert_nothing_is_false(figures)


@pytest.mark.parametrize("oracle", ["lies and confirms", "lies and verifies"])
@pytest.mark.parametrize("name", GROUPS)
def test_nothing_that_a_model_invents_about_a_group_reaches_a_document(name: str, oracle: str) -> None:
    figures = evaluate_group(name, oracle)
    assert figures.documents
    assert_nothing_is_false(figures)


@pytest.mark.parametrize("oracle", ["lies and confirms", "lies and verifies"])
def test_nothing_that_a_model_invents_about_two_friends_reaches_a_document(oracle: str) -> None:
    planted_chat = plant_circle(Relationship.FRIENDS, *SMALL_CIRCLES[Relationship.FRIENDS])
    figures = measure.measure([run(planted_chat, oracle=ORACLES[oracle])])
    assert figures.documents
    assert_nothing_is_false(figures)


#: The language of the chat for each language of insights: nothing is planted in Portuguese and German.
CHAT_LANGUAGES = {"de": "english", "es": "spanish", "hi": "hinglish", "pt": "english"}
#: Kinds of the sections of the one type that is written, and of no other.
QUARRELS = {"conflict": 3, "put_down": 2, "repair": 3, "apology": 2, "fair_talk": 2, "hard_feelings": 1}


def write_in(language: str, oracle: str) -> ChatResult:
    """Return one insight about a small chat in this language."""
    planted_chat = plant(QUARRELS, language=CHAT_LANGUAGES[language], messages=280)
    return pipeline.run_chat(
        planted_chat.truth,
        planted_chat.export.encode(),
        engine="gemini",
        oracle=ORACLES[oracle],
        type_ids=["conflict_resolution"],
        language=language,
    )


@pytest.mark.parametrize("language", CHAT_LANGUAGES)
def test_a_document_is_in_the_requested_language_and_loses_no_true_sentence(language: str) -> None:
    result = write_in(language, "perfect")
    assert result.documents["conflict_resolution"]["language"] == language
    figures = measure.measure([result])
    total = figures.total()
    assert figures.claims["confirmed"] == figures.claims["asked"] > 10
    assert figures.lost_sentences == []
    assert total.quoted >= 0.9 * total.slots > 0
    assert (total.misplaced, total.false_quotes) == (0, 0)
    assert_nothing_is_false(figures)


@pytest.mark.parametrize("language", CHAT_LANGUAGES)
def test_nothing_that_a_model_invents_in_a_language_reaches_a_document(language: str) -> None:
    figures = measure.measure([write_in(language, "lies in the language")])
    assert figures.documents == 1
    assert_nothing_is_false(figures)
