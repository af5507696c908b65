"""Gemini's embeddings: the real SDK over HTTP against a stub server, from one call to an index that is rebuilt."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db.models import F
from django.db.models.functions import Now

from chats import embedding, gemini_embedding, indexing, masking, search
from chats.editing import edit_chat
from chats.gemini_embedding import EmbeddingRequest, GeminiEmbeddingEngine
from chats.importing import ImportOptions, import_upload
from chats.models import Chat, VectorMatrix
from relivchats.language_models import quota
from relivchats.language_models.errors import (
    EngineError,
    EngineMisconfigured,
    EngineRateLimited,
    EngineRefused,
    EngineUnavailable,
)
from tests.chats import samples
from tests.fakes.gemini import KEY, FakeGemini, error, quota_error
from tests.fakes.model_server import Reply
from tests.processes import BrokerHandle

MODEL = "gemini-embedding-2"
REQUEST = EmbeddingRequest(MODEL, ("title: none | text: SECRET TEXT",), 20.0)


@pytest.fixture
def server(settings: Any, broker: BrokerHandle) -> Iterator[FakeGemini]:
    settings.EMBEDDING_ENGINE = "gemini"
    settings.GEMINI_EMBEDDING_DIMENSIONS = 256
    broker.flush()
    quota._outages.clear()
    embedding.get_engine.cache_clear()
    with FakeGemini().serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        yield fake
    embedding.get_engine.cache_clear()


@pytest.fixture
def engine(server: FakeGemini) -> GeminiEmbeddingEngine:
    return GeminiEmbeddingEngine()


def replying(server: FakeGemini, reply: Any) -> None:
    server.embedding_reply = lambda texts: reply if isinstance(reply, Reply) else Reply(reply)


# One call


def test_each_text_is_a_content_with_its_task_as_a_prefix(server: FakeGemini, engine: GeminiEmbeddingEngine) -> None:
    engine.embed(["a flight", "a hotel"])
    engine.embed_queries(["travel"])
    assert server.requests == [f"POST /v1/models/{MODEL}:batchEmbedContents"] * 2
    assert server.embedded == [
        ["title: none | text: a flight", "title: none | text: a hotel"],
        ["task: search result | query: travel"],
    ]
    for request in server.bodies[0]["requests"]:
        assert request["model"] == f"models/{MODEL}"
        assert request["outputDimensionality"] == 256
        assert "taskType" not in request
        assert len(request["content"]["parts"]) == 1
    assert server.headers[0]["x-goog-api-key"] == KEY


def test_rows_have_length_one_and_follow_their_texts(server: FakeGemini, engine: GeminiEmbeddingEngine) -> None:
    rows = engine.embed(["we fly to Goa", "", "the soup needs salt", "  \n"])
    assert rows.shape == (4, 256)
    assert np.allclose(np.linalg.norm(rows, axis=1), [1, 0, 1, 0], atol=1e-5)
    fly, _, soup, _ = rows
    (query,) = engine.embed_queries(["fly to Goa"])
    assert query @ fly > query @ soup + 0.3
    assert [len(texts) for texts in server.embedded] == [2, 1]


def test_texts_are_sent_in_batches_and_keep_their_order(server: FakeGemini, engine: GeminiEmbeddingEngine) -> None:
    texts = [f"word{number}" for number in range(230)]
    rows = engine.embed(texts)
    assert sorted(map(len, server.embedded)) == [30, 100, 100]
    assert np.allclose(rows[217], engine.embed(["word217"])[0])
    server.embedded.clear()
    engine.embed(["x" * 4_000] * 30)
    assert sorted(map(len, server.embedded)) == [13, 17]


def test_texts_of_no_words_cost_no_call(server: FakeGemini, engine: GeminiEmbeddingEngine) -> None:
    assert engine.embed([]).shape == (0, 256)
    assert not engine.embed([" "]).any()
    assert server.requests == []


def test_a_query_is_embedded_once(server: FakeGemini, engine: GeminiEmbeddingEngine, settings: Any) -> None:
    first = engine.embed_queries(["apology", "travel"])
    again = engine.embed_queries(["travel", "apology", "travel"])
    assert np.allclose(again, first[[1, 0, 1]])
    assert len(server.requests) == 1
    settings.GEMINI_EMBEDDING_DIMENSIONS = 128
    assert engine.embed_queries(["travel"]).shape == (1, 128)


@pytest.mark.parametrize(
    ("reply", "kind", "code"),
    [
        (error(401, "UNAUTHENTICATED"), EngineMisconfigured, "invalid_key"),
        (
            error(400, "INVALID_ARGUMENT", {"@type": "ErrorInfo", "reason": "API_KEY_INVALID"}),
            EngineMisconfigured,
            "invalid_key",
        ),
        (error(404, "NOT_FOUND"), EngineMisconfigured, "unknown_model"),
        (error(400, "INVALID_ARGUMENT"), EngineRefused, "request_rejected"),
        (error(503, "UNAVAILABLE"), EngineUnavailable, "provider_error"),
        (Reply({}, 302, {"Location": "https://example.com/"}), EngineMisconfigured, "redirected"),
        (Reply(b"<html>SECRET TEXT</html>"), EngineUnavailable, "malformed_response"),
        (Reply(b""), EngineUnavailable, "malformed_response"),
        ({"error": {"code": 503, "message": "SECRET TEXT"}}, EngineUnavailable, "malformed_response"),
        ({"embeddings": []}, EngineUnavailable, "malformed_response"),
        ({"embeddings": [{"values": [1.0]}]}, EngineUnavailable, "malformed_response"),
        ({"embeddings": [{"values": [0.0] * 256}]}, EngineUnavailable, "malformed_response"),
        ({"embeddings": [{"values": ["SECRET TEXT"]}]}, EngineUnavailable, "malformed_response"),
        ({"embeddings": "SECRET TEXT"}, EngineUnavailable, "malformed_response"),
        (Reply(fault="drop"), EngineUnavailable, "connection_lost"),
        (quota_error(retry_delay="53s"), EngineRateLimited, "rate_limited"),
        (quota_error("EmbedContentRequestsPerDay"), EngineRateLimited, "quota_exhausted"),
    ],
)
def test_each_case_of_a_response_has_its_own_error_after_one_request(
    server: FakeGemini, engine: GeminiEmbeddingEngine, reply: Any, kind: type[EngineError], code: str
) -> None:
    replying(server, reply)
    with pytest.raises(EngineError) as caught:
        engine.send(REQUEST)
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert "SECRET" not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", ["hang", "trickle_body"])
def test_a_response_that_never_ends_is_cut_off(server: FakeGemini, engine: GeminiEmbeddingEngine, fault: Any) -> None:
    replying(server, Reply(fault=fault))
    with pytest.raises(EngineUnavailable) as caught:
        engine.send(EmbeddingRequest(MODEL, ("text",), 0.3))
    assert caught.value.code == "timeout"


def test_without_a_key_nothing_is_sent(server: FakeGemini, engine: GeminiEmbeddingEngine, settings: Any) -> None:
    settings.GEMINI_API_KEY = ""
    with pytest.raises(EngineMisconfigured, match="not_configured"):
        engine.embed(["text"])
    assert engine.missing_settings() == ("GEMINI_API_KEY",)
    assert server.requests == []


def test_calls_pass_the_limits_of_embeddings(server: FakeGemini, engine: GeminiEmbeddingEngine, settings: Any) -> None:
    settings.EMBEDDING_REQUESTS_PER_MINUTE = 2
    settings.MODEL_REQUESTS_PER_MINUTE = 0
    engine.embed(["one"])
    engine.embed(["two"])
    with pytest.raises(EngineRateLimited):
        engine.embed_queries(["three"])
    assert len(server.requests) == 2
    assert quota.observed(MODEL).requests == 2


def test_the_name_changes_with_everything_that_vectors_depend_on(engine: GeminiEmbeddingEngine, settings: Any) -> None:
    names = {engine.name}
    for setting, value in [
        ("GEMINI_EMBEDDING_MODEL", "gemini-embedding-3"),
        ("GEMINI_EMBEDDING_DIMENSIONS", 1536),
        ("PSEUDONYMS", False),
    ]:
        setattr(settings, setting, value)
        names.add(engine.name)
    assert len(names) == 4
    assert "gemini-gemini-embedding-2-256-p1" in names
    settings.GEMINI_EMBEDDING_MODEL = "tuned/" + "x" * 300
    assert len(engine.name) <= 64


# An index


def request(chat: Chat) -> Chat:
    indexing.request(chat)
    return chat


def reloaded(chat: Chat) -> Chat:
    return Chat.objects.get(pk=chat.pk)


@pytest.mark.django_db
class TestIndexing:
    def test_a_chat_is_indexed_and_found_by_meaning(self, server: FakeGemini) -> None:
        chat = request(samples.stored())
        assert indexing.index_chat(chat.pk)
        found = search.get_searcher(reloaded(chat)).search(["buy tickets for a flight"], limit=1)
        assert found[0].chunk.first_number == 3
        stored = VectorMatrix.objects.get(chat=chat)
        assert (stored.engine, stored.dimensions) == ("gemini-gemini-embedding-2-256-p1", 256)
        assert reloaded(chat).index_engine == stored.engine

    def test_a_chunk_is_one_text(self, server: FakeGemini) -> None:
        chat = request(samples.stored([(0, "Asha", "word " * 20), (1, "Ravi", "word " * 20)]))
        assert indexing.index_chat(chat.pk)
        assert [len(texts) for texts in server.embedded] == [1]

    def test_names_are_masked_in_texts_and_queries(self, server: FakeGemini) -> None:
        lines = [(0, "Asha", "Ravi, call me on +91 98765 43210"), (1, "Ravi", "hello asha didi")]
        chat = request(samples.stored(lines))
        assert indexing.index_chat(chat.pk)
        search.get_searcher(reloaded(chat)).search(["what did Ravi say?"], limit=1)
        sent = " ".join(text for texts in server.embedded for text in texts)
        assert "P2" in sent
        assert "query: what did P2 say?" in sent
        for name in ("Asha", "asha", "Ravi", "98765"):
            assert name not in sent

    def test_people_who_are_merged_later_keep_their_labels(self, server: FakeGemini) -> None:
        lines = [(0, who, "hello there") for who in ("Asha", "Asha new", "Ravi")]
        chat = samples.stored(lines)
        engine = embedding.get_engine()
        before = masking.mask_texts(engine, chat, ["ask Ravi"])
        edited = edit_chat(chat, people=[{"name": "Didi", "aliases": ["Asha", "Asha new"]}])
        assert masking.mask_texts(engine, edited, ["ask Ravi", "and Didi"]) == [*before, "and P1"]

    def test_after_an_extension_only_new_conversations_are_embedded(self, server: FakeGemini) -> None:
        chat = request(samples.stored())
        assert indexing.index_chat(chat.pk)
        server.embedded.clear()
        longer = samples.export([*samples.TALK, (900, "Asha", "the mangoes have arrived")])
        import_upload(owner=chat.owner, upload=longer, options=ImportOptions(extend=chat.pk))
        assert indexing.index_chat(chat.pk)
        sent = [text for texts in server.embedded for text in texts]
        assert len(sent) == 2
        assert any("mangoes" in text for text in sent)
        assert reloaded(chat).chunk_count == 4

    @pytest.mark.parametrize(
        ("setting", "value"),
        [("GEMINI_EMBEDDING_MODEL", "gemini-embedding-3"), ("GEMINI_EMBEDDING_DIMENSIONS", 128), ("PSEUDONYMS", False)],
    )
    def test_a_change_of_the_engine_indexes_again_and_until_then_nothing_is_searched(
        self, server: FakeGemini, settings: Any, setting: str, value: Any
    ) -> None:
        chat = request(samples.stored())
        assert indexing.index_chat(chat.pk)
        assert reloaded(chat).is_searchable
        assert indexing.request_outdated() == 0
        search.get_searcher(reloaded(chat))
        setattr(settings, setting, value)
        assert not reloaded(chat).is_searchable
        with pytest.raises(search.NotSearchable):
            search.get_searcher(reloaded(chat))
        assert reloaded(chat).needs_index
        assert indexing.request_outdated() == 1
        assert reloaded(chat).vector_status == "pending"
        assert indexing.index_chat(chat.pk)
        assert reloaded(chat).is_searchable
        assert VectorMatrix.objects.get(chat=chat).engine == embedding.get_engine().name
        assert search.get_searcher(reloaded(chat)).search(["flight"], limit=1)

    def test_few_outdated_chats_are_requested_at_a_time(
        self, server: FakeGemini, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(indexing, "_MAX_OUTDATED_DUE", 2)
        for _ in range(3):
            assert indexing.index_chat(request(samples.stored()).pk)
        Chat.objects.update(index_engine="another")
        assert [indexing.request_outdated() for _ in range(2)] == [2, 0]


@pytest.mark.django_db
class TestFailures:
    def test_a_rate_limit_reschedules_without_an_attempt(self, server: FakeGemini) -> None:
        chat = request(samples.stored())
        replying(server, quota_error(retry_delay="300s"))
        for _ in range(5):
            Chat.objects.update(index_not_before=None)
            assert not indexing.index_chat(chat.pk)
            state = reloaded(chat)
            assert (state.vector_status, state.index_attempt, state.index_error_code) == ("pending", 0, "rate_limited")
        assert len(server.requests) == 1
        assert not Chat.objects.index_due().exists()
        assert Chat.objects.filter(index_not_before__gt=Now() + timedelta(seconds=290)).exists()
        assert indexing.dispatch() == 0

    def test_a_wrong_key_is_a_state_that_an_operator_corrects(self, server: FakeGemini, broker: BrokerHandle) -> None:
        chat = request(samples.stored())
        replying(server, error(403, "PERMISSION_DENIED"))
        assert not indexing.index_chat(chat.pk)
        state = reloaded(chat)
        assert (state.vector_status, state.index_attempt, state.index_error_code) == ("pending", 0, "invalid_key")
        assert quota.breaker_state(MODEL).reason == "invalid_key"
        server.embedding_reply = lambda texts: None
        broker.flush()
        Chat.objects.update(index_not_before=F("index_not_before") - timedelta(seconds=60))
        assert indexing.index_chat(chat.pk)
        assert reloaded(chat).index_error_code == ""

    def test_what_the_provider_refuses_fails_at_once(self, server: FakeGemini) -> None:
        chat = request(samples.stored())
        replying(server, error(400, "INVALID_ARGUMENT"))
        assert not indexing.index_chat(chat.pk)
        state = reloaded(chat)
        assert (state.vector_status, state.index_attempt, state.index_error_code) == ("failed", 1, "request_rejected")

    def test_a_provider_that_does_not_answer_uses_an_attempt_each_time(self, server: FakeGemini) -> None:
        chat = request(samples.stored())
        replying(server, error(503, "UNAVAILABLE"))
        states = []
        for _ in range(3):
            assert not indexing.index_chat(chat.pk)
            states.append((reloaded(chat).vector_status, reloaded(chat).index_attempt))
            Chat.objects.update(index_not_before=None)
        assert states == [("pending", 1), ("pending", 2), ("failed", 3)]

    def test_what_was_embedded_before_a_rate_limit_is_not_paid_for_again(
        self, server: FakeGemini, monkeypatch: pytest.MonkeyPatch, broker: BrokerHandle
    ) -> None:
        monkeypatch.setattr(indexing, "_CHUNKS_PER_STEP", 2)
        chat = request(samples.stored([(600, "Asha", f"conversation number{number}") for number in range(9)]))
        server.embedding_reply = fail_after(server, calls=3)
        assert not indexing.index_chat(chat.pk)
        partly = reloaded(chat)
        assert (partly.vector_status, partly.is_searchable, partly.chunks.count()) == ("pending", False, 6)
        with pytest.raises(search.NotSearchable):
            search.get_searcher(partly)
        server.embedding_reply = lambda texts: None
        broker.flush()
        Chat.objects.update(index_not_before=None)
        assert indexing.index_chat(chat.pk)
        sent = [text for texts in server.embedded for text in texts]
        # The last conversation before the interruption is embedded again: it could have continued.
        assert sorted(sent) == sorted([f"title: none | text: conversation number{n}" for n in [*range(9), 5]])
        assert search.get_searcher(reloaded(chat)).search(["number7"], limit=1)[0].chunk.first_number == 8

    def test_a_complete_index_is_not_replaced_by_a_part_of_a_new_one(
        self, server: FakeGemini, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(indexing, "_CHUNKS_PER_STEP", 1)
        chat = request(samples.stored())
        assert indexing.index_chat(chat.pk)
        request(chat)
        server.embedding_reply = fail_after(server, calls=len(server.embedded) + 1)
        assert not indexing.index_chat(chat.pk)
        assert (reloaded(chat).is_searchable, chat.chunks.count()) == (True, 3)
        assert search.get_searcher(reloaded(chat)).chunks

    def test_a_search_whose_query_cannot_be_embedded_raises_the_engines_error(self, server: FakeGemini) -> None:
        chat = request(samples.stored())
        assert indexing.index_chat(chat.pk)
        replying(server, error(503, "UNAVAILABLE"))
        with pytest.raises(EngineUnavailable):
            search.get_searcher(reloaded(chat)).search(["flight"], limit=1)


def fail_after(server: FakeGemini, *, calls: int) -> Callable[[Sequence[str]], Reply | None]:
    """Answer until this many calls were answered, then reject calls for a minute."""
    return lambda texts: quota_error(retry_delay="70s") if len(server.embedded) >= calls else None


def test_a_call_is_made_with_the_time_limit_of_models(engine: GeminiEmbeddingEngine, settings: Any) -> None:
    settings.MODEL_TIMEOUT_SECONDS = 7
    seen: list[float] = []

    class Recording(GeminiEmbeddingEngine):
        def send(self, request: EmbeddingRequest) -> gemini_embedding.EmbeddingAnswer:
            seen.append(request.timeout_seconds)
            return super().send(request)

    Recording().embed(["text"])
    assert seen == [7]
