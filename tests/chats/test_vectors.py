"""Vectors are compared by cosine similarity, and stored sealed for their chat and engine."""

from __future__ import annotations

import numpy as np
import pytest

from chats import vectors
from chats.embedding import Vectors
from chats.models import Chat, VectorMatrix
from relivchats.crypto import CannotOpen
from tests.chats import samples


def test_the_similarity_is_that_of_the_closest_query() -> None:
    matrix = np.eye(3, dtype=np.float32)
    queries = np.array([[1, 0, 0], [0.6, 0.8, 0]], dtype=np.float32)
    assert np.allclose(vectors.max_similarity(matrix, queries), [1, 0.8, 0])


@pytest.mark.django_db
class TestStoring:
    @pytest.fixture
    def chat(self) -> Chat:
        return samples.stored()

    @pytest.fixture
    def matrix(self) -> Vectors:
        rows = np.random.default_rng(1).normal(size=(50, 16)).astype(np.float32)
        unit: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
        return unit

    def test_a_stored_matrix_loads_with_half_precision(self, chat: Chat, matrix: Vectors) -> None:
        vectors.store(chat, matrix, engine="a")
        loaded = vectors.load(chat, engine="a")
        assert loaded is not None
        assert loaded.dtype == np.float32
        assert np.abs(loaded - matrix).max() < 1e-3

    def test_storing_a_matrix_replaces_the_previous_one(self, chat: Chat, matrix: Vectors) -> None:
        vectors.store(chat, matrix, engine="a")
        vectors.store(chat, matrix[:7, :8], engine="b")
        loaded = vectors.load(chat, engine="b")
        assert loaded is not None
        assert loaded.shape == (7, 8)
        assert vectors.load(chat, engine="a") is None

    def test_a_matrix_moved_to_another_chat_cannot_be_opened(self, chat: Chat, matrix: Vectors) -> None:
        other = samples.stored()
        vectors.store(chat, matrix, engine="a")
        VectorMatrix.objects.filter(chat=chat).update(chat=other)
        with pytest.raises(CannotOpen):
            vectors.load(other, engine="a")
