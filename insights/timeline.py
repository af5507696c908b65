"""The history of a chat: what stands out in its times, and what a language model found when it read it. Pure.

Titles and sentences are those of timeline.toml, filled in with names and figures: a model writes none of them. Nothing
of an episode is listed if a message of danger is within it. While somebody of the chat may be in danger, quarrels and
repairs are not listed at all: next to violence, neither is a quarrel, and a repair is no happy end.
"""

from __future__ import annotations

import tomllib
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from chats.exports.parsed import Message, wall_clock
from chats.statistics.timeline import Moment, MomentKind
from insights import episode_counts
from insights.episodes import Episode, Reading
from insights.evidence import is_supported
from insights.translation import Language

#: The people of an entry, and those whom its sentence names.
MAX_PEOPLE, MAX_NAMED = 8, 3
#: Episodes of this strength or more are listed as quarrels, plans and best moments.
MIN_STRENGTH = 2
MAX_BEST_PER_MONTH = 3

_WORDS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
#: Kinds of episodes with the topic "milestone" that speak of it gladly, when it happens or is near.
_MILESTONE_KINDS = frozenset({"celebration", "decision", "excitement", "gift", "gratitude", "praise", "romance"})


class EntryKind(StrEnum):
    """What an entry of the timeline is about."""

    FIRST_MESSAGE = "first_message"
    LAST_MESSAGE = "last_message"
    BURST = "burst"
    SILENCE = "silence"
    RECORD_DAY = "record_day"
    NIGHT = "night"
    STREAK = "streak"
    MILESTONE = "milestone"
    FIRST = "first"
    ARGUMENT = "argument"
    REPAIR = "repair"
    PLAN = "plan"
    PROMISE_KEPT = "promise_kept"
    BEST_MOMENT = "best_moment"


_KIND_OF_MOMENT = {
    MomentKind.ROUND_NUMBER: EntryKind.MILESTONE,
    MomentKind.FIRST_CALL: EntryKind.FIRST,
    MomentKind.FIRST_MEDIA: EntryKind.FIRST,
    MomentKind.NEWCOMER: EntryKind.FIRST,
}


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure of an entry. `unit` is "messages", "days" or "seconds"."""

    label: str
    value: float
    unit: str


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the timeline. Times are wall-clock times of the chat; `numbers` are messages that show it.

    `subject` is what a model says it is about, or empty.
    """

    kind: EntryKind
    source: Literal["counted", "read"]
    starts_at: datetime
    ends_at: datetime
    title: str
    sentence: str
    people: tuple[str, ...]
    figures: tuple[Figure, ...]
    numbers: tuple[int, ...]
    subject: str = ""

    @property
    def month(self) -> str:
        """Return the month in which it begins, such as `2024-03`."""
        return f"{self.starts_at:%Y-%m}"


def sort_entries(entries: Iterable[Entry]) -> list[Entry]:
    """Return the entries in the order of time."""
    order = list(EntryKind)
    return sorted(entries, key=lambda entry: (entry.starts_at, order.index(entry.kind), entry.numbers, entry.title))


def list_counted(moments: Iterable[Moment], names: Sequence[str], wording: Language) -> list[Entry]:
    """Return an entry for each moment. `names` are those of the chat's people, by index."""
    return [_describe_moment(moment, names, wording) for moment in moments]


def _describe_moment(moment: Moment, names: Sequence[str], wording: Language) -> Entry:
    words = _WORDS["counted"][moment.kind]
    starts_at, ends_at = wall_clock(moment.start), wall_clock(moment.end)
    days = (ends_at.date() - starts_at.date()).days + 1
    figures: list[Figure] = []
    if moment.kind in (MomentKind.BURST, MomentKind.RECORD_DAY, MomentKind.NIGHT, MomentKind.ROUND_NUMBER):
        figures.append(Figure(wording.say("Messages"), moment.value, "messages"))
    if moment.kind == MomentKind.NEWCOMER:
        figures.append(Figure(wording.say("Messages of this person"), moment.value, "messages"))
    if moment.kind in (MomentKind.BURST, MomentKind.STREAK):
        figures.append(Figure(wording.say("Days"), days, "days"))
    if moment.typical is not None:
        figures.append(Figure(wording.say("Messages on a usual day"), moment.typical, "messages"))
    if moment.kind == MomentKind.SILENCE:
        figures.append(Figure(wording.say("Time without a message"), moment.value, "seconds"))
    values: dict[str, str | float] = {
        "all": _join([names[person] for person in moment.people], wording),
        "n": moment.value,
        "days": wording.say("one day") if days == 1 else _count_days(days, wording),
        # Rounded down: nobody wrote for at least so long. A silence is of two days or more.
        "duration": _count_days(moment.value // 86_400, wording),
    }
    return Entry(
        kind=_KIND_OF_MOMENT.get(moment.kind) or EntryKind(moment.kind),
        source="counted",
        starts_at=starts_at,
        ends_at=ends_at,
        title=wording.say(words["title"], **values),
        sentence=wording.say(words["sentence"], **values),
        people=tuple(names[person] for person in moment.people[:MAX_PEOPLE]),
        figures=tuple(figures),
        numbers=moment.numbers,
    )


def is_somebody_in_danger(reading: Reading) -> bool:
    """Return whether somebody of the chat may be in danger now."""
    return any(danger.withholds for danger in reading.dangers)


def list_read(reading: Reading, names: Sequence[str], wording: Language) -> list[Entry]:
    """Return the entries of what was read. `names` are those of the chat's people, by index.

    Their `subject` is what the model wrote: `check_subjects` removes what the messages do not support. Subjects are
    written in English, so they are empty in other languages.
    """
    dangerous = sorted({number for danger in reading.dangers for number in danger.numbers})

    def is_safe(first: int, last: int) -> bool:
        position = bisect_left(dangerous, first)
        return position == len(dangerous) or dangerous[position] > last

    entries = [] if is_somebody_in_danger(reading) else _list_quarrels(reading.episodes, names, wording, is_safe)
    sincere = [each for each in episode_counts.select_sincere(reading.episodes) if is_safe(each.first, each.last)]
    firsts = _find_firsts(reading, sincere)
    entries += [_describe(EntryKind.FIRST, episode, words, names, wording) for episode, words in firsts]
    listed = {id(episode) for episode, _ in firsts}
    rest = [episode for episode in sincere if id(episode) not in listed]
    best: list[Episode] = []
    for episode in rest:
        if episode.topic == "milestone" and episode.kind in _MILESTONE_KINDS:
            entries.append(_describe(EntryKind.MILESTONE, episode, _WORDS["milestone"], names, wording))
        elif episode.kind == "plan" and episode.strength >= MIN_STRENGTH:
            entries.append(_describe(EntryKind.PLAN, episode, _WORDS["plan"], names, wording))
        elif episode.kind == "promise_kept":
            entries.append(_describe(EntryKind.PROMISE_KEPT, episode, _WORDS["promise_kept"], names, wording))
        elif episode.kind in _WORDS["best"] and episode.strength >= MIN_STRENGTH:
            best.append(episode)
    entries += [
        _describe(EntryKind.BEST_MOMENT, episode, _WORDS["best"][episode.kind], names, wording)
        for episode in _select_best(best)
    ]
    return entries


def _list_quarrels(
    episodes: Collection[Episode], names: Sequence[str], wording: Language, is_safe: Callable[[int, int], bool]
) -> list[Entry]:
    """Return the quarrels with the making up after them, and other repairs."""
    entries, paired = [], set()
    for conflict, repair, until_calm in episode_counts.list_quarrels(episodes):
        if repair:
            paired.add(id(repair))
        # Something between a quarrel and the making up belongs to both.
        if not is_safe(conflict.first, repair.last if repair else conflict.last):
            continue
        if conflict.strength < MIN_STRENGTH and until_calm is None:
            continue
        words = _WORDS["argument"]
        entry = _describe(EntryKind.ARGUMENT, conflict, words, names, wording)
        people = list(dict.fromkeys([*conflict.roles, *(repair.roles if repair else ())]))
        if until_calm is not None:
            seconds = max(0, round(until_calm.total_seconds()))
            sentence = words["calm_later" if repair else "calm_within"]
            entry = replace(
                entry,
                ends_at=max(entry.ends_at, repair.ended_at) if repair else entry.ends_at,
                figures=(Figure(wording.say("Time until calm"), seconds, "seconds"),),
                numbers=tuple(sorted({*entry.numbers, *(repair.shows if repair else ())})),
                people=tuple(names[person] for person in people[:MAX_PEOPLE]),
            )
            if len(people) > 1:
                sentence = wording.say(
                    sentence,
                    all=_join([names[person] for person in people], wording),
                    about=_get_about(conflict, wording),
                    duration=format_duration(seconds, wording),
                )
                entry = replace(entry, sentence=sentence)
        entries.append(entry)
    for repair in episode_counts.select_sincere(episodes):
        if repair.kind == "repair" and id(repair) not in paired and is_safe(repair.first, repair.last):
            entries.append(_describe(EntryKind.REPAIR, repair, _WORDS["repair"], names, wording))
    return entries


def _find_firsts(reading: Reading, episodes: Sequence[Episode]) -> list[tuple[Episode, Mapping[str, str]]]:
    """Return the first episode of each kind of firsts, with its words.

    One that may have an earlier one in messages that were not read is left out.
    """
    unread = [month for month, messages in reading.months.items() if messages.read < messages.total]
    read_before = min(unread, default="9999")
    found: dict[int, tuple[Episode, Mapping[str, str]]] = {}
    for words in _WORDS["first"]:
        topic = words.get("topic")
        matching = (each for each in episodes if each.kind in words["kinds"] and topic in (None, each.topic))
        first = min(matching, key=lambda each: each.first, default=None)
        if first and f"{first.started_at:%Y-%m}" < read_before:
            found.setdefault(id(first), (first, words))
    return list(found.values())


def _select_best(episodes: Iterable[Episode]) -> list[Episode]:
    """Return the strongest episodes of each month, of different kinds."""
    best: dict[str, dict[str, Episode]] = {}
    for episode in sorted(episodes, key=lambda each: (-each.strength, each.first)):
        of_month = best.setdefault(f"{episode.started_at:%Y-%m}", {})
        if len(of_month) < MAX_BEST_PER_MONTH:
            of_month.setdefault(episode.kind, episode)
    return [episode for of_month in best.values() for episode in of_month.values()]


def _describe(
    kind: EntryKind, episode: Episode, words: Mapping[str, str], names: Sequence[str], wording: Language
) -> Entry:
    """Return the entry of an episode."""
    everybody = list(episode.roles)
    does = [person for person in everybody if "does" in episode.roles[person]]
    does = does or [person for person in everybody if "receives" not in episode.roles[person]] or everybody
    receives = [person for person in everybody if person not in does]
    # "{b}" needs somebody else, "{all}" two people.
    has_several = bool(receives) if "{b}" in words["sentence"] else len(everybody) > 1
    values = {
        "a": _join([names[person] for person in does], wording),
        "b": _join([names[person] for person in receives], wording),
        "all": _join([names[person] for person in everybody], wording),
        "about": _get_about(episode, wording),
    }
    return Entry(
        kind=kind,
        source="read",
        starts_at=episode.started_at,
        ends_at=max(episode.started_at, episode.ended_at),
        title=wording.say(words["title"], **values),
        sentence=wording.say(words["sentence" if has_several else "alone"], **values),
        people=tuple(names[person] for person in everybody[:MAX_PEOPLE]),
        figures=(),
        numbers=tuple(sorted(episode.shows)),
        subject=episode.subject if wording.code == "en" else "",
    )


def _get_about(episode: Episode, wording: Language) -> str:
    return wording.translate(_WORDS["about"].get(episode.topic, ""))


def check_subjects(entries: Iterable[Entry], *, messages: Mapping[int, Message], names: Collection[str]) -> list[Entry]:
    """Return the entries without subjects that the messages which show them do not support."""

    def is_shown(entry: Entry) -> bool:
        shown = [messages[number] for number in entry.numbers if number in messages]
        own = [message for message in shown if not message.details.is_forwarded]
        return is_supported(
            entry.subject,
            quotable=[message.text for message in own],
            names=names,
            times=[message.sent_at for message in own],
        )

    return [entry if not entry.subject or is_shown(entry) else replace(entry, subject="") for entry in entries]


def format_duration(seconds: float, wording: Language) -> str:
    """Return about how long it is, in one unit: `1 minute`, `20 minutes`, `5 hours`, `3 days`."""
    if seconds < 90 * 60:
        return wording.say_plural("{count} minute", "{count} minutes", max(1, round(seconds / 60)))
    if seconds < 48 * 3600:
        return wording.say_plural("{count} hour", "{count} hours", round(seconds / 3600))
    return _count_days(round(seconds / 86_400), wording)


def _count_days(days: int, wording: Language) -> str:
    return wording.say_plural("{count} day", "{count} days", days)


def _join(names: Sequence[str], wording: Language) -> str:
    """Return the names with commas, and `and` before the last; of many, the first and the number of the others."""
    if not names:
        return wording.say("Somebody")
    if len(names) > MAX_NAMED:
        others = len(names) - MAX_NAMED + 1
        return wording.say_plural(
            "{names} and {count} other", "{names} and {count} others", others, names=", ".join(names[: MAX_NAMED - 1])
        )
    return wording.join(names)
