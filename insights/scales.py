"""How a counted figure becomes a member of a scale, and what figures there are.

Scales run from the best member to the worst; `cuts[i]` parts member i from
member i + 1, and a figure on a cut belongs to the better one. Rising cuts put
small figures first, falling cuts large ones; a lone cut goes by its kind.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from insights.facts import FACTS
from insights.tables import Table

NOT_ENOUGH_DATA = "not_enough_data"


@dataclass(frozen=True, slots=True)
class SignalKind:
    """What one kind of signal reads: `needs` and `takes` name its keys, `ordered` whether its scale ranks."""

    needs: frozenset[str]
    takes: frozenset[str] = frozenset()
    ordered: bool = True
    grouped: bool = False
    rising: bool = False


def _kind(
    needs: str, takes: str = "", *, ordered: bool = True, grouped: bool = False, rising: bool = False
) -> SignalKind:
    return SignalKind(frozenset(needs.split()), frozenset(takes.split()), ordered, grouped, rising)


SIGNALS: Mapping[str, SignalKind] = {
    # How far the largest share of a fact (or of the mentions) lies above an even split: 0 even, 1 one person alone.
    "share_gap": _kind("cuts", "fact least", rising=True),
    # A fact's value, per person or of the whole chat.
    "threshold": _kind("fact cuts"),
    # The largest of the people's values of a fact, divided by the smallest.
    "spread": _kind("fact cuts", rising=True),
    # The highest of the people's mentions per hundred messages, divided by the lowest.
    "rate_gap": _kind("cuts", "least", rising=True),
    # Mentions per hundred messages.
    "per_hundred": _kind("cuts", "least"),
    # How many messages mention it at all.
    "presence": _kind("cuts"),
    # The query group that leads: its key is the rating.
    "majority": _kind("", "rank least", ordered=False, grouped=True),
    # The leading group's part of all groups' mentions.
    "lead": _kind("cuts", "least", grouped=True),
    # Mentions of the group `over` for each mention of the group `under`.
    "ratio": _kind("over under cuts", "least", grouped=True),
    # The part of all groups that come up at least `least` times.
    "breadth": _kind("cuts", "least", grouped=True),
    # The part of the mentioned groups that everybody mentions.
    "coverage": _kind("cuts", "least", grouped=True),
    # Whether people's leading groups are the same, cross over, or differ.
    "match": _kind("", "least", grouped=True),
    # How many words and names keep coming back that only these people use so (insights/recurring_words.py).
    "recurring_words": _kind("cuts"),
}


@dataclass(frozen=True, slots=True)
class Signal:
    """How the local engine rates a section without reading it. See SIGNALS."""

    kind: str
    fact: str = ""
    cuts: tuple[float, ...] = ()
    least: int = 1
    rank: int = 1
    over: str = ""
    under: str = ""

    @property
    def ordered(self) -> bool:
        return SIGNALS[self.kind].ordered

    @property
    def counts_mentions(self) -> bool:
        return not self.fact and self.kind != "recurring_words"

    @property
    def rising(self) -> bool:
        """Whether small figures come first on the scale."""
        return self.cuts[0] < self.cuts[-1] if len(self.cuts) > 1 else SIGNALS[self.kind].rising

    def place(self, value: float, scale: Sequence[str]) -> str:
        return place_on_scale(value, scale=scale, cuts=self.cuts, rising=self.rising)

    @classmethod
    def parse(cls, table: Table, *, scale: Sequence[str], groups: Sequence[Group]) -> Self:
        kind = table.one_of("kind", SIGNALS)
        shape = SIGNALS[kind]
        if shape.grouped and not groups:
            raise table.wrong("kind", f"{kind} compares query groups, and the section has none")
        table.need(shape.needs)
        signal = cls(
            kind=kind,
            fact=table.one_of("fact", FACTS) if "fact" in table else "",
            cuts=table.numbers("cuts") if "cuts" in table else (),
            least=table.integer("least", default=1, least=1),
            rank=table.integer("rank", default=1, least=1),
            over=table.one_of("over", [group.key for group in groups]) if "over" in table else "",
            under=table.one_of("under", [group.key for group in groups]) if "under" in table else "",
        )
        table.only({"kind", *shape.needs, *shape.takes})
        signal._must_fit(table, scale=scale, groups=groups)
        return signal

    def _must_fit(self, table: Table, *, scale: Sequence[str], groups: Sequence[Group]) -> None:
        if self.kind == "majority":
            strangers = [group.key for group in groups if group.key not in scale]
            if strangers:
                raise table.wrong("kind", f"group {strangers[0]} is not a member of the scale")
            return
        expected = 2 if self.kind == "match" else len(self.cuts)
        if len(scale) != expected + 1:
            raise table.wrong("cuts", f"a scale of {len(scale)} takes {len(scale) - 1} cuts, not {expected}")
        if list(self.cuts) not in (sorted(set(self.cuts)), sorted(set(self.cuts), reverse=True)):
            raise table.wrong("cuts", "must only rise or only fall")


@dataclass(frozen=True, slots=True)
class Group:
    """One of several things that a section tells apart, with the words that show it."""

    key: str
    title: str
    terms: tuple[str, ...]

    @classmethod
    def parse(cls, table: Table) -> Self:
        group = cls(key=table.slug("key"), title=table.text("title"), terms=table.texts("terms", least=1))
        table.only({"key", "title", "terms"})
        return group


def place_on_scale(value: float, *, scale: Sequence[str], cuts: Sequence[float], rising: bool) -> str:
    """The member of the scale where the value lies between the cuts."""
    return scale[sum(value > cut if rising else value < cut for cut in cuts)]
