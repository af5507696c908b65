"""Plans the windows in which a chat is read, within a budget of tokens. Pure.

A chat within the budget is read completely. Of a larger one, parts are selected: conversations with a phrase of danger
first, then a share of every month, then what search and statistics rank highest, and the rest is spread evenly over the
chat's time. Windows consist of whole conversations where possible.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby, pairwise

from chats.chunking import BYTES_PER_TOKEN
from chats.exports.parsed import Batch, Message, MessageKind, wall_clock
from chats.search import ChunkRange
from insights import safety
from insights.engines.base import ShownMessage
from insights.episodes import Window
from insights.tokens import count_line_tokens

#: A longer message is cut before it is sent: one pasted book must not fill the windows.
MAX_MESSAGE_TOKENS = 1_500

#: Shares of the budget: what the sample gets at least, the most that conversations with a phrase of danger get, and
#: what is divided over the months.
SAMPLE_SHARE, DANGER_SHARE, MONTHS_SHARE = 0.5, 0.25, 0.1
#: The constant of reciprocal rank fusion (Cormack et al., SIGIR 2009), and how many places of a ranking count.
_RANK_OFFSET, _MAX_RANK = 60, 200
_DAY_SECONDS = 86_400
#: Messages from which a conversation can be a burst.
_MIN_BURST_MESSAGES = 10

#: First and last message number, both included.
Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Part:
    """A chunk of a conversation, or a piece of one. `messages` and `tokens` count its lines in the prompt."""

    chunk: int
    conversation: int
    first_number: int
    last_number: int
    started: int
    ended: int
    messages: int
    tokens: int
    has_danger: bool = False

    @property
    def month(self) -> str:
        """The month in which it begins."""
        return month_of(wall_clock(self.started))


@dataclass(frozen=True, slots=True)
class PlannedWindow:
    """The message numbers of one window, in order, and how many text messages and tokens it has.

    `sample` are those of the spans that belong to the sample of a chat that is read in part; None if all is read.
    """

    spans: tuple[Span, ...]
    messages: int
    tokens: int
    sample: tuple[Span, ...] | None = None


@dataclass(slots=True)
class Measurement:
    """The parts of a chat, and its text messages by month."""

    parts: list[Part] = field(default_factory=list)
    months: Counter[str] = field(default_factory=Counter)


def month_of(at: datetime) -> str:
    """Return the month as `YYYY-MM`."""
    return f"{at.year:04}-{at.month:02}"


def max_message_tokens(window_tokens: int) -> int:
    """Return the tokens to which a message is cut."""
    return min(MAX_MESSAGE_TOKENS, window_tokens // 2)


def cut(text: str, *, window_tokens: int) -> str:
    """Return the part of a message's text that is sent."""
    max_bytes = round(max_message_tokens(window_tokens) * BYTES_PER_TOKEN)
    # No character has more than four bytes.
    if len(text) <= max_bytes // 4:
        return text
    return text.encode(errors="replace")[:max_bytes].decode(errors="ignore")


def measure(
    batches: Iterable[Batch],
    chunks: Sequence[ChunkRange],
    *,
    window_tokens: int,
    candidates: Collection[int] = (),
    count_from: int = 1,
) -> Measurement:
    """Return the parts that the batches consist of, none larger than a window, and the messages of each month.

    `candidates` are messages that are read for phrases of danger. Months count messages from number `count_from`.
    """
    measured = Measurement()
    first_numbers = [chunk.first_number for chunk in chunks]
    is_candidate, limit = frozenset(candidates), max_message_tokens(window_tokens)
    chunk_index, first, last, started, ended, messages, tokens, has_danger = -1, 0, 0, 0, 0, 0, 0, False

    def end_part() -> None:
        if messages:
            chunk = chunks[chunk_index]
            measured.parts.append(
                Part(chunk.number, chunk.conversation, first, last, started, ended, messages, tokens, has_danger)
            )

    for batch in batches:
        rows = zip(batch.seconds, batch.senders, batch.kinds, batch.texts, strict=True)
        for number, (seconds, sender, kind, text) in enumerate(rows, start=batch.first_number):
            # Only for each chunk's first message, because bisect for every message takes longer than all else.
            if chunk_index + 1 < len(chunks) and number >= first_numbers[chunk_index + 1]:
                end_part()
                chunk_index, messages, tokens = bisect_right(first_numbers, number) - 1, 0, 0
                has_danger = False
            if kind != MessageKind.TEXT or sender < 0 or chunk_index < 0 or not text.strip():
                continue
            added = count_line_tokens(text, max_tokens=limit)
            if tokens + added > window_tokens:
                end_part()
                messages, tokens, has_danger = 0, 0, False
            if not messages:
                first, started = number, seconds
            last, ended, messages, tokens = number, seconds, messages + 1, tokens + added
            if number in is_candidate and safety.nominates(text):
                has_danger = True
            if number >= count_from:
                measured.months[month_of(wall_clock(seconds))] += 1
    end_part()
    return measured


def plan_windows(
    parts: Sequence[Part], *, window_tokens: int, budget: int, rankings: Sequence[Sequence[int]] = ()
) -> list[PlannedWindow]:
    """Return the windows to read, in the order of the chat: all parts, or those selected within the budget.

    `rankings` are lists of chunk numbers, the best first, that searches found.
    """
    chosen: Sequence[int] = range(len(parts))
    sample: frozenset[int] | None = None
    if sum(part.tokens for part in parts) > budget:
        chosen, sample = _select_parts(parts, window_tokens=window_tokens, budget=budget, rankings=rankings)
    windows: list[PlannedWindow] = []
    current: list[int] = []
    tokens = 0
    for _, conversation in groupby(chosen, key=lambda index: parts[index].conversation):
        indexes = list(conversation)
        if current and tokens + sum(parts[index].tokens for index in indexes) > window_tokens:
            windows.append(_make_window(parts, current, sample=sample))
            current, tokens = [], 0
        for index in indexes:
            # A conversation that is longer than a window is divided between chunks.
            if current and tokens + parts[index].tokens > window_tokens:
                windows.append(_make_window(parts, current, sample=sample))
                current, tokens = [], 0
            current.append(index)
            tokens += parts[index].tokens
    if current:
        windows.append(_make_window(parts, current, sample=sample))
    return windows


def _make_window(parts: Sequence[Part], indexes: Sequence[int], *, sample: Collection[int] | None) -> PlannedWindow:
    chosen = [parts[index] for index in indexes]
    return PlannedWindow(
        _join_spans(parts, indexes),
        sum(part.messages for part in chosen),
        sum(part.tokens for part in chosen),
        None if sample is None else _join_spans(parts, [index for index in indexes if index in sample]),
    )


def _join_spans(parts: Sequence[Part], indexes: Sequence[int]) -> tuple[Span, ...]:
    """Return the message numbers of parts in order. Those that follow each other are one span."""
    spans: list[Span] = []
    for position, index in enumerate(indexes):
        part = parts[index]
        if position and index == indexes[position - 1] + 1:
            spans[-1] = (spans[-1][0], part.last_number)
        else:
            spans.append((part.first_number, part.last_number))
    return tuple(spans)


class _Selection:
    """Indexes of parts whose tokens fit in a budget."""

    def __init__(self, parts: Sequence[Part], budget: int) -> None:
        self.parts, self.left, self.chosen = parts, budget, set[int]()

    def cost(self, indexes: Iterable[int]) -> int:
        return sum(self.parts[index].tokens for index in indexes if index not in self.chosen)

    def take(self, indexes: Collection[int], *, limit: int | None = None) -> int:
        """Choose all of the parts or none. Return the tokens that they add; 0 if they do not fit in the limit."""
        cost = self.cost(indexes)
        if cost > (self.left if limit is None else min(limit, self.left)):
            return 0
        self.chosen.update(indexes)
        self.left -= cost
        return cost


def _select_parts(
    parts: Sequence[Part], *, window_tokens: int, budget: int, rankings: Sequence[Sequence[int]]
) -> tuple[list[int], frozenset[int]]:
    """Return the indexes of the parts to read within the budget, in order, and those of them that are the sample."""
    selection = _Selection(parts, budget)
    # A tenth of the budget at most: one conversation without an end must not be all that is read.
    units = list(_divide(parts, max_tokens=min(window_tokens, budget // 10)))
    order = spread(len(units))
    # First, whatever they contain: the rates of the whole chat are estimated from these. Searches find what they look
    # for, so a rate of what they find would be too high.
    for number in order:
        if selection.left <= (1 - SAMPLE_SHARE) * budget or not selection.take(units[number]):
            break
    sample = frozenset(selection.chosen)
    score = _score_units(parts, units, rankings)
    ranked = sorted(range(len(units)), key=lambda unit: -score[unit])

    danger_left = round(budget * DANGER_SHARE)
    dangerous = [unit for unit in units if any(parts[index].has_danger for index in unit)]
    # The messages themselves first, and then the conversations around them.
    for indexes in [[index for index in unit if parts[index].has_danger] for unit in dangerous] + dangerous:
        danger_left -= selection.take(indexes, limit=danger_left)

    units_by_month: dict[str, list[list[int]]] = defaultdict(list)
    for number in ranked:
        units_by_month[parts[units[number][0]].month].append(units[number])
    tokens_by_month = {
        month: sum(parts[index].tokens for unit in of_month for index in unit)
        for month, of_month in units_by_month.items()
    }
    total = sum(tokens_by_month.values())
    # The months with the least text first: what they need is little.
    for month, of_month in sorted(units_by_month.items(), key=lambda item: tokens_by_month[item[0]]):
        month_left = round(budget * MONTHS_SHARE * tokens_by_month[month] / total)
        for unit in of_month:
            month_left -= selection.take(unit, limit=month_left)
        indexes = [index for unit in of_month for index in unit]
        if selection.chosen.isdisjoint(indexes):
            selection.take([min(indexes, key=lambda index: parts[index].tokens)])

    found = [units[number] for number in ranked if score[number]]
    rest = [units[number] for number in order if not score[number]]
    for unit in found + rest:
        selection.take(unit)
    # What is left is less than any conversation needs.
    for unit in found + rest:
        for index in unit:
            selection.take([index])
    return sorted(selection.chosen), sample


def _divide(parts: Sequence[Part], *, max_tokens: int) -> Iterator[list[int]]:
    """Yield the indexes of each conversation's parts; of a longer conversation, of consecutive parts of it."""
    for _, conversation in groupby(range(len(parts)), key=lambda index: parts[index].conversation):
        unit: list[int] = []
        tokens = 0
        for index in conversation:
            if unit and tokens + parts[index].tokens > max_tokens:
                yield unit
                unit, tokens = [], 0
            unit.append(index)
            tokens += parts[index].tokens
        yield unit


def _score_units(
    parts: Sequence[Part], units: Sequence[Sequence[int]], rankings: Sequence[Sequence[int]]
) -> list[float]:
    """Return a score for each unit: by reciprocal rank fusion of the searches and of three statistics."""
    unit_of_chunk = {parts[index].chunk: unit for unit, indexes in enumerate(units) for index in indexes}
    by_search = [[unit_of_chunk[chunk] for chunk in ranking if chunk in unit_of_chunk] for ranking in rankings]

    messages_of_day: Counter[int] = Counter()
    for part in parts:
        messages_of_day[part.started // _DAY_SECONDS] += part.messages
    day = [parts[indexes[0]].started // _DAY_SECONDS for indexes in units]
    busiest = sorted(range(len(units)), key=lambda unit: (-messages_of_day[day[unit]], unit))

    def messages_per_hour(unit: int) -> float:
        first, last = parts[units[unit][0]], parts[units[unit][-1]]
        messages = sum(parts[index].messages for index in units[unit])
        return messages / max(last.ended - first.started, 600) if messages >= _MIN_BURST_MESSAGES else 0.0

    bursts = sorted(range(len(units)), key=lambda unit: (-messages_per_hour(unit), unit))
    silence = {
        later: parts[units[later][0]].started - parts[units[earlier][-1]].ended
        for earlier, later in pairwise(range(len(units)))
    }
    after_silence = sorted(silence, key=lambda unit: (-silence[unit], unit))

    score = [0.0] * len(units)
    for ranking in (*by_search, busiest, bursts, after_silence):
        for rank, unit in enumerate(dict.fromkeys(ranking), start=1):
            if rank > _MAX_RANK:
                break
            score[unit] += 1 / (_RANK_OFFSET + rank)
    return score


def spread(n: int) -> list[int]:
    """Return the numbers below n in an order whose every beginning is spread evenly over them (van der Corput)."""
    bits = max(1, (n - 1).bit_length())
    reversed_bits = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    return [number for number in reversed_bits if number < n]


def build_window(messages: Iterable[Message], *, people: Sequence[str], window_tokens: int) -> Window:
    """Return the window that shows the text messages among these, with long ones cut."""
    person = {name: index for index, name in enumerate(people)}
    shown: list[ShownMessage] = []
    forwarded, candidates = set[int](), list[int]()
    for message in messages:
        if message.kind != MessageKind.TEXT or message.sender not in person or not message.text.strip():
            continue
        text = cut(message.text, window_tokens=window_tokens)
        shown.append(ShownMessage(message.number, message.sent_at, person[message.sender], text))
        if message.details.is_forwarded:
            forwarded.add(message.number)
        if safety.nominates(message.text):
            candidates.append(message.number)
    return Window(tuple(shown), frozenset(forwarded), tuple(candidates))


def count_months(window: Window) -> Mapping[str, int]:
    """Return the number of messages of a window by month."""
    return Counter(month_of(message.sent_at) for message in window.messages)


def clip(spans: Iterable[Sequence[int]], *, first: int, last: int) -> list[list[int]]:
    """Return the parts of the spans that are from message `first` to `last`."""
    clipped = ([max(start, first), min(end, last)] for start, end in spans)
    return [[start, end] for start, end in clipped if start <= end]


def clip_sample(spans: Iterable[Sequence[int]] | None, *, first: int, last: int) -> list[list[int]] | None:
    """Return the parts of the sample's spans that are from message `first` to `last`; None if all is read."""
    return None if spans is None else clip(spans, first=first, last=last)


def halve(window: Window) -> tuple[int, int]:
    """Return the last number of the first half and the first of the second: the longest pause near the middle."""
    numbers = [message.number for message in window.messages]
    times = [message.sent_at for message in window.messages]
    middle = len(numbers) // 2
    # Within the middle half of the window, so that both halves are really smaller.
    positions = range(max(1, len(numbers) // 4), max(2, len(numbers) - len(numbers) // 4))
    best = max(positions, key=lambda position: (times[position] - times[position - 1], -abs(position - middle)))
    return numbers[best - 1], numbers[best]
