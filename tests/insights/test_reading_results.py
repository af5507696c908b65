"""What the windows of a chat add up to: episodes once, the relationship that most agree on, and months."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest

from insights.episodes import Danger, Episode, MonthRead, Reading, Relationship, Tone, WindowReading
from insights.models import ChatReading
from insights.reading.result import ReadPart, combine, merge_episodes

START = datetime.fromisoformat("2024-03-14T21:00")


def episode(first: int, last: int, **changes: Any) -> Episode:
    values: dict[str, Any] = {
        "kind": "conflict",
        "topic": "chores",
        "roles": {0: ("starts",), 1: ("gives_in",)},
        "strength": 2,
        "tone": Tone.SINCERE,
        "subject": "the dishes",
        "shows": (first,),
    }
    return Episode(
        first=first,
        last=last,
        started_at=START + timedelta(minutes=first),
        ended_at=START + timedelta(minutes=last),
        **{**values, **changes},
    )


def part(messages: int = 100, *, month: str = "2024-03", **changes: Any) -> ReadPart:
    values: dict[str, Any] = {
        "episodes": (),
        "dangers": (),
        "relationship": Relationship.COUPLE,
        "languages": ("English",),
        "dropped": 1,
        "tokens_in": 50,
        "tokens_out": 5,
        "model": "model-1",
    }
    return ReadPart(WindowReading(**{**values, **changes}), {month: messages})


def combined(*parts: ReadPart, totals: Mapping[str, int] | None = None, windows_failed: int = 0) -> Reading:
    row = ChatReading(engine="fake", model="configured", version=1, up_to_message=900)
    return combine(
        parts, reading=row, totals={"2024-03": 400} if totals is None else totals, windows_failed=windows_failed
    )


def test_overlapping_episodes_of_one_kind_and_the_same_people_are_one() -> None:
    (merged,) = merge_episodes(
        [
            episode(10, 20, shows=(10, 12), subject="slight"),
            episode(15, 30, strength=3, shows=(16, 18), subject="strong", roles={0: ("escalates",), 1: ("gives_in",)}),
        ]
    )
    assert (merged.first, merged.last, merged.strength, merged.subject) == (10, 30, 3, "strong")
    assert merged.roles == {0: ("starts", "escalates"), 1: ("gives_in",)}
    assert merged.shows == (10, 16, 18), "those of the stronger one first"
    assert (merged.started_at, merged.ended_at) == (START + timedelta(minutes=10), START + timedelta(minutes=30))


@pytest.mark.parametrize(
    "other",
    [
        episode(21, 30),
        episode(15, 30, kind="repair"),
        episode(15, 30, tone=Tone.IRONIC),
        episode(15, 30, roles={0: ("starts",)}),
    ],
    ids=["apart", "another kind", "another tone", "other people"],
)
def test_other_episodes_stay_apart_and_in_order(other: Episode) -> None:
    assert merge_episodes([other, episode(10, 20)]) == [episode(10, 20), other]


def test_three_overlapping_episodes_are_one_even_if_the_first_is_the_longest() -> None:
    (merged,) = merge_episodes([episode(10, 50), episode(12, 14), episode(40, 60)])
    assert (merged.first, merged.last) == (10, 60)


@pytest.mark.parametrize(
    ("friends", "expected"), [(0, Relationship.COUPLE), (60, Relationship.COUPLE), (70, Relationship.UNCLEAR)]
)
def test_the_relationship_is_what_windows_with_three_fifths_of_the_messages_say(
    friends: int, expected: Relationship
) -> None:
    found = combined(part(100), part(friends, relationship=Relationship.FRIENDS))
    assert found.relationship is expected


def test_languages_of_a_tenth_of_the_messages_count_the_most_frequent_first() -> None:
    found = combined(
        part(60, languages=("Hindi",)), part(35, languages=("English", "Hindi")), part(5, languages=("French",))
    )
    assert found.languages == ("Hindi", "English")


def test_figures_add_up_and_months_without_reading_are_listed() -> None:
    danger = Danger("violence", (3,), None, current=False)
    found = combined(
        part(100, dangers=(danger,)),
        part(50, month="2024-05", dangers=(danger,)),
        totals={"2024-05": 50, "2024-04": 30, "2024-03": 400},
        windows_failed=1,
    )
    assert found.months == {"2024-03": MonthRead(100, 400), "2024-04": MonthRead(0, 30), "2024-05": MonthRead(50, 50)}
    assert list(found.months) == sorted(found.months)
    assert (found.messages_read, found.messages_total) == (150, 480)
    assert (found.windows_read, found.windows_failed, found.dropped) == (2, 1, 2)
    assert (found.tokens_in, found.tokens_out) == (100, 10)
    assert found.dangers == (danger,)
    assert (found.engine, found.model, found.up_to_message) == ("fake", "model-1", 900)


def test_a_chat_without_text_has_an_empty_reading() -> None:
    found = combined(totals={})
    assert (found.episodes, found.relationship, found.languages, found.months) == ((), Relationship.UNCLEAR, (), {})
    assert found.model == "configured"
