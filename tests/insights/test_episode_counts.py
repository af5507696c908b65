"""What is counted in episodes: only sincere ones, and by the server."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from insights import episode_counts
from insights.episodes import Episode, Tone
from insights.translation import get_language

START = datetime.fromisoformat("2024-01-30T20:00")


def episode(
    kind: str,
    hours: float,
    *,
    lasts: float = 1,
    roles: Mapping[int, tuple[str, ...]] | None = None,
    tone: Tone = Tone.SINCERE,
) -> Episode:
    first = 1 + round(hours * 10)
    return Episode(
        kind=kind,
        topic="other",
        first=first,
        last=first + round(lasts * 10),
        roles=roles or {},
        strength=2,
        tone=tone,
        subject="",
        shows=(first,),
        started_at=START + timedelta(hours=hours),
        ended_at=START + timedelta(hours=hours + lasts),
    )


def test_episodes_are_counted_in_the_month_in_which_they_begin() -> None:
    counts = episode_counts.count_by_month(
        [episode("conflict", 0), episode("conflict", 1), episode("conflict", 30), episode("joke", 0)]
    )
    assert counts == {"conflict": {"2024-01": 2, "2024-02": 1}, "joke": {"2024-01": 1}}


@pytest.mark.parametrize("tone", [Tone.IRONIC, Tone.QUOTED, Tone.ABOUT_OTHERS])
def test_only_sincere_episodes_count(tone: Tone) -> None:
    played = [episode("conflict", 0, tone=tone, roles={0: ("starts", "repairs")})]
    assert episode_counts.count_by_month(played) == {}
    assert episode_counts.measure_until_calm(played) == []
    assert episode_counts.list_facts(played, kinds=["conflict", "repair"], wording=get_language("en")) == []


def test_a_person_with_two_roles_of_an_episode_counts_once() -> None:
    quarrel = episode("conflict", 0, roles={1: ("repairs", "gives_in"), 0: ("starts",)})
    assert episode_counts.count_people([quarrel], kinds=["conflict"], roles=["repairs", "gives_in"]) == {1: 1}


@pytest.mark.parametrize(
    ("episodes", "hours"),
    [
        ([episode("conflict", 0, lasts=2, roles={0: ("starts",), 1: ("gives_in",)})], [2]),
        ([episode("conflict", 0), episode("repair", 5, lasts=1)], [6]),
        ([episode("conflict", 0, lasts=2), episode("repair", 1, lasts=3)], [4]),
        ([episode("conflict", 0), episode("conflict", 3), episode("repair", 5)], [6, 3]),
        ([episode("repair", 0), episode("conflict", 5)], []),
        ([episode("conflict", 0), episode("repair", 24 * 8)], []),
        ([episode("conflict", 0), episode("repair", 2, tone=Tone.IRONIC)], []),
    ],
    ids=["in it", "later", "overlapping", "two quarrels", "before", "too late", "ironic"],
)
def test_calm_is_the_end_of_the_quarrel_or_of_the_next_making_up(episodes: list[Episode], hours: list[float]) -> None:
    assert episode_counts.measure_until_calm(episodes) == [timedelta(hours=each) for each in hours]


def test_facts_say_that_they_were_read() -> None:
    episodes = [
        episode("conflict", 0, roles={0: ("starts",)}),
        episode("repair", 2, roles={1: ("repairs",)}),
        episode("conflict", 30, roles={0: ("starts",), 1: ("gives_in",)}),
    ]
    facts = episode_counts.list_facts(episodes, kinds=["conflict", "repair"], wording=get_language("en"))
    assert {fact.source for fact in facts} == {"read"}
    values = {(fact.name, fact.person): fact.value for fact in facts}
    assert values == {("read.starts", 0): 2, ("read.repairs", 1): 2, ("read.until_calm", None): 2 * 3600}
    assert episode_counts.list_facts(episodes, kinds=["conflict", "joke"], wording=get_language("en")) == []


def test_a_section_lists_the_months_of_its_first_kind() -> None:
    episodes = [episode("conflict", 0), episode("conflict", 24 * 40), episode("conflict", 24 * 41), episode("joke", 3)]
    facts = episode_counts.list_months(episodes, kind="conflict", wording=get_language("en"))
    assert [(fact.value, fact.source) for fact in facts] == [(1, "read"), (2, "read")]
    assert [fact.label for fact in facts] == ["Quarrels, January 2024", "Quarrels, March 2024"]
