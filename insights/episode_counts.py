"""Counts over episodes: by month, who starts and who repairs, and how long it takes until calm. Pure.

Only sincere episodes count. The counts are exact, but of what a model read: facts of them say so.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import date, timedelta
from statistics import median
from typing import NamedTuple

from insights.engines.base import Fact
from insights.episodes import KINDS, Episode, Tone
from insights.translation import Language, mark

#: A quarrel without a step to make up within this time was not made up.
MAX_UNTIL_CALM = timedelta(days=7)
#: Months that a section lists.
MAX_MONTHS = 24

STARTS = frozenset({"starts"})
REPAIRS = frozenset({"repairs", "gives_in"})
#: Kinds in which somebody repairs.
TENSE_KINDS = frozenset({"conflict", "repair", "apology", "fair_talk"})


def count_by_month(episodes: Iterable[Episode]) -> Mapping[str, Mapping[str, int]]:
    """Return the number of episodes of each kind, by the month `YYYY-MM` in which they begin."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for episode in select_sincere(episodes):
        counts[episode.kind][f"{episode.started_at:%Y-%m}"] += 1
    return counts


def count_people(episodes: Iterable[Episode], *, kinds: Collection[str], roles: Collection[str]) -> Counter[int]:
    """Return for each person the number of episodes of these kinds in which they have one of the roles."""
    return Counter(
        person
        for episode in select_sincere(episodes)
        if episode.kind in kinds
        for person, own in episode.roles.items()
        if not set(own).isdisjoint(roles)
    )


class Quarrel(NamedTuple):
    """A sincere quarrel, and how it ended: `repair` is the making up after it, `until_calm` None if there was none.

    Without a repair, somebody repaired or gave in within the quarrel.
    """

    conflict: Episode
    repair: Episode | None
    until_calm: timedelta | None


def list_quarrels(episodes: Iterable[Episode]) -> list[Quarrel]:
    """Return the sincere quarrels in the order of the chat, each with the time from its start until calm.

    Calm is the end of the quarrel if somebody repairs in it or gives in, and otherwise the end of the next making up,
    if that is within MAX_UNTIL_CALM.
    """
    sincere = sorted(select_sincere(episodes), key=lambda episode: episode.first)
    repairs = [episode for episode in sincere if episode.kind == "repair"]
    quarrels = []
    for conflict in sincere:
        if conflict.kind != "conflict":
            continue
        if any(not REPAIRS.isdisjoint(own) for own in conflict.roles.values()):
            quarrels.append(Quarrel(conflict, None, conflict.ended_at - conflict.started_at))
            continue
        later = (each for each in repairs if each.first >= conflict.first and each.last >= conflict.last)
        if (repair := next(later, None)) and repair.ended_at - conflict.started_at <= MAX_UNTIL_CALM:
            quarrels.append(Quarrel(conflict, repair, repair.ended_at - conflict.started_at))
        else:
            quarrels.append(Quarrel(conflict, None, None))
    return quarrels


def measure_until_calm(episodes: Iterable[Episode]) -> list[timedelta]:
    """Return the time from the start of each quarrel until calm, without quarrels that were not made up."""
    return [quarrel.until_calm for quarrel in list_quarrels(episodes) if quarrel.until_calm is not None]


def list_facts(episodes: Collection[Episode], *, kinds: Collection[str], wording: Language) -> list[Fact]:
    """Return what is counted about quarrels and making up as facts, if a section of these kinds is about both."""
    if not {"conflict", "repair"}.issubset(kinds):
        return []
    starts = count_people(episodes, kinds={"conflict"}, roles=STARTS)
    repairs = count_people(episodes, kinds=TENSE_KINDS, roles=REPAIRS)
    facts = [
        Fact(name, wording.translate(label), person, count, "episodes", "read")
        for name, label, counts in (
            ("read.starts", mark("Quarrels started"), starts),
            ("read.repairs", mark("Steps to make up"), repairs),
        )
        for person, count in sorted(counts.items())
    ]
    if durations := measure_until_calm(episodes):
        seconds = round(median(duration.total_seconds() for duration in durations))
        label = wording.say("Typical time until calm")
        facts.append(Fact("read.until_calm", label, None, max(0, seconds), "seconds", "read"))
    return facts


def list_months(episodes: Iterable[Episode], *, kind: str, wording: Language) -> list[Fact]:
    """Return the number of episodes of a kind in each of the last MAX_MONTHS months that have any, as facts."""
    months = sorted(count_by_month(episodes).get(kind, {}).items())[-MAX_MONTHS:]
    title = wording.translate(KINDS[kind].title)
    facts = []
    for month, count in months:
        label = f"{title}, {wording.format_month(date.fromisoformat(f'{month}-01'))}"
        facts.append(Fact(f"read.{kind}.{month}", label, None, count, "episodes", "read"))
    return facts


def select_sincere(episodes: Iterable[Episode]) -> list[Episode]:
    """Return the episodes that are meant as they are said."""
    return [episode for episode in episodes if episode.tone == Tone.SINCERE]
