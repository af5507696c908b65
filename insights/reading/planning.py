"""Plans which messages a reading sends, in which windows: for the stage that sends them, and for the disclosure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from chats import search
from chats.chunking import chunk_messages
from chats.models import Chat, Chunk
from chats.search import ChunkRange
from chats.transcript import TranscriptReader
from insights import safety
from insights.definition import Definition
from insights.engines.base import EngineUnavailable
from insights.models import InsightType, ReadWindow
from insights.reading import windows
from insights.tokens import LINE_TOKENS

#: Chunks that a search contributes to the selection of a chat that is larger than the budget.
_MAX_HITS = 200


@dataclass(frozen=True, slots=True)
class Plan:
    """The windows of the messages from number `first` on."""

    first: int
    measured: windows.Measurement
    windows: Sequence[windows.PlannedWindow]


def plan_new_messages(chat: Chat, kept: Sequence[ReadWindow], *, read_before: int, window_tokens: int) -> Plan:
    """Return the windows of the messages that have none yet. `kept` are the windows up to message `read_before`.

    Raise EngineUnavailable if the chat is not searchable.
    """
    chunks = _load_chunks(chat)
    first = _find_first_new(chunks, kept, read_before=read_before)
    new_chunks = [chunk for chunk in chunks if chunk.last_number >= first]

    all_tokens = sum(_estimate_chunk(chunk) for chunk in chunks)
    new_tokens = sum(_estimate_chunk(chunk) for chunk in new_chunks)
    # Each extension of a chat that used up its budget gets a share of it.
    left = settings.READING_TOKEN_BUDGET - sum(window.token_count for window in kept)
    budget = max(left, settings.READING_TOKEN_BUDGET * new_tokens // max(all_tokens, 1))
    rankings: list[list[int]] = []
    candidates: set[int] = set()
    if new_tokens > budget:
        rankings, candidates = _search(chat)
    measured = windows.measure(
        TranscriptReader(chat).batches(first=first),
        new_chunks,
        window_tokens=window_tokens,
        candidates=candidates,
        count_from=read_before + 1,
    )
    planned = windows.plan_windows(measured.parts, window_tokens=window_tokens, budget=budget, rankings=rankings)
    return Plan(first, measured, planned)


def _load_chunks(chat: Chat) -> list[ChunkRange]:
    """Return the chunks of the chat; of one that is not indexed completely, those that indexing will create."""
    if chat.vector_status != Chat.VectorStatus.COMPLETED:
        drafts = chunk_messages(TranscriptReader(chat).batches())
        return [ChunkRange(number, *draft[:4]) for number, draft in enumerate(drafts)]
    rows = Chunk.objects.filter(chat=chat.pk).order_by("number").values_list(*ChunkRange._fields)
    return [ChunkRange(*row) for row in rows]


def _estimate_chunk(chunk: ChunkRange) -> int:
    lines = chunk.last_number - chunk.first_number + 1
    return chunk.token_count + LINE_TOKENS * lines


def _find_first_new(chunks: Sequence[ChunkRange], kept: Sequence[ReadWindow], *, read_before: int) -> int:
    """Return the first message to read: of the conversation that new messages continue, or the first new one."""
    known = [chunk.conversation for chunk in chunks if chunk.first_number <= read_before]
    conversation = [chunk for chunk in chunks if known and chunk.conversation == known[-1]]
    if not kept or not conversation or conversation[-1].last_number <= read_before:
        return read_before + 1
    # A conversation without an end is read again from the last window only.
    return max(conversation[0].first_number, kept[-1].first_number)


def _search(chat: Chat) -> tuple[list[list[int]], set[int]]:
    """Return the chunks that each section's queries find, and the messages that may speak of danger."""
    try:
        searcher = search.get_searcher(chat)
    except search.NotSearchable as error:
        raise EngineUnavailable("chat_not_searchable") from error
    definitions = InsightType.objects.filter(active=True, category__active=True).values_list("definition", flat=True)
    sections = (section for definition in definitions for section in Definition.parse(definition).sections)
    queries = dict.fromkeys(tuple(section.queries) for section in sections if section.queries)
    rankings = [[hit.chunk.number for hit in searcher.search(each, limit=_MAX_HITS)] for each in queries]
    return rankings, set(searcher.find_words(safety.is_searched))
