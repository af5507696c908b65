"""The engines that embed texts. Paths, because the settings import this module."""

from __future__ import annotations

from collections.abc import Mapping

#: The class of each engine by the value of EMBEDDING_ENGINE.
ENGINES: Mapping[str, str] = {
    "local": "chats.embedding.LocalEmbeddingEngine",
    "gemini": "chats.gemini_embedding.GeminiEmbeddingEngine",
}
