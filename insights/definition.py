"""The definition of an insight type: sections, scales, facts, queries and signals. docs/insights.md explains each key.

The same models check a file of the catalogue and what staff enter in the admin. Keys of the stored JSON that are not
standard terms (`says`, `least`, `counted`) are aliases: rows of earlier versions stay readable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StrictBool, model_validator

from insights.engines import ENGINES
from insights.episodes import KINDS, ROLES, TOPICS, Relationship, Tone
from insights.facts import FACTS
from insights.safety import CONCERN_KINDS
from insights.scales import NOT_ENOUGH_DATA, SIGNAL_KINDS, rate_on_scale
from insights.validation import (
    SHOWN,
    ClosedModel,
    Count,
    Number,
    Phrases,
    PositiveCount,
    ShortText,
    ShownText,
    Slug,
    Text,
    check_member,
    custom_error,
    error_at,
    parse,
)

#: Quoted exchanges of one section.
MAX_EXCHANGES = 5
MAX_SECTIONS = 20

#: Keys that a section takes from the one it is `like`, unless it has its own.
_SHARED_KEYS = ("queries", "terms", "unless", "group", "counted")


def _check_scale(members: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(members)) < len(members) or NOT_ENOUGH_DATA in members or len(members) == 1:
        raise custom_error(f"must have at least two different members; {NOT_ENOUGH_DATA} is added to every scale")
    return members


FactName = Annotated[Text, AfterValidator(lambda name: check_member(name, FACTS))]
SignalName = Annotated[Text, AfterValidator(lambda name: check_member(name, SIGNAL_KINDS))]
Scale = Annotated[tuple[Slug, ...], AfterValidator(_check_scale)]


class Advice(ClosedModel):
    """A recommendation for a chat in which the section is rated low."""

    title: ShownText
    suggestion: ShownText
    why: ShownText
    example: ShownText


class Group(ClosedModel):
    """One of the things that a section distinguishes, with the terms that indicate it."""

    key: Slug
    title: ShownText
    terms: Phrases = Field(min_length=1)


class EvidenceRange(ClosedModel):
    """The number of quoted exchanges of a section. With fewer than `min`, the section has no rating."""

    min: Count = 0
    max: Count = Field(default=0, le=MAX_EXCHANGES)

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.min > self.max:
            raise custom_error(f"needs 0 <= min <= max <= {MAX_EXCHANGES}")
        return self


class Signal(ClosedModel):
    """How the local engine rates a section. scales.SIGNAL_KINDS says which keys each kind has and what it measures."""

    kind: SignalName
    fact: FactName | None = None
    cuts: tuple[Number, ...] = ()
    min_count: PositiveCount = Field(default=1, alias="least")
    rank: PositiveCount = 1
    over: ShortText = ""
    under: ShortText = ""

    @property
    def ordered(self) -> bool:
        """Whether the members of the scale rank from best to worst."""
        return SIGNAL_KINDS[self.kind].ordered

    @property
    def counts_mentions(self) -> bool:
        """Whether the figure is made of the section's terms."""
        return self.fact is None and self.kind != "recurring_words"

    @property
    def rising(self) -> bool:
        """Whether small figures are better."""
        return self.cuts[0] < self.cuts[-1] if len(self.cuts) > 1 else SIGNAL_KINDS[self.kind].rising

    def rate(self, value: float, scale: Sequence[str]) -> str:
        """Return the member of the scale for a figure."""
        return rate_on_scale(value, scale=scale, cuts=self.cuts, rising=self.rising)

    @model_validator(mode="after")
    def _check_signal_keys(self) -> Self:
        kind = SIGNAL_KINDS[self.kind]
        keys = {type(self).model_fields[name].alias or name for name in self.model_fields_set} - {"kind"}
        for key in sorted(kind.required - keys):
            raise error_at(key, message="is missing")
        for key in sorted(keys - kind.required - kind.optional):
            raise error_at(key, message="is not known here")
        if list(self.cuts) not in (sorted(set(self.cuts)), sorted(set(self.cuts), reverse=True)):
            raise error_at("cuts", message="must only rise or only fall")
        return self


KindName = Annotated[Text, AfterValidator(lambda name: check_member(name, KINDS))]
ConcernName = Annotated[Text, AfterValidator(lambda name: check_member(name, CONCERN_KINDS))]
RoleName = Annotated[Text, AfterValidator(lambda name: check_member(name, ROLES))]
TopicName = Annotated[Text, AfterValidator(lambda name: check_member(name, TOPICS))]
ToneName = Annotated[Text, AfterValidator(lambda name: check_member(name, frozenset(Tone)))]


class EpisodeGroup(ClosedModel):
    """One of the things that a section distinguishes, with the episodes that show it.

    An episode belongs to the group if it is of one of its kinds and topics, and counts for the people with one of its
    roles. An empty list stands for all that the section uses.
    """

    key: Slug
    title: ShownText
    kinds: tuple[KindName, ...] = ()
    topics: tuple[TopicName, ...] = ()
    roles: tuple[RoleName, ...] = ()


class Reading(ClosedModel):
    """The episodes that answer a section, for engines that read the chat.

    An episode counts for a person with one of `roles`. `signal` rates the section by its episodes; without one, the
    section's own signal rates it if that measures a fact. `sentences` has a sentence for a rating. `by_month`: the
    episodes of the first kind are also shown as facts by month.
    """

    kinds: tuple[KindName, ...] = Field(min_length=1)
    topics: tuple[TopicName, ...] = ()
    tones: tuple[ToneName, ...] = (Tone.SINCERE,)
    roles: tuple[RoleName, ...] = ("does",)
    groups: tuple[EpisodeGroup, ...] = Field(default=(), alias="group")
    signal: Signal | None = None
    sentences: Annotated[Mapping[str, Text], SHOWN] = Field(default_factory=dict, alias="says")
    by_month: StrictBool = False


class Section(ClosedModel):
    """One question of an insight. A section without a scale has a finding and no rating.

    `reading` says which episodes answer it, for engines that read the chat. `withheld_for` are the kinds of danger next
    to which it is not answered; for a sensitive section, all.

    A scale needs a `signal` over counted words and facts, or one of `reading` over episodes. With only the latter, an
    engine that counts gives no rating.

    `queries` find conversations by meaning and by words. `terms` are counted as whole words over the chat, except
    within a phrase of `unless`. `terms_label` names in plain words what the terms indicate. `sentences` has a
    sentence for a rating.
    """

    key: Slug
    title: ShownText
    question: Text
    scale: Scale = ()
    per_person: StrictBool = False
    facts: tuple[FactName, ...] = ()
    queries: Phrases = ()
    own_terms: Phrases = Field(default=(), alias="terms")
    unless: Phrases = ()
    groups: tuple[Group, ...] = Field(default=(), alias="group")
    terms_label: Annotated[ShortText, SHOWN] = Field(default="", alias="counted")
    signal: Signal | None = None
    reading: Reading | None = None
    sentences: Annotated[Mapping[str, Text], SHOWN] = Field(default_factory=dict, alias="says")
    weight: Number = Field(default=1.0, ge=0)
    sensitive: StrictBool = False
    withheld_for: tuple[ConcernName, ...] = ()
    evidence: EvidenceRange = EvidenceRange()
    advice: Advice | None = None

    @cached_property
    def terms(self) -> tuple[str, ...]:
        """The section's own terms and those of its groups, each once."""
        return tuple(dict.fromkeys([*self.own_terms, *(term for group in self.groups for term in group.terms)]))

    @property
    def allowed_ratings(self) -> frozenset[str]:
        """The ratings that a document may give; empty for a section without a scale."""
        return frozenset((*self.scale, NOT_ENOUGH_DATA)) if self.scale else frozenset()

    @property
    def needs_reading(self) -> bool:
        """Whether only an engine that reads the chat can rate the section."""
        return bool(self.scale) and self.signal is None

    @property
    def counts_recurring_words(self) -> bool:
        """Whether the section's signal is the chat's recurring words."""
        return self.signal is not None and self.signal.kind == "recurring_words"

    @model_validator(mode="after")
    def _check_section(self) -> Self:
        if len({group.key for group in self.groups}) < len(self.groups):
            raise error_at("group", message="two groups have the same key")
        read_signal = self.reading.signal if self.reading is not None else None
        if self.scale and self.signal is None and read_signal is None:
            raise error_at("signal", message="a section with a scale needs one, for words or in reading")
        if (self.signal is not None or read_signal is not None) and not self.scale:
            raise error_at("scale", message="a section with a signal needs one")
        if self.evidence.max and not self.queries:
            raise error_at("queries", message="a section with evidence needs at least one")
        if self.terms and not self.terms_label:
            raise error_at("counted", message="must say in plain words what the terms indicate")
        if self.signal is not None and self.signal.counts_mentions and not self.terms:
            raise error_at("terms", message="the signal counts mentions, and there are no terms")
        members = {*self.scale, NOT_ENOUGH_DATA}
        if unknown := sorted(self.sentences.keys() - members):
            raise error_at("says", message=f"{unknown[0]} is not a member of the scale")
        if self.reading is not None and (unknown := sorted(self.reading.sentences.keys() - members)):
            raise error_at("reading", "says", message=f"{unknown[0]} is not a member of the scale")
        return self

    @model_validator(mode="after")
    def _check_signal(self) -> Self:
        """Check the signal against the section's scale and groups."""
        if self.signal is not None:
            if SIGNAL_KINDS[self.signal.kind].of_episodes:
                raise error_at("signal", "kind", message=f"{self.signal.kind} measures episodes")
            _check_fit(self.signal, [group.key for group in self.groups], self.scale, location=("signal",))
        if self.reading is not None and self.reading.signal is not None:
            keys = [group.key for group in self.reading.groups]
            _check_fit(self.reading.signal, keys, self.scale, location=("reading", "signal"))
        return self


def _check_fit(signal: Signal, keys: Sequence[str], scale: Sequence[str], *, location: tuple[str, ...]) -> None:
    """Raise an error if the signal does not fit the keys of the groups or the scale."""
    if SIGNAL_KINDS[signal.kind].grouped and not keys:
        raise error_at(*location, "kind", message=f"{signal.kind} compares groups, and the section has none")
    for name in ("over", "under"):
        if (key := getattr(signal, name)) and key not in keys:
            raise error_at(*location, name, message=f"{key!r} is none of {', '.join(sorted(keys))}")
    # A majority has no cuts: the key of the leading group is the rating.
    if signal.kind == "majority":
        if unknown := [key for key in keys if key not in scale]:
            raise error_at(*location, "kind", message=f"group {unknown[0]} is not a member of the scale")
        return
    # A match has three results and no cuts.
    expected = 2 if signal.kind == "match" else len(signal.cuts)
    if len(scale) != expected + 1:
        message = f"a scale of {len(scale)} takes {len(scale) - 1} cuts, not {expected}"
        raise error_at(*location, "cuts", message=message)


class Overall(ClosedModel):
    """The scale of the whole insight. `cuts` divide it over scores from 0 to 10; `rubric` explains ranges of scores."""

    scale: Scale = Field(min_length=2)
    cuts: tuple[Number, ...]
    rubric: Mapping[str, Text] = Field(default_factory=dict)

    def rate(self, score: int | None) -> str:
        """Return the rating for a score."""
        return (
            NOT_ENOUGH_DATA if score is None else rate_on_scale(score, scale=self.scale, cuts=self.cuts, rising=False)
        )

    @model_validator(mode="after")
    def _check_overall(self) -> Self:
        if len(self.cuts) != len(self.scale) - 1 or list(self.cuts) != sorted(self.cuts, reverse=True):
            raise error_at("cuts", message="must have one cut between each two members of the scale, falling")
        if not self.rubric:
            raise error_at("rubric", message="must say what the scores mean")
        return self


class Definition(ClosedModel):
    """The content of `InsightType.definition`."""

    sections: tuple[Section, ...] = Field(alias="section", min_length=1, max_length=MAX_SECTIONS)
    overall: Overall

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Return the definition. Raise InvalidData, such as `definition: section 3 (affection): cuts: is missing`."""
        return parse(cls, data, source="definition")

    def section(self, key: str) -> Section:
        """Return the section with this key. Raise KeyError."""
        for section in self.sections:
            if section.key == key:
                return section
        raise KeyError(key)

    @model_validator(mode="before")
    @classmethod
    def _copy_shared_keys(cls, data: Any) -> Any:
        """Give each section that is `like` another the words of the other that it lacks."""
        sections = data.get("section") if isinstance(data, Mapping) else None
        # Data of another shape is left to the field validators, which report it.
        if not isinstance(sections, list):
            return data
        by_key = {section.get("key"): section for section in sections if _has_text(section, "key")}
        copied: list[Any] = []
        for index, section in enumerate(sections):
            if not _has_text(section, "like"):
                copied.append(section)
                continue
            other = by_key.get(section["like"])
            if other is None:
                raise error_at("section", index, "like", message=f"{section['like']!r} is not a section of this type")
            own = {key: value for key, value in section.items() if key != "like"}
            shared = {key: other[key] for key in _SHARED_KEYS if key in other}
            # What is read is shared, and each section has its own signal over it.
            if isinstance(other.get("reading"), Mapping) and isinstance(own.get("reading", {}), Mapping):
                read = {key: value for key, value in other["reading"].items() if key not in ("signal", "says")}
                own["reading"] = read | own.get("reading", {})
            copied.append({**shared, **own})
        return {**data, "section": copied}

    @model_validator(mode="after")
    def _check_definition_keys(self) -> Self:
        keys = [section.key for section in self.sections]
        if repeated := {key for key in keys if keys.count(key) > 1}:
            raise error_at("section", message=f"{min(repeated)} is used twice")
        return self


def _has_text(table: Any, key: str) -> bool:
    return isinstance(table, Mapping) and isinstance(table.get(key), str)


EngineName = Annotated[Text, AfterValidator(lambda name: check_member(name, ENGINES))]


class CategoryEntry(ClosedModel):
    """The `[category]` table of a file of the catalogue."""

    id: Slug
    title: ShownText
    description: ShownText
    icon: Text
    price: Count
    engine_prices: Mapping[EngineName, Annotated[Count, Field(ge=50)]] = Field(default_factory=dict)
    display_order: Count
    not_for: tuple[Annotated[Text, AfterValidator(lambda name: check_member(name, frozenset(Relationship)))], ...] = ()


class TypeEntry(Definition):
    """A `[[type]]` table of a file of the catalogue."""

    name: Slug
    title: ShownText
    icon: Text
    purpose: ShownText
    price: PositiveCount
    engine_prices: Mapping[EngineName, PositiveCount] = Field(default_factory=dict)
    groups: StrictBool
    min_messages: Count


class CatalogueFile(ClosedModel):
    """A file of the catalogue: one category and its insight types."""

    category: CategoryEntry
    types: tuple[TypeEntry, ...] = Field(alias="type")
