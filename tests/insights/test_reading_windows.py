"""The windows of a chat: whole conversations, never over the budget, every month, and danger first."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chats.chunking import chunk_messages
from chats.exports.parsed import SYSTEM_SENDER, Batch, Details, Message, MessageKind
from chats.search import ChunkRange
from insights.engines.base import ShownMessage
from insights.episodes import Window
from insights.reading import windows
from insights.reading.windows import Part, PlannedWindow
from insights.tokens import count_line_tokens

START = datetime.fromisoformat("2024-01-01T09:00")
DAY = 86_400


def make_parts(
    conversations: Sequence[Sequence[int]], *, days_apart: float = 1, danger: frozenset[int] = frozenset()
) -> list[Part]:
    """Return parts with these tokens, by conversation; `danger` has the indexes of parts with a phrase of danger."""
    parts: list[Part] = []
    for conversation, tokens in enumerate(conversations):
        started = round(1_700_000_000 + conversation * days_apart * DAY)
        for size in tokens:
            number = len(parts)
            parts.append(
                Part(
                    chunk=number,
                    conversation=conversation,
                    first_number=1 + 10 * number,
                    last_number=10 + 10 * number,
                    started=started,
                    ended=started + 600,
                    messages=10,
                    tokens=size,
                    has_danger=number in danger,
                )
            )
            started += 600
    return parts


def numbers(planned: Sequence[PlannedWindow]) -> list[int]:
    return [number for window in planned for first, last in window.spans for number in range(first, last + 1)]


@st.composite
def chats(draw: st.DrawFn) -> list[Part]:
    """Return chats of 40 to 300 conversations, of which some have many chunks."""
    chance = random.Random(draw(st.integers(0, 10_000)))
    conversations = [
        [chance.randint(60, 900) for _ in range(chance.choice([1, 1, 2, 3, 8, 40]))]
        for _ in range(draw(st.integers(40, 300)))
    ]
    danger = frozenset(chance.sample(range(40), draw(st.integers(0, 5))))
    return make_parts(conversations, days_apart=draw(st.sampled_from([0.3, 1.0, 4.0])), danger=danger)


@given(parts=chats(), window_tokens=st.integers(1_000, 20_000))
def test_a_chat_within_the_budget_is_read_completely(parts: list[Part], window_tokens: int) -> None:
    planned = windows.plan_windows(parts, window_tokens=window_tokens, budget=sum(part.tokens for part in parts))
    assert numbers(planned) == list(range(1, 10 * len(parts) + 1)), "every message, once and in order"
    assert all(window.tokens <= window_tokens for window in planned)
    assert sum(window.tokens for window in planned) == sum(part.tokens for part in parts)
    assert sum(window.messages for window in planned) == 10 * len(parts)


@given(parts=chats(), window_tokens=st.integers(1_000, 20_000))
def test_a_conversation_that_fits_in_a_window_is_in_one(parts: list[Part], window_tokens: int) -> None:
    planned = windows.plan_windows(parts, window_tokens=window_tokens, budget=10**9)
    window_of = {number: index for index, window in enumerate(planned) for number in numbers([window])}
    for conversation in {part.conversation for part in parts}:
        own = [part for part in parts if part.conversation == conversation]
        if sum(part.tokens for part in own) <= window_tokens:
            assert len({window_of[part.first_number] for part in own}) == 1


@given(
    parts=chats(),
    share=st.floats(0.1, 0.9),
    rankings=st.lists(st.lists(st.integers(0, 200), unique=True, max_size=60), max_size=5),
)
def test_the_budget_is_filled_and_never_exceeded(parts: list[Part], share: float, rankings: list[list[int]]) -> None:
    # Parts have up to 900 tokens, so a smaller budget cannot always be filled to this share.
    budget = max(20_000, round(share * sum(part.tokens for part in parts)))
    planned = windows.plan_windows(parts, window_tokens=5_000, budget=budget, rankings=rankings)
    total = sum(window.tokens for window in planned)
    assert min(0.95 * budget, sum(part.tokens for part in parts)) <= total <= budget
    chosen = numbers(planned)
    assert chosen == sorted(set(chosen)), "no message is in two windows"


@given(parts=chats(), share=st.floats(0.2, 0.9))
def test_every_month_and_every_danger_is_read(parts: list[Part], share: float) -> None:
    budget = max(40_000, round(share * sum(part.tokens for part in parts)))
    rankings = [list(range(40))]
    chosen = set(numbers(windows.plan_windows(parts, window_tokens=5_000, budget=budget, rankings=rankings)))
    read = [part for part in parts if part.first_number in chosen]
    assert {part.month for part in read} == {part.month for part in parts}
    assert all(part in read for part in parts if part.has_danger)


def test_a_conversation_of_danger_is_read_as_a_whole_before_all_others() -> None:
    parts = make_parts([[500, 500, 500]] * 100, danger=frozenset({151}))
    chosen = set(numbers(windows.plan_windows(parts, window_tokens=5_000, budget=20_000, rankings=[[0, 3, 6, 9]])))
    assert {1501, 1511, 1521} <= chosen


def test_what_searches_find_is_read() -> None:
    parts = make_parts([[400, 400]] * 200, days_apart=0.1)
    found = [20, 100, 250, 321]
    chosen = set(numbers(windows.plan_windows(parts, window_tokens=5_000, budget=40_000, rankings=[found] * 3)))
    assert all(parts[number].first_number in chosen for number in found)


def test_the_sample_has_the_rate_of_the_whole_chat_although_searches_find_more() -> None:
    in_sample, in_all = [], []
    for seed in range(30):
        chance = random.Random(seed)
        parts = make_parts([[1_000]] * 4_000, days_apart=0.2)
        quarrels = frozenset(chance.sample(range(4_000), 120))
        rankings = [sorted(quarrels), *(chance.sample(range(4_000), 200) for _ in range(5))]
        planned = windows.plan_windows(parts, window_tokens=8_000, budget=400_000, rankings=rankings)
        sample = [first // 10 for window in planned for span in window.sample or () for first in range(*span, 10)]
        read = [first // 10 for window in planned for span in window.spans for first in range(*span, 10)]
        assert len(sample) >= 200, "half of the budget"
        assert set(sample) < set(read)
        in_sample.append(len(quarrels.intersection(sample)) / len(sample))
        in_all.append(len(quarrels.intersection(read)) / len(read))
    assert mean(in_sample) == pytest.approx(0.03, rel=0.1)
    assert mean(in_all) > 0.06, "searches find what they look for"


def test_what_is_sampled_does_not_depend_on_what_it_contains() -> None:
    def sample(danger: frozenset[int], rankings: list[list[int]]) -> set[int]:
        parts = make_parts([[400, 300]] * 300, danger=danger)
        planned = windows.plan_windows(parts, window_tokens=5_000, budget=40_000, rankings=rankings)
        spans = [span for window in planned for span in window.sample or ()]
        return {number for first, last in spans for number in range(first, last + 1)}

    assert sample(frozenset(), []) == sample(frozenset(range(0, 600, 7)), [list(range(599, 0, -3))])


def test_one_endless_conversation_does_not_use_up_the_budget() -> None:
    parts = make_parts([[500] * 400, *[[500]] * 60])
    planned = windows.plan_windows(parts, window_tokens=5_000, budget=40_000)
    read = [part for part in parts if part.first_number in set(numbers(planned))]
    assert len([part for part in read if part.conversation > 0]) >= 5


def test_a_large_chat_is_planned_in_little_time() -> None:
    parts = make_parts([[300] * 4] * 25_000, days_apart=0.1)
    planned = windows.plan_windows(parts, window_tokens=12_000, budget=400_000, rankings=[list(range(0, 20_000, 100))])
    assert 380_000 <= sum(window.tokens for window in planned) <= 400_000


class TestMeasure:
    def test_only_text_messages_of_people_are_measured_and_months_count_them(self) -> None:
        texts = ["hello", "  ", "photo", "line of the app", "end"]
        kinds = [MessageKind.TEXT, MessageKind.TEXT, MessageKind.MEDIA, MessageKind.SYSTEM, MessageKind.TEXT]
        batch = Batch(1, [DAY * day for day in (1, 2, 3, 4, 40)], [0, 1, 0, SYSTEM_SENDER, 1], list(kinds), texts)
        measured = windows.measure([batch], chunks_of(batch), window_tokens=1_000)
        assert measured.months == {"1970-01": 1, "1970-02": 1}
        assert [(part.first_number, part.last_number, part.messages) for part in measured.parts] == [
            (1, 1, 1),
            (5, 5, 1),
        ]
        lines = count_line_tokens("hello") + count_line_tokens("end")
        assert sum(part.tokens for part in measured.parts) == lines

    def test_a_part_is_never_larger_than_a_window_and_long_messages_are_cut(self) -> None:
        batch = Batch(1, list(range(60)), [0] * 60, [MessageKind.TEXT] * 60, ["x" * 20_000, *["word " * 30] * 59])
        measured = windows.measure([batch], chunks_of(batch), window_tokens=300)
        assert all(part.tokens <= 300 for part in measured.parts)
        assert sum(part.messages for part in measured.parts) == 60
        message = Message(1, START, "Asha", MessageKind.TEXT, "é" * 20_000)
        (shown,) = windows.build_window([message], people=["Asha"], window_tokens=300).messages
        assert 0 < len(shown.text.encode()) <= 150 * 3.5

    def test_phrases_of_danger_are_looked_for_in_candidates(self) -> None:
        texts = ["I want to kill myself", "I nearly died laughing", "I want to kill myself"]
        batch = Batch(1, [0, DAY, 2 * DAY], [0] * 3, [MessageKind.TEXT] * 3, texts)
        measured = windows.measure([batch], chunks_of(batch), window_tokens=1_000, candidates={1, 2})
        assert [part.has_danger for part in measured.parts] == [True, False, False]

    def test_messages_from_a_number_on_are_measured_without_those_before(self) -> None:
        batch = Batch(1, [0, 60, DAY, DAY + 60], [0] * 4, [MessageKind.TEXT] * 4, ["a", "b", "c", "d"])
        later = [chunk for chunk in chunks_of(batch) if chunk.last_number >= 2]
        measured = windows.measure([batch.slice(1, 4)], later, window_tokens=1_000, count_from=3)
        assert [(part.first_number, part.last_number) for part in measured.parts] == [(2, 2), (3, 4)]
        assert measured.months == {"1970-01": 2}


def chunks_of(batch: Batch) -> list[ChunkRange]:
    return [ChunkRange(number, *chunk[:4]) for number, chunk in enumerate(chunk_messages([batch]))]


def test_a_window_shows_text_messages_and_names_forwards_and_phrases_of_danger() -> None:
    messages = [
        Message(1, START, "Asha", MessageKind.TEXT, "I want to kill myself"),
        Message(2, START, "Ravi", MessageKind.TEXT, "a poem", details=Details(is_forwarded=True)),
        Message(3, START, "Ravi", MessageKind.MEDIA, "a photo"),
        Message(4, START, None, MessageKind.SYSTEM, "Ravi left"),
        Message(5, START, "Ravi", MessageKind.TEXT, " \n"),
    ]
    window = windows.build_window(messages, people=["Asha", "Ravi"], window_tokens=1_000)
    assert [(message.number, message.person, message.text) for message in window.messages] == [
        (1, 0, "I want to kill myself"),
        (2, 1, "a poem"),
    ]
    assert (window.forwarded, window.candidates) == (frozenset({2}), (1,))


@pytest.mark.parametrize("n", [2, 3, 11, 50])
def test_a_window_is_halved_at_the_longest_pause_near_its_middle(n: int) -> None:
    def at(number: int) -> datetime:
        return START + timedelta(minutes=number, hours=(number > n // 2) * 5 + (number == n) * 50)

    window = Window(tuple(ShownMessage(number, at(number), 0, "hi") for number in range(1, n + 1)))
    last, first = windows.halve(window)
    assert (last, first) == ((n // 2, n // 2 + 1) if n > 3 else (last, last + 1))
    assert 1 <= last < first <= n


def test_spans_are_clipped_to_a_range() -> None:
    assert windows.clip([[1, 10], [20, 30], [40, 50]], first=5, last=45) == [[5, 10], [20, 30], [40, 45]]
    assert windows.clip([[1, 10], [20, 30]], first=11, last=19) == []


def test_every_beginning_of_the_spread_is_spread_over_the_whole() -> None:
    order = windows.spread(100)
    assert sorted(order) == list(range(100))
    for length in (4, 8, 16):
        quarters = [sum(q * 25 <= number < q * 25 + 25 for number in order[:length]) for q in range(4)]
        assert min(quarters) >= length // 4 - 1
    assert (windows.spread(0), windows.spread(1)) == ([], [0])
