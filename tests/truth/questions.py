"""Questions about planted chats: generated from the ground truth, asked, and compared with what is planted.

A reader answers the steps of insights/asking.py from what it is shown, and otherwise searches as somebody would who
knows only the question: by its words, its person and its kind of episode. A question is about one planted conversation,
or about one that is not in the chat.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from insights import answering, questions, reading, unlocking
from insights.episodes import Relationship
from insights.question_models import ChatQuestion
from tests.fakes.model_server import Asked
from tests.truth import material, measure, pipeline
from tests.truth.circles import CATEGORIES
from tests.truth.generator import PlantedChat
from tests.truth.ground_truth import GroundTruth, Planted
from tests.truth.measure import FalseStatement
from tests.truth.oracle import Found, Oracle, ShownLine, parse_lines

#: What is asked about a kind; other kinds are asked about with the last one. `{0}` is who did it, `{1}` the subject.
_WORDINGS: Mapping[str, str] = {
    "promise_kept": "When did {0} keep the promise about {1}?",
    "promise_broken": "What was promised and not done about {1}?",
    "apology": "Who apologised {1}?",
    "conflict": "Who quarrelled about {1}, and when?",
    "repair": "How did they make up: {1}?",
    "plan": "What did {0} plan: {1}?",
    "": "What did {0} say about {1}?",
}
_MAX_CLAIMS = 4


class PlantedQuestion(NamedTuple):
    """A question, and the planted conversation that answers it, or None if the chat does not."""

    text: str
    kind: str
    subject: str
    answer: Planted | None


@dataclass(slots=True)
class QuestionFigures:
    """What became of questions. `right` answers cite the planted conversation and nothing else."""

    asked: int = 0
    answered: int = 0
    right: int = 0
    absent: int = 0
    refused: int = 0
    failed: int = 0
    rounds: Counter[int] = field(default_factory=Counter)
    false_statements: list[FalseStatement] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)


class Reader:
    """Answers the calls of one chat's questions. What it claims, and how it verifies, is the oracle's.

    With `insists`, it never says that the chat does not contain the answer: it claims whatever it is shown.
    """

    def __init__(self, oracle: Oracle, *, insists: bool = False) -> None:
        self.oracle = oracle
        self.asked: PlantedQuestion | None = None
        self._insists = insists

    def __call__(self, asked: Asked) -> Any:
        if "decision" in asked.schema.get("properties", {}):
            return self._step(asked, parse_lines(asked.content))
        return self.oracle(asked)

    def _step(self, asked: Asked, lines: Sequence[ShownLine]) -> dict[str, Any]:
        assert self.asked is not None
        found = [each for each in self.oracle.find(lines) if each.planted.counts]
        own = [
            each for each in found if each.planted is self.asked.answer and len(each.lines) == len(each.planted.lines)
        ]
        if own or (self._insists and found):
            claims = [self._make_claim(each) for each in own or found[:_MAX_CLAIMS]]
            return {"decision": "answer", "searches": [], "claims": claims}
        if "You may search." not in asked.content:
            return {"decision": "not_in_chat", "searches": [], "claims": []}
        properties = asked.schema["properties"]["searches"]["items"]["properties"]
        search = {"words": self.asked.subject, "person": "any", "first_day": "", "last_day": ""}
        searches = [search]
        if "kind" in properties:
            kinds = properties["kind"]["enum"]
            kind = self.asked.kind if self.asked.kind in kinds else "any"
            searches = [{**search, "kind": "any"}, {**search, "words": "", "kind": kind}, {**search, "kind": kind}]
        return {"decision": "search", "searches": searches, "claims": []}

    def _make_claim(self, found: Found) -> dict[str, Any]:
        claim = self.oracle.make_claim(found)
        return {name: claim[name] for name in ("sentence", "numbers", "person")}


def make_questions(truth: GroundTruth, *, seed: int = 1, count: int = 12) -> list[PlantedQuestion]:
    """Return questions about planted conversations, and a third as many about conversations that are not in the chat.

    Only subjects that belong to one conversation are asked about.
    """
    chance = random.Random(f"{seed} {truth.name}")
    uses = Counter(planted.subject for planted in truth.planted)
    own = [planted for planted in truth.examples() if uses[planted.subject] == 1]
    absent = [
        script
        for script in material.load(truth.language).scripts
        if script.counts and truth.relationship in script.suits and script.subject not in uses
    ]
    asked = [
        PlantedQuestion(
            _word(planted.kind, planted.subject, _find_name(truth, planted)), planted.kind, planted.subject, planted
        )
        for planted in chance.sample(own, min(count, len(own)))
    ]
    asked += [
        PlantedQuestion(_word(script.kind, script.subject, truth.people[0]), script.kind, script.subject, None)
        for script in chance.sample(absent, min(count // 3, len(absent)))
    ]
    return asked


def _find_name(truth: GroundTruth, planted: Planted) -> str:
    return truth.people[next(iter(planted.roles), 0)]


def _word(kind: str, subject: str, name: str) -> str:
    return _WORDINGS.get(kind, _WORDINGS[""]).format(name, subject)


def measure_questions(
    planted_chat: PlantedChat,
    asked: Sequence[PlantedQuestion],
    *,
    engine: str = "gemini",
    oracle: type[Oracle] = Oracle,
    insists: bool = False,
    is_read: bool = True,
) -> QuestionFigures:
    """Import, index and, unless `is_read` is false, read a planted chat, and ask questions about it."""
    truth = planted_chat.truth
    definitions = pipeline.load_definitions(CATEGORIES[Relationship(truth.relationship)])
    reader = Reader(oracle(truth, definitions), insists=insists)
    figures = QuestionFigures()
    with pipeline.serving(engine, reader):
        owner, chat = pipeline.import_and_index(planted_chat.export.encode())
        if is_read:
            # Only a chat for which an insight waits is read.
            unlocking.unlock(user=owner, chat=chat, type_ids=[next(iter(definitions))])
            pipeline.read(chat)
            assert reading.load(chat)
        messages = pipeline.list_messages(chat)
        for each in asked:
            reader.asked = each
            row = questions.ask(user=owner, chat=chat, text=each.text)
            answering.run(row.pk)
            row = ChatQuestion.objects.select_related("chat").get(pk=row.pk)
            document = row.open_answer()
            if document is None:
                figures.failed += 1
                continue
            figures.rounds[row.rounds] += 1
            _count(figures, each, document)
            figures.false_statements += _find_false_statements(truth, messages, document, reader.oracle.false_texts)
    return figures


def _count(figures: QuestionFigures, each: PlantedQuestion, document: Mapping[str, Any]) -> None:
    cited = {message["number"] for claim in document["claims"] for message in claim["messages"]}
    is_answered = document["outcome"] == "answered"
    if each.answer is None:
        figures.absent += 1
        figures.refused += not is_answered
        return
    figures.asked += 1
    figures.answered += is_answered
    is_right = bool(cited) and cited <= each.answer.lines.keys()
    figures.right += is_right
    if not is_right:
        figures.unanswered.append(each.text)


def _find_false_statements(
    truth: GroundTruth,
    messages: Mapping[int, tuple[str, str]],
    document: Mapping[str, Any],
    false_texts: Sequence[str],
) -> Iterator[FalseStatement]:
    """Yield what an answer says and the chat does not.

    A quote of another message is none: whether a message shows what is claimed, only an honest verification can tell.
    """
    for claim in document["claims"]:
        for message in claim["messages"]:
            if messages.get(message["number"]) != (message["sender"], message["text"]):
                yield FalseStatement("question", "", "a quote that is not in the chat", message["text"])
        for what, text in measure.check_answer(truth, messages, claim, false_texts):
            yield FalseStatement("question", "", what, text)
