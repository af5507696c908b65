"""What was counted in a chat, for a terminal: short tables and bars. Holds names and words, as on one's own screen."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from relivchats.terminal import Layout, columns, plain, plural

_EIGHTHS = " ▏▎▍▌▋▊▉█"
_HEIGHTS = "▁▂▃▄▅▆▇█"
_MOST_PEOPLE, _MOST_MONTHS, _MOST_WORDS = 12, 24, 20
_NAME_COLUMNS = 20

Figures = Mapping[str, Any]


def lines(figures: Figures, *, page: Layout) -> Iterator[str]:
    """`figures` are those of `chats.statistics`, of at least one message."""
    yield from _overview(figures)
    yield from _people(figures, page)
    yield from _bars("Months", _tail(figures["messages_by_month"]), page)
    yield from _bars("Weekdays", list(figures["daily_distribution"].items()), page)
    yield from _hours(figures["hourly_distribution"], page)
    yield from _listed("Words", [(word["word"], word["count"]) for word in figures["top_words"]], page)
    yield from _listed("Emoji", [(emoji["emoji"], emoji["count"]) for emoji in figures["top_emojis"]], page)


def _overview(figures: Figures) -> Iterator[str]:
    first, last = (datetime.fromisoformat(figures[f"{which}_message_at"]) for which in ("first", "last"))
    days = f"on {figures['active_days']:,} of {plural(figures['total_days'], 'day')}"
    yield f"  {first:%-d %b %Y %H:%M} to {last:%-d %b %Y %H:%M}, {days}"
    counted = [
        (figures["total_words"], "word"),
        (figures["questions_count"], "question"),
        (figures["media_shared_count"], "file"),
        (figures["links_shared_count"], "link"),
        (figures["calls_count"], "call"),
        (figures["conversations_count"], "conversation"),
    ]
    yield "  " + ", ".join(plural(count, what) for count, what in counted if count)


def _people(figures: Figures, page: Layout) -> Iterator[str]:
    people = list(figures["user_stats"].items())
    shown = [(name, person["message_count"]) for name, person in people[:_MOST_PEOPLE]]
    notes = [_answers(person["median_response_time_seconds"]) for _, person in people[:_MOST_PEOPLE]]
    yield from _bars("People", shown, page, notes=notes)
    rest = [person["message_count"] for _, person in people[_MOST_PEOPLE:]]
    others = figures["others"] or {"people": 0, "message_count": 0}
    if more := len(rest) + others["people"]:
        yield f"  and {more:,} more with {plural(sum(rest) + others['message_count'], 'message')}"


def _answers(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"answers in {seconds / size:.0f} {unit}"
    return f"answers in {seconds:.0f} s"


def _tail(months: Mapping[str, int]) -> list[tuple[str, int]]:
    """The last months, those without a message among them."""
    if not months:
        return []
    year, month = map(int, max(months).split("-"))
    earliest, found = min(months), list[tuple[str, int]]()
    while len(found) < _MOST_MONTHS:
        name = f"{year:04}-{month:02}"
        found.append((name, months.get(name, 0)))
        if name <= earliest:
            break
        year, month = (year, month - 1) if month > 1 else (year - 1, 12)
    return found[::-1]


def _bars(title: str, rows: Sequence[tuple[str, int]], page: Layout, *, notes: Sequence[str] = ()) -> Iterator[str]:
    if not rows:
        return
    named = [(_fitted(plain(name).replace("\n", " ")), count) for name, count in rows]
    before = max(columns(name) for name, _ in named)
    counts = [f"{count:,}" for _, count in named]
    after = max(map(len, counts))
    noted = max((len(note) for note in notes), default=0)
    room = max(8, page.width - before - after - noted - 8)
    most = max(count for _, count in named) or 1
    yield from ("", f"{page.bold(title)}")
    for place, (name, count) in enumerate(named):
        bar = _bar(count / most * room)
        note = notes[place] if place < len(notes) else ""
        padding = " " * (before - columns(name)), " " * (room - len(bar)) if note else ""
        yield f"  {name}{padding[0]}  {counts[place]:>{after}}  {page.accent(bar)}{padding[1]}  {note}".rstrip()


def _bar(length: float) -> str:
    eighths = round(length * 8)
    if length > 0:
        eighths = max(1, eighths)
    return ("█" * (eighths // 8) + _EIGHTHS[eighths % 8]).rstrip()


def _fitted(name: str) -> str:
    if columns(name) <= _NAME_COLUMNS:
        return name
    cut = ""
    for char in name:
        if columns(cut + char) >= _NAME_COLUMNS:
            break
        cut += char
    return f"{cut}…"


def _hours(counts: Sequence[int], page: Layout) -> Iterator[str]:
    most = max(counts)
    if not most:
        return
    steps = (_HEIGHTS[min(7, count * 8 // (most + 1))] if count else " " for count in counts)
    yield from ("", page.bold("Hours"))
    yield "  " + page.accent("".join(step * 2 for step in steps).rstrip())
    yield "  " + "".join(f"{hour:<6}" for hour in range(0, 24, 3)).rstrip()


def _listed(title: str, counted: Sequence[tuple[str, int]], page: Layout) -> Iterator[str]:
    if counted:
        text = " · ".join(f"{plain(what)}\u00a0{count:,}" for what, count in counted[:_MOST_WORDS])
        yield from ("", page.bold(title))
        # Joined by a no-break space, so that a word and its count stay on one line.
        yield from (line.replace("\u00a0", " ") for line in _wrapped(text, page))


def _wrapped(text: str, page: Layout) -> Iterator[str]:
    line = " "
    for part in text.split(" · "):
        if columns(line) + columns(part) + 3 > page.width and line.strip():
            yield line.rstrip(" ·")
            line = " "
        line += f" {part} ·"
    yield line.rstrip(" ·")
