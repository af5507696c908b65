"""Counted numbers by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from insights.facts import FACTS
from tests.insights.briefs import PEOPLE, Line, get_definition, make_brief

LINES = [
    Line(0, "good morning, how are you?"),
    Line(1, "fine", timedelta(minutes=10)),
    Line(0, "nice"),
    Line(0, "lunch?", timedelta(hours=8)),
]


def statistics_of(lines: Sequence[Line]) -> Mapping[str, Any]:
    return make_brief(lines, definition=get_definition("communication_basics")).statistics


def test_values_are_those_of_the_statistics() -> None:
    statistics = statistics_of(LINES)
    assert FACTS["messages"].read_chat(statistics) == 4
    assert FACTS["messages"].read_people(statistics, PEOPLE) == {0: 3, 1: 1}
    assert FACTS["message_share"].read_people(statistics, PEOPLE) == {0: 75.0, 1: 25.0}
    assert FACTS["conversation_starts"].read_people(statistics, PEOPLE) == {0: 2, 1: 0}
    assert FACTS["conversation_start_share"].read_people(statistics, PEOPLE) == {0: 100.0, 1: 0.0}
    assert FACTS["reply_median_seconds"].read_people(statistics, PEOPLE)[1] == 600
    assert FACTS["question_rate"].read_people(statistics, PEOPLE) == {0: 66.7, 1: 0.0}


def test_every_fact_can_be_read_from_real_statistics() -> None:
    statistics = statistics_of(LINES)
    for name, measure in FACTS.items():
        assert measure.read_chat(statistics) is not None or measure.read_people(statistics, PEOPLE), name


def test_a_person_without_messages_has_no_values_instead_of_zeros() -> None:
    statistics = statistics_of(LINES)
    for name, measure in FACTS.items():
        assert 2 not in measure.read_people(statistics, (*PEOPLE, "Meera")), name


def test_a_reply_time_that_was_never_measured_is_left_out() -> None:
    statistics = statistics_of([Line(0, "hello"), Line(0, "anyone?")])
    assert FACTS["reply_median_seconds"].read_people(statistics, PEOPLE) == {}


def test_statistics_without_the_key_of_a_fact_give_no_value() -> None:
    for name, measure in FACTS.items():
        assert measure.read_chat({}) is None, name
        assert measure.read_people({"user_stats": {"Asha": {}}}, PEOPLE) == {}, name
