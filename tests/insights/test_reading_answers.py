"""An answer about a window is checked entry by entry: what is invalid is dropped and counted, the rest stays."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from insights.engines.answers import MAX_LISTED_PEOPLE, parse_reading, reading_schema
from insights.engines.base import ShownMessage, UnusableAnswer
from insights.episodes import Danger, Relationship, Tone, Window, WindowReading

START = datetime.fromisoformat("2024-03-14T21:00")
#: Messages 10, 12, 14 … 48; message 20 is forwarded.
WINDOW = Window(
    tuple(
        ShownMessage(number, START + timedelta(minutes=number), number % 4 // 2, "hi") for number in range(10, 50, 2)
    ),
    forwarded=frozenset({20}),
    candidates=(30,),
)
EPISODE: dict[str, Any] = {
    "kind": "conflict",
    "topic": "chores",
    "first": 12,
    "last": 24,
    "roles": [{"person": "P1", "role": "starts"}, {"person": "P2", "role": "gives_in"}],
    "strength": 2,
    "tone": "sincere",
    "subject": "the dishes",
    "shows": [14, 12],
}
DANGER: dict[str, Any] = {"kind": "self_harm", "numbers": [30], "person": "P2", "current": True}


def parse(
    *episodes: Any, dangers: list[Any] | None = None, people: int = 2, window: Window = WINDOW, **others: Any
) -> WindowReading:
    answer = {
        "relationship": "couple",
        "languages": ["English"],
        "episodes": list(episodes),
        "dangers": dangers or [],
        **others,
    }
    return parse_reading(json.dumps(answer), window, people_count=people)


def test_a_valid_answer_becomes_a_reading() -> None:
    found = parse(EPISODE, dangers=[DANGER, {**DANGER, "person": "other", "current": False}])
    (episode,) = found.episodes
    assert (episode.kind, episode.topic, episode.first, episode.last) == ("conflict", "chores", 12, 24)
    assert episode.roles == {0: ("starts",), 1: ("gives_in",)}
    assert (episode.strength, episode.tone, episode.subject, episode.shows) == (2, Tone.SINCERE, "the dishes", (12, 14))
    assert (episode.started_at, episode.ended_at) == (START + timedelta(minutes=12), START + timedelta(minutes=24))
    assert found.dangers == (Danger("self_harm", (30,), 1, True), Danger("self_harm", (30,), None, False))
    assert (found.relationship, found.languages, found.dropped) == (Relationship.COUPLE, ("English",), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "murder"},
        {"topic": "weather"},
        {"tone": "angry"},
        {"strength": 0},
        {"strength": 4},
        {"strength": True},
        {"first": 24, "last": 12},
        {"first": 13},
        {"last": 100},
        {"first": "12"},
        {"shows": []},
        {"shows": [13]},
        {"shows": [30]},
        {"shows": [20]},
        {"shows": "12"},
        {"roles": [{"person": "P3", "role": "starts"}]},
        {"roles": [{"person": "Asha", "role": "starts"}]},
        {"roles": [{"person": "P1", "role": "wins"}]},
        {"subject": None},
        {"rating": 10},
    ],
    ids=str,
)
def test_an_invalid_episode_is_dropped_and_counted_and_the_others_stay(change: dict[str, Any]) -> None:
    found = parse({**EPISODE, **change}, {**EPISODE, "kind": "repair"})
    assert [episode.kind for episode in found.episodes] == ["repair"]
    assert found.dropped >= 1


@pytest.mark.parametrize("entry", [None, 1, "text", [], {}, [EPISODE]], ids=str)
def test_an_entry_of_another_shape_is_dropped(entry: Any) -> None:
    found = parse(entry, EPISODE, dangers=[entry, DANGER], languages=[entry, "Hindi"])
    assert (len(found.episodes), len(found.dangers)) == (1, 1)
    assert found.languages[-1] == "Hindi"
    assert found.dropped >= 2


def test_of_a_valid_episode_invalid_roles_and_messages_are_left_out_and_counted() -> None:
    roles = [*EPISODE["roles"], {"person": "P9", "role": "starts"}, {"person": "P1", "role": "starts"}]
    found = parse({**EPISODE, "roles": roles, "shows": [16, 20, 13, 99, True, 16, 24]})
    (episode,) = found.episodes
    assert episode.roles == {0: ("starts",), 1: ("gives_in",)}
    assert episode.shows == (16, 24)
    assert found.dropped == 7


def test_an_episode_is_shown_by_three_messages_at_most() -> None:
    (episode,) = parse({**EPISODE, "shows": [24, 12, 14, 16]}).episodes
    assert episode.shows == (12, 14, 24), "the first three that the model names"


def test_an_episode_that_is_listed_twice_counts_once() -> None:
    found = parse(EPISODE, {**EPISODE, "subject": "another"}, dangers=[DANGER, DANGER])
    assert (len(found.episodes), len(found.dangers), found.dropped) == (1, 1, 2)


@pytest.mark.parametrize(
    "change",
    [{"kind": "theft"}, {"numbers": [31]}, {"numbers": []}, {"person": "P3"}, {"person": None}, {"current": "yes"}],
    ids=str,
)
def test_an_invalid_danger_is_dropped(change: dict[str, Any]) -> None:
    found = parse(dangers=[{**DANGER, **change}])
    assert (found.dangers, found.dropped) == ((), 1)


def test_a_subject_is_one_short_line_without_control_characters() -> None:
    (episode,) = parse({**EPISODE, "subject": "a\u0000b\n\u202ec" + "d" * 200}).episodes
    assert episode.subject.startswith("a b cd")
    assert len(episode.subject) == 80


def test_an_unknown_relationship_is_unclear() -> None:
    assert parse(relationship="rivals").relationship is Relationship.UNCLEAR


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "no JSON",
        "[]",
        "null",
        '{"relationship": "couple", "languages": [], "episodes": []}',
        '{"relationship": "couple", "languages": [], "episodes": {}, "dangers": []}',
        '{"relationship": "couple", "languages": [], "episodes": [], "dangers": [], "score": 10}',
        '{"relationship": "couple", "languages": [], "episodes": [',
    ],
)
def test_an_answer_of_another_shape_is_malformed_and_its_error_has_no_text(answer: str) -> None:
    with pytest.raises(UnusableAnswer, match=r"^malformed_answer$") as error:
        parse_reading(answer, WINDOW, people_count=2)
    assert error.value.__cause__ is None


_LEAVES = (
    st.none() | st.booleans() | st.integers(-5, 60) | st.floats() | st.sampled_from(["P1", "starts", "sincere", ""])
)
_JSON = st.recursive(_LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner))


@given(key=st.sampled_from([*EPISODE]), value=_JSON, danger_key=st.sampled_from([*DANGER]), danger_value=_JSON)
def test_whatever_an_entry_contains_nothing_false_is_kept(
    key: str, value: Any, danger_key: str, danger_value: Any
) -> None:
    found = parse({**EPISODE, key: value}, dangers=[{**DANGER, danger_key: danger_value}])
    shown = {message.number for message in WINDOW.messages}
    for episode in found.episodes:
        assert {episode.first, episode.last, *episode.shows} <= shown
        assert 1 <= len(episode.shows) <= 3
        assert episode.first <= min(episode.shows) <= max(episode.shows) <= episode.last
        assert WINDOW.forwarded.isdisjoint(episode.shows)
        assert set(episode.roles) <= {0, 1}
        assert episode.strength in {1, 2, 3}
    for danger in found.dangers:
        assert danger.numbers
        assert set(danger.numbers) <= shown
        assert danger.person in {0, 1, None}


@pytest.mark.parametrize("people", [1, 2, MAX_LISTED_PEOPLE, MAX_LISTED_PEOPLE + 1, 500])
def test_the_schema_is_flat_and_lists_the_people_of_a_small_chat(people: int) -> None:
    schema = json.dumps(reading_schema(people))
    assert not any(word in schema for word in ("$ref", "$defs", "maxItems", "minimum", "maximum", "anyOf", "const"))
    assert ('"P1"' in schema) == (people <= MAX_LISTED_PEOPLE)
    person = reading_schema(people)["properties"]["episodes"]["items"]["properties"]["roles"]["items"]["properties"]
    assert len(person["person"].get("enum", [])) == (max(people, 2) if people <= MAX_LISTED_PEOPLE else 0)
    assert len(schema) < 6_000
