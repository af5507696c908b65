"""What operators see of embeddings and Qdrant: health, `manage.py engine` and `manage.py reindex --qdrant`."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command

from chats import embedding, indexing, qdrant
from chats.models import Chat
from ops.checks import search as checks
from relivchats.language_models import quota
from relivchats.staff.reports import Level
from tests.chats import samples
from tests.chats.test_qdrant import COLLECTION, indexed, server, settle
from tests.fakes.gemini import FakeGemini, error
from tests.fakes.model_server import Reply
from tests.fakes.qdrant import FakeQdrant
from tests.processes import BrokerHandle

__all__ = ["server"]

pytestmark = pytest.mark.django_db


@pytest.fixture
def gemini(settings: Any, broker: BrokerHandle) -> Iterator[FakeGemini]:
    settings.EMBEDDING_ENGINE = "gemini"
    broker.flush()
    quota._outages.clear()
    embedding.get_engine.cache_clear()
    with FakeGemini().serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        yield fake
    embedding.get_engine.cache_clear()


def test_without_a_url_qdrant_is_not_used() -> None:
    assert checks.qdrant_server().level is Level.FINE
    with pytest.raises(Exception, match="QDRANT_URL is not set"):
        call_command("reindex", "--qdrant", "--reason", "test")


def test_health_looks_at_qdrant_without_its_client_which_takes_seconds_to_import(
    server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    indexed()
    settle()
    for name in [name for name in sys.modules if name.partition(".")[0] == "qdrant_client"]:
        monkeypatch.delitem(sys.modules, name)
    # An import raises ImportError.
    monkeypatch.setitem(sys.modules, "qdrant_client", None)
    line = checks.qdrant_server()
    assert (line.level, line.data["points"]) == (Level.FINE, 3)


def test_health_compares_versions_counts_and_orphans(server: FakeQdrant) -> None:
    chat, erased = indexed(), indexed()
    settle()
    Chat.objects.filter(pk=erased.pk).delete()
    line = checks.qdrant_server()
    assert line.level is Level.FINE
    assert line.data == {
        "server": "1.20.2",
        "client": qdrant.client_version(),
        "chats": 1,
        "points": 6,
        "expected_points": 3,
        "incomplete": 0,
        "orphans": 1,
    }
    qdrant.remove(chat.pk)
    line = checks.qdrant_server()
    assert (line.level, line.remedy) == (Level.WARNING, "manage.py reindex --qdrant")
    server.version = "1.15.4"
    line = checks.qdrant_server()
    assert line.level is Level.WARNING
    assert "1.15.4" in line.text


def test_a_qdrant_that_does_not_answer_is_a_warning(server: FakeQdrant) -> None:
    server.reply = Reply(fault="drop")
    line = checks.qdrant_server()
    assert (line.level, line.data) == (Level.WARNING, {"error_code": "no_answer"})


def test_reindex_stores_the_sealed_copies_and_embeds_nothing(
    server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = indexed()
    indexed()
    server.lose(COLLECTION)
    monkeypatch.setattr(embedding.LocalEmbeddingEngine, "embed", None)
    call_command("reindex", "--qdrant", "--dry-run", stdout=io.StringIO())
    assert COLLECTION not in server.configs
    call_command("reindex", str(chat.pk), "--qdrant", "--reason", "test", stdout=io.StringIO())
    assert server.points(COLLECTION) == 3
    call_command("reindex", "--qdrant", "--reason", "test", stdout=io.StringIO())
    assert server.points(COLLECTION) == 6
    output = io.StringIO()
    call_command("reindex", stdout=output)
    assert "6 of 6 vectors of 2 chats" in output.getvalue()


def test_health_names_a_missing_key_of_the_embedding_engine(gemini: FakeGemini, settings: Any) -> None:
    assert checks.embeddings().level is Level.FINE
    settings.GEMINI_API_KEY = ""
    line = checks.embeddings()
    assert line.level is Level.CRITICAL
    assert "GEMINI_API_KEY" in line.text


def test_health_names_a_rejected_key_and_the_chats_that_wait(gemini: FakeGemini) -> None:
    chat = samples.stored()
    indexing.request(chat)
    gemini.embedding_reply = lambda texts: error(403, "PERMISSION_DENIED")
    assert not indexing.index_chat(chat.pk)
    line = checks.embeddings()
    assert (line.level, line.data["waiting"]) == (Level.CRITICAL, 1)
    assert "invalid_key" in line.text
    gemini.embedding_reply = lambda texts: None
    output = io.StringIO()
    call_command("engine", "--check", stdout=output)
    assert "answered in" in output.getvalue()
    assert checks.embeddings().level is Level.FINE


def test_the_engine_command_says_where_texts_are_sent(gemini: FakeGemini) -> None:
    output = io.StringIO()
    call_command("engine", stdout=output)
    assert "texts are sent to 127.0.0.1, with pseudonyms" in " ".join(output.getvalue().split())
