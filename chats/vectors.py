"""Stores and compares the vectors of one chat: a sealed float16 matrix with the rows of all chunks in order."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chats.bulk_copy import copy_rows
from chats.embedding import Vectors
from chats.models import Chat, VectorMatrix

Float16Vectors = NDArray[np.float16]


def store(chat: Chat, matrix: Vectors | Float16Vectors, *, engine: str) -> None:
    """Replace the chat's matrix, whose rows have length 1. Call it within a transaction."""
    sealed = chat.key.seal(np.ascontiguousarray(matrix, "<f2").tobytes(), context=chat.context("vectors"))
    VectorMatrix.objects.filter(chat=chat.pk).delete()
    # COPY, because an INSERT writes bytes as hexadecimal text, which takes several times their memory.
    types = {"chat_id": "uuid", "engine": "varchar", "dimensions": "int2", "row_count": "int4", "sealed": "bytea"}
    copy_rows("vector_matrices", types, [(chat.pk, engine, matrix.shape[1], len(matrix), sealed)])


def load(chat: Chat, *, engine: str) -> Vectors | None:
    """Return the matrix, or None if this engine stored none. Vectors of different engines cannot be compared."""
    stored = load_float16(chat, engine=engine)
    return None if stored is None else stored.astype(np.float32)


def load_float16(chat: Chat, *, engine: str) -> Float16Vectors | None:
    """Return what `load` returns, in the precision that is stored."""
    row = VectorMatrix.objects.filter(chat=chat.pk, engine=engine).first()
    if row is None:
        return None
    opened = chat.key.open(row.sealed, context=chat.context("vectors"))
    return np.frombuffer(opened, "<f2").reshape(-1, row.dimensions)


def max_similarity(matrix: Vectors, queries: Vectors) -> Vectors:
    """Return the cosine similarity of each row to its closest query. All rows must have length 1."""
    similarity: Vectors = (matrix @ queries.T).max(axis=1, initial=-1.0)
    return similarity
