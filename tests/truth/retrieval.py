"""How much of what is planted a search finds: recall at 20, by words, by vectors, and merged.

A search has the queries of one section of the catalogue, as retrieval makes it. The planted conversations that belong
to the section are wanted. Recall at 20 is the share of them of which a message is among the first 20 chunks; of more
than 20 conversations, 20 are wanted.
"""

from __future__ import annotations

import tomllib
import uuid
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from statistics import fmean
from typing import Any, Literal, NamedTuple

import numpy as np
from django.test import override_settings

from chats import embedding, indexing, search
from chats.importing import import_chat
from chats.models import Chat
from insights.definition import Definition
from insights.episodes import Relationship
from relivchats.accounts.models import User
from tests.fakes.gemini import FakeGemini
from tests.truth.circles import CATEGORIES
from tests.truth.generator import PlantedChat, generate
from tests.truth.oracle import belongs
from tests.truth.pipeline import load_definitions

HITS = 20
#: What gemini-embedding-2 is documented to expect before a text, and before a query.
_PREFIXES = ("title: none | text: ", "task: search result | query: ")
METHODS: tuple[Literal["words", "vectors", "both"], ...] = ("words", "vectors", "both")
#: The levels of the chat whose figures are kept.
_TRAITS = {
    "conflict": 3,
    "repair": 2,
    "apology": 2,
    "affection": 3,
    "support": 3,
    "stress": 2,
    "tease": 3,
    "plan": 3,
    "dream": 2,
    "gratitude": 2,
}


class Search(NamedTuple):
    """One search: the section with its queries, how many conversations are wanted, and how many each method found."""

    chat: str
    section: str
    wanted: int
    found: Mapping[str, int]


class EmbeddingServer(FakeGemini):
    """A stub of Gemini that embeds with wordllama, in all of its 256 dimensions, and does not normalise.

    A text without one of the prefixes that the model is made for gets a vector that means nothing.
    """

    def embed(self, text: str, size: int) -> list[float]:
        prefix = next((each for each in _PREFIXES if text.startswith(each)), None)
        if prefix is None:
            return list(np.random.default_rng(zlib.crc32(text.encode())).normal(size=size))
        tokenizer, table = _load_model(size)
        ids = tokenizer.encode(text.removeprefix(prefix), add_special_tokens=False).ids
        # A sum: the longer the text, the longer the vector.
        total = table[ids].sum(axis=0) if ids else np.zeros(size)
        return [float(value) for value in total + 1e-6]


@cache
def _load_model(size: int) -> tuple[Any, embedding.Vectors]:
    return embedding.load_model(size)


@contextmanager
def embedding_with(engine: str) -> Iterator[None]:
    """Embed with `local`, or with `gemini` over HTTP from a stub server."""
    with ExitStack() as stack:
        if engine == "gemini":
            server = stack.enter_context(EmbeddingServer().serving())
            values = {"EMBEDDING_REQUESTS_PER_MINUTE": 0, "EMBEDDING_TOKENS_PER_MINUTE": 0, **server.settings()}
            stack.enter_context(override_settings(GEMINI_EMBEDDING_DIMENSIONS=256, **values))
        stack.enter_context(override_settings(EMBEDDING_ENGINE=engine))
        embedding.get_engine.cache_clear()
        stack.callback(embedding.get_engine.cache_clear)
        yield


def generate_small(language: str, *, seed: int = 1) -> PlantedChat:
    """Return the small chat whose figures are kept in retrieval.toml."""
    return generate(seed, language=language, traits=_TRAITS, default_level=0, messages=900, distractors=8, months=6)


def load_recorded(engine: str = "local") -> Mapping[str, Mapping[str, float]]:
    """Return the recorded recall of an embedding engine by language and method."""
    recorded: dict[str, Any] = tomllib.loads(Path(__file__).with_name("retrieval.toml").read_text())
    by_language: dict[str, dict[str, float]] = recorded[engine]
    return by_language


def measure(planted_chat: PlantedChat) -> list[Search]:
    """Import and index a planted chat with the embedding engine of the settings, and make all its searches."""
    owner = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
    chat = import_chat(owner=owner, upload=planted_chat.export.encode())
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    searcher = search.Searcher(Chat.objects.get(pk=chat.pk))
    definitions = load_definitions(CATEGORIES[Relationship(planted_chat.truth.relationship)])
    return list(_search_all(searcher, planted_chat, definitions))


def compute_recall(searches: Sequence[Search], method: str) -> float:
    """Return the mean of the searches' recall at 20."""
    return fmean(each.found[method] / each.wanted for each in searches)


def _search_all(
    searcher: search.Searcher, planted_chat: PlantedChat, definitions: Mapping[str, Definition]
) -> Iterator[Search]:
    for type_id, definition in definitions.items():
        for section in definition.sections:
            wanted = [planted for planted in planted_chat.truth.examples() if belongs(planted, section)]
            if not section.queries or not wanted:
                continue
            found: dict[str, int] = {}
            for method in METHODS:
                hits = searcher.search(section.queries, limit=HITS, by=method)
                shown = {number for hit in hits for number in range(hit.chunk.first_number, hit.chunk.last_number + 1)}
                n_found = sum(not shown.isdisjoint(planted.lines) for planted in wanted)
                found[method] = min(n_found, HITS)
            name = f"{type_id}.{section.key}"
            yield Search(planted_chat.truth.name, name, min(len(wanted), HITS), found)
