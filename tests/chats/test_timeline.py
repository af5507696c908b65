"""What stands out in a chat is counted from times and senders, compared with the chat itself."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import datetime, timedelta

import pytest

from chats.exports.parsed import SYSTEM_SENDER, Batch, MessageKind, wall_clock
from chats.statistics.timeline import MAX_BURSTS, MAX_SILENCES, Moment, MomentKind, TimelineCounter

START = datetime.fromisoformat("2024-03-14T18:00:00")
EPOCH = datetime.fromisoformat("1970-01-01T00:00:00")
#: Seconds from START, and the sender.
Line = tuple[float, int]

HOUR, DAY = 3_600, 86_400


def make_batch(lines: Iterable[Line], *, kinds: dict[int, MessageKind] | None = None, first: int = 1) -> Batch:
    rows = list(lines)
    start = round((START - EPOCH).total_seconds())
    default = [MessageKind.SYSTEM if sender == SYSTEM_SENDER else MessageKind.TEXT for _, sender in rows]
    return Batch(
        first,
        [start + round(at) for at, _ in rows],
        [sender for _, sender in rows],
        [int((kinds or {}).get(position, kind)) for position, kind in enumerate(default)],
        [""] * len(rows),
    )


def find(lines: Iterable[Line], *, kinds: dict[int, MessageKind] | None = None) -> list[Moment]:
    counter = TimelineCounter()
    counter.add(make_batch(lines, kinds=kinds))
    return counter.result()


def of_kind(moments: Iterable[Moment], kind: MomentKind) -> list[Moment]:
    return [moment for moment in moments if moment.kind == kind]


def talk(day: float, messages: int = 4, *, every_seconds: int = 60) -> list[Line]:
    """Return a conversation of two people that begins at 18:00 on a day from 0."""
    return [(day * DAY + at * every_seconds, at % 2) for at in range(messages)]


def talks(*days: tuple[float, int]) -> list[Line]:
    return [line for day, messages in days for line in talk(day, messages)]


def test_nothing_stands_out_without_a_message_of_a_person() -> None:
    assert TimelineCounter().result() == []
    assert find([(0, SYSTEM_SENDER)]) == []


def test_system_lines_are_not_messages() -> None:
    moments = find([(0, SYSTEM_SENDER), (10, 0), (20, 1), (30, SYSTEM_SENDER)])
    assert [(moment.kind, moment.numbers) for moment in moments] == [
        (MomentKind.FIRST_MESSAGE, (2,)),
        (MomentKind.LAST_MESSAGE, (3,)),
    ]


def test_first_and_last_are_those_of_time_not_of_the_file() -> None:
    moments = find([(100, 0), (0, 1), (900, 0), (200, 1)])
    assert [(moment.kind, moment.numbers, moment.people) for moment in moments[:1] + moments[-1:]] == [
        (MomentKind.FIRST_MESSAGE, (2,), (1,)),
        (MomentKind.LAST_MESSAGE, (3,), (0,)),
    ]


@pytest.mark.parametrize("size", [1, 7, 500])
def test_the_result_does_not_depend_on_the_size_of_the_batches(size: int) -> None:
    chance = random.Random(5)
    at, lines = 0.0, []
    for _ in range(3_000):
        at += chance.expovariate(1 / 60) if chance.random() < 0.9 else chance.expovariate(1 / 40_000)
        lines.append((at, chance.randrange(3)))
    counter = TimelineCounter()
    for start in range(0, len(lines), size):
        counter.add(make_batch(lines[start : start + size], first=start + 1))
    assert counter.result() == find(lines)
    assert {moment.kind for moment in find(lines)} >= {MomentKind.SILENCE, MomentKind.RECORD_DAY}


def test_a_burst_is_far_above_the_days_of_the_same_chat() -> None:
    ordinary = [(day, 4 + day % 5) for day in range(40)]
    ordinary[20], ordinary[21], ordinary[30] = (20, 90), (21, 80), (30, 100)
    moments = find(talks(*ordinary))
    (burst,) = of_kind(moments, MomentKind.BURST)
    assert (wall_clock(burst.start).date(), wall_clock(burst.end).date()) == (
        (START + timedelta(days=20)).date(),
        (START + timedelta(days=21)).date(),
    )
    assert (burst.value, burst.typical, burst.people) == (170, 6.0, (0, 1))
    first, last = burst.numbers
    assert last - first + 1 == burst.value
    # The record day alone is not a burst as well.
    (record,) = of_kind(moments, MomentKind.RECORD_DAY)
    assert (record.value, wall_clock(record.start)) == (100, START + timedelta(days=30))


def test_days_with_the_same_number_of_messages_are_no_bursts() -> None:
    assert of_kind(find(talks(*[(day, 30) for day in range(40)])), MomentKind.BURST) == []


def test_a_day_of_twice_the_usual_messages_is_no_burst() -> None:
    # All other days are equal, so that the fence is where they are.
    ordinary = [(day, 80 if day == 20 else 60 if day in (5, 6) else 30) for day in range(40)]
    assert of_kind(find(talks(*ordinary)), MomentKind.BURST) == []


def test_a_day_within_the_fence_is_no_burst() -> None:
    ordinary = [(day, (10, 20, 30)[day % 3]) for day in range(60)]
    ordinary[20], ordinary[40], ordinary[50] = (20, 120), (40, 120), (50, 125)
    assert of_kind(find(talks(*ordinary)), MomentKind.BURST) == []


def test_a_lively_day_of_a_chat_of_lively_days_is_no_burst() -> None:
    lively = [(day, 5 * 4 ** (day % 3)) for day in range(40)]
    assert of_kind(find(talks(*lively)), MomentKind.BURST) == []


@pytest.mark.parametrize(("days", "messages"), [(13, 90), (40, 19)])
def test_few_days_or_few_messages_are_no_burst(days: int, messages: int) -> None:
    ordinary = [(day, 2) for day in range(days)]
    ordinary[5], ordinary[8] = (5, messages), (8, messages)
    assert of_kind(find(talks(*ordinary)), MomentKind.BURST) == []


def test_the_largest_bursts_are_kept() -> None:
    ordinary = [(day, 100 + day if day % 10 == 5 else 4) for day in range(200)]
    bursts = of_kind(find(talks(*ordinary)), MomentKind.BURST)
    assert len(bursts) == MAX_BURSTS
    assert min(burst.value for burst in bursts) == 100 + 75


def test_a_silence_is_far_longer_than_the_pauses_of_the_same_chat() -> None:
    days = [day if day < 20 else day + 6 for day in range(40)]
    (silence,) = of_kind(find(talks(*[(day, 4) for day in days])), MomentKind.SILENCE)
    assert silence.numbers == (80, 81)
    assert silence.people == (0,)
    assert silence.value == 7 * DAY - 3 * 60


def test_pauses_of_days_are_no_silence_in_a_chat_of_rare_messages() -> None:
    rare = [(4 * day + 0.01 * day**2, 4) for day in range(40)]
    # None is unusual: only the longest is kept.
    (silence,) = of_kind(find(talks(*rare)), MomentKind.SILENCE)
    assert silence.numbers == (39 * 4, 39 * 4 + 1)


def test_a_night_is_no_silence() -> None:
    assert of_kind(find(talks(*[(day, 4) for day in range(40)])), MomentKind.SILENCE) == []


def test_the_longest_silences_are_kept() -> None:
    at, days = 0, []
    for day in range(400):
        at += 1 if day % 20 else 10 + day // 20
        days.append((at, 4))
    silences = of_kind(find(talks(*days)), MomentKind.SILENCE)
    assert len(silences) == MAX_SILENCES
    assert min(silence.value for silence in silences) == (10 + 8) * DAY - 3 * 60


def test_a_change_of_the_clocks_is_no_time_without_messages() -> None:
    batch = make_batch([(0, 0), (7 * DAY + HOUR, 1)])
    batch.utc_offsets = [0, HOUR]
    counter = TimelineCounter()
    counter.add(batch)
    (silence,) = of_kind(counter.result(), MomentKind.SILENCE)
    assert silence.value == 7 * DAY


def test_the_longest_night_has_two_people() -> None:
    # From 01:00 on the second day, one person alone; from 02:00 on the fifth, both.
    alone = [(7 * HOUR + at * 60, 0) for at in range(60)]
    both = [(3 * DAY + 8 * HOUR + at * 60, at % 2) for at in range(40)]
    (night,) = of_kind(find([*alone, *both]), MomentKind.NIGHT)
    assert (night.value, night.people, night.numbers) == (40, (0, 1), (61, 100))


def test_a_short_talk_at_night_is_no_long_night() -> None:
    assert of_kind(find([(8 * HOUR + at * 60, at % 2) for at in range(19)]), MomentKind.NIGHT) == []


def test_the_earliest_of_the_longest_streaks_is_shown() -> None:
    days = [*range(5), *range(10, 20), *range(25, 35)]
    (streak,) = of_kind(find(talks(*[(day, 4) for day in days])), MomentKind.STREAK)
    assert (streak.value, wall_clock(streak.start)) == (10, START + timedelta(days=10))
    assert of_kind(find(talks(*[(day, 4) for day in range(6)])), MomentKind.STREAK) == []


def test_round_numbers_count_messages_of_people_only() -> None:
    lines: list[Line] = [(0, SYSTEM_SENDER), *[(at, at % 2) for at in range(1, 1_001)]]
    (round_number,) = of_kind(find(lines), MomentKind.ROUND_NUMBER)
    assert (round_number.value, round_number.numbers) == (1_000, (1_001,))
    assert of_kind(find(lines[:-1]), MomentKind.ROUND_NUMBER) == []


def test_the_first_call_and_the_first_media_are_shown() -> None:
    kinds = {2: MessageKind.MEDIA, 3: MessageKind.CALL, 4: MessageKind.CALL}
    moments = find(talk(0, 6), kinds=kinds)
    assert [moment.numbers for moment in of_kind(moments, MomentKind.FIRST_MEDIA)] == [(3,)]
    assert [moment.numbers for moment in of_kind(moments, MomentKind.FIRST_CALL)] == [(4,)]


def test_only_who_joins_a_group_after_its_first_week_is_new() -> None:
    lines = [*talk(0), (6 * DAY, 2), (8 * DAY, 3), (9 * DAY, 3)]
    (newcomer,) = of_kind(find(lines), MomentKind.NEWCOMER)
    assert (newcomer.people, newcomer.value) == ((3,), 2)
    # Of two people, neither has joined anything.
    assert of_kind(find([(0, 0), (30 * DAY, 1)]), MomentKind.NEWCOMER) == []
