"""Vectors in Qdrant: the real client over HTTP against a stub server that Qdrant's own engine answers."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.db import transaction
from django.db.models import F
from pytest_django import DjangoCaptureOnCommitCallbacks

from chats import embedding, indexing, points, qdrant, search, tasks, vector_index
from chats.erasure import erase
from chats.importing import ImportOptions, import_upload
from chats.models import Chat, VectorMatrix
from chats.qdrant import QdrantUnavailable
from chats.vector_index import VectorIndex
from tests.chats import samples
from tests.fakes.model_server import Reply
from tests.fakes.qdrant import KEY, FakeQdrant
from tests.processes import BrokerHandle, eventually

ENGINE = "wordllama-l2-supercat-128"
COLLECTION = f"relivchats-{ENGINE}"
WORDS = [
    "tea",
    "rain",
    "goa",
    "flight",
    "doctor",
    "hospital",
    "rent",
    "salary",
    "movie",
    "ticket",
    "sorry",
    "love",
    "angry",
    "exam",
    "mango",
    "train",
    "beach",
    "hotel",
]


@pytest.fixture
def server(settings: Any) -> Iterator[FakeQdrant]:
    qdrant.resume()
    with FakeQdrant(key=KEY).serving() as fake:
        for name, value in fake.settings().items():
            setattr(settings, name, value)
        yield fake
    qdrant.resume()


def indexed(lines: list[samples.Line] = samples.TALK) -> Chat:
    chat = samples.stored(lines)
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    return reloaded(chat)


def reloaded(chat: Chat) -> Chat:
    return Chat.objects.get(pk=chat.pk)


def settle() -> None:
    """Make all indexes old: their points are not being stored any more."""
    VectorMatrix.objects.update(created_at=F("created_at") - timedelta(hours=1))
    Chat.objects.update(indexed_at=F("indexed_at") - timedelta(hours=1))


def age_and_store(chat: Chat) -> None:
    """Make the index old, with its points in Qdrant."""
    settle()
    assert points.store(chat.pk)


def long_chat(seed: int, *, messages: int = 1_500) -> list[samples.Line]:
    generator = random.Random(seed)
    return [
        (
            generator.choice([0, 1, 20, 300]),
            generator.choice(["Asha", "Ravi"]),
            " ".join(generator.choices(WORDS, k=generator.randint(1, 9))),
        )
        for _ in range(messages)
    ]


def find_first(chat: Chat, *queries: str) -> int:
    return search.Searcher(reloaded(chat)).search(queries, limit=1)[0].chunk.first_number


# Storing


@pytest.mark.django_db
class TestStoring:
    def test_an_indexed_chat_has_one_point_per_vector_with_its_chat_and_chunk_only(self, server: FakeQdrant) -> None:
        chat = indexed()
        expected = [
            {"chat_id": str(chat.pk), "chunk": chunk.number}
            for chunk in chat.chunks.order_by("number")
            for _ in range(chunk.vector_count)
        ]
        found = server.payloads(COLLECTION)
        assert sorted(found, key=lambda payload: payload["chunk"]) == expected

    def test_the_collection_is_created_for_tenants(self, server: FakeQdrant) -> None:
        indexed()
        indexed()
        assert server.configs == {
            COLLECTION: {
                "vectors": {"size": 128, "distance": "Dot"},
                "hnsw_config": {"m": 0, "payload_m": 16},
            }
        }
        assert server.indexes == {COLLECTION: {"chat_id": {"type": "keyword", "is_tenant": True}}}
        assert len(server.paths(f"PUT /collections/{COLLECTION}/index")) == 1

    def test_every_write_waits_until_it_can_be_searched(self, server: FakeQdrant) -> None:
        indexed()
        writes = [*server.paths("PUT /"), *server.paths("/points/delete")]
        assert len(writes) == 4
        assert [line for line in writes if "wait=true" not in line] == [f"PUT /collections/{COLLECTION}"]

    def test_the_key_is_sent_and_no_chat_text(self, server: FakeQdrant) -> None:
        indexed()
        assert {headers["api-key"] for headers in server.headers} == {KEY}
        assert not any(word in str(server.bodies) for word in ("Goa", "coffee", "Asha", "Ravi"))

    def test_indexing_again_replaces_the_points(self, server: FakeQdrant) -> None:
        chat = indexed()
        longer = samples.export([*samples.TALK, (900, "Asha", "the mangoes have arrived")])
        import_upload(owner=chat.owner, upload=longer, options=ImportOptions(extend=chat.pk))
        assert indexing.index_chat(chat.pk)
        version = points.current_version(chat.pk)
        assert version is not None
        assert server.points(COLLECTION) == qdrant.count(version) == version.row_count == 4
        assert find_first(chat, "mangoes") == 7

    def test_each_engine_has_its_own_collection(self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = indexed()
        monkeypatch.setattr(embedding.LocalEmbeddingEngine, "name", "another-128")
        assert not reloaded(chat).is_searchable
        indexing.request(chat)
        assert indexing.index_chat(chat.pk)
        assert server.points("relivchats-another-128") == 3

    def test_indexing_succeeds_without_qdrant_and_the_points_follow(self, server: FakeQdrant) -> None:
        server.reply = Reply(fault="drop")
        chat = indexed()
        assert chat.is_searchable
        server.reply = None
        settle()
        assert points.synchronize().stored == 1
        assert server.points(COLLECTION) == 3

    def test_a_version_that_was_replaced_while_it_was_stored_is_stored_again(
        self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chat = indexed()
        store, versions = qdrant.store, []

        def store_while_indexed_again(version: Any, *arguments: Any) -> None:
            versions.append(version)
            store(version, *arguments)
            if len(versions) == 1:
                VectorMatrix.objects.update(created_at=F("created_at") + timedelta(seconds=1))

        monkeypatch.setattr(qdrant, "store", store_while_indexed_again)
        assert points.store(chat.pk)
        assert versions[0] != versions[1] == points.current_version(chat.pk)
        assert find_first(chat, "flight") == 3

    def test_a_chat_that_was_erased_while_it_was_stored_leaves_no_points(
        self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chat = indexed()
        store = qdrant.store

        def store_and_erase(*arguments: Any) -> None:
            store(*arguments)
            Chat.objects.filter(pk=chat.pk).delete()

        monkeypatch.setattr(qdrant, "store", store_and_erase)
        assert not points.store_if_possible(chat.pk)
        assert server.points(COLLECTION) == 0


# Searching


@pytest.mark.django_db
class TestSearching:
    def test_the_matrix_is_not_loaded(self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = indexed()
        monkeypatch.setattr(VectorIndex, "_load_matrix", None)
        assert find_first(chat, "planning a vacation by plane") == 3
        assert find_first(chat, "health checkup at the hospital") == 5

    @pytest.mark.parametrize("seed", range(4))
    def test_qdrant_and_the_sealed_matrix_rank_alike(self, server: FakeQdrant, settings: Any, seed: int) -> None:
        chat = indexed(long_chat(seed))
        with_qdrant = search.Searcher(chat)
        settings.QDRANT_URL = ""
        with_matrix = search.Searcher(chat)
        settings.QDRANT_URL = server.address
        generator = random.Random(seed)
        for _ in range(12):
            queries = [" ".join(generator.choices(WORDS, k=3)) for _ in range(generator.randint(1, 4))]
            asked = len(server.paths("/points/query/batch"))
            scores = with_qdrant._score_by_vectors(queries)
            assert len(server.paths("/points/query/batch")) > asked
            settings.QDRANT_URL = ""
            exact = with_matrix._score_by_vectors(queries)
            settings.QDRANT_URL = server.address
            ours, theirs = search._rank(scores), search._rank(exact)
            assert np.abs(exact[ours] - exact[theirs]).max() < 3e-5
            assert np.abs(scores[ours] - exact[ours]).max() < 3e-5
            hits = with_qdrant.search(queries, limit=20)
            settings.QDRANT_URL = ""
            wanted = with_matrix.search(queries, limit=20)
            settings.QDRANT_URL = server.address
            assert len({hit.chunk for hit in hits} ^ {hit.chunk for hit in wanted}) <= 2

    def test_enough_rows_are_asked_for_if_many_belong_to_few_chunks(
        self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        lines = [(0, "Asha", "the flight to Goa " * 7)] * 7 + [(600, "Ravi", f"rain {word} " * 9) for word in WORDS]
        chat = indexed(lines)
        monkeypatch.setattr(vector_index, "_ROWS_PER_CHUNK", 1)
        monkeypatch.setattr(search, "_MAX_RANK", 5)
        searcher = search.Searcher(chat)
        # The five closest rows are of the first two chunks.
        assert np.count_nonzero(searcher._score_by_vectors(["the flight to Goa"]) > -1) >= 5
        assert len(server.paths("/points/query/batch")) == 2

    def test_chats_do_not_find_each_other(self, server: FakeQdrant) -> None:
        first = indexed([(0, "Asha", "the flight to Goa")])
        second = indexed([(0, "Asha", "the flight to Goa"), (600, "Asha", "rain")])
        assert len(search.Searcher(first).search(["flight"], limit=9)) == 1
        assert len(search.Searcher(second).search(["flight", "rain"], limit=9)) == 2

    @pytest.mark.parametrize(
        ("reply", "code"),
        [
            (Reply(fault="drop"), "no_answer"),
            (Reply(b"Invalid API key", 401), "invalid_key"),
            (Reply({"status": {"error": "SECRET TEXT"}}, 500), "server_error"),
            (Reply({"status": {"error": "SECRET TEXT"}}, 429), "rate_limited"),
            (Reply({"status": {"error": "SECRET TEXT"}}, 429, {"Retry-After": "7"}), "rate_limited"),
            (Reply({}, 429, {"Retry-After": "soon"}), "rate_limited"),
            (Reply(b"<html>SECRET TEXT</html>"), "malformed_response"),
            (Reply({"status": "ok", "time": 0.1}), "malformed_response"),
            (Reply({}, 302, {"Location": "http://127.0.0.1:1/"}), "server_error"),
        ],
    )
    def test_every_error_falls_back_to_the_sealed_matrix(
        self, server: FakeQdrant, reply: Reply, code: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        searcher = search.Searcher(indexed())
        server.reply = reply
        caplog.clear()
        assert searcher.search(["planning a vacation by plane"], limit=1)[0].chunk.first_number == 3
        (record,) = [record for record in caplog.records if record.name == "chats.vector_index"]
        assert record.error_code == code  # type: ignore[attr-defined]
        assert "SECRET" not in caplog.text
        version = points.current_version(searcher.chat.pk)
        assert version is not None
        with pytest.raises(QdrantUnavailable) as caught:
            qdrant.count(version)
        assert caught.value.code == code
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__

    def test_a_server_that_hangs_delays_one_search(self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(qdrant, "SEARCH_TIMEOUT_SECONDS", 1)
        chat = indexed()
        searcher = search.Searcher(chat)
        server.reply = Reply(fault="hang")
        asked = len(server.requests)
        for _ in range(3):
            assert searcher.search(["flight"], limit=1)
        assert find_first(chat, "flight") == 3
        assert len(server.requests) == asked + 1

    def test_a_lost_collection_is_rebuilt_from_the_sealed_copies(
        self, server: FakeQdrant, broker: BrokerHandle, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chat = indexed()
        age_and_store(chat)
        server.lose(COLLECTION)
        assert find_first(chat, "planning a vacation by plane") == 3
        eventually(lambda: broker.waiting("indexing") >= 1)
        monkeypatch.setattr(embedding.LocalEmbeddingEngine, "embed", None)
        tasks.store_points(str(chat.pk))
        assert server.points(COLLECTION) == 3
        assert server.indexes[COLLECTION]["chat_id"]["is_tenant"] is True

    def test_points_that_are_lost_while_a_searcher_is_in_use_are_stored_again(
        self, server: FakeQdrant, broker: BrokerHandle
    ) -> None:
        chat = indexed()
        age_and_store(chat)
        searcher = search.Searcher(reloaded(chat))
        qdrant.remove(chat.pk)
        assert searcher.search(["planning a vacation by plane"], limit=1)[0].chunk.first_number == 3
        eventually(lambda: broker.waiting("indexing") >= 1)

    def test_points_of_another_version_are_never_searched(self, server: FakeQdrant) -> None:
        chat = indexed()
        searcher = search.Searcher(chat)
        VectorMatrix.objects.update(created_at=F("created_at") + timedelta(seconds=1))
        assert points.store(chat.pk)
        version = searcher._index._version
        assert version is not None
        assert qdrant.search(version, embedding.get_engine().embed_queries(["flight"]), limit=3) is None
        assert searcher.search(["planning a vacation by plane"], limit=1)[0].chunk.first_number == 3

    def test_a_chat_of_another_engine_is_not_searchable(
        self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        chat = indexed()
        monkeypatch.setattr(embedding.LocalEmbeddingEngine, "name", "another-128")
        with pytest.raises(search.NotSearchable):
            search.Searcher(reloaded(chat))


# Erasing and synchronizing


@pytest.mark.django_db
class TestErasing:
    def test_an_erased_chat_is_removed_by_a_worker(
        self,
        server: FakeQdrant,
        broker: BrokerHandle,
        django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    ) -> None:
        chat, other = indexed(), indexed()
        chat_id = chat.pk
        with django_capture_on_commit_callbacks(execute=True):
            erase(chat)
        eventually(lambda: broker.waiting("upkeep") >= 1)
        tasks.remove_points(str(chat_id))
        assert {payload["chat_id"] for payload in server.payloads(COLLECTION)} == {str(other.pk)}

    def test_nothing_waits_for_qdrant_and_the_orphan_is_removed_later(
        self, server: FakeQdrant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        chat, other = indexed(), indexed()
        chat_id = chat.pk
        server.reply = Reply(fault="hang")
        asked = len(server.requests)
        with django_capture_on_commit_callbacks(execute=True):
            erase(chat)
        assert len(server.requests) == asked
        server.reply = None
        assert points.compare().orphans == {COLLECTION: frozenset({chat_id})}
        assert points.synchronize() == points.Synchronized(removed=1)
        assert {payload["chat_id"] for payload in server.payloads(COLLECTION)} == {str(other.pk)}
        assert points.synchronize() == points.Synchronized()

    def test_a_chat_that_is_not_erased_after_all_keeps_its_points(
        self, server: FakeQdrant, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
    ) -> None:
        chat = indexed()
        with django_capture_on_commit_callbacks() as callbacks, transaction.atomic():
            erase(chat)
            transaction.set_rollback(True)
        assert callbacks == []
        assert points.compare().orphan_count == 0

    def test_a_chat_without_all_its_points_is_stored_again(self, server: FakeQdrant) -> None:
        chat, other = indexed(), indexed()
        settle()
        qdrant.remove(chat.pk)
        compared = points.compare()
        assert (compared.incomplete, compared.points, compared.expected_points) == (frozenset({chat.pk}), 3, 6)
        assert points.synchronize() == points.Synchronized(stored=1)
        assert points.compare().incomplete == frozenset()
        assert other.pk not in compared.incomplete

    def test_a_chat_whose_points_are_being_stored_is_left_alone(self, server: FakeQdrant) -> None:
        qdrant.remove(indexed().pk)
        assert points.synchronize() == points.Synchronized()

    def test_collections_of_earlier_engines_are_dropped_when_no_chat_needs_them(
        self, server: FakeQdrant, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first, second = indexed(), indexed()
        monkeypatch.setattr(embedding.LocalEmbeddingEngine, "name", "another-128")
        indexing.request(first)
        assert indexing.index_chat(first.pk)
        assert points.synchronize() == points.Synchronized(removed=1)
        assert {payload["chat_id"] for payload in server.payloads(COLLECTION)} == {str(second.pk)}
        erase(second)
        assert points.synchronize() == points.Synchronized(dropped=1)
        assert qdrant.list_collections() == ["relivchats-another-128"]

    def test_collections_of_others_are_left_alone(self, server: FakeQdrant) -> None:
        indexed()
        config = {"vectors": {"size": 2, "distance": "Dot"}, "hnsw_config": {"m": 0, "payload_m": 16}}
        server.answer("PUT", "/collections/another-product", config)
        points.synchronize()
        points.remove_if_possible(Chat.objects.get().pk)
        assert "another-product" in server.configs
        assert not server.paths("another-product")

    def test_without_an_answer_nothing_changes(self, server: FakeQdrant) -> None:
        indexed()
        server.reply = Reply({}, 500)
        tasks.synchronize_points()
        with pytest.raises(QdrantUnavailable):
            points.compare()


def test_without_a_url_the_client_is_not_imported() -> None:
    script = (
        "import sys, django; django.setup()\n"
        "import chats.indexing, chats.search, chats.tasks, chats.erasure, ops.checks\n"
        "from uuid import uuid4\n"
        "chats.tasks.synchronize_points(); chats.tasks.remove_points(str(uuid4()))\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('qdrant_client', 'grpc')))\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


def test_without_a_url_every_call_says_so(settings: Any) -> None:
    settings.QDRANT_URL = ""
    with pytest.raises(QdrantUnavailable, match="not_configured"):
        qdrant.server_version(timeout_seconds=1)


def test_chunks_without_texts_have_no_row() -> None:
    assert qdrant.chunks_of_rows([1, 0, 2]).tolist() == [0, 2, 2]
