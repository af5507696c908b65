"""The local embedding engine."""

from __future__ import annotations

import logging
import subprocess
import sys

import numpy as np
import psutil
import pytest

from chats.embedding import MAX_TEXT_CHARS, LocalEmbeddingEngine, get_engine


@pytest.fixture(scope="module")
def local() -> LocalEmbeddingEngine:
    return LocalEmbeddingEngine()


def test_texts_with_similar_meanings_have_similar_vectors(local: LocalEmbeddingEngine) -> None:
    flight, plane, soup = local.embed(["we booked a flight", "our plane tickets are bought", "the soup needs salt"])
    assert flight @ plane > flight @ soup + 0.1


def test_every_row_has_length_one(local: LocalEmbeddingEngine) -> None:
    rows = local.embed(["hello", "कैसे हो", "😂😂", "a" * 50_000, "don't"])
    assert rows.shape == (5, local.dimensions)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_text_without_words_has_a_zero_vector_without_nan(local: LocalEmbeddingEngine, text: str) -> None:
    assert not local.embed([text, "hello"])[0].any()


def test_embedding_no_texts_returns_no_rows(local: LocalEmbeddingEngine) -> None:
    assert local.embed([]).shape == (0, local.dimensions)


def test_a_vector_does_not_depend_on_the_other_texts_of_the_call(local: LocalEmbeddingEngine) -> None:
    single = local.embed(["see you tomorrow"])[0]
    many = local.embed([f"text {number} " * (number % 40) for number in range(600)] + ["see you tomorrow"])
    assert np.allclose(single, many[-1])


def test_the_cost_of_a_text_is_bounded(local: LocalEmbeddingEngine) -> None:
    local.embed(["warm up"])
    before = psutil.Process().memory_info().rss
    long = "word " * (MAX_TEXT_CHARS // 5)
    very_long, truncated = local.embed([long + "and on and on " * 500_000, long])
    assert np.allclose(very_long, truncated)
    assert psutil.Process().memory_info().rss - before < 100_000_000


def test_loading_the_model_needs_no_network_and_keeps_the_logging_configuration() -> None:
    script = (
        "import logging, socket, os, django\n"
        "def refuse(*_): raise AssertionError('the network was used')\n"
        "socket.socket.connect = refuse\n"
        "from chats.embedding import LocalEmbeddingEngine\n"
        "LocalEmbeddingEngine().embed(['hello'])\n"
        "print(logging.getLogger().handlers, logging.getLogger().level)\n"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"[] {logging.WARNING}"


def test_a_process_has_one_engine() -> None:
    assert get_engine() is get_engine()
    assert get_engine().name == "wordllama-l2-supercat-128"
