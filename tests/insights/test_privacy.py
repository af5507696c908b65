"""Readings, questions and errors of engines: nothing private is stored outside sealed columns."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from insights import engines, generation, unlocking
from insights.engines.base import EngineRefused, UnusableAnswer
from insights.engines.local.engine import LocalInsightEngine
from insights.episodes import Window, WindowReading
from insights.models import ChatReading
from insights.reading import queue, result, stage
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.asking import claim, decide
from tests.canary import assert_nowhere, unique
from tests.conftest import StartCelery
from tests.fakes.gemini import FakeGemini
from tests.fakes.model_server import Asked
from tests.fakes.reader import FakeReader, find_one_episode
from tests.processes import BrokerHandle
from tests.truth.oracle import parse_lines

pytestmark = pytest.mark.django_db(transaction=True)

WORD, NAME, OTHER = unique("tamarind"), unique("Asha"), unique("Rohan")


def export() -> bytes:
    """Return a chat in which every message can be quoted and contains the word."""
    said = [
        f"I love you so much {WORD} ❤️",
        f"thank you for being there, miss you {WORD}",
        f"sorry jaan, maaf karo {WORD} please",
        f"let's plan our future home next year {WORD} 😂",
    ]
    lines = []
    for number in range(240):
        at = f"{1 + number // 24:02}/03/2024, {number % 24:02}:{number % 60:02}"
        lines.append(f"{at} - {(NAME, OTHER)[number % 2]}: {said[number % 4]}")
    return "\n".join(lines).encode()


def test_an_engine_error_with_chat_text_is_not_logged(
    person: User, make_chat: Callable[..., Chat], monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    secret = unique("betrayal")

    def write(self: LocalInsightEngine, brief: object) -> None:
        raise ValueError(secret)

    monkeypatch.setattr(LocalInsightEngine, "write", write)
    (insight,) = unlocking.unlock(
        user=person,
        chat=make_chat(person),
        type_ids=["love_language"],
    ).insights
    generation.run(insight.pk)
    insight.refresh_from_db()
    assert insight.error_code == "internal_error"
    assert "insight not generated" in logged.getvalue()
    assert secret not in logged.getvalue()


def test_a_reading_leaves_nothing_private_outside_sealed_columns(
    broker: BrokerHandle, person: User, monkeypatch: pytest.MonkeyPatch, logged: io.StringIO
) -> None:
    engine = FakeReader(window_tokens=1_500)
    monkeypatch.setattr(engines, "get_engine", lambda: engine)
    secret = unique("betrayal")

    def answer(window: Window) -> WindowReading:
        """Find something in one window, and fail in all the ways of a provider in the others."""
        match len(engine.windows):
            case 1:
                return find_one_episode(window)
            case 2:
                raise UnusableAnswer("malformed_answer")
            case 3:
                raise EngineRefused("blocked")
            case _:
                raise ValueError(f"{secret}: {window.messages[0].text}")

    engine.answers = answer
    chat = import_chat(owner=person, upload=export())
    unlocking.unlock(user=person, chat=chat, type_ids=["love_language"])
    indexing.index_chat(chat.pk)
    row = ChatReading.objects.get(chat=chat)
    queue.dispatch()
    for _ in range(3):
        stage.run(row.pk)
        ChatReading.objects.update(next_attempt_at=Now())
    row.refresh_from_db()
    assert row.status == "failed"
    sealed = row.windows.get(status="read")
    found = result.open_window(Chat.objects.get(pk=chat.pk), sealed)
    assert WORD in found.result.episodes[0].subject, "the owner's key opens it"
    assert "window not read" in logged.getvalue()
    assert_nowhere(WORD, NAME, OTHER, secret, logs=logged.getvalue().splitlines())


def test_a_question_leaves_nothing_private_outside_sealed_columns(
    worker: StartCelery, beat: StartCelery, person: User
) -> None:
    question_word, answer_word = unique("mulberry"), unique("saffron")

    def answer(asked: Asked) -> Any:
        if "verdicts" in asked.schema["properties"]:
            return {"verdicts": [{"claim": 1, "shown": True, "right_person": True, "sincere": True}]}
        numbers = [line.number for line in parse_lines(asked.content) if WORD in line.text][:2]
        return decide("answer", claims=[claim(f"They say {WORD} and {answer_word}, he adds.", *numbers)])

    chat = import_chat(owner=person, upload=export() + f"\n11/03/2024, 09:00 - {NAME}: {WORD} {answer_word}".encode())
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    with FakeGemini(answer).serving() as server:
        environment = {"INSIGHT_ENGINE": "gemini", **server.settings(), "LOG_LEVEL": "DEBUG"}
        working, ticking = worker(**environment), beat(**environment)
        client = Client(headers={"Authorization": f"Bearer {tokens.issue(person)}"})
        asked = client.post(
            f"/api/chats/{chat.pk}/ask",
            {"question": f"Does {NAME} speak of {WORD} or {question_word}?"},
            content_type="application/json",
        )
        assert asked.status_code == 200, asked.content
        assert question_word in asked.content.decode(), "the owner reads the question"
    assert [body for body in server.bodies if NAME in str(body)] == []
    logs = [*working.log.read_text().splitlines(), *ticking.log.read_text().splitlines()]
    assert any("question answered" in line for line in logs)
    assert_nowhere(WORD, NAME, question_word, answer_word, logs=logs)
