"""Embed texts as vectors that are close if their meanings are close. EMBEDDING_ENGINE names the engine.

`gemini` is in chats/gemini_embedding.py. `local` is wordllama, whose model is included in its wheel: it needs no
network and no key. It averages the vectors of a text's tokens. Hindi in Latin letters therefore finds Hinglish but not
English, and search across languages is not promised.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
from django.conf import settings
from numpy.typing import NDArray

from chats.chunking import MAX_TEXT_BYTES
from chats.embedding_engines import ENGINES

#: Characters of a text that are embedded. This is several times a chunk, and it bounds the cost of one text.
MAX_TEXT_CHARS = 4_000
_BATCH_TEXTS = 256

Vectors = NDArray[np.float32]


class EmbeddingEngine(Protocol):
    """An engine that embeds texts.

    `name` is stored with the vectors: it names the model, the size, and the version of what is written before a text.
    Vectors of two names cannot be compared. `leaves_machine` says whether texts are sent to a provider; they are masked
    before (chats/masking.py). `text_bytes` is how much of a chunk is embedded as one text.
    """

    @property
    def name(self) -> str:
        """The name of what its vectors are comparable with; at most 64 characters."""
        ...

    @property
    def dimensions(self) -> int:
        """The size of a vector."""
        ...

    @property
    def leaves_machine(self) -> bool:
        """Whether texts are sent to a provider."""
        ...

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of the messages of a chunk that are embedded together."""
        ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row per text, of length 1, or all zeros for a text without words. Raise EngineError."""
        ...

    def embed_queries(self, queries: Sequence[str]) -> Vectors:
        """Return one row per query, to be compared with the rows of texts. Raise EngineError."""
        ...


@cache
def get_engine() -> EmbeddingEngine:
    """Return the engine of this process. Its model is loaded with the first text."""
    module, _, name = ENGINES[settings.EMBEDDING_ENGINE].rpartition(".")
    engine: EmbeddingEngine = getattr(import_module(module), name)()
    return engine


class LocalEmbeddingEngine:
    """Embeds texts with wordllama. Thread-safe."""

    # The model is trained to be truncated. Half of its 256 dimensions take half the memory and rank almost as well
    # (tests/benchmarks/retrieval.py: mean reciprocal rank 0.64 instead of 0.65).
    dimensions = 128
    name = f"wordllama-l2-supercat-{dimensions}"
    leaves_machine = False
    #: An average of the vectors of many words means little (chats/chunking.py).
    text_bytes = MAX_TEXT_BYTES

    def __init__(self) -> None:
        self._load_lock = Lock()
        self._model: tuple[Any, Vectors] | None = None

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Return one row per text, of length 1, or all zeros for a text without words."""
        # The lock keeps threads that start together from loading the model several times.
        with self._load_lock:
            if self._model is None:
                self._model = load_model(self.dimensions)
            tokenizer, table = self._model
        rows = np.zeros((len(texts), self.dimensions), np.float32)
        for start in range(0, len(texts), _BATCH_TEXTS):
            batch = [text[:MAX_TEXT_CHARS] for text in texts[start : start + _BATCH_TEXTS]]
            for row, tokens in enumerate(tokenizer.encode_batch_fast(batch, add_special_tokens=False), start=start):
                if tokens.ids and texts[row].strip():
                    # The mean has the direction of the sum, and the product with ones is numpy's fastest sum of rows.
                    rows[row] = np.ones(len(tokens.ids), np.float32) @ table[tokens.ids]
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        np.divide(rows, lengths, out=rows, where=lengths > 0)
        return rows

    def embed_queries(self, queries: Sequence[str]) -> Vectors:
        """Return one row per query, as `embed` does."""
        return self.embed(queries)


def load_model(dimensions: int) -> tuple[Any, Vectors]:
    """Return the tokenizer and the table of token vectors of this size, up to 256."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    # Importing wordllama calls logging.basicConfig, which is undone here.
    import wordllama

    root.handlers[:], root.level = handlers, level
    # Without both arguments it downloads the model.
    model = wordllama.WordLlama.load(
        cache_dir=Path(wordllama.__file__).parent,
        disable_download=True,
        trunc_dim=dimensions,
    )
    # Padding to the longest text took 6.7 GB for a text of 50,000 words.
    model.tokenizer.no_padding()
    return model.tokenizer, model.embedding
