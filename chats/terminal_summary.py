"""Statistics of a chat as text for a terminal: short lists and bars. Contains names and words, but no message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from relivchats.terminal import Layout, columns, plain, plural

MAX_PEOPLE = 12
MAX_MONTHS = 24
MAX_WORDS = 20

_LEVELS = "▁▂▃▄▅▆▇█"


def summarize(statistics: Mapping[str, Any], *, layout: Layout) -> Iterator[str]:
    """Yield the lines of a summary. `statistics` are the figures of `chats.statistics`, of at least one message."""
    first, last = (datetime.fromisoformat(statistics[f"{which}_message_at"]) for which in ("first", "last"))
    days = f"on {statistics['active_days']:,} of {plural(statistics['total_days'], 'day')}"
    yield f"  {first:%-d %b %Y %H:%M} to {last:%-d %b %Y %H:%M}, {days}"
    totals: list[tuple[int | None, *tuple[str, ...]]] = [
        (statistics["total_words"], "word"),
        (statistics["questions_count"], "question"),
        (statistics["media_shared_count"], "file"),
        (statistics["links_shared_count"], "link"),
        (statistics["calls_count"], "call"),
        (statistics["replies_count"], "reply", "replies"),
        (statistics["reactions_count"], "reaction"),
        (statistics["forwarded_messages_count"], "forwarded message"),
        (statistics["conversations_count"], "conversation"),
    ]
    yield "  " + ", ".join(plural(count, *nouns) for count, *nouns in totals if count)

    people = list(statistics["user_stats"].items())
    shown, rest = people[:MAX_PEOPLE], people[MAX_PEOPLE:]
    labels = [_answer_time(person["median_response_time_seconds"]) for _, person in shown]
    yield from _bars("People", [(name, person["message_count"]) for name, person in shown], layout, labels=labels)
    others = statistics["others"] or {"people": 0, "message_count": 0}
    if more := len(rest) + others["people"]:
        messages = sum(person["message_count"] for _, person in rest) + others["message_count"]
        yield f"  and {more:,} more with {plural(messages, 'message')}"

    yield from _bars("Months", _recent_months(statistics["messages_by_month"]), layout)
    yield from _bars("Weekdays", list(statistics["daily_distribution"].items()), layout)
    by_hour = statistics["hourly_distribution"]
    if most := max(by_hour):
        levels = [_LEVELS[min(7, count * 8 // (most + 1))] if count else " " for count in by_hour]
        yield from ("", layout.bold("Hours"))
        yield "  " + layout.accent("".join(level * 2 for level in levels).rstrip())
        yield "  " + "".join(f"{hour:<6}" for hour in range(0, 24, 3)).rstrip()
    yield from _word_list("Words", [(word["word"], word["count"]) for word in statistics["top_words"]], layout)
    yield from _word_list("Emoji", [(emoji["emoji"], emoji["count"]) for emoji in statistics["top_emojis"]], layout)
    reactions = [(emoji["emoji"], emoji["count"]) for emoji in statistics["top_reactions"] or ()]
    yield from _word_list("Reactions", reactions, layout)
    media = [(kind, count) for kind, count in (statistics["media_by_kind"] or {}).items() if count]
    yield from _word_list("Media", sorted(media, key=lambda kind: -kind[1]), layout)


def _answer_time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    for unit, size in (("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"answers in {seconds / size:.0f} {unit}"
    return f"answers in {seconds:.0f} s"


def _recent_months(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """Return the last months up to the newest in `counts`, including months without messages."""
    if not counts:
        return []
    earliest, latest = ([int(part) for part in month.split("-")] for month in (min(counts), max(counts)))
    end = latest[0] * 12 + latest[1]
    start = max(earliest[0] * 12 + earliest[1], end - MAX_MONTHS + 1)
    names = [f"{(month - 1) // 12:04}-{(month - 1) % 12 + 1:02}" for month in range(start, end + 1)]
    return [(name, counts.get(name, 0)) for name in names]


def _bars(title: str, rows: Sequence[tuple[str, int]], layout: Layout, *, labels: Sequence[str] = ()) -> Iterator[str]:
    if rows:
        yield from ("", layout.bold(title))
        # Two columns are used by the indentation.
        for line in replace(layout, width=layout.width - 2).bars(rows, labels=labels):
            yield f"  {line}"


def _word_list(title: str, counts: Sequence[tuple[str, int]], layout: Layout) -> Iterator[str]:
    if not counts:
        return
    yield from ("", layout.bold(title))
    line = ""
    for word, count in counts[:MAX_WORDS]:
        entry = f"{plain(word)} {count:,}"
        # An entry is never broken, so that a word and its count stay on one line.
        if line and columns(line) + columns(entry) + 5 > layout.width:
            yield f"  {line}"
            line = ""
        line += f" · {entry}" if line else entry
    yield f"  {line}"
