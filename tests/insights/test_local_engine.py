"""The engine without a model: plausible and distinct ratings, counted findings, the same result for the same chat."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from insights import advice, document, document_models, engines, safety
from insights.engines.local.engine import LocalInsightEngine
from insights.rating import GOOD_POSITION, SectionRating, rate_section
from insights.scales import NOT_ENOUGH_DATA
from tests.insights.briefs import PEOPLE, PROVENANCE, Line, get_definition, make_brief

TYPES = (
    "communication_basics",
    "emotional_intimacy",
    "love_language",
    "conflict_resolution",
    "future_planning",
    "playfulness_romance",
    "friendship_trust_loyalty",
    "friendship_support_dynamics",
    "friendship_vitality",
    "family_dynamics",
    "family_emotional_climate",
    "family_conflict_patterns",
    "workplace_communication",
    "workplace_collaboration",
    "workplace_relationship_health",
)
A_DAY = timedelta(days=1)


def write_insight(name: str, lines: Sequence[Line], *, people: tuple[str, ...] = PEOPLE) -> dict[str, Any]:
    brief = make_brief(lines, definition=get_definition(name), people=people)
    engine = LocalInsightEngine()
    provenance = {**PROVENANCE, "engine": engine.name, "model": engine.model}
    return document.build_document(brief=brief, draft=engine.write(brief), provenance=provenance)


def get_section(finished: dict[str, Any], key: str) -> dict[str, Any]:
    return next(section for section in finished["sections"] if section["key"] == key)


def get_ratings(finished: dict[str, Any], key: str) -> dict[str, str]:
    return {person["name"]: person["rating"] for person in get_section(finished, key)["people"]}


def repeat_daily(*turns: tuple[int, str], days: int) -> list[Line]:
    """Return the same turns for each day, one message a minute."""
    return [
        Line(person, text, A_DAY if not place and day else timedelta(minutes=1))
        for day in range(days)
        for place, (person, text) in enumerate(turns)
    ]


def make_balanced_chat() -> list[Line]:
    lines: list[Line] = []
    for day in range(20):
        first, second = day % 2, 1 - day % 2
        lines += [
            Line(first, "good morning, how are you today?", A_DAY),
            Line(second, "all well, and what about you?"),
            Line(first, "thank you, all is good here too"),
        ]
    return lines


WARM = repeat_daily(
    (0, "good morning jaan, miss you so much ❤️"),
    (1, "love you baby, missing you too 😘"),
    (0, "I feel scared about the exam, bahut ghabrahat"),
    (1, "don't worry, main hoon na, you can do it"),
    (0, "hahaha you make me so happy 😂"),
    (1, "you look so beautiful, let's go on a date night"),
    days=12,
)
COLD = repeat_daily(
    (0, "the electricity bill is on the table"),
    (1, "done"),
    (0, "the plumber comes at nine"),
    (1, "ok"),
    (0, "keys are with the neighbour"),
    (1, "fine"),
    days=12,
)
LOPSIDED = repeat_daily(
    (0, "good morning, how did you sleep and what is the plan for the long day ahead of you?"),
    (0, "I was thinking about everything that we talked about last night and I have questions"),
    (0, "did you have breakfast? and tea? and did you call your brother about the tickets?"),
    (1, "ok"),
    days=20,
)
QUARREL = repeat_daily(
    (0, "I am so angry, you always do this, it's your fault"),
    (1, "leave me alone, baat mat karo, tang aa gaya"),
    (0, "you are pathetic and useless, shut up"),
    (1, "whatever, do what you want"),
    days=20,
)
PLANS = repeat_daily(
    (0, "next year our wedding, imagine, then our own house"),
    (1, "yes let's plan, savings first, tickets booked for goa in december"),
    days=8,
)

MATES = repeat_daily(
    (0, "how are you yaar, did you reach home"),
    (1, "haha yes, you wish, let's meet this weekend, movie and momos"),
    (1, "i've got your back, count on me, i'll come with you to the bank"),
    (0, "thank you, you are the best, i'll pick you up at nine"),
    (1, "don't worry, you can do it, remember when we failed in chemistry"),
    (0, "hahaha congrats on the job, can't wait"),
    days=12,
)
LEFT_ALONE = repeat_daily(
    (0, "you cancelled again, you let me down"),
    (0, "i feel low today and nobody calls"),
    (0, "don't worry, i am here for you, how are you"),
    (1, "busy"),
    days=12,
)
CLOSE_FAMILY = repeat_daily(
    (0, "have you eaten beta, take care, love you"),
    (1, "yes, thank you, miss you all ❤️"),
    (2, "proud of you, god bless, khush raho"),
    (1, "how are you papa, i will bring the medicine"),
    days=12,
)
TENSE_FAMILY = repeat_daily(
    (0, "you are wrong, tumhari galti, meri baat suno pehle"),
    (1, "stop shouting, jhagda, i am fed up, leave it, rehne do"),
    (0, "good for nothing, sharam aani chahiye, we have decided"),
    (2, "baat chhodo, let's not talk about the house"),
    days=12,
)
GOOD_TEAM = repeat_daily(
    (0, "please check the slides, could you share an update"),
    (1, "done, it's done and submitted, thanks"),
    (2, "great work, well done, let's go with the second one"),
    (1, "happy birthday! i'll take this one, i'm on it"),
    (2, "thank you, i'll do it next week, haha"),
    (0, "we decided, i will handle the rest"),
    days=12,
)
HARSH_TEAM = repeat_daily(
    (0, "wtf is this bullshit, you are incompetent, we have decided"),
    (0, "shut up and do your job properly, i have decided"),
    (1, "so stressed, too much work, i'll do it"),
    (1, "i'll take it, i will handle it"),
    (2, "ok"),
    days=12,
)
FAMILY = ("Asha", "Ravi", "Meena")


def test_balanced_and_lopsided_chats_are_distinguished() -> None:
    even, lopsided = (
        write_insight("communication_basics", make_balanced_chat()),
        write_insight("communication_basics", LOPSIDED),
    )
    for key in ("initiation_balance", "message_contribution"):
        assert get_section(even, key)["rating"] == "balanced"
        assert get_section(lopsided, key)["rating"] == "highly_imbalanced"
    assert even["overall"]["rating"] == "excellent"
    assert lopsided["overall"]["score"] < even["overall"]["score"]


def test_warm_and_cold_chats_are_distinguished() -> None:
    warm, cold = write_insight("emotional_intimacy", WARM), write_insight("emotional_intimacy", COLD)
    assert get_ratings(warm, "affection_expression") == {"Asha": "very_frequent", "Ravi": "very_frequent"}
    # That nobody uses a listed word does not show that there is no affection.
    assert get_ratings(cold, "affection_expression") == dict.fromkeys(PEOPLE, NOT_ENOUGH_DATA)
    assert get_ratings(warm, "vulnerability_expression") == {"Asha": "high", "Ravi": NOT_ENOUGH_DATA}
    assert get_section(warm, "emotional_support_patterns")["rating"] == "one_sided"
    assert get_section(cold, "emotional_support_patterns")["rating"] == NOT_ENOUGH_DATA
    playful, serious = write_insight("playfulness_romance", WARM), write_insight("playfulness_romance", COLD)
    assert playful["overall"]["score"] >= 5
    assert serious["overall"]["score"] is None


def test_quarrelling_and_calm_chats_are_distinguished() -> None:
    quarrel, calm = write_insight("conflict_resolution", QUARREL), write_insight("conflict_resolution", COLD)
    assert get_section(quarrel, "conflict_presence")["rating"] == "frequent"
    assert get_section(quarrel, "destructive_patterns")["rating"] == "several"
    assert get_ratings(quarrel, "individual_styles") == {"Asha": "competitive", "Ravi": "passive_aggressive"}
    assert quarrel["overall"]["score"] <= 3
    # Words can show a quarrel, but not its absence.
    assert {entry["rating"] for entry in calm["sections"]} == {None, NOT_ENOUGH_DATA}
    assert calm["overall"]["score"] is None


def test_a_severe_conflict_in_other_words_is_not_called_calm() -> None:
    lines = repeat_daily(
        (0, "you humiliated me in front of everyone again, I packed my bags"),
        (1, "go then, nobody here needs you, the house is quieter without you"),
        (0, "three nights on the sofa and not one kind word from you"),
        (1, "sorry that you are so easily offended, thanks for the drama"),
        days=30,
    )
    for name in ("conflict_resolution", "emotional_intimacy"):
        finished = write_insight(name, lines)
        harms = [section for section in get_definition(name).sections if section.sensitive and section.scale]
        for section in harms:
            assert get_section(finished, section.key)["rating"] in (None, NOT_ENOUGH_DATA, section.scale[-1])
        assert (finished["overall"]["score"] or 0) <= 3


@pytest.mark.parametrize("name", TYPES)
def test_no_rating_rests_on_fewer_than_three_messages_with_a_term(name: str) -> None:
    for section in get_definition(name).sections:
        if section.signal is None or not section.signal.counts_mentions:
            continue
        lines = [*COLD, *([Line(0, " ".join(section.terms[:20]))] * 2)]
        finished = write_insight(name, lines)
        assert get_section(finished, section.key)["rating"] in (None, NOT_ENOUGH_DATA), section.key
        assert {*get_ratings(finished, section.key).values()} <= {None, NOT_ENOUGH_DATA}, section.key


def test_what_is_not_mentioned_is_not_called_a_gap() -> None:
    lines = repeat_daily((0, "let's watch a movie"), (1, "yes, movie night"), days=10)
    entry = get_section(write_insight("playfulness_romance", lines), "fun_activities")
    assert entry["rating"] == NOT_ENOUGH_DATA
    assert "may be said in others" in entry["finding"]


def test_each_persons_love_language_is_the_one_they_write_most() -> None:
    lines = repeat_daily(
        (0, "kab milenge? I want to spend time with you"),
        (1, "got you something, a gift"),
        (0, "let's meet on sunday"),
        (1, "tere liye laya flowers"),
        (0, "and a hug please"),
        days=10,
    )
    finished = write_insight("love_language", lines)
    assert get_ratings(finished, "primary_languages") == {"Asha": "quality_time", "Ravi": "gifts"}
    assert get_ratings(finished, "secondary_languages") == {"Asha": "physical_touch", "Ravi": NOT_ENOUGH_DATA}
    assert get_section(finished, "compatibility")["rating"] == "different"


def test_plans_count_as_shared_only_if_both_mention_them() -> None:
    shared = repeat_daily((0, "our wedding and a home loan"), (1, "wedding yes, and savings for the loan"), days=15)
    alone = repeat_daily((0, "our wedding and a home loan"), (1, "hmm"), days=15)
    assert get_section(write_insight("future_planning", shared), "alignment")["rating"] == "strongly_aligned"
    assert get_section(write_insight("future_planning", alone), "alignment")["rating"] == "unclear"


def test_loyal_and_disappointed_friends_are_distinguished() -> None:
    good, bad = (write_insight("friendship_trust_loyalty", lines) for lines in (MATES, LEFT_ALONE))
    assert get_section(good, "loyalty_signals")["rating"] == "often"
    assert get_section(good, "trust_gaps")["rating"] == NOT_ENOUGH_DATA
    assert get_section(bad, "loyalty_signals")["rating"] == NOT_ENOUGH_DATA
    assert get_section(bad, "trust_gaps")["rating"] == "many"


def test_mutual_and_one_sided_support_are_distinguished() -> None:
    good, bad = (write_insight("friendship_support_dynamics", lines) for lines in (MATES, LEFT_ALONE))
    assert get_section(bad, "reciprocity")["rating"] == "clearly_one_sided"
    assert get_section(good, "checking_in")["rating"] == "often"
    lines = repeat_daily((0, "don't worry, you can do it"), (1, "you got this, here for you"), days=12)
    assert get_section(write_insight("friendship_support_dynamics", lines), "reciprocity")["rating"] == (
        "highly_reciprocal"
    )


def test_lively_and_quiet_friendships_are_distinguished() -> None:
    good, bad = (write_insight("friendship_vitality", lines) for lines in (MATES, LEFT_ALONE))
    quiet = write_insight("friendship_vitality", repeat_daily((0, "hm"), days=12))
    assert get_section(good, "energy_level")["rating"] == "moderate"
    assert get_section(quiet, "energy_level")["rating"] == "quiet"
    assert get_section(good, "shared_activities")["rating"] in ("wide", "some", NOT_ENOUGH_DATA)
    assert get_ratings(good, "humor_banter")["Ravi"] in ("teasing", "memes_and_jokes", NOT_ENOUGH_DATA)
    assert get_ratings(good, "enthusiasm") == {"Asha": "high", "Ravi": NOT_ENOUGH_DATA}
    assert get_ratings(bad, "enthusiasm") == dict.fromkeys(PEOPLE, NOT_ENOUGH_DATA)


def test_shared_and_single_decisions_of_a_family_are_distinguished() -> None:
    shared = repeat_daily((0, "we have decided"), (1, "it is decided"), (2, "final karte hain"), days=8)
    alone = repeat_daily((0, "i have decided, that's final"), (1, "hm"), (2, "ok"), days=16)
    for lines, rating in ((shared, "shared"), (alone, "one_person_decides")):
        finished = write_insight("family_dynamics", lines, people=FAMILY)
        assert get_section(finished, "decision_making")["rating"] == rating
    close = write_insight("family_dynamics", CLOSE_FAMILY, people=FAMILY)
    assert get_ratings(close, "visible_roles")["Asha"] == "carer"


def test_warm_and_cool_families_are_distinguished() -> None:
    close, tense = (
        write_insight("family_emotional_climate", lines, people=FAMILY) for lines in (CLOSE_FAMILY, TENSE_FAMILY)
    )
    assert get_section(close, "overall_warmth")["rating"] == "very_warm"
    assert get_section(tense, "overall_warmth")["rating"] == NOT_ENOUGH_DATA
    assert get_section(tense, "emotional_avoidance")["rating"] == "often"
    assert get_section(close, "emotional_avoidance")["rating"] == NOT_ENOUGH_DATA


def test_tense_and_calm_families_are_distinguished() -> None:
    close, tense = (
        write_insight("family_conflict_patterns", lines, people=FAMILY) for lines in (CLOSE_FAMILY, TENSE_FAMILY)
    )
    assert get_section(tense, "conflict_presence")["rating"] == "frequent"
    assert get_section(tense, "patterns_to_address")["rating"] == "several"
    assert get_ratings(tense, "individual_styles")["Asha"] == "competitive"
    assert get_ratings(tense, "individual_styles")["Ravi"] == "avoidant"
    assert {entry["rating"] for entry in close["sections"]} == {None, NOT_ENOUGH_DATA}


def test_tones_and_reply_times_of_teams_are_distinguished() -> None:
    good, harsh = (write_insight("workplace_communication", lines, people=FAMILY) for lines in (GOOD_TEAM, HARSH_TEAM))
    assert get_ratings(good, "tone_professionalism")["Asha"] == "professional"
    assert get_ratings(harsh, "tone_professionalism")["Asha"] == "inappropriately_informal"
    slow = [Line(day % 3, "the file is in the folder", timedelta(hours=3)) for day in range(60)]
    assert get_section(good, "responsiveness")["rating"] == "highly_responsive"
    assert get_section(write_insight("workplace_communication", slow, people=FAMILY), "responsiveness")["rating"] == (
        "unresponsive"
    )


def test_even_and_uneven_loads_of_teams_are_distinguished() -> None:
    even = repeat_daily((0, "i'll take this"), (1, "i'll do it"), (2, "i'm on it, final call made"), days=12)
    uneven = write_insight("workplace_collaboration", HARSH_TEAM, people=FAMILY)
    finished = write_insight("workplace_collaboration", even, people=FAMILY)
    assert get_section(finished, "workload_balance")["rating"] == "well_balanced"
    assert get_section(uneven, "workload_balance")["rating"] == "clearly_imbalanced"
    assert get_section(uneven, "decision_making")["rating"] == "one_person_decides"


def test_respectful_and_harsh_teams_are_distinguished() -> None:
    good, harsh = (
        write_insight("workplace_relationship_health", lines, people=FAMILY) for lines in (GOOD_TEAM, HARSH_TEAM)
    )
    assert get_section(good, "positive_reinforcement")["rating"] == "frequent"
    assert get_section(harsh, "mutual_respect")["rating"] == "low"
    assert get_section(harsh, "stress_signals")["rating"] == "many"
    assert get_section(good, "mutual_respect")["rating"] == NOT_ENOUGH_DATA


def test_a_question_that_takes_reading_is_not_answered_by_counting() -> None:
    finished = write_insight("friendship_trust_loyalty", [*MATES, *LEFT_ALONE])
    for key in ("reliability_patterns", "promise_keeping", "confidentiality"):
        section = get_section(finished, key)
        assert section["rating"] == NOT_ENOUGH_DATA
        assert section["finding"].startswith("Counting words cannot answer this: it takes an engine that reads")
    assert get_section(finished, "reliability_patterns")["evidence"] == []
    assert "3 of them cannot be judged without an engine that reads the chat." in finished["overall"]["summary"]


def test_questions_that_take_reading_leave_no_score_of_the_few_others() -> None:
    lines = repeat_daily((0, "i'll take this"), (1, "i'll do it"), (2, "i'm on it"), days=12)
    assert write_insight("workplace_collaboration", lines, people=FAMILY)["overall"]["score"] is None


def test_findings_state_what_was_counted() -> None:
    lines = [*repeat_daily((0, "haha"), (1, "ok then"), days=31), *repeat_daily((0, "the bus is late"), days=9)]
    finding = get_section(write_insight("playfulness_romance", lines), "overall_playfulness")["finding"]
    assert "appear in 31 of Asha's 40 messages and 0 of Ravi's 31 messages" in finding


def test_a_chat_of_a_few_lines_gets_no_score() -> None:
    lines = [Line(0, "hello"), Line(1, "hi"), Line(0, "ok")]
    for name in TYPES[1:]:
        finished = write_insight(name, lines)
        assert (finished["overall"]["score"], finished["overall"]["rating"]) == (None, NOT_ENOUGH_DATA), name
    assert "short chat" in write_insight("love_language", lines)["sufficiency"]["limits"][0]


@pytest.mark.parametrize("name", TYPES)
def test_no_message_is_quoted_twice(name: str) -> None:
    lines = [*WARM, *QUARREL, *PLANS, *MATES, *GOOD_TEAM]
    numbers = Counter(message["number"] for message in list_quoted(write_insight(name, lines, people=FAMILY)))
    assert numbers.total() > 2
    assert max(numbers.values()) == 1


def test_examples_are_from_different_times() -> None:
    """Every day of this chat has the same messages, so they differ only in time."""
    evidence = get_section(write_insight("emotional_intimacy", WARM), "affection_expression")["evidence"]
    days = sorted(datetime.fromisoformat(exchange["messages"][0]["sent_at"]) for exchange in evidence)
    assert len(days) == 3
    assert min(later - earlier for earlier, later in pairwise(days)) >= timedelta(days=3)


@pytest.mark.parametrize("name", TYPES)
def test_a_section_that_requires_examples_is_not_rated_without_messages_to_show(name: str) -> None:
    full = make_brief([*WARM, *QUARREL, *PLANS], definition=get_definition(name))
    without_messages = replace(full, sections=tuple(replace(entry, conversations=()) for entry in full.sections))
    finished = document.build_document(
        brief=without_messages, draft=LocalInsightEngine().write(without_messages), provenance=PROVENANCE
    )
    for entry, section in zip(finished["sections"], get_definition(name).sections, strict=True):
        if section.evidence.min:
            assert entry["rating"] == NOT_ENOUGH_DATA


@pytest.mark.parametrize("name", TYPES)
def test_recommendations_are_only_for_low_ratings_each_with_an_example(name: str) -> None:
    for lines in (WARM, COLD, QUARREL):
        brief = make_brief(lines, definition=get_definition(name))
        ratings = {entry.section.key: rate_section(brief, entry) for entry in brief.sections}
        low = {
            section.advice.title
            for section in brief.definition.sections
            if section.advice and (position := ratings[section.key].position) is not None and position < GOOD_POSITION
        }
        recommendations = write_insight(name, lines)["recommendations"]
        assert len(recommendations) <= 3
        assert {entry["title"] for entry in recommendations} <= low
        assert all(entry["example"] and entry["for"] for entry in recommendations)


@pytest.mark.parametrize(
    ("ratings", "addressed"),
    [(("high", "low"), (1,)), (("low", "low"), (0, 1)), (("moderate", NOT_ENOUGH_DATA), (0, 1))],
)
def test_advice_is_for_the_lowest_rated_or_for_everybody_if_one_is_unrated(
    ratings: tuple[str, str], addressed: tuple[int, ...]
) -> None:
    brief = make_brief(WARM, definition=get_definition("emotional_intimacy"))
    section = next(section for section in brief.definition.sections if section.key == "vulnerability_expression")
    rating = SectionRating("moderate", dict(enumerate(ratings)), 0.5)
    (recommendation,) = advice.recommend(brief, {section.key: rating}, [(0.5, section)])
    assert recommendation.people == addressed


def test_everybody_of_a_small_group_is_named_and_of_a_large_one_the_others_are_counted() -> None:
    def find_finding(n_people: int) -> str:
        people = tuple(f"Guest {number}" for number in range(n_people))
        lines = [Line(person, "it is decided") for person in range(n_people) for _ in range(2)]
        finished = write_insight("family_dynamics", lines, people=people)
        finding: str = next(e["finding"] for e in finished["sections"] if "2 of Guest 0's" in e["finding"])
        return finding

    assert all(f"2 of Guest {person}'s 2 messages" in find_finding(5) for person in range(5))
    assert "other" not in find_finding(8)
    assert "2 of Guest 7's 2 messages and 1 other." in find_finding(9)


def test_thanks_and_please_are_no_professional_tone() -> None:
    lines = repeat_daily((0, "thank you so much, please come"), (1, "thanks, dhanyavaad"), days=20)
    finished = write_insight("workplace_communication", lines)
    assert set(get_ratings(finished, "tone_professionalism").values()) == {NOT_ENOUGH_DATA}


@pytest.mark.parametrize("name", TYPES)
def test_the_same_brief_gives_the_same_document(name: str) -> None:
    assert write_insight(name, WARM) == write_insight(name, WARM)


def test_a_process_has_one_engine_and_documents_name_it() -> None:
    assert engines.get_engine() is engines.get_engine()
    assert write_insight("love_language", WARM)["provenance"]["engine"] == "local"
    assert LocalInsightEngine.model == "rules-2"


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("sign", ["he hit me again yesterday", "kabhi kabhi lagta hai jeena nahi chahti", "Blackmail!"])
def test_signs_of_danger_point_to_help_and_remove_the_score(name: str, sign: str) -> None:
    finished = write_insight(name, [*WARM, *QUARREL, Line(0, sign)])
    assert (finished["overall"]["score"], finished["overall"]["rating"]) == (None, NOT_ENOUGH_DATA)
    for number in ("14416", "112", "local emergency number"):
        assert number in finished["overall"]["summary"]
    assert finished["recommendations"][0]["id"] == "reach-out-for-help-if-it-is-needed-1"
    assert sign not in {message["text"] for message in list_quoted(finished)}


@pytest.mark.parametrize("name", TYPES)
def test_next_to_a_sign_of_danger_the_sections_that_it_touches_are_withheld_and_the_others_stay(name: str) -> None:
    danger = Line(0, "he hit me again yesterday")
    finished = write_insight(name, [*WARM, *QUARREL, danger])
    without = write_insight(name, [*WARM, *QUARREL, Line(0, "the weather is nice again")])
    for entry, section in zip(finished["sections"], get_definition(name).sections, strict=True):
        if section.sensitive or "violence" in section.withheld_for:
            assert entry["rating"] in (None, NOT_ENOUGH_DATA)
            assert (entry["finding"], entry["people"], entry["evidence"]) == (safety.FINDING, [], [])
        else:
            assert entry["rating"] == get_section(without, section.key)["rating"]
    assert str(finished).count("14416") == 1, "the number is given once, in the summary"


def test_a_sensitive_section_quotes_nothing_next_to_signs_of_danger() -> None:
    finished = write_insight("conflict_resolution", [*QUARREL, Line(1, "you hit me and I am scared")])
    harms = get_section(finished, "destructive_patterns")
    assert (harms["rating"], harms["finding"], harms["evidence"], harms["people"]) == (
        NOT_ENOUGH_DATA,
        safety.FINDING,
        [],
        [],
    )


@pytest.mark.parametrize(
    "text", ["hit me up later", "you beat me in ludo again", "I am dying of laughter", "killing it!"]
)
def test_everyday_talk_is_not_a_sign_of_danger(text: str) -> None:
    assert write_insight("playfulness_romance", [*WARM, Line(0, text)])["overall"]["score"] is not None


def test_of_five_people_those_who_used_the_words_are_named() -> None:
    people = ("Asha", "Ravi", "Meena", "Imran", "Noor")
    lines = [Line(person, "see you tomorrow then") for person in range(4)] + [Line(4, "i have decided, we go")]
    finished = write_insight("family_dynamics", lines * 8, people=people)
    assert "8 of Noor's 8 messages" in get_section(finished, "decision_making")["finding"]


def test_one_question_is_counted_in_words() -> None:
    people = ("Asha", "Ravi", "Meena")
    summary = write_insight("family_dynamics", [Line(n % 3, "see you") for n in range(120)], people=people)
    assert (
        "They answer none of 4 questions: too few for a score. 3 of them cannot be judged"
        in (summary["overall"]["summary"])
    )


def test_a_group_is_rated_by_the_people_who_wrote() -> None:
    people = ("Asha", "Ravi", "Meera", "Kabir", "Silent")
    lines = [Line(number % 4, "good morning, how are you?", timedelta(hours=7)) for number in range(80)]
    finished = write_insight("communication_basics", lines, people=people)
    assert get_section(finished, "initiation_balance")["rating"] == "balanced"
    assert list(get_ratings(finished, "engagement_indicators")) == ["Asha", "Ravi", "Meera", "Kabir"]


def test_few_mentions_give_no_unfavourable_comparison() -> None:
    """Eight messages of support against two are too few for an unkind rating; sixteen against four are enough."""
    support, dull = (0, "don't worry, main hoon na"), (1, "the bus is late")
    few = [
        *repeat_daily(support, dull, days=8),
        *repeat_daily((1, "you can do it"), dull, days=2),
        *repeat_daily(dull, days=40),
    ]
    entry = get_section(write_insight("emotional_intimacy", few), "emotional_support_patterns")
    assert entry["rating"] == NOT_ENOUGH_DATA
    assert "8 of Asha's 8 messages and 2 of Ravi's 52 messages" in entry["finding"]
    assert "With 10 in all, that is too few to weigh one side against the other." in entry["finding"]
    assert (
        get_section(write_insight("emotional_intimacy", few * 2), "emotional_support_patterns")["rating"] == "one_sided"
    )


def test_few_mentions_that_are_even_can_be_rated_even() -> None:
    lines = repeat_daily((0, "don't worry"), (1, "you can do it"), (0, "ok"), days=4)
    assert get_section(write_insight("emotional_intimacy", lines), "emotional_support_patterns")["rating"] == "mutual"


def test_a_few_conversations_do_not_show_who_starts_them() -> None:
    alone = repeat_daily((0, "hello"), (1, "hi"), (0, "the bus is late"), (1, "ok"), days=5)
    assert get_section(write_insight("communication_basics", alone), "initiation_balance")["rating"] == NOT_ENOUGH_DATA
    many = repeat_daily((0, "hello"), (1, "hi"), days=15)
    assert (
        get_section(write_insight("communication_basics", many), "initiation_balance")["rating"] == "highly_imbalanced"
    )


def test_few_strong_words_do_not_give_the_worst_rating() -> None:
    lines = repeat_daily((0, "the bus is late"), (1, "ok"), days=35)
    for strong_words, rating in ((1, NOT_ENOUGH_DATA), (3, NOT_ENOUGH_DATA), (4, "high")):
        said = [*lines, *[Line(0, "I hate you, the bus is late")] * strong_words]
        assert get_ratings(write_insight("conflict_resolution", said), "conflict_intensity")["Asha"] == rating


def test_a_message_that_matches_a_query_is_quoted_before_others() -> None:
    """Two messages contain a term; one of them also matches a query."""
    chatter = repeat_daily(
        (0, "are you there yet, at the far end of the very long platform?"), (1, "yes, all is well"), days=3
    )
    lines = [*chatter, Line(0, "sorry for late reply", A_DAY), *repeat_daily((1, "ok"), (0, "fine"), days=3)]
    evidence = get_section(write_insight("communication_basics", lines), "response_patterns")["evidence"]
    assert "sorry for late reply" in [message["text"] for message in evidence[0]["messages"]]


def test_a_section_quotes_nothing_rather_than_an_irrelevant_message() -> None:
    lines = repeat_daily((0, "you looked lovely, I forgot to say because I was busy staring"), (1, "smooth"), days=20)
    assert get_section(write_insight("communication_basics", lines), "response_patterns")["evidence"] == []


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
def test_terms_count_only_where_they_carry_the_meaning(key: str, meant: str, harmless: str) -> None:
    definition = next(
        get_definition(name) for name in TYPES if key in {entry.key for entry in get_definition(name).sections}
    )
    for text, counted in ((meant, 2), (harmless, 0), (f"{harmless}, but {meant}", 2)):
        brief = make_brief([Line(0, text), Line(1, "ok"), Line(0, text)], definition=definition)
        entry = next(entry for entry in brief.sections if entry.section.key == key)
        assert entry.groups.get("quarrel", entry.mentions)[0] == counted, text


@pytest.mark.parametrize("name", TYPES)
def test_no_sentence_of_counts_is_in_two_sections(name: str) -> None:
    findings = [entry["finding"] for entry in write_insight(name, [*WARM, *QUARREL, *PLANS])["sections"]]
    sentences = Counter(
        sentence for finding in findings for sentence in finding.split(". ") if any(map(str.isdigit, sentence))
    )
    assert [sentence for sentence, times in sentences.items() if times > 1] == []


def test_a_note_explains_why_a_person_is_not_rated() -> None:
    lines = repeat_daily((0, "drama queen, so lazy"), (1, "ok"), days=8)
    people = get_section(write_insight("playfulness_romance", lines), "humor_styles")["people"]
    assert {person["name"]: person["rating"] for person in people} == {"Asha": "teasing", "Ravi": NOT_ENOUGH_DATA}
    assert people[1]["note"] == "None in 8 messages. 0 signs are too few to name one."
    tie = repeat_daily((0, "drama queen"), (0, "you are crazy"), (1, "ok"), days=8)
    assert (
        "equally often" in get_section(write_insight("playfulness_romance", tie), "humor_styles")["people"][0]["note"]
    )


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("lines", [WARM, COLD, QUARREL, [*WARM, *PLANS]])
def test_the_summary_says_only_what_rated_sections_say(name: str, lines: list[Line]) -> None:
    finished = write_insight(name, lines)
    summary = finished["overall"]["summary"]
    counted = rf"Words and times of {len(lines)} messages were counted, not read\."
    answered = r"They (?:answer \w+ of \d+ questions|(?:do not )?answer the one question that counting can answer)"
    match = re.match(rf"{counted} {answered}(: too few for a score|, so there is no score)?\.", summary)
    assert match
    assert bool(match[1]) == (finished["overall"]["score"] is None)
    said = summary[match.end() :].removesuffix(f" {document.NOTHING_TO_SAY}")
    said = re.sub(r"^ \d+ of them cannot be judged without an engine that reads the chat\.", "", said)
    for section in get_definition(name).sections:
        rating = get_section(finished, section.key)["rating"]
        if rating in section.scale and (sentence := section.sentences.get(str(rating), "")):
            said = said.replace(f" {sentence}", "")
    assert said == ""


_PHRASES = [term for name in TYPES for entry in get_definition(name).sections for term in entry.terms] + list(
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
def test_any_chat_gives_a_valid_document_that_quotes_only_its_messages(
    data: st.DataObject, people: tuple[str, ...], name: str
) -> None:
    lines = data.draw(chats(len(people)))
    finished = write_insight(name, lines, people=people)
    document_models.validate(finished, get_definition(name))
    for message in list_quoted(finished):
        line = lines[message["number"] - 1]
        assert (message["sender"], message["text"]) == (people[line.person], line.text)
    for entry in finished["sections"]:
        scale = {*get_definition(name).section(entry["key"]).scale, NOT_ENOUGH_DATA, None}
        assert {entry["rating"], *(person["rating"] for person in entry["people"])} <= scale


def list_quoted(finished: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for entry in finished["sections"]:
        for exchange in entry["evidence"]:
            yield from exchange["messages"]


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("lines", [WARM, COLD])
def test_no_finding_has_space_at_its_ends(name: str, lines: list[Line]) -> None:
    for section in write_insight(name, lines)["sections"]:
        assert section["finding"] == section["finding"].strip()
