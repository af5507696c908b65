"""Compare insights with the ground truth of their chats. Pure."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from insights import evidence, safety
from insights.definition import Definition, Section
from insights.document import NOTHING_TO_SAY
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import get_language
from tests.insights.document_texts import find_english, list_texts
from tests.truth import material
from tests.truth.ground_truth import GroundTruth, Planted
from tests.truth.oracle import belongs

if TYPE_CHECKING:
    from tests.truth.pipeline import ChatResult

#: A rating takes as many messages.
MIN_SUPPORT = 3
#: Two chats are far apart in a section if one has level 0 or 1, the other level 3, and so many more conversations.
MIN_DIFFERENCE = 4

_SENTENCE_END = re.compile(r"(?<=[.!?…।])\s+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
_LABEL = re.compile(r"\bP\d+\b")
#: Every mark that can begin or end a quotation: all but those between letters, and after the s of a possessive.
_QUOTATION_MARK = re.compile(r"[\"“”„‟«»‹›‘‚‛`´″＂「」『』]|(?<![^\W\d_])['’′＇]|(?<![sS])['’′＇](?![^\W\d_])")
#: How a sentence of the oracle begins, in each language: with the month.
_QUOTATION = re.compile("[„“«].*?[”“»]")
_CLAIM = re.compile(r"\b(?:In|Im|En|Em) [^\W\d_]{3,10} (?:de )?20\d\d\b|[\u0900-\u0963]{2,} 20\d\d में")


class FalseStatement(NamedTuple):
    """Something in a document that the chat does not contain."""

    type_id: str
    section: str
    what: str
    text: str


class LostSentence(NamedTuple):
    """A sentence that the oracle wrote and that is not in the document."""

    type_id: str
    section: str
    text: str


@dataclass(slots=True)
class SectionCount:
    """How many planted conversations of a section came how far, in all chats; `plain` ones have no obvious words.

    `planted` belong to the section. `slots` are the quotes that it could have. `quotable` belong to a section that
    quotes, `shown` were shown to the writer for it, `cited` by the oracle, and `quoted` are in the document. Of the
    sentences that the oracle has `written`, the `lost` ones are not in the document.
    `misplaced` quotes are of planted conversations that belong elsewhere, `false_quotes` of distractors and everyday
    messages. `unrated_pairs` are chats far apart of which one has no rating, `missing_pairs` those in which it could
    have one.
    """

    planted: int = 0
    slots: int = 0
    quotable: int = 0
    shown: int = 0
    cited: int = 0
    written: int = 0
    lost: int = 0
    quoted: int = 0
    plain_planted: int = 0
    plain_slots: float = 0.0
    plain_quoted: int = 0
    misplaced: int = 0
    false_quotes: int = 0
    rated: int = 0
    rated_on_too_little: int = 0
    right: int = 0
    tied: int = 0
    wrong: int = 0
    unrated_pairs: int = 0
    missing_pairs: int = 0


@dataclass(slots=True)
class Figures:
    """The figures of one engine and oracle over all chats."""

    planted: int = 0
    read: int = 0
    kept: int = 0
    plain_planted: int = 0
    plain_read: int = 0
    plain_kept: int = 0
    distractors_kept: int = 0
    documents: int = 0
    #: What became of the claims of the model, by the provenance of the documents.
    claims: Counter[str] = field(default_factory=Counter)
    failures: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    sections: dict[tuple[str, str], SectionCount] = field(default_factory=dict)
    false_statements: list[FalseStatement] = field(default_factory=list)
    unsupported_sentences: list[FalseStatement] = field(default_factory=list)
    lost_sentences: list[LostSentence] = field(default_factory=list)

    def total(self) -> SectionCount:
        """Return the sum over the sections."""
        return _add_up(self.sections.values())

    def by_type(self) -> dict[str, SectionCount]:
        """Return the sum over the sections of each type."""
        types = dict.fromkeys(type_id for type_id, _ in self.sections)
        return {each: _add_up(count for (own, _), count in self.sections.items() if own == each) for each in types}


def _add_up(counts: Iterable[SectionCount]) -> SectionCount:
    total = SectionCount()
    for count in counts:
        for name in SectionCount.__slots__:
            setattr(total, name, getattr(total, name) + getattr(count, name))
    return total


def measure(results: Sequence[ChatResult]) -> Figures:
    """Return the figures of chats that one engine and one oracle processed."""
    figures = Figures()
    for result in results:
        _count_reading(figures, result)
        figures.documents += len(result.documents)
        figures.failures.update(result.failures.values())
        if result.refused:
            figures.refused[result.refused] += 1
        for type_id, document in result.documents.items():
            definition = result.definitions[type_id]
            figures.claims.update(document["provenance"].get("verification") or {})
            for section in definition.sections:
                count = figures.sections.setdefault((type_id, section.key), SectionCount())
                written = _section_of(document, section.key)
                _count_section(count, result, type_id, section, written)
                lost = list(_find_lost_sentences(result, type_id, written))
                count.lost += len(lost)
                figures.lost_sentences += lost
            figures.false_statements += find_false_statements(result, type_id, document)
            figures.unsupported_sentences += find_unsupported_sentences(type_id, document)
    for first, second in combinations([result for result in results if result.documents], 2):
        for pair in compare(first, second):
            count = figures.sections[pair.type_id, pair.section]
            setattr(count, pair.outcome, getattr(count, pair.outcome) + 1)
    return figures


def _count_reading(figures: Figures, result: ChatResult) -> None:
    """Count the planted conversations that were shown to the reading stage, and those that it kept as episodes."""
    episodes = {(episode.kind, number) for episode in result.episodes for number in episode.shows}
    for planted in result.truth.planted:
        is_kept = any((planted.kind, number) in episodes for number in planted.lines)
        if not planted.counts:
            figures.distractors_kept += is_kept
            continue
        is_read = result.trace is not None and planted.lines.keys() <= result.trace.read
        figures.planted += 1
        figures.read += is_read
        figures.kept += is_kept
        if not planted.obvious:
            figures.plain_planted += 1
            figures.plain_read += is_read
            figures.plain_kept += is_kept


def _find_lost_sentences(result: ChatResult, type_id: str, written: Mapping[str, Any]) -> Iterator[LostSentence]:
    """Yield what the oracle wrote about a section, and neither its finding nor a note has."""
    text = " ".join([written["finding"], *(person["note"] for person in written["people"])])
    sentences = result.trace.written_for.get((type_id, written["key"]), ()) if result.trace else ()
    for sentence in sorted(sentences):
        if sentence not in text:
            yield LostSentence(type_id, written["key"], sentence)


def _count_section(
    count: SectionCount, result: ChatResult, type_id: str, section: Section, written: Mapping[str, Any]
) -> None:
    fitting = [planted for planted in result.truth.planted if belongs(planted, section)]
    plain = sum(not planted.obvious for planted in fitting)
    slots = min(section.evidence.max, len(fitting))
    planted_by_number = {number: planted for planted in result.truth.planted for number in planted.lines}
    quoted: dict[str, Planted] = {}
    for exchange in written["evidence"]:
        for message in exchange["messages"]:
            planted = planted_by_number.get(message["number"])
            if planted is not None and belongs(planted, section):
                quoted[planted.key] = planted
            elif planted is not None and planted.counts:
                count.misplaced += 1
            elif section.reading is not None:
                count.false_quotes += 1
    count.planted += len(fitting)
    count.slots += slots
    count.quotable += len(fitting) if section.evidence.max else 0
    count.quoted += min(slots, len(quoted))
    count.plain_planted += plain
    # A quote is as often of a plain conversation as the planted ones are plain.
    count.plain_slots += slots * plain / len(fitting) if fitting else 0.0
    count.plain_quoted += sum(not planted.obvious for planted in quoted.values())
    if result.trace is not None:
        keys = {planted.key for planted in fitting}
        own = type_id, section.key
        count.shown += len(result.trace.shown_for.get(own, set()) & keys)
        count.cited += min(slots, len(result.trace.cited_for.get(own, set()) & keys))
        count.written += len(result.trace.written_for.get(own, ()))
    if is_rated(written) and _rests_on_messages(section, result.engine):
        count.rated += 1
        count.rated_on_too_little += count_support(result, type_id, section) < MIN_SUPPORT


def _rests_on_messages(section: Section, engine: str) -> bool:
    """Return whether the section's rating is made of messages that say something, and not of counted times."""
    signal = section.signal
    if engine != "local" and section.reading is not None:
        signal = section.reading.signal or (signal if signal is not None and signal.fact else None)
    return signal is not None and signal.fact is None


def count_support(result: ChatResult, type_id: str, section: Section) -> int:
    """Return the number of messages that a section's rating can rest on."""
    if result.engine == "local" or section.reading is None:
        return result.support.get((type_id, section.key), 0)
    return sum(len(planted.lines) for planted in result.truth.planted if belongs(planted, section))


def is_rated(written: Mapping[str, Any]) -> bool:
    """Return whether a section of a document has a rating, for all or for one person."""
    ratings = [written["rating"], *(person["rating"] for person in written["people"])]
    return any(rating not in {None, NOT_ENOUGH_DATA} for rating in ratings)


def _section_of(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    return next(section for section in document["sections"] if section["key"] == key)


def find_false_statements(result: ChatResult, type_id: str, document: Mapping[str, Any]) -> Iterator[FalseStatement]:
    """Yield what a document says and the chat does not."""
    definition = result.definitions[type_id]
    # Without a reader, a quote is an example of a word: `SectionCount.false_quotes` counts those that mislead.
    for section, what, text in (
        *_check_scales(definition, document),
        *_check_names(result.truth, document),
        *(_check_quotes(result, definition, document) if result.engine != "local" else ()),
        *_check_sentences(result, document),
        *_check_language(result, document),
        *_check_advice(definition, document),
        *_check_lengths(definition, document),
    ):
        yield FalseStatement(type_id, section, what, text)


def _check_scales(definition: Definition, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    overall = document["overall"]
    if overall["rating"] not in {*definition.overall.scale, NOT_ENOUGH_DATA}:
        yield "overall", "rating outside of the scale", str(overall["rating"])
    if overall["score"] is not None and not 0 <= overall["score"] <= 10:
        yield "overall", "score outside of the scale", str(overall["score"])
    for written in document["sections"]:
        allowed = definition.section(written["key"]).allowed_ratings
        for rating in (written["rating"], *(person["rating"] for person in written["people"])):
            if rating is not None and rating not in allowed:
                yield written["key"], "rating outside of the scale", rating


def _check_names(truth: GroundTruth, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    named = [("recommendations", name) for entry in document["recommendations"] for name in entry["for"]]
    for written in document["sections"]:
        named += [(written["key"], person["name"]) for person in written["people"]]
        named += [(written["key"], fact["person"]) for fact in written["facts"] if fact["person"] is not None]
    for key, name in named:
        if name not in truth.people:
            yield key, "somebody who is not in the chat", name


def _check_quotes(
    result: ChatResult, definition: Definition, document: Mapping[str, Any]
) -> Iterator[tuple[str, str, str]]:
    planted_by_number = {number: planted for planted in result.truth.planted for number in planted.lines}
    for written in document["sections"]:
        key, section = written["key"], definition.section(written["key"])
        for message in [message for exchange in written["evidence"] for message in exchange["messages"]]:
            if result.messages.get(message["number"]) != (message["sender"], message["text"]):
                yield key, "a quote that is not in the chat", message["text"]
            planted = planted_by_number.get(message["number"])
            if section.reading is not None and (planted is None or not planted.counts):
                yield key, f"quotes {planted.tone} words" if planted else "quotes an everyday message", message["text"]


def _check_sentences(result: ChatResult, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    chat_text = _join_texts(result.truth, result.messages)
    for key, text, numbers in _list_sentences(document):
        # The local engine writes no number but those that it counts, in sentences of its own.
        checked = None if result.engine == "local" else numbers
        for what, said in _check_sentence(result.truth, chat_text, text, numbers=checked):
            yield key, what, said
    for key, text in _list_texts(document):
        for said in _find_invented(text, result.false_texts):
            yield key, "repeats what the model invented", said


def check_answer(
    truth: GroundTruth, messages: Mapping[int, tuple[str, str]], claim: Mapping[str, Any], false_texts: Sequence[str]
) -> Iterator[tuple[str, str]]:
    """Yield what is false in the sentence of an answered question, and the sentence."""
    numbers = {
        number
        for message in claim["messages"]
        for number in [*_NUMBER.findall(message["text"]), *_list_date_numbers(message["sent_at"])]
    }
    yield from _check_sentence(truth, _join_texts(truth, messages), claim["sentence"], numbers=numbers)
    for said in _find_invented(claim["sentence"], false_texts):
        yield "repeats what the model invented", said


def _join_texts(truth: GroundTruth, messages: Mapping[int, tuple[str, str]]) -> str:
    texts = (*truth.people, *(text for _, text in messages.values()))
    return "".join(f" {material.normalize(text)} \n" for text in texts)


def _check_sentence(
    truth: GroundTruth, chat_text: str, text: str, *, numbers: set[str] | None
) -> Iterator[tuple[str, str]]:
    """Yield what is false in a text that may contain these numbers, or any if `numbers` is None."""
    for match in _LABEL.finditer(text):
        yield "a label in place of a name", match[0]
    for match in _NUMBER.finditer(_leave_out(truth.people, text)):
        if numbers is not None and match[0] not in numbers:
            yield "a number that nobody counted", text
    for quoted in _find_quoted(text):
        if not quoted or f" {quoted} " not in chat_text:
            yield "quotes what nobody wrote", text


def _find_invented(text: str, false_texts: Sequence[str]) -> Iterator[str]:
    for invented in false_texts:
        if re.search(rf"(?<!\w){re.escape(invented)}(?!\w)", text):
            yield text


def _list_date_numbers(sent_at: str) -> set[str]:
    """Return the numbers of a time, as they are and without zeros in front."""
    parts = re.findall(r"\d+", sent_at)
    return {*parts, *(part.lstrip("0") or "0" for part in parts)}


def _leave_out(names: Sequence[str], text: str) -> str:
    """Return a text without the names: somebody's can be a telephone number."""
    for name in sorted(names, key=len, reverse=True):
        text = text.replace(name, " ")
    return text


def _check_advice(definition: Definition, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of recommendations that the catalogue does not have: no model gives advice."""
    given = {text for section in definition.sections if section.advice for text in section.advice.model_dump().values()}
    given |= set(safety.RECOMMENDATION.values())
    given = set(map(get_language(document["language"]).translate, given))
    for recommendation in document["recommendations"]:
        for name in ("title", "suggestion", "why", "example"):
            if recommendation[name] not in given:
                yield "recommendations", "advice that the catalogue does not give", recommendation[name]


def _check_language(result: ChatResult, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the texts of a document in another language than English that are not in it. Quoted messages can be."""
    language = document["language"]
    if language != result.language:
        yield "overall", "another language than was requested", language
    if language == "en":
        return
    for part in find_english((_QUOTATION.sub("", text) for text in list_texts(document)), language):
        yield "overall", "English in a document of another language", part
    for key, text in _list_texts(document):
        if not evidence.is_written_in(language, text, names=result.truth.people):
            yield key, "a text in another language", text


def _check_lengths(definition: Definition, document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield sections with more quotes, or more of the oracle's sentences, than the definition allows."""
    for written in document["sections"]:
        n_max = definition.section(written["key"]).evidence.max
        text = " ".join([written["finding"], *(person["note"] for person in written["people"])])
        if len(written["evidence"]) > n_max or len(_CLAIM.findall(text)) > n_max:
            yield written["key"], "more claims than the section allows", text


def _find_quoted(text: str) -> Iterator[str]:
    """Yield the words after every first, third, fifth quotation mark up to the next one, or to the end."""
    for quoted in _QUOTATION_MARK.split(text)[1::2]:
        yield material.normalize(quoted)


def _list_sentences(document: Mapping[str, Any]) -> Iterator[tuple[str, str, set[str]]]:
    """Yield the texts that a model may write about the chat: the section, the text, and the numbers it may contain."""
    sufficiency = document["sufficiency"]
    common = {str(value) for value in sufficiency.values() if isinstance(value, int)} | {"14416", "112"}
    everywhere = set(common)
    for section in document["sections"]:
        numbers = set(common)
        for fact in section["facts"]:
            numbers |= _format_number(fact["value"])
        for exchange in section["evidence"]:
            for message in exchange["messages"]:
                numbers |= set(_NUMBER.findall(message["text"]))
                numbers |= _list_date_numbers(message["sent_at"])
        everywhere |= numbers
        for text in (section["finding"], *(person["note"] for person in section["people"])):
            yield section["key"], text, numbers
        for exchange in section["evidence"]:
            yield section["key"], exchange["context"], numbers
    yield "overall", document["overall"]["summary"], everywhere


def _format_number(value: float) -> set[str]:
    """Return the ways in which a sentence can write a counted number."""
    ways = {str(value), f"{value:g}", f"{value:,.0f}", str(round(value)), f"{value:.1f}", str(int(value)),
            f"{100 * value:.0f}", f"{value / 60:.0f}", f"{value / 3600:.0f}", f"{value / 3600:.1f}"}  # fmt: skip
    # Other languages than English write a comma before decimals.
    return ways | {way.translate(str.maketrans(",.", ".,")) for way in ways}


def _list_texts(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield every text of a document that a model may have written, with the section."""
    for key, text, _ in _list_sentences(document):
        yield key, text
    for recommendation in document["recommendations"]:
        for name in ("title", "suggestion", "why", "example"):
            yield "recommendations", recommendation[name]


_ABOUT_THE_METHOD = re.compile(
    r"\b(counted|counts|read|judged?|rated?|14416|112|danger|help"
    r"|answer \w+ of \d+ questions|answer the one question)\b"
)


def find_unsupported_sentences(type_id: str, document: Mapping[str, Any]) -> Iterator[FalseStatement]:
    """Yield the sentences of the summary that are in no section that has a rating or a quote."""
    supported = ""
    nothing = get_language(document["language"]).say(NOTHING_TO_SAY)
    for written in document["sections"]:
        if is_rated(written) or written["evidence"]:
            texts = [written["finding"], *(person["note"] for person in written["people"])]
            supported += " ".join(material.normalize(text) for text in texts) + " "
    for sentence in _SENTENCE_END.split(document["overall"]["summary"].removesuffix(nothing)):
        words = material.normalize(sentence)
        if words and words not in supported and not _is_about_the_method(sentence):
            yield FalseStatement(type_id, "overall", "a summary that no section supports", sentence)


def _is_about_the_method(sentence: str) -> bool:
    """Return whether a sentence says how much was read or counted, or points to help, and nothing about the people."""
    return bool(_ABOUT_THE_METHOD.search(sentence))


Outcome = Literal["right", "tied", "wrong", "unrated_pairs", "missing_pairs"]


class Level(NamedTuple):
    """The level of a section in a chat, from 0 to 3, and the number of its planted conversations."""

    level: int
    conversations: int


class Pair(NamedTuple):
    """The outcome of comparing the ratings of two chats that are far apart in a section."""

    type_id: str
    section: str
    outcome: Outcome


@cache
def _load_levels() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    return tomllib.loads((material.DIRECTORY / "levels.toml").read_text(encoding="utf-8"))


def find_level(truth: GroundTruth, type_id: str, section: str) -> Level | None:
    """Return the level of a section in a chat, or None if the section cannot be compared there."""
    rule = _load_levels().get(type_id, {}).get(section)
    if rule is None:
        return None
    conversations = sum(planted.kind in rule["kinds"] for planted in truth.examples())
    if (given := truth.levels.get(f"{type_id}.{section}")) is not None:
        return Level(given, conversations)
    if any(truth.traits.get(kind, 0) < 2 for kind in rule.get("given", ())):
        return None
    levels = [truth.traits.get(kind, 0) for kind in rule["kinds"]]
    level = 3 if min(levels) == 3 else max(levels) if max(levels) <= 1 else 2
    return Level(level, conversations)


def compare(first: ChatResult, second: ChatResult) -> Iterator[Pair]:
    """Yield the outcome of each section in which two chats are far apart."""
    for type_id, sections in _load_levels().items():
        if type_id not in first.documents or type_id not in second.documents:
            continue
        for key, rule in sections.items():
            levels = [find_level(result.truth, type_id, key) for result in (first, second)]
            if levels[0] is None or levels[1] is None:
                continue
            low, high = sorted(zip(levels, (first, second), strict=True), key=lambda each: each[0] or Level(0, 0))
            if not _are_far_apart(low[0], high[0]):
                continue
            section = first.definitions[type_id].section(key)
            positions = [
                find_position(section, _section_of(result.documents[type_id], key)) for _, result in (low, high)
            ]
            outcome = _judge(positions, more=rule["more"])
            if outcome == "unrated_pairs" and all(
                position is not None or count_support(result, type_id, section) >= MIN_SUPPORT
                for position, (_, result) in zip(positions, (low, high), strict=True)
            ):
                outcome = "missing_pairs"
            yield Pair(type_id, key, outcome)


def _are_far_apart(low: Level | None, high: Level | None) -> bool:
    return (
        low is not None
        and high is not None
        and low.level <= 1
        and high.level == 3
        and high.conversations - low.conversations >= MIN_DIFFERENCE
    )


def _judge(positions: Sequence[float | None], *, more: str) -> Outcome:
    low, high = positions
    if low is None or high is None:
        return "unrated_pairs"
    if low == high:
        return "tied"
    return "right" if (high < low) == (more == "first") else "wrong"


def find_position(section: Section, written: Mapping[str, Any]) -> float | None:
    """Return the place of a rating on its scale, 0 for the first member; the mean of the people if they are rated."""
    people = [person["rating"] for person in written["people"] if person["rating"] in section.scale]
    if people:
        return sum(section.scale.index(rating) for rating in people) / len(people)
    return float(section.scale.index(written["rating"])) if written["rating"] in section.scale else None


def share(part: float, whole: float) -> str:
    """Return a share for display."""
    return f"{part / whole:.0%}" if whole else "-"


def count_by_what(statements: Iterable[FalseStatement]) -> Counter[str]:
    """Return the number of statements by what is false in them."""
    return Counter(statement.what for statement in statements)
