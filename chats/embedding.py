"""Texts to vectors that lie close when they mean the same. The engine is chosen by EMBEDDING_ENGINE.

`local` is wordllama, whose model ships in its wheel: no network, no key. It
averages the vectors of a text's tokens, so Hindi in Latin letters finds
Hinglish, not English: search across languages is not promised.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

#: Characters of a text that are embedded: several times a chunk, and a bound on what one text costs.
TEXT_LIMIT = 4_000
_TEXTS_A_STEP = 256

Vectors = NDArray[np.float32]


class EmbeddingEngine(Protocol):
    name: str
    dimensions: int

    def embed(self, texts: Sequence[str]) -> Vectors:
        """One row a text, of length 1, or all zero for a text without words."""
        ...


@cache
def get_engine() -> EmbeddingEngine:
    """The engine of this process; its model is loaded at the first text."""
    return {"local": LocalEmbeddingEngine}[settings.EMBEDDING_ENGINE]()


class LocalEmbeddingEngine:
    # The model is trained to be cut: half of its 256 dimensions take half the room and find as much
    # (tests/benchmarks/retrieval.py: mean reciprocal rank 0.64 instead of 0.65).
    dimensions = 128
    name = f"wordllama-l2-supercat-{dimensions}"

    def __init__(self) -> None:
        self._loading = Lock()
        self._model: tuple[Any, Vectors] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        tokenizer, table = self._loaded()
        for start in range(0, len(texts), _TEXTS_A_STEP):
            step = [text[:TEXT_LIMIT] for text in texts[start : start + _TEXTS_A_STEP]]
            for row, tokens in enumerate(tokenizer.encode_batch_fast(step, add_special_tokens=False), start=start):
                if tokens.ids and texts[row].strip():
                    # The mean's direction is the sum's, and a product with ones is its fastest form.
                    rows[row] = np.ones(len(tokens.ids), np.float32) @ table[tokens.ids]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        np.divide(rows, lengths, out=rows, where=lengths > 0)
        return rows

    def _loaded(self) -> tuple[Any, Vectors]:
        with self._loading:
            if self._model is None:
                self._model = _load()
            return self._model


def _load() -> tuple[Any, Vectors]:
    """Tokenizer and table of token vectors, from the wheel."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Its import calls logging.basicConfig.
    import wordllama

    root.handlers[:], root.level = handlers, level
    # Without both arguments it asks the network.
    directory = Path(wordllama.__file__).parent
    model = wordllama.WordLlama.load(
        cache_dir=directory, disable_download=True, trunc_dim=LocalEmbeddingEngine.dimensions
    )
    # Padding to the longest text took 6.7 GB for one text of 50,000 words.
    model.tokenizer.no_padding()
    return model.tokenizer, model.embedding
