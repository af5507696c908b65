"""A test oracle: it answers a language model's calls as a perfect reader of a planted chat would.

`Oracle` is the answer function of the stub servers in tests/fakes. It knows the ground truth, and finds the planted
messages among those that a request shows. So whatever is lost on the way to the finished insight is not its fault.
Subclasses in tests/truth/adversaries.py answer wrongly on purpose.
"""

from __future__ import annotations

import re
import threading
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import SequenceMatcher
from typing import Any

from insights.definition import Definition, Section
from insights.episodes import KINDS, Tone
from insights.translation import get_language
from tests.fakes.model_server import Asked
from tests.truth import material, sentences
from tests.truth.ground_truth import GroundTruth, Planted

_LINE = re.compile(r"^([ \t]*)\[#(\d+) (\d{4}-\d{2}-\d{2} \d{2}:\d{2}) ([^\]]+)\] (\(forwarded\) )?(.*)$", re.MULTILINE)
_CLAIM = re.compile(r"^Claim (\d+)(?: \(about ([^)]+)\))?: (.*)$", re.MULTILINE)
_CONTEXT = re.compile(r"^Context: (.*)$", re.MULTILINE)
_SECTION = re.compile(r"^Section ([a-z0-9_]+):", re.MULTILINE)
_LABEL = re.compile(r"\bP\d+\b")
_SPAN = re.compile(r"#(\d+) to #(\d+)")
_CONVERSATIONS = re.compile(r"^Conversations: (.*?)\. Claims: up to (\d+)\.", re.MULTILINE)
_LANGUAGES = {"english": ["English"], "hinglish": ["Hindi", "English"], "spanish": ["Spanish"]}
#: A pseudonym may replace a part of a planted line. Texts with this share of equal characters are the same.
_SAME_TEXT = 0.6
#: A longer message is not quoted in a sentence, and neither is one with marks that would end the quotation.
_MAX_QUOTED = 60
_QUOTABLE = re.compile(r"[\w ,.!?]+")
#: Roles of the person whom an episode is about, in the order in which they are looked for.
_LEADING_ROLES = ("does", "starts", "repairs", "escalates")


@dataclass(frozen=True, slots=True)
class ShownLine:
    """A numbered line of a request. `is_context` marks the indented lines around the messages of a claim."""

    number: int
    at: datetime
    person: str
    text: str
    is_context: bool
    is_forwarded: bool = False


@dataclass(frozen=True, slots=True)
class AskedClaim:
    """A claim to verify: its number, the label of the person that it is about, its sentence and its context."""

    number: int
    person: str | None
    sentence: str
    context: str


@dataclass(frozen=True, slots=True)
class Found:
    """A planted conversation and those of its messages that a request shows."""

    planted: Planted
    lines: tuple[ShownLine, ...]

    @property
    def numbers(self) -> tuple[int, ...]:
        """The numbers of the shown messages."""
        return tuple(line.number for line in self.lines)


@dataclass(slots=True)
class Trace:
    """What an oracle saw and said: message numbers shown for reading, and planted conversations by type and section.

    `shown_for` and `cited_for` have the keys of the planted conversations. `written_for` has the sentences of the
    claims, with names in place of labels.
    """

    read: set[int] = field(default_factory=set)
    shown_for: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    cited_for: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    written_for: dict[tuple[str, str], set[str]] = field(default_factory=lambda: defaultdict(set))
    calls: Counter[str] = field(default_factory=Counter)


class Oracle:
    """Answers every call about one planted chat. `definitions` are those of the types that are written, by type.

    Calls arrive on several threads at once. `trace` collects what was shown and cited. Sentences are written in the
    language that the instructions ask for.
    """

    name = "perfect"
    #: Texts that must not be in any document, because nobody wrote them and nothing shows them.
    false_texts: Sequence[str] = ()

    def __init__(self, truth: GroundTruth, definitions: Mapping[str, Definition]) -> None:
        self.truth = truth
        self.definitions = definitions
        self.trace = Trace()
        self.language = "en"
        self._lock = threading.Lock()
        self._by_text: dict[str, list[tuple[int, Planted]]] = defaultdict(list)
        self._by_number: dict[int, tuple[str, Planted]] = {}
        for planted in truth.planted:
            for number, (_, text) in planted.lines.items():
                self._by_text[material.normalize(text)].append((number, planted))
                self._by_number[number] = material.normalize(text), planted

    def __call__(self, asked: Asked) -> Any:
        """Return the answer to a call. The properties of its schema say what it asks for."""
        properties = asked.schema.get("properties", {}).keys()
        lines = parse_lines(asked.content)
        if "episodes" in properties:
            stage, answer = "read", self.read(asked, lines)
        elif "verdicts" in properties:
            stage, answer = "verify", self.verify(asked, lines)
        elif "sections" in properties:
            stage, answer = "write", self.write(asked, lines)
        else:
            raise ValueError(f"a schema with {sorted(properties)} is not known")
        with self._lock:
            self.trace.calls[stage] += 1
            if stage == "read":
                self.trace.read.update(line.number for line in lines)
        return self.finish(asked, answer)

    def finish(self, asked: Asked, answer: Any) -> Any:
        """Return what is sent in place of a complete answer. Subclasses damage it."""
        return answer

    def read(self, asked: Asked, lines: Sequence[ShownLine]) -> dict[str, Any]:
        """Return the episodes that the lines contain."""
        return {
            "relationship": self.truth.relationship,
            "languages": _LANGUAGES.get(self.truth.language, ["English"]),
            "episodes": [
                self.describe_episode(found) for found in self.find(lines) if found.planted.tone != material.NEGATED
            ],
            "dangers": [],
        }

    def describe_episode(self, found: Found) -> dict[str, Any]:
        """Return a planted conversation as an entry of the answer."""
        planted, numbers = found.planted, found.numbers
        shows = [number for number in planted.shows if number in numbers]
        labels = self.label_people(found)
        return {
            "kind": planted.kind,
            "topic": planted.topic,
            "first": numbers[0],
            "last": numbers[-1],
            "roles": [
                {"person": labels[person], "role": role}
                for person, roles in planted.roles.items()
                if person in labels
                for role in roles
            ],
            "strength": planted.strength,
            "tone": planted.tone,
            "subject": planted.subject,
            "shows": shows or list(numbers[:3]),
        }

    def write(self, asked: Asked, lines: Sequence[ShownLine]) -> dict[str, Any]:
        """Return one claim for each planted conversation that is shown for a section and belongs to it."""
        schema = asked.schema["properties"]["sections"]["properties"]
        self.language = sentences.find_language(asked.instructions)
        type_id, definition = self.find_definition(schema.keys())
        spans = parse_sections(asked.content)
        shown = self.find(lines)
        sections = {}
        for key in schema:
            section = definition.section(key)
            fitting = [
                found
                for found in shown
                if belongs(found.planted, section) and (key not in spans or _is_within(found, spans[key]))
            ]
            chosen = _spread(fitting, section.evidence.max)
            claims = [self.make_claim(found) for found in chosen]
            with self._lock:
                self.trace.shown_for[type_id, key].update(found.planted.key for found in fitting)
                self.trace.cited_for[type_id, key].update(found.planted.key for found in chosen)
                self.trace.written_for[type_id, key].update(
                    self.restore_names(claim["sentence"], found) for claim, found in zip(claims, chosen, strict=True)
                )
            sections[key] = {"can_judge": bool(fitting), "claims": claims}
        return {"can_judge": True, "sections": sections}

    def make_claim(self, found: Found) -> dict[str, Any]:
        """Return a claim about a planted conversation."""
        return {
            "sentence": self.describe(found),
            "context": self.write_context(found),
            "numbers": list(found.numbers[:6]),
            "person": self.find_leader(found) or "all",
        }

    def write_context(self, found: Found) -> str:
        """Return what a planted conversation is about. Subjects are in English: in other languages, it is the kind."""
        if self.language == "en":
            return found.planted.subject
        return get_language(self.language).translate(KINDS[found.planted.kind].title)

    def describe(self, found: Found, language: str = "") -> str:
        """Return a sentence that says what happens in a planted conversation, when, and how the other answers.

        In another language than English, a second one quotes a message.
        """
        planted, labels = found.planted, self.label_people(found)
        leader = self.find_leader(found)
        language = language or self.language
        described = sentences.describe(
            language,
            kind=planted.kind,
            month=get_language(language).format_month(found.lines[0].at),
            subject=planted.subject,
            person=leader,
            answers=[
                (labels[person], roles[0])
                for person, roles in planted.roles.items()
                if person in labels and labels[person] != leader and roles
            ],
        )
        text = found.lines[0].text
        is_quotable = len(text) <= _MAX_QUOTED and _QUOTABLE.fullmatch(text) and not _LABEL.search(text)
        return f"{described} {sentences.quote(language, text) if is_quotable else ''}".strip()

    def verify(self, asked: Asked, lines: Sequence[ShownLine]) -> dict[str, Any]:
        """Return a verdict for each claim: whether its messages are planted and it says what they show."""
        starts = list(_CLAIM.finditer(asked.content))
        ends = [match.start() for match in starts[1:]] + [len(asked.content)]
        verdicts = []
        for match, end in zip(starts, ends, strict=True):
            part = asked.content[match.start() : end]
            context = _CONTEXT.search(part)
            claim = AskedClaim(int(match[1]), match[2], match[3], context[1] if context else "")
            verdicts.append(self.judge(claim, parse_lines(part)))
        return {"verdicts": verdicts}

    def judge(self, claim: AskedClaim, lines: Sequence[ShownLine]) -> dict[str, Any]:
        """Return the verdict on one claim, from the lines that follow it."""
        cited = [line for line in lines if not line.is_context]
        found = self.find(cited)
        covered = {number for each in found for number in each.numbers}
        is_one = len(found) == 1 and bool(cited) and covered == {line.number for line in cited}
        if not is_one:
            return {"claim": claim.number, "shown": False, "right_person": False, "sincere": False}
        (only,) = found
        # The claim can cite a part of a conversation; who takes part in it is known from all of its lines.
        whole = next((each for each in self.find(lines) if each.planted is only.planted), only)
        # Where names are not replaced, the claim has them in place of the labels.
        sentence = claim.sentence
        for index, label in self.label_people(whole).items():
            sentence = sentence.replace(self.truth.people[index], label)
        said = material.normalize(sentence)
        own = {material.normalize(self.describe(each)) for each in (only, whole)}
        is_description = said == material.normalize(KINDS[only.planted.kind].description)
        # A quote without a claim has its kind and month as context, and perhaps the subject.
        title = get_language(self.language).translate(KINDS[only.planted.kind].title)
        has_no_subject = claim.context.startswith(f"{title}, ") and ":" not in claim.context
        is_about_it = not claim.context or has_no_subject or claim.context.endswith(self.write_context(only))
        leaders = self.find_leaders(whole) | self.find_leaders(only)
        return {
            "claim": claim.number,
            "shown": (said in own or is_description) and is_about_it and only.planted.tone != material.NEGATED,
            "right_person": claim.person is None or claim.person in leaders,
            "sincere": only.planted.tone == Tone.SINCERE,
        }

    def find(self, lines: Iterable[ShownLine]) -> list[Found]:
        """Return the planted conversations among the lines, in the order of the chat."""
        found: dict[str, dict[int, ShownLine]] = {}
        planted_by_key: dict[str, Planted] = {}
        for line in lines:
            planted = self.recognize(line)
            if planted is not None:
                planted_by_key[planted.key] = planted
                found.setdefault(planted.key, {})[line.number] = line
        whole = [Found(planted_by_key[key], tuple(own[number] for number in sorted(own))) for key, own in found.items()]
        return sorted(whole, key=lambda each: each.numbers)

    def recognize(self, line: ShownLine) -> Planted | None:
        """Return the planted conversation that a line is of, by its text, or None."""
        text = material.normalize(line.text)
        candidates = self._by_text.get(text, [])
        for number, planted in candidates:
            if number == line.number:
                return planted
        # A short answer such as "ok" is also an everyday message.
        if len(candidates) == 1 and " " in text:
            return candidates[0][1]
        expected, planted_here = self._by_number.get(line.number, ("", None))
        if planted_here and SequenceMatcher(None, text, expected, autojunk=False).ratio() >= _SAME_TEXT:
            return planted_here
        return None

    def label_people(self, found: Found) -> dict[int, str]:
        """Return the labels of the people who write in a planted conversation, by their index in the ground truth."""
        return {
            found.planted.lines[number][0]: line.person
            for line in found.lines
            if (number := line.number) in found.planted.lines
        }

    def restore_names(self, sentence: str, found: Found) -> str:
        """Return the sentence with the names of the ground truth in place of labels."""
        names = {label: self.truth.people[index] for index, label in self.label_people(found).items()}
        return _LABEL.sub(lambda match: names.get(match[0], match[0]), sentence)

    def find_leaders(self, found: Found) -> set[str]:
        """Return the labels of the people whom a planted conversation is about."""
        labels = self.label_people(found)
        return {
            labels[person]
            for person, roles in found.planted.roles.items()
            if person in labels and not set(roles).isdisjoint(_LEADING_ROLES)
        }

    def find_leader(self, found: Found) -> str | None:
        """Return the label of the person who does it, or None if nobody's role says so."""
        labels = self.label_people(found)
        for role in _LEADING_ROLES:
            for person, roles in found.planted.roles.items():
                if role in roles and person in labels:
                    return labels[person]
        return None

    def find_definition(self, keys: Iterable[str]) -> tuple[str, Definition]:
        """Return the type, and its definition, that has all of these sections. Raise ValueError."""
        wanted = set(keys)
        for type_id, definition in self.definitions.items():
            if wanted <= {section.key for section in definition.sections}:
                return type_id, definition
        raise ValueError(f"no definition has the sections {sorted(wanted)}")


def parse_lines(content: str) -> list[ShownLine]:
    """Return the numbered lines of a request."""
    return [
        ShownLine(int(number), datetime.fromisoformat(at), person, text, bool(indent), bool(forwarded))
        for indent, number, at, person, forwarded, text in _LINE.findall(content)
    ]


def parse_sections(content: str) -> dict[str, list[tuple[int, int]]]:
    """Return the spans of message numbers that a request shows for each section, by the section's key."""
    starts = list(_SECTION.finditer(content))
    ends = [match.start() for match in starts[1:]] + [len(content)]
    sections = {}
    for match, end in zip(starts, ends, strict=True):
        if listed := _CONVERSATIONS.search(content, match.start(), end):
            sections[match[1]] = [(int(first), int(last)) for first, last in _SPAN.findall(listed[1])]
    return sections


def belongs(planted: Planted, section: Section) -> bool:
    """Return whether a planted conversation is an example of what a section asks for."""
    asks = section.reading
    return (
        asks is not None
        and planted.counts
        and planted.kind in asks.kinds
        and (not asks.topics or planted.topic in asks.topics)
        and planted.tone in asks.tones
    )


def _is_within(found: Found, spans: Sequence[tuple[int, int]]) -> bool:
    return any(first <= found.numbers[0] and found.numbers[-1] <= last for first, last in spans)


def _spread(found: Sequence[Found], count: int) -> list[Found]:
    """Return at most `count` of them, from different times of the chat."""
    if len(found) <= count:
        return list(found)
    return [found[index * len(found) // count] for index in range(count)]
