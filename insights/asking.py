"""Answers a question about a chat from its messages, by a language model that asks for searches, in a few rounds.

The server searches with the question itself, shows the conversations to the model, and makes the searches that the
model asks for. What the model then claims is checked like the claims of an insight: each cites messages that it was
shown, says nothing that these messages lack, and is verified by a second call. What remains is the answer; if nothing
does, the chat does not contain it. An engine that counts gets no further than the first search, and says so.

Nothing here changes a row. A database connection is held only while messages are searched and read.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from itertools import chain
from string import Template
from typing import Any, Literal

from django.conf import settings

from chats import search
from chats.models import Chat
from chats.pseudonyms import Pseudonyms
from chats.transcript import TranscriptReader
from insights import claims, prompt_files, prompting, reading, safety
from insights.claims import Claim
from insights.engines import answers, question_steps
from insights.engines.base import Engine, EngineUnavailable, ShownMessage
from insights.engines.model_engine import ModelEngine, Usage, get_pseudonyms
from insights.evidence import MAX_MESSAGES
from insights.prompting import Prompt
from insights.question_material import Material, Search
from insights.retrieval import Span
from insights.translation import Language, get_language, mark

#: Calls that answer or ask for searches; one more verifies. The shares of the tokens that each round may add.
MAX_ROUNDS = 3
_SHARES = (0.5, 0.25, 0.25)
#: Tokens of conversations of one question. Less than for an insight: somebody waits for the answer.
MAX_TOKENS = 12_000
#: Conversations that are returned without an answer, and their messages.
MAX_CONVERSATIONS = 5
_MAX_CONVERSATION_MESSAGES = 40
_CONVERSATION_TOKENS = 3_000

NOT_IN_CHAT = mark("The messages that were read do not answer this.")
SEARCHED = mark("This server only searched: these conversations fit your question best. They are not read or judged.")
NOTHING_FOUND = mark("This server only searched, and found nothing that fits your question.")

Step = Literal["searching", "reading", "verifying"]
#: Receives what is done now, and how many messages were found so far.
Report = Callable[[Step, int], None]


@dataclass(frozen=True, slots=True)
class Exchange:
    """An earlier question of a conversation and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question about a chat. `earlier` are questions of the same conversation, in order."""

    text: str
    language: str = "en"
    earlier: tuple[Exchange, ...] = ()

    @property
    def wording(self) -> Language:
        """The language of the answer."""
        return get_language(self.language)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as a document, and what it cost. `rounds` counts calls that were not verifications.

    `document` has `outcome` (`answered`, `not_in_chat` or `searched`), `answer`, `notice`, `claims` and
    `conversations`, whose messages have `number`, `sender`, `sent_at` and `text`, and `messages_read`.
    """

    document: Mapping[str, Any]
    messages_read: int
    rounds: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)

    @property
    def is_charged(self) -> bool:
        """Whether the question was answered. A search, and what the chat does not contain, cost nothing."""
        return bool(self.document["outcome"] == "answered")


def answer_question(
    chat: Chat,
    question: Question,
    *,
    engine: Engine,
    deadline: float,
    report: Report,
    release_connection: Callable[[], None] = lambda: None,
) -> Answer:
    """Return the answer to a question. Raise EngineError, also if `deadline`, a time.monotonic(), passes.

    `release_connection` is called before each call of the model.
    """
    report("searching", 0)
    try:
        searcher = search.get_searcher(chat)
    except search.NotSearchable as error:
        raise EngineUnavailable("chat_not_searchable") from error
    people = tuple(chat.participants)
    material = Material(searcher, people=people, reading=reading.load(chat))
    if not isinstance(engine, ModelEngine):
        spans = material.find(Search(words=question.text), token_budget=_CONVERSATION_TOKENS)
        return _list_conversations(chat, question, material, spans)
    asking = _Asking(chat, question, material, engine, people, deadline, report, release_connection)
    return asking.run()


@dataclass
class _Asking:
    """One question on its way through the rounds."""

    chat: Chat
    question: Question
    material: Material
    engine: ModelEngine
    people: tuple[str, ...]
    deadline: float
    report: Report
    release_connection: Callable[[], None]

    def run(self) -> Answer:
        engine, material, usage = self.engine, self.material, Usage({})
        pseudonyms = get_pseudonyms(self.people, self.chat.person_of_name)
        tokens = min(MAX_TOKENS, engine.write_tokens)
        # Of the last question too: "and when was that?" has no words to search for.
        first = Search(words=" ".join([*(each.question for each in self.question.earlier[-1:]), self.question.text]))
        # An engine that embeds the words calls a provider too.
        self.release_connection()
        searched = [(first, material.find(first, token_budget=round(tokens * _SHARES[0])))]
        written: tuple[Claim, ...] = ()
        rounds = 0
        while rounds < MAX_ROUNDS:
            rounds += 1
            self.report("reading", len(material.shown))
            self.release_connection()
            step, _ = engine.call(
                render_question(
                    self.question,
                    people=self.people,
                    shown=material.shown,
                    kinds=material.kinds,
                    days=material.first_and_last_day,
                    searched=searched,
                    may_search=rounds < MAX_ROUNDS,
                    pseudonyms=pseudonyms,
                ),
                model=engine.model,
                schema=question_steps.step_schema(len(self.people), kinds=material.kinds),
                parse=lambda text: question_steps.parse_step(text, people_count=len(self.people), kinds=material.kinds),
                group=self.people,
                stage="ask",
                usage=usage,
                deadline=self.deadline,
            )
            written = step.claims
            searches = [_restore_search(each, pseudonyms) for each in step.searches]
            searches = [each for each in searches if each not in (earlier for earlier, _ in searched)]
            if step.decision != "search" or not searches or rounds == MAX_ROUNDS:
                written = () if step.decision == "not_in_chat" else written
                break
            self.report("searching", len(material.shown))
            share = round(tokens * _SHARES[rounds] / len(searches))
            for each in searches:
                self.release_connection()
                searched.append((each, material.find(each, token_budget=share)))
        kept = self._verify(self._check(written, pseudonyms), pseudonyms, usage)
        return replace(
            build_answer(self.chat, self.question, material, kept),
            rounds=rounds,
            tokens_in=usage.total("in"),
            tokens_out=usage.total("out"),
            usage=usage.tokens,
        )

    def _check(self, written: Sequence[Claim], pseudonyms: Pseudonyms) -> list[Claim]:
        """Return the claims, with names, that cite shown messages and say nothing that these messages lack."""
        shown = self.material.shown
        kept: list[Claim] = []
        for claim in written:
            numbers = tuple(
                number
                for number in sorted(set(claim.numbers))
                if number in shown and not shown[number].forwarded and number not in self.material.concerning
            )[:MAX_MESSAGES]
            if not numbers or not claim.sentence or pseudonyms.unknown_labels(claim.sentence):
                continue
            sentence = pseudonyms.restore(claim.sentence)
            messages = [shown[number] for number in numbers]
            if sentence not in [each.sentence for each in kept] and claims.is_supported_by(
                sentence, messages, people=self.people, language=self.question.language
            ):
                kept.append(replace(claim, sentence=sentence, numbers=numbers))
        return kept

    def _verify(self, kept: Sequence[Claim], pseudonyms: Pseudonyms, usage: Usage) -> list[Claim]:
        """Return the claims that a second call confirms."""
        if not kept or not settings.VERIFY_CLAIMS:
            return list(kept)
        self.report("verifying", len(self.material.shown))
        self.release_connection()
        verdicts, _ = self.engine.call(
            prompting.render_claims(kept, people=self.people, shown=self.material.shown, pseudonyms=pseudonyms),
            model=self.engine.model,
            schema=answers.verification_schema(),
            parse=lambda text: answers.parse_verdicts(text, count=len(kept)),
            group=self.people,
            stage="verify",
            usage=usage,
            deadline=self.deadline,
        )
        verified = [(claim, verdicts.get(index)) for index, claim in enumerate(kept)]
        return [claim for claim, each in verified if each and each.shown and each.right_person and each.sincere]


def render_question(
    question: Question,
    *,
    people: Sequence[str],
    shown: Mapping[int, ShownMessage],
    kinds: Collection[str],
    days: tuple[date, date],
    searched: Sequence[tuple[Search, Sequence[Span]]],
    may_search: bool,
    pseudonyms: Pseudonyms,
) -> Prompt:
    """Return the prompt of a round. The question comes last, after the messages.

    `days` are the first and the last day of the chat, `kinds` the kinds of episodes that were found in it.
    """
    parts = [
        prompting.list_people(people, pseudonyms),
        f"The chat is from {days[0]} to {days[1]}. {len(shown)} of its messages are shown.",
    ]
    if kinds:
        parts.append(f"Kinds of episodes that were found in the chat: {', '.join(sorted(kinds))}.")
    parts.append("Searches so far:")
    parts += [_render_search(each, spans, pseudonyms) for each, spans in searched]
    parts.append("The messages:")
    previous = None
    for number, message in sorted(shown.items()):
        if previous is not None and number > previous + 1:
            parts.append("")
        parts.append(prompting.render_line(message, pseudonyms, forwarded=message.forwarded))
        previous = number
    parts.append("")
    for each in question.earlier:
        parts += [f"An earlier question: {_mask_line(each.question, pseudonyms)}"]
        parts += [f"Its answer: {' '.join(pseudonyms.mask_restored(each.answer).split())}"]
    parts.append(f"The question: {_mask_line(question.text, pseudonyms)}")
    parts.append("You may search." if may_search else "You cannot search any more: answer, or decide not_in_chat.")
    instructions = Template(prompt_files.load("ask")).substitute(language=question.wording.name)
    return Prompt(instructions, "\n".join(parts))


def build_answer(chat: Chat, question: Question, material: Material, kept: Sequence[Claim]) -> Answer:
    """Return the answer that verified claims make. Every cited message is read again from the transcript."""
    numbers = sorted(set(chain.from_iterable(claim.numbers for claim in kept)))
    messages = TranscriptReader(chat).get(numbers) if numbers else {}
    rows = []
    for claim in kept:
        cited = [messages[number] for number in claim.numbers if number in messages]
        if cited:
            quoted = [
                {"number": each.number, "sender": each.sender, "sent_at": each.sent_at.isoformat(), "text": each.text}
                for each in cited
            ]
            rows.append({"sentence": claim.sentence, "messages": quoted})
    text = " ".join(str(row["sentence"]) for row in rows) or question.wording.say(NOT_IN_CHAT)
    return _make_answer(question, material, "answered" if rows else "not_in_chat", text, claims=rows)


def _list_conversations(chat: Chat, question: Question, material: Material, spans: Sequence[Span]) -> Answer:
    """Return what a search found, the best first, as an answer that says that it only searched."""
    conversations = [
        {"messages": [_quote(message, chat) for message in each.messages[:_MAX_CONVERSATION_MESSAGES]]}
        for each in material.list_conversations(spans)[:MAX_CONVERSATIONS]
    ]
    text = question.wording.say(SEARCHED if conversations else NOTHING_FOUND)
    return _make_answer(question, material, "searched", text, conversations=conversations)


def _make_answer(
    question: Question,
    material: Material,
    outcome: Literal["answered", "not_in_chat", "searched"],
    text: str,
    *,
    claims: Sequence[Mapping[str, Any]] = (),
    conversations: Sequence[Mapping[str, Any]] = (),
) -> Answer:
    # The pointer to help comes first, before anything that the chat says.
    notice = ""
    if material.concerning:
        notice = safety.write_notice(question.wording)
    elif safety.nominates(question.text):
        notice = safety.write_notice(question.wording, signs=safety.QUESTION_SIGNS)
    document = {
        "outcome": outcome,
        "answer": f"{notice} {text}".strip(),
        "notice": notice,
        "claims": list(claims),
        "conversations": list(conversations),
        "messages_read": len(material.shown),
        "language": question.language,
    }
    return Answer(document, messages_read=len(material.shown))


def _quote(message: ShownMessage, chat: Chat) -> dict[str, Any]:
    return {
        "number": message.number,
        "sender": chat.participants[message.person],
        "sent_at": message.sent_at.isoformat(),
        "text": message.text,
    }


def _restore_search(each: Search, pseudonyms: Pseudonyms) -> Search:
    """Return the search with names in place of labels: the transcript has names."""
    return replace(each, words=pseudonyms.restore(each.words))


def _mask_line(text: str, pseudonyms: Pseudonyms) -> str:
    # One line: a line of its own could look like a message.
    return " ".join(pseudonyms.mask(text).split())


def _render_search(each: Search, spans: Sequence[Span], pseudonyms: Pseudonyms) -> str:
    asked = [f"words: {' '.join(pseudonyms.mask_restored(each.words).split())}"] if each.words else []
    asked += [f"person: {pseudonyms.label(each.person)}"] if each.person is not None else []
    asked += [f"from {each.first_day}"] if each.first_day else []
    asked += [f"to {each.last_day}"] if each.last_day else []
    asked += [f"kind: {each.kind}"] if each.kind else []
    found = ", ".join(f"#{span[0]} to #{span[-1]}" for span in sorted(spans, key=lambda span: span[0]))
    return f"- {'; '.join(asked)}. Found: {found or 'nothing'}."
