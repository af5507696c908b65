"""What an insight type asks for: sections, scales, facts, queries and signals, read from its table in the catalogue.

`Definition.parse` reads the mapping that `InsightType.definition` holds and
raises ValueError with the place at fault, so that staff can mend what they
edited.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from insights.facts import FACTS
from insights.scales import NOT_ENOUGH_DATA, Group, Signal, place_on_scale
from insights.tables import SLUG, Table

MOST_EXCHANGES = 5
MOST_SECTIONS = 20


@dataclass(frozen=True, slots=True)
class Advice:
    """A recommendation that fits when the section's signal is low."""

    title: str
    suggestion: str
    why: str
    example: str

    @classmethod
    def parse(cls, table: Table) -> Self:
        advice = cls(**{key: table.text(key) for key in ("title", "suggestion", "why", "example")})
        table.only({"title", "suggestion", "why", "example"})
        return advice


@dataclass(frozen=True, slots=True)
class Section:
    """One question of an insight.

    `scale` is empty where the section only tells. `queries` find conversations,
    by meaning and by words; `terms` are counted as whole words over the chat
    (a section with groups counts the terms of them all), but not where they
    stand within a longer phrase of `unless`. `counted` names in plain words
    what the terms show; `says` has a sentence for a rating.
    """

    key: str
    title: str
    question: str
    scale: tuple[str, ...]
    per_person: bool
    facts: tuple[str, ...]
    queries: tuple[str, ...]
    terms: tuple[str, ...]
    unless: tuple[str, ...]
    groups: tuple[Group, ...]
    counted: str
    signal: Signal | None
    says: Mapping[str, str]
    weight: float
    sensitive: bool
    evidence_min: int
    evidence_max: int
    advice: Advice | None

    @classmethod
    def parse(cls, table: Table) -> Self:
        groups = tuple(Group.parse(group) for group in table.tables("group"))
        if len({group.key for group in groups}) < len(groups):
            raise table.wrong("group", "two groups have one key")
        scale = _scale(table, required=False)
        evidence = table.table("evidence")
        section = cls(
            key=table.slug("key"),
            title=table.text("title"),
            question=table.text("question"),
            scale=scale,
            per_person=table.boolean("per_person", default=False),
            facts=tuple(table.members("facts", FACTS)),
            queries=table.texts("queries"),
            terms=tuple(dict.fromkeys([*table.texts("terms"), *(term for group in groups for term in group.terms)])),
            unless=tuple(table.texts("unless")),
            groups=groups,
            counted=table.text("counted", default=""),
            signal=Signal.parse(table.table("signal"), scale=scale, groups=groups) if "signal" in table else None,
            says=_says(table, scale),
            weight=table.number("weight", default=1.0),
            sensitive=table.boolean("sensitive", default=False),
            evidence_min=evidence.integer("min", default=0, least=0),
            evidence_max=evidence.integer("max", default=0, least=0),
            advice=Advice.parse(table.table("advice")) if "advice" in table else None,
        )
        evidence.only({"min", "max"})
        table.only(_SECTION_KEYS)
        section._must_hold(table)
        return section

    def _must_hold(self, table: Table) -> None:
        if self.scale and self.signal is None:
            raise table.wrong("signal", "a section with a scale needs one")
        if self.signal is not None and not self.scale:
            raise table.wrong("scale", "a section with a signal needs one")
        if not self.evidence_min <= self.evidence_max <= MOST_EXCHANGES:
            raise table.wrong("evidence", f"needs 0 <= min <= max <= {MOST_EXCHANGES}")
        if self.evidence_max and not self.queries:
            raise table.wrong("queries", "a section with evidence needs at least one")
        if self.terms and not self.counted:
            raise table.wrong("counted", "say in plain words what the terms show")
        if self.signal is not None and self.signal.counts_mentions and not self.terms:
            raise table.wrong("terms", "the signal counts mentions, and there are no terms")

    @property
    def ratings(self) -> frozenset[str]:
        """What a rating of this section may be."""
        return frozenset((*self.scale, NOT_ENOUGH_DATA)) if self.scale else frozenset()


_SECTION_KEYS = frozenset(
    [
        "key",
        "title",
        "question",
        "scale",
        "per_person",
        "facts",
        "queries",
        "terms",
        "unless",
        "group",
        "counted",
        "signal",
        "says",
        "weight",
        "sensitive",
        "evidence",
        "advice",
    ]
)


@dataclass(frozen=True, slots=True)
class Overall:
    """`cuts` part the scale over the score from 0 to 10; `rubric` says what a range of scores means."""

    scale: tuple[str, ...]
    cuts: tuple[float, ...]
    rubric: Mapping[str, str]

    @classmethod
    def parse(cls, table: Table) -> Self:
        overall = cls(scale=_scale(table, required=True), cuts=table.numbers("cuts"), rubric=table.strings("rubric"))
        table.only({"scale", "cuts", "rubric"})
        if len(overall.cuts) != len(overall.scale) - 1 or list(overall.cuts) != sorted(overall.cuts, reverse=True):
            raise table.wrong("cuts", "one falling cut between each two members of the scale")
        if not overall.rubric:
            raise table.wrong("rubric", "say what the scores mean")
        return overall

    def rate(self, score: int | None) -> str:
        return (
            NOT_ENOUGH_DATA if score is None else place_on_scale(score, scale=self.scale, cuts=self.cuts, rising=False)
        )

    @property
    def ratings(self) -> frozenset[str]:
        return frozenset((*self.scale, NOT_ENOUGH_DATA))


@dataclass(frozen=True, slots=True)
class Definition:
    sections: tuple[Section, ...]
    overall: Overall

    @classmethod
    def parse(cls, mapping: Any) -> Self:
        """Raises ValueError that names the place, such as `section 3 (affection): cuts: must be numbers`."""
        table = Table(_with_borrowed(mapping), place="definition")
        sections = tuple(Section.parse(section) for section in table.tables("section"))
        if not 1 <= len(sections) <= MOST_SECTIONS:
            raise table.wrong("section", f"needs 1 to {MOST_SECTIONS} of them")
        keys = [section.key for section in sections]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise table.wrong("section", f"{min(repeated)} stands twice")
        definition = cls(sections=sections, overall=Overall.parse(table.table("overall")))
        table.only({"section", "overall"})
        return definition

    def section(self, key: str) -> Section:
        return next(section for section in self.sections if section.key == key)


_BORROWED = ("queries", "terms", "unless", "group", "counted")


def _with_borrowed(mapping: Any) -> Any:
    """A section that is `like` another asks the same words another question: what it lacks of them is the other's."""
    sections = mapping.get("section") if isinstance(mapping, Mapping) else None
    if not isinstance(sections, list):
        return mapping
    keyed = [section for section in sections if isinstance(section, Mapping) and isinstance(section.get("key"), str)]
    by_key = {section["key"]: section for section in keyed}
    return {**mapping, "section": [_filled(section, by_key) for section in sections]}


def _filled(section: Any, by_key: Mapping[Any, Mapping[str, Any]]) -> Any:
    like = section.get("like") if isinstance(section, Mapping) else None
    if not isinstance(like, str) or like not in by_key:
        return section
    other = by_key[like]
    own = {key: value for key, value in section.items() if key != "like"}
    return {**{key: other[key] for key in _BORROWED if key in other}, **own}


def _scale(table: Table, *, required: bool) -> tuple[str, ...]:
    members = table.texts("scale", least=2 if required else 0)
    for member in members:
        if not SLUG.fullmatch(member):
            raise table.wrong("scale", f"{member!r} is not in lower snake case")
    if len(set(members)) < len(members) or NOT_ENOUGH_DATA in members or len(members) == 1:
        raise table.wrong("scale", f"at least two different members, {NOT_ENOUGH_DATA} is added by itself")
    return members


def _says(table: Table, scale: Sequence[str]) -> Mapping[str, str]:
    says = table.strings("says")
    if strangers := sorted(says.keys() - {*scale, NOT_ENOUGH_DATA}):
        raise table.wrong("says", f"{strangers[0]} is not a member of the scale")
    return says
