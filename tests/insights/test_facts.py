"""Counted numbers by name."""

from __future__ import annotations

from datetime import timedelta

from insights.facts import FACTS
from tests.insights.briefs import PEOPLE, Line, brief, definition

LINES = [
    Line(0, "good morning, how are you?"),
    Line(1, "fine", timedelta(minutes=10)),
    Line(0, "nice"),
    Line(0, "lunch?", timedelta(hours=8)),
]


def test_figures_are_those_of_the_statistics() -> None:
    statistics = brief(LINES, of=definition("communication_basics")).statistics
    assert FACTS["messages"].chat(statistics) == 4
    assert FACTS["messages"].people(statistics, PEOPLE) == {0: 3, 1: 1}
    assert FACTS["message_share"].people(statistics, PEOPLE) == {0: 75.0, 1: 25.0}
    assert FACTS["conversation_starts"].people(statistics, PEOPLE) == {0: 2, 1: 0}
    assert FACTS["conversation_start_share"].people(statistics, PEOPLE) == {0: 100.0, 1: 0.0}
    assert FACTS["reply_median_seconds"].people(statistics, PEOPLE)[1] == 600
    assert FACTS["question_rate"].people(statistics, PEOPLE) == {0: 66.7, 1: 0.0}


def test_every_fact_can_be_read_from_real_statistics() -> None:
    statistics = brief(LINES, of=definition("communication_basics")).statistics
    for name, measure in FACTS.items():
        assert measure.chat(statistics) is not None or measure.people(statistics, PEOPLE), name


def test_somebody_without_messages_has_no_figures_rather_than_zeros() -> None:
    statistics = brief(LINES, of=definition("communication_basics")).statistics
    for name, measure in FACTS.items():
        assert 2 not in measure.people(statistics, (*PEOPLE, "Meera")), name


def test_a_reply_time_that_was_never_measured_is_left_out() -> None:
    statistics = brief([Line(0, "hello"), Line(0, "anyone?")], of=definition("communication_basics")).statistics
    assert FACTS["reply_median_seconds"].people(statistics, PEOPLE) == {}


def test_statistics_without_a_key_give_no_figure() -> None:
    for name, measure in FACTS.items():
        assert measure.chat({}) is None, name
        assert measure.people({"user_stats": {"Asha": {}}}, PEOPLE) == {}, name
