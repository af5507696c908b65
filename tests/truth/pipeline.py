"""Run a planted chat from the upload to its insights, in this process, against real servers."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.db.models.functions import Now
from django.test import override_settings

from billing import ledger
from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from chats.transcript import TranscriptReader
from insights import briefs, engines, generation, reading, unlocking
from insights.definition import Definition
from insights.engines.base import EngineError
from insights.episodes import Episode, Relationship
from insights.models import ChatReading, Insight, InsightType
from insights.reading import stage
from relivchats.accounts.models import User
from relivchats.errors import DomainError
from tests.fakes.chat_completions import FakeChatCompletions
from tests.fakes.gemini import FakeGemini
from tests.fakes.model_server import Asked, ModelServer
from tests.truth.circles import CATEGORIES
from tests.truth.ground_truth import GroundTruth
from tests.truth.oracle import Oracle, Trace

_COINS = 400
#: More runs than an insight or a reading has attempts.
_MAX_RUNS = 8
_SERVERS: Mapping[str, type[ModelServer]] = {"gemini": FakeGemini, "openai": FakeChatCompletions}
ENGINES = (*_SERVERS, "local")


@dataclass(slots=True)
class ChatResult:
    """What became of a planted chat.

    `documents` are by type, `failures` have the error code of the others. `refused` is the code of a refused unlock.
    `messages` has the sender and the text by number. `support` has, by type and section, the number of matched
    messages, where words are counted. `episodes` are those that the reading kept.
    """

    truth: GroundTruth
    engine: str
    oracle: str
    definitions: Mapping[str, Definition]
    language: str = "en"
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    refused: str = ""
    messages: Mapping[int, tuple[str, str]] = field(default_factory=dict)
    support: dict[tuple[str, str], int] = field(default_factory=dict)
    episodes: Sequence[Episode] = ()
    trace: Trace | None = None
    false_texts: Sequence[str] = ()


def load_definitions(category: str = "romantic", *, type_ids: Sequence[str] = ()) -> dict[str, Definition]:
    """Return the current definitions of these types, or of a category's, by type, in the order of the catalogue."""
    types = InsightType.objects.filter(pk__in=type_ids) if type_ids else InsightType.objects.filter(category=category)
    return {each.pk: Definition.parse(each.versions.latest("version").definition) for each in types}


@contextlib.contextmanager
def serving(engine: str, oracle: Callable[[Asked], Any]) -> Iterator[None]:
    """Make the engine call a stub server that answers as the oracle does."""
    if engine not in _SERVERS:
        with _selected(INSIGHT_ENGINE=engine):
            yield
        return
    with (
        _SERVERS[engine](oracle).serving() as server,
        _selected(
            INSIGHT_ENGINE=engine,
            MODEL_REQUESTS_PER_MINUTE=0,
            MODEL_TOKENS_PER_MINUTE=0,
            **server.settings(),
        ),
    ):
        yield


@contextlib.contextmanager
def _selected(**settings: Any) -> Iterator[None]:
    with override_settings(**settings):
        engines.get_engine.cache_clear()
        try:
            yield
        finally:
            engines.get_engine.cache_clear()


def run_chat(
    truth: GroundTruth,
    upload: bytes,
    *,
    engine: str,
    oracle: type[Oracle] = Oracle,
    type_ids: Sequence[str] = (),
    language: str = "en",
) -> ChatResult:
    """Import, index, read and unlock a planted chat. Without `type_ids`, the category of its people is unlocked.

    `language` is that of the insights.
    """
    category = CATEGORIES[Relationship(truth.relationship)]
    definitions = load_definitions(category, type_ids=type_ids)
    answering = oracle(truth, definitions)
    result = ChatResult(
        truth, engine, answering.name, definitions, language=language, false_texts=answering.false_texts
    )
    with serving(engine, answering):
        owner, chat = import_and_index(upload)
        result.messages = list_messages(chat)
        try:
            chosen = {"type_ids": list(type_ids)} if type_ids else {"category_id": category}
            unlocked = unlocking.unlock(user=owner, chat=chat, language=language, **chosen)
        except DomainError as error:
            result.refused = error.slug
            return result
        read(chat)
        found = reading.load(chat)
        result.episodes = found.episodes if found else ()
        for insight in unlocked.insights:
            _write(insight, result)
    result.trace = answering.trace
    return result


def import_and_index(upload: bytes) -> tuple[User, Chat]:
    """Return the chat of an export, and its owner, who has coins for a category."""
    owner = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
    if missing := _COINS - owner.wallet.balance:
        ledger.adjust(wallet=owner.wallet, amount=missing, actor="test", reason="test", idempotency_key="coins")
    chat = import_chat(owner=owner, upload=upload)
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    return owner, chat


def list_messages(chat: Chat) -> dict[int, tuple[str, str]]:
    """Return the sender and the text of each message by its number."""
    return {
        message.number: (message.sender or "", message.text)
        for message in TranscriptReader(chat).messages(1, chat.line_count)
    }


def read(chat: Chat) -> None:
    """Read a chat, in as many attempts as it takes. An insight must wait for it."""
    reading.request(chat)
    for _ in range(_MAX_RUNS):
        row = ChatReading.objects.filter(chat=chat, status=ChatReading.Status.PENDING).first()
        if row is None:
            return
        ChatReading.objects.filter(pk=row.pk).update(next_attempt_at=Now())
        stage.run(row.pk)


def _write(insight: Insight, result: ChatResult) -> None:
    for _ in range(_MAX_RUNS):
        Insight.objects.filter(pk=insight.pk, status=Insight.Status.PENDING).update(next_attempt_at=Now())
        generation.run(insight.pk)
        insight = Insight.objects.select_related("chat", "insight_type", "type_version").get(pk=insight.pk)
        if not insight.is_open:
            break
    document = insight.open_document()
    if document is None:
        result.failures[insight.insight_type_id] = insight.error_code or "still open"
        return
    result.documents[insight.insight_type_id] = document
    with contextlib.suppress(EngineError):
        for entry in briefs.build_brief(insight).sections:
            if entry.episodes is None:
                days = sum(word.days for word in entry.recurring_words)
                result.support[insight.insight_type_id, entry.section.key] = sum(entry.mentions) + days
