"""Entries of the timeline from episodes: kind words of ours, only of what is sincere, read and safe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from chats.statistics.timeline import Moment, MomentKind
from insights import timeline
from insights.episodes import KINDS, TOPICS, Danger, Episode, MonthRead, Reading, Relationship, Tone
from insights.timeline import Entry, EntryKind
from insights.translation import Language, get_language

START = datetime.fromisoformat("2024-01-30T20:00")
ENGLISH = get_language("en")
NAMES = ["Asha", "Ravi", "Meera", "Kabir", "Zoya"]


def episode(kind: str, hours: float = 0, *, lasts: float = 1, **changes: Any) -> Episode:
    """Return an episode that begins so many hours after START. There are ten messages an hour."""
    first = 1 + round(hours * 10)
    values: dict[str, Any] = {
        "kind": kind,
        "topic": "other",
        "first": first,
        "last": first + round(lasts * 10),
        "roles": {0: ("does",), 1: ("receives",)},
        "strength": 2,
        "tone": Tone.SINCERE,
        "subject": "",
        "shows": (first,),
        "started_at": START + timedelta(hours=hours),
        "ended_at": START + timedelta(hours=hours + lasts),
    }
    return Episode(**(values | changes))


def entries_of(
    *episodes: Episode,
    dangers: Sequence[Danger] = (),
    months: Mapping[str, MonthRead] | None = None,
    wording: Language = ENGLISH,
) -> list[Entry]:
    reading = Reading(
        episodes=episodes,
        dangers=tuple(dangers),
        relationship=Relationship.COUPLE,
        languages=("English",),
        months=months or {},
        messages_read=10,
        messages_total=10,
        windows_read=1,
        windows_failed=0,
        tokens_in=0,
        tokens_out=0,
        dropped=0,
        engine="fake",
        model="fake",
        version=1,
        up_to_message=10_000,
    )
    return timeline.sort_entries(timeline.list_read(reading, NAMES, wording))


def kinds_of(*episodes: Episode, **given: Any) -> list[EntryKind]:
    return [entry.kind for entry in entries_of(*episodes, **given)]


@pytest.mark.parametrize("tone", [Tone.IRONIC, Tone.QUOTED, Tone.ABOUT_OTHERS])
def test_only_what_is_sincere_is_listed(tone: Tone) -> None:
    played = [
        episode(kind, 10 * at, tone=tone)
        for at, kind in enumerate(["conflict", "repair", "plan", "promise_kept", "support", "affection"])
    ]
    assert entries_of(*played) == []


@pytest.mark.parametrize(
    ("episodes", "sentence", "seconds"),
    [
        (
            [episode("conflict", topic="chores")],
            "There was tension between Asha and Ravi about everyday tasks.",
            None,
        ),
        (
            [episode("conflict", lasts=2, roles={0: ("starts",), 1: ("gives_in",)})],
            "There was tension between Asha and Ravi, and it ended in the same talk, after 2 hours.",
            7_200,
        ),
        (
            [episode("conflict"), episode("repair", 49)],
            "There was tension between Asha and Ravi. They made up 2 days after it began.",
            50 * 3_600,
        ),
        ([episode("conflict", roles={0: ("starts",)})], "There was tension.", None),
    ],
)
def test_an_argument_says_how_it_ended_and_not_who_began(
    episodes: list[Episode], sentence: str, seconds: int | None
) -> None:
    (entry,) = entries_of(*episodes)
    assert (entry.kind, entry.sentence) == (EntryKind.ARGUMENT, sentence)
    assert [figure.value for figure in entry.figures] == ([] if seconds is None else [seconds])


def test_a_slight_quarrel_is_listed_only_with_its_repair() -> None:
    slight = episode("conflict", strength=1)
    assert kinds_of(slight) == []
    assert kinds_of(slight, episode("repair", 5)) == [EntryKind.ARGUMENT]


def test_a_repair_without_a_quarrel_is_an_entry_of_its_own() -> None:
    assert kinds_of(episode("repair", 5)) == [EntryKind.REPAIR]
    assert kinds_of(episode("conflict"), episode("repair", 24 * 8)) == [EntryKind.ARGUMENT, EntryKind.REPAIR]


@pytest.mark.parametrize("number", [1, 6, 11, 30, 51, 61])
def test_a_danger_within_a_quarrel_or_before_its_end_removes_both(number: int) -> None:
    quarrel = [episode("conflict"), episode("repair", 5)]
    danger = Danger("violence", (number,), None, current=True)
    assert kinds_of(*quarrel, dangers=[danger]) == []


def test_a_danger_elsewhere_removes_nothing() -> None:
    quarrel = [episode("conflict"), episode("repair", 5)]
    assert kinds_of(*quarrel, dangers=[Danger("violence", (62,), None, current=True)]) == [EntryKind.ARGUMENT]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_no_episode_with_a_message_of_danger_is_listed(kind: str) -> None:
    for topic in TOPICS:
        danger = Danger("self_harm", (5,), None, current=False)
        assert entries_of(episode(kind, strength=3, topic=topic), dangers=[danger]) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_sentence_is_complete_with_and_without_people(kind: str) -> None:
    people: list[dict[int, tuple[str, ...]]] = [
        {},
        {1: ("does",)},
        {1: ("receives",)},
        {0: ("does",), 1: ("receives",)},
    ]
    for topic in TOPICS:
        for roles in people:
            for entry in entries_of(episode(kind, 0, topic=topic, roles=roles, strength=3)):
                assert entry.title[0].isupper()
                assert not entry.title.endswith(".")
                assert entry.sentence[0].isupper()
                assert entry.sentence.endswith(".")
                assert not set("{}") & set(entry.title + entry.sentence)
                assert not {"  ", " .", " and ."} & {entry.sentence[at : at + 2] for at in range(len(entry.sentence))}


@pytest.mark.parametrize("kind", list(MomentKind))
def test_every_moment_has_a_complete_sentence(kind: MomentKind) -> None:
    (entry,) = timeline.list_counted([Moment(kind, 0, 90_000, (1, 2), (0, 1), 1_234, 5.0)], NAMES, ENGLISH)
    assert entry.sentence.endswith(".")
    assert not set("{}") & set(entry.title + entry.sentence)
    assert (entry.source, entry.people, entry.numbers) == ("counted", ("Asha", "Ravi"), (1, 2))


def test_the_days_of_a_silence_are_rounded_down() -> None:
    (entry,) = timeline.list_counted([Moment(MomentKind.SILENCE, 0, 333_720, (1, 2), (0,), 333_720)], NAMES, ENGLISH)
    assert entry.sentence == "Nobody wrote for 3 days. Then Asha wrote again."


def test_a_name_with_braces_is_only_a_name() -> None:
    (entry,) = timeline.list_counted([Moment(MomentKind.FIRST_MESSAGE, 0, 0, (1,), (0,))], ["{n}"], ENGLISH)
    assert entry.sentence == "{n} wrote the first message of this chat."


@pytest.mark.parametrize(
    ("people", "named"),
    [(1, "Asha"), (2, "Asha and Ravi"), (3, "Asha, Ravi and Meera"), (5, "Asha, Ravi and 3 others")],
)
def test_of_many_people_a_sentence_names_the_first(people: int, named: str) -> None:
    (entry,) = timeline.list_counted(
        [Moment(MomentKind.LAST_MESSAGE, 0, 0, (1,), tuple(range(people)))], NAMES, ENGLISH
    )
    assert entry.sentence == f"{named} wrote the latest message so far."


def test_firsts_are_the_first_of_their_kind() -> None:
    found = entries_of(
        episode("affection", 0), episode("affection", 30), episode("plan", 60, topic="travel"), episode("gift", 90)
    )
    assert [(entry.kind, entry.title) for entry in found] == [
        (EntryKind.FIRST, "The first tender words"),
        (EntryKind.BEST_MOMENT, "Tender words"),
        (EntryKind.FIRST, "The first trip"),
        (EntryKind.FIRST, "The first gift"),
    ]


@pytest.mark.parametrize(("read", "is_first"), [(10, True), (9, False)])
def test_a_first_is_not_claimed_if_earlier_messages_were_not_read(read: int, is_first: bool) -> None:
    months = {"2024-01": MonthRead(read, 10), "2024-02": MonthRead(10, 10)}
    (entry,) = entries_of(episode("affection", 72), months=months)
    assert (entry.kind == EntryKind.FIRST) == is_first


def test_the_month_of_a_first_must_be_read_completely_too() -> None:
    (entry,) = entries_of(episode("affection", 0), months={"2024-01": MonthRead(9, 10)})
    assert entry.kind == EntryKind.BEST_MOMENT


def test_best_moments_are_the_strongest_of_a_month_and_of_different_kinds() -> None:
    january = [
        episode("support", 0, lasts=0.1),
        episode("support", 1, lasts=0.1, strength=3),
        episode("praise", 0.5, lasts=0.1),
        episode("gratitude", 0.2, lasts=0.1, strength=1),
        episode("quality_time", 0.3, lasts=0.1, strength=3),
        episode("memory", 0.9, lasts=0.1),
    ]
    found = entries_of(*january, episode("memory", 72))
    assert [(entry.month, entry.title) for entry in found] == [
        ("2024-01", "Time together"),
        ("2024-01", "Kind recognition"),
        ("2024-01", "Being there"),
        ("2024-02", "A shared memory"),
    ]
    assert found[2].numbers == (11,)


def test_slight_moments_are_not_the_best() -> None:
    assert kinds_of(episode("support", strength=1)) == []


@pytest.mark.parametrize(
    ("person", "current", "is_withheld"), [(0, True, True), (0, False, False), (None, True, False)]
)
def test_quarrels_are_withheld_while_somebody_of_the_chat_may_be_in_danger(
    person: int | None, current: bool, is_withheld: bool
) -> None:
    quarrels = [episode("conflict"), episode("repair", 500), episode("support", 600)]
    found = kinds_of(*quarrels, dangers=[Danger("violence", (9_000,), person, current=current)])
    assert found[-1] == EntryKind.BEST_MOMENT
    assert found[:-1] == ([] if is_withheld else [EntryKind.ARGUMENT, EntryKind.REPAIR])


def test_weak_plans_are_not_listed_and_kept_promises_are() -> None:
    assert kinds_of(episode("plan", strength=1), episode("promise_kept", 5, strength=1)) == [EntryKind.PROMISE_KEPT]


def test_gladness_about_a_special_occasion_is_a_milestone_and_a_quarrel_about_it_is_not() -> None:
    assert kinds_of(episode("celebration", topic="milestone")) == [EntryKind.MILESTONE]
    assert kinds_of(episode("conflict", topic="milestone")) == [EntryKind.ARGUMENT]
    assert kinds_of(episode("memory", topic="milestone")) == [EntryKind.BEST_MOMENT]
    assert kinds_of(episode("put_down", topic="milestone", strength=3)) == []


def test_every_topic_has_words() -> None:
    titles = [entry.title for topic in TOPICS for entry in entries_of(episode("conflict", topic=topic))]
    assert len(set(titles)) == len(TOPICS)
    assert entries_of(episode("conflict", topic="a topic of a later version"))[0].title == "A tense moment"


def test_put_downs_and_unanswered_needs_are_never_listed() -> None:
    hurtful = ("put_down", "unanswered_need", "promise_broken", "stress", "hard_feelings", "waiting")
    assert kinds_of(*(episode(kind, 10 * at, strength=3) for at, kind in enumerate(hurtful))) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "1 minute"),
        (89 * 60, "89 minutes"),
        (90 * 60, "2 hours"),
        (47 * 3_600, "47 hours"),
        (48 * 3_600, "2 days"),
        (1_000 * 86_400, "1,000 days"),
    ],
)
def test_durations_are_in_one_unit(seconds: int, text: str) -> None:
    assert timeline.format_duration(seconds, ENGLISH) == text
