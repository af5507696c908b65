"""The vectors of one chat: a sealed float16 matrix, each chunk's rows after the last one's, searched exactly."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from chats.bulk_copy import copy_rows
from chats.embedding import Vectors
from chats.models import Chat, VectorMatrix

Float16Vectors = NDArray[np.float16]


def store(chat: Chat, matrix: Vectors | Float16Vectors, *, engine: str) -> None:
    """Replace the chat's matrix, whose rows are of length 1. Within the caller's transaction."""
    sealed = chat.key.seal(np.ascontiguousarray(matrix, "<f2").tobytes(), context=chat.context("vectors"))
    VectorMatrix.objects.filter(chat=chat.pk).delete()
    # An INSERT would write the bytes in hexadecimal, which takes several times their memory.
    types = {"chat_id": "uuid", "engine": "varchar", "dimensions": "int2", "sealed": "bytea"}
    copy_rows("vector_matrices", types, [(chat.pk, engine, matrix.shape[1], sealed)])


def load(chat: Chat, *, engine: str) -> Vectors | None:
    """The matrix, or None when there is none by this engine: vectors of another cannot be compared."""
    packed = load_float16(chat, engine=engine)
    return None if packed is None else packed.astype(np.float32)


def load_float16(chat: Chat, *, engine: str) -> Float16Vectors | None:
    """As `load`, in the numbers that are kept."""
    kept = VectorMatrix.objects.filter(chat=chat.pk, engine=engine).first()
    if kept is None:
        return None
    opened = chat.key.open(kept.sealed, context=chat.context("vectors"))
    return np.frombuffer(opened, "<f2").reshape(-1, kept.dimensions)


def max_similarity(matrix: Vectors, queries: Vectors) -> Vectors:
    """For each row the cosine to the query that is closest to it; both must have rows of length 1."""
    closest: Vectors = (matrix @ queries.T).max(axis=1, initial=-1.0)
    return closest
