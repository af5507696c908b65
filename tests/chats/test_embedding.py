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


def test_what_means_the_same_lies_close(local: LocalEmbeddingEngine) -> None:
    flight, plane, soup = local.embed(["we booked a flight", "our plane tickets are bought", "the soup needs salt"])
    assert flight @ plane > flight @ soup + 0.1


def test_every_row_has_length_one(local: LocalEmbeddingEngine) -> None:
    rows = local.embed(["hello", "कैसे हो", "😂😂", "a" * 50_000, "don't"])
    assert rows.shape == (5, local.dimensions)
    assert rows.dtype == np.float32
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_a_text_without_words_is_zero_and_never_nan(local: LocalEmbeddingEngine, text: str) -> None:
    assert not local.embed([text, "hello"])[0].any()


def test_nothing_is_embedded_to_nothing(local: LocalEmbeddingEngine) -> None:
    assert local.embed([]).shape == (0, local.dimensions)


def test_a_text_has_the_same_vector_in_any_company(local: LocalEmbeddingEngine) -> None:
    alone = local.embed(["see you tomorrow"])[0]
    crowd = local.embed([f"text {number} " * (number % 40) for number in range(600)] + ["see you tomorrow"])
    assert np.allclose(alone, crowd[-1])


def test_an_endless_text_costs_no_more_than_a_long_one(local: LocalEmbeddingEngine) -> None:
    local.embed(["warm up"])
    before = psutil.Process().memory_info().rss
    long = "word " * (MAX_TEXT_CHARS // 5)
    endless, cut = local.embed([long + "and on and on " * 500_000, long])
    assert np.allclose(endless, cut)
    assert psutil.Process().memory_info().rss - before < 100_000_000


def test_loading_it_leaves_the_logs_alone_and_needs_no_network() -> None:
    script = (
        "import logging, socket, os, django\n"
        "def refuse(*_): raise AssertionError('the network was asked')\n"
        "socket.socket.connect = refuse\n"
        "from chats.embedding import LocalEmbeddingEngine\n"
        "LocalEmbeddingEngine().embed(['hello'])\n"
        "print(logging.getLogger().handlers, logging.getLogger().level)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"[] {logging.WARNING}"


def test_one_engine_serves_a_process() -> None:
    assert get_engine() is get_engine()
    assert get_engine().name == "wordllama-l2-supercat-128"
