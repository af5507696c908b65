"""The engine without a model: sensible, differing, honest and repeatable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insights import document, engines, safety
from insights.engines.local.engine import LocalInsightEngine
from insights.scales import NOT_ENOUGH_DATA
from tests.insights.briefs import PEOPLE, Line, brief, definition

TYPES = (
    "communication_basics",
    "emotional_intimacy",
    "love_language",
    "conflict_resolution",
    "future_planning",
    "playfulness_romance",
)
A_DAY = timedelta(days=1)


def insight(name: str, lines: Sequence[Line], *, people: tuple[str, ...] = PEOPLE) -> dict[str, Any]:
    material = brief(lines, of=definition(name), people=people)
    engine = LocalInsightEngine()
    provenance = {"engine": engine.name, "model": engine.model}
    return document.complete(brief=material, draft=engine.write(material), provenance=provenance)


def section(finished: dict[str, Any], key: str) -> dict[str, Any]:
    return next(section for section in finished["sections"] if section["key"] == key)


def ratings(finished: dict[str, Any], key: str) -> dict[str, str]:
    return {person["name"]: person["rating"] for person in section(finished, key)["people"]}


def talk(*turns: tuple[int, str], days: int) -> list[Line]:
    """The same turns each day, an answer a minute."""
    return [
        Line(person, text, A_DAY if not place and day else timedelta(minutes=1))
        for day in range(days)
        for place, (person, text) in enumerate(turns)
    ]


def even_talk() -> list[Line]:
    lines: list[Line] = []
    for day in range(20):
        first, second = day % 2, 1 - day % 2
        lines += [
            Line(first, "good morning, how are you today?", A_DAY),
            Line(second, "all well, and what about you?"),
            Line(first, "thank you, all is good here too"),
        ]
    return lines


WARM = talk(
    (0, "good morning jaan, miss you so much ❤️"),
    (1, "love you baby, missing you too 😘"),
    (0, "I feel scared about the exam, bahut ghabrahat"),
    (1, "don't worry, main hoon na, you can do it"),
    (0, "hahaha you make me so happy 😂"),
    (1, "you look so beautiful, let's go on a date night"),
    days=12,
)
COLD = talk(
    (0, "please pay the electricity bill"),
    (1, "done"),
    (0, "the plumber comes at nine"),
    (1, "ok"),
    (0, "keys are with the neighbour"),
    (1, "fine"),
    days=12,
)
LOPSIDED = talk(
    (0, "good morning, how did you sleep and what is the plan for the long day ahead of you?"),
    (0, "I was thinking about everything that we talked about last night and I have questions"),
    (0, "did you have breakfast? and tea? and did you call your brother about the tickets?"),
    (1, "ok"),
    days=20,
)
QUARREL = talk(
    (0, "I am so angry, you always do this, it's your fault"),
    (1, "leave me alone, baat mat karo, tang aa gaya"),
    (0, "you are pathetic and useless, shut up"),
    (1, "whatever, do what you want"),
    days=20,
)
PLANS = talk(
    (0, "next year our wedding, imagine, then our own house"),
    (1, "yes let's plan, savings first, tickets booked for goa in december"),
    days=8,
)


def test_balanced_and_lopsided_chats_are_told_apart() -> None:
    even, lopsided = insight("communication_basics", even_talk()), insight("communication_basics", LOPSIDED)
    for key in ("initiation_balance", "message_contribution"):
        assert section(even, key)["rating"] == "balanced"
        assert section(lopsided, key)["rating"] == "highly_imbalanced"
    assert even["overall"]["rating"] == "excellent"
    assert lopsided["overall"]["score"] < even["overall"]["score"]


def test_warm_and_cold_chats_are_told_apart() -> None:
    warm, cold = insight("emotional_intimacy", WARM), insight("emotional_intimacy", COLD)
    assert ratings(warm, "affection_expression") == {"Asha": "very_frequent", "Ravi": "very_frequent"}
    assert ratings(cold, "affection_expression") == {"Asha": "rare", "Ravi": "rare"}
    assert ratings(warm, "vulnerability_expression") == {"Asha": "high", "Ravi": "low"}
    assert section(warm, "emotional_support_patterns")["rating"] == "one_sided"
    assert section(cold, "emotional_support_patterns")["rating"] == NOT_ENOUGH_DATA
    playful, serious = insight("playfulness_romance", WARM), insight("playfulness_romance", COLD)
    assert playful["overall"]["score"] > serious["overall"]["score"]


def test_quarrelling_and_calm_chats_are_told_apart() -> None:
    quarrel, calm = insight("conflict_resolution", QUARREL), insight("conflict_resolution", COLD)
    assert section(quarrel, "conflict_presence")["rating"] == "frequent"
    assert section(calm, "conflict_presence")["rating"] == "rare"
    assert section(quarrel, "destructive_patterns")["rating"] == "several"
    assert section(calm, "destructive_patterns")["rating"] == "none_seen"
    assert ratings(quarrel, "individual_styles") == {"Asha": "competitive", "Ravi": "passive_aggressive"}
    assert quarrel["overall"]["score"] < calm["overall"]["score"]


def test_each_persons_love_language_is_the_one_they_write_most() -> None:
    lines = talk(
        (0, "kab milenge? I want to spend time with you"),
        (1, "got you something, a gift"),
        (0, "let's meet on sunday"),
        (1, "tere liye laya flowers"),
        (0, "and a hug please"),
        days=10,
    )
    finished = insight("love_language", lines)
    assert ratings(finished, "primary_languages") == {"Asha": "quality_time", "Ravi": "gifts"}
    assert ratings(finished, "secondary_languages") == {"Asha": "physical_touch", "Ravi": NOT_ENOUGH_DATA}
    assert section(finished, "compatibility")["rating"] == "different"


def test_plans_that_both_raise_count_as_shared_and_one_sided_ones_do_not() -> None:
    shared = talk((0, "our wedding and a home loan"), (1, "wedding yes, and savings for the loan"), days=15)
    alone = talk((0, "our wedding and a home loan"), (1, "hmm"), days=15)
    assert section(insight("future_planning", shared), "alignment")["rating"] == "strongly_aligned"
    assert section(insight("future_planning", alone), "alignment")["rating"] == "unclear"


def test_findings_state_what_was_counted() -> None:
    lines = [*talk((0, "haha"), (1, "ok then"), days=31), *talk((0, "the bus is late"), days=9)]
    finding = section(insight("playfulness_romance", lines), "overall_playfulness")["finding"]
    assert "appear in 31 of Asha's 40 messages and 0 of Ravi's 31 messages" in finding


def test_a_chat_of_a_few_lines_gets_no_score() -> None:
    lines = [Line(0, "hello"), Line(1, "hi"), Line(0, "ok")]
    for name in TYPES[1:]:
        finished = insight(name, lines)
        assert (finished["overall"]["score"], finished["overall"]["rating"]) == (None, NOT_ENOUGH_DATA), name
    assert "short chat" in insight("love_language", lines)["sufficiency"]["limits"][0]


@pytest.mark.parametrize("name", TYPES)
def test_no_message_is_quoted_in_two_places(name: str) -> None:
    numbers = Counter(message["number"] for message in quoted(insight(name, [*WARM, *QUARREL, *PLANS])))
    assert numbers.total() > 2
    assert max(numbers.values()) == 1


def test_examples_are_from_different_times() -> None:
    """Every day of this chat has the same messages, so that only time tells them apart."""
    evidence = section(insight("emotional_intimacy", WARM), "affection_expression")["evidence"]
    days = sorted(datetime.fromisoformat(exchange["messages"][0]["sent_at"]) for exchange in evidence)
    assert len(days) == 3
    assert min(later - earlier for earlier, later in pairwise(days)) >= timedelta(days=3)


@pytest.mark.parametrize("name", TYPES)
def test_what_was_counted_but_cannot_be_shown_is_not_rated_where_examples_are_due(name: str) -> None:
    full = brief([*WARM, *QUARREL, *PLANS], of=definition(name))
    unseen = replace(full, sections=tuple(replace(material, conversations=()) for material in full.sections))
    finished = document.complete(brief=unseen, draft=LocalInsightEngine().write(unseen), provenance={})
    for entry, asked in zip(finished["sections"], definition(name).sections, strict=True):
        if asked.evidence_min:
            assert entry["rating"] == NOT_ENOUGH_DATA


@pytest.mark.parametrize("name", TYPES)
def test_two_or_three_recommendations_come_with_an_example(name: str) -> None:
    for lines in (WARM, COLD, QUARREL):
        recommendations = insight(name, lines)["recommendations"]
        assert 2 <= len(recommendations) <= 3
        assert all(entry["example"] and entry["for"] for entry in recommendations)


def test_advice_is_for_those_it_helps() -> None:
    recommendations = insight("emotional_intimacy", WARM)["recommendations"]
    assert next(entry["for"] for entry in recommendations if entry["id"].startswith("name-one-feeling")) == ["Ravi"]


@pytest.mark.parametrize("name", TYPES)
def test_the_same_brief_gives_the_same_document(name: str) -> None:
    assert insight(name, WARM) == insight(name, WARM)


def test_there_is_one_engine_a_process_and_it_says_what_it_is() -> None:
    assert engines.get_engine() is engines.get_engine()
    assert insight("love_language", WARM)["provenance"]["engine"] == "local"
    assert LocalInsightEngine.model == "rules-1"


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("sign", ["he hit me again yesterday", "kabhi kabhi lagta hai jeena nahi chahti", "Blackmail!"])
def test_signs_of_danger_lead_to_help_and_to_no_score(name: str, sign: str) -> None:
    calm = insight(name, WARM)
    finished = insight(name, [*WARM, Line(0, sign)])
    assert calm["overall"]["score"] is not None
    assert (finished["overall"]["score"], finished["overall"]["rating"]) == (None, NOT_ENOUGH_DATA)
    for number in ("14416", "112", "local emergency number"):
        assert number in finished["overall"]["summary"]
    assert [entry["id"] for entry in finished["recommendations"]] == ["reach-out-for-help-if-it-is-needed-1"]
    assert sign not in {message["text"] for message in quoted(finished)}


@pytest.mark.parametrize("name", TYPES)
def test_beside_a_sign_of_danger_stands_no_praise_and_no_blame(name: str) -> None:
    finished = insight(name, [*WARM, *QUARREL, Line(0, "he hit me again yesterday")])
    for told in finished["sections"]:
        assert told["rating"] in (None, NOT_ENOUGH_DATA)
        assert (told["finding"], told["people"]) == (safety.FINDING, [])
    assert finished["sufficiency"]["limits"][-1].startswith("Nothing was rated:")
    assert str(finished).count("14416") == 1, "help is named once, where it is read first"


def test_what_is_sensitive_is_not_rated_where_there_are_signs_of_danger() -> None:
    finished = insight("conflict_resolution", [*QUARREL, Line(1, "you hit me and I am scared")])
    harms = section(finished, "destructive_patterns")
    assert (harms["rating"], harms["finding"], harms["evidence"], harms["people"]) == (
        NOT_ENOUGH_DATA,
        safety.FINDING,
        [],
        [],
    )


@pytest.mark.parametrize(
    "text", ["hit me up later", "you beat me in ludo again", "I am dying of laughter", "killing it!"]
)
def test_ordinary_talk_is_no_sign_of_danger(text: str) -> None:
    assert insight("playfulness_romance", [*WARM, Line(0, text)])["overall"]["score"] is not None


def test_a_group_is_told_by_its_people() -> None:
    people = ("Asha", "Ravi", "Meera", "Kabir", "Silent")
    lines = [Line(number % 4, "good morning, how are you?", timedelta(hours=7)) for number in range(80)]
    finished = insight("communication_basics", lines, people=people)
    assert section(finished, "initiation_balance")["rating"] == "balanced"
    assert list(ratings(finished, "engagement_indicators")) == ["Asha", "Ravi", "Meera", "Kabir"]


def test_few_mentions_weigh_nobody_against_another() -> None:
    """Eight words of support against two are no ground for an unkind rating, sixteen against four are."""
    support, dull = (0, "don't worry, main hoon na"), (1, "the bus is late")
    few = [*talk(support, dull, days=8), *talk((1, "you can do it"), dull, days=2), *talk(dull, days=40)]
    entry = section(insight("emotional_intimacy", few), "emotional_support_patterns")
    assert entry["rating"] == NOT_ENOUGH_DATA
    assert "8 of Asha's 8 messages and 2 of Ravi's 52 messages" in entry["finding"]
    assert "With 10 in all, that is too few to weigh one side against the other." in entry["finding"]
    assert section(insight("emotional_intimacy", few * 2), "emotional_support_patterns")["rating"] == "one_sided"


def test_few_mentions_that_are_even_may_be_called_even() -> None:
    lines = talk((0, "don't worry"), (1, "you can do it"), (0, "ok"), days=4)
    assert section(insight("emotional_intimacy", lines), "emotional_support_patterns")["rating"] == "mutual"


def test_a_few_conversations_say_nothing_of_who_starts_them() -> None:
    alone = talk((0, "hello"), (1, "hi"), (0, "the bus is late"), (1, "ok"), days=5)
    assert section(insight("communication_basics", alone), "initiation_balance")["rating"] == NOT_ENOUGH_DATA
    many = talk((0, "hello"), (1, "hi"), days=15)
    assert section(insight("communication_basics", many), "initiation_balance")["rating"] == "highly_imbalanced"


def test_one_strong_word_is_not_many() -> None:
    lines = [*talk((0, "the bus is late"), (1, "ok"), days=35), Line(0, "I hate you, the bus is late")]
    assert ratings(insight("conflict_resolution", lines), "conflict_intensity")["Asha"] == "moderate"


def test_a_message_that_says_what_is_asked_is_quoted_before_others() -> None:
    """Both hold a term; the first one to the letter."""
    chatter = talk((0, "are you there yet, at the far end of the very long platform?"), (1, "yes, all is well"), days=3)
    lines = [*chatter, Line(0, "sorry for late reply", A_DAY), *talk((1, "ok"), (0, "fine"), days=3)]
    evidence = section(insight("communication_basics", lines), "response_patterns")["evidence"]
    assert "sorry for late reply" in [message["text"] for message in evidence[0]["messages"]]


def test_a_section_quotes_nothing_rather_than_what_is_beside_the_point() -> None:
    lines = talk((0, "you looked lovely, I forgot to say because I was busy staring"), (1, "smooth"), days=20)
    assert section(insight("communication_basics", lines), "response_patterns")["evidence"] == []


@pytest.mark.parametrize(
    ("key", "meant", "harmless"),
    [
        ("destructive_patterns", "you are useless", "I am so stupid, useless phone, exam is over, it's over!"),
        ("destructive_patterns", "we're over", "you always know what to say"),
        ("conflict_presence", "why are you angry", "I'm angry for you, let's not fight, no gussa"),
        ("individual_styles", "fine whatever", "whatever we eat, both of us, you always make me smile"),
        ("conflict_triggers", "how can i trust you", "I trust you, jealous of your lunch, your mother called"),
        ("stress_communication", "so tired today", "no pressure, tension mat lo"),
        ("positive_behaviors", "I understand", "work is work, I understand it"),
        ("primary_languages", "time with you", "with you in the meeting was the boss"),
        ("conflict_and_repair", "you never listen", "you always make me happy, let's not fight"),
    ],
)
def test_words_count_where_they_carry_the_meaning(key: str, meant: str, harmless: str) -> None:
    of = next(definition(name) for name in TYPES if key in {entry.key for entry in definition(name).sections})
    for text, counted in ((meant, 2), (harmless, 0), (f"{harmless}, but {meant}", 2)):
        material = brief([Line(0, text), Line(1, "ok"), Line(0, text)], of=of)
        entry = next(entry for entry in material.sections if entry.section.key == key)
        assert entry.groups.get("quarrel", entry.mentions)[0] == counted, text


@pytest.mark.parametrize("name", TYPES)
def test_no_sentence_of_counts_stands_in_two_sections(name: str) -> None:
    findings = [entry["finding"] for entry in insight(name, [*WARM, *QUARREL, *PLANS])["sections"]]
    sentences = Counter(
        sentence for finding in findings for sentence in finding.split(". ") if any(map(str.isdigit, sentence))
    )
    assert [sentence for sentence, times in sentences.items() if times > 1] == []


def test_who_is_not_rated_beside_another_is_told_why() -> None:
    lines = talk((0, "drama queen, so lazy"), (1, "ok"), days=8)
    people = section(insight("playfulness_romance", lines), "humor_styles")["people"]
    assert {person["name"]: person["rating"] for person in people} == {"Asha": "teasing", "Ravi": NOT_ENOUGH_DATA}
    assert people[1]["note"] == "None in 8 messages. 0 signs are too few to name one."
    tie = talk((0, "drama queen"), (0, "you are crazy"), (1, "ok"), days=8)
    assert "equally often" in section(insight("playfulness_romance", tie), "humor_styles")["people"][0]["note"]


def test_the_summary_says_what_the_score_means_and_holds_no_gap() -> None:
    for name in TYPES:
        summary = insight(name, [*WARM, *PLANS])["overall"]["summary"]
        assert "Such a score" not in summary
        assert "[…]" not in summary


_PHRASES = [term for name in TYPES for entry in definition(name).sections for term in entry.terms] + list(
    safety.PHRASES
)


def texts() -> st.SearchStrategy[str]:
    phrases = st.lists(st.sampled_from(_PHRASES), max_size=4).map(" ".join)
    return phrases | st.text(max_size=40) | st.sampled_from(['"quoted" “words”', "…", "?", "हाँ"])


def chats(people: int) -> st.SearchStrategy[list[Line]]:
    waits = st.sampled_from([timedelta(0), timedelta(minutes=3), timedelta(hours=7), timedelta(days=40)])
    return st.lists(st.builds(Line, st.integers(0, people - 1), texts(), waits), min_size=1, max_size=60)


NAMES = st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=5, unique=True).map(tuple)


@settings(max_examples=60)
@given(data=st.data(), people=NAMES, name=st.sampled_from(TYPES))
def test_any_chat_gives_a_document_that_validates_and_quotes_only_what_stands_in_it(
    data: st.DataObject, people: tuple[str, ...], name: str
) -> None:
    lines = data.draw(chats(len(people)))
    finished = insight(name, lines, people=people)
    document.validate(finished, definition(name))
    for message in quoted(finished):
        line = lines[message["number"] - 1]
        assert (message["sender"], message["text"]) == (people[line.person], line.text)
    for entry in finished["sections"]:
        scale = {*definition(name).section(entry["key"]).scale, NOT_ENOUGH_DATA, None}
        assert {entry["rating"], *(person["rating"] for person in entry["people"])} <= scale


def quoted(finished: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in finished["sections"]:
        for exchange in entry["evidence"]:
            yield from exchange["messages"]
