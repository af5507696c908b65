"""Chunks: where they start and end, and what of them is embedded."""

from __future__ import annotations

import pytest

from chats.chunking import (
    MAX_CHUNK_BYTES,
    MAX_CHUNK_MESSAGES,
    MAX_MESSAGE_TEXTS,
    MAX_TEXT_BYTES,
    ChunkDraft,
    chunk_messages,
)
from chats.exports.parsed import SYSTEM_SENDER, Batch, MessageKind

MINUTE, HOUR = 60, 3600


def chat(*rows: tuple[int, str], kinds: dict[int, MessageKind] | None = None) -> Batch:
    """Return a batch of rows of (seconds since the previous row, text). `kinds` holds the kinds that are not text."""
    given = [int((kinds or {}).get(position, MessageKind.TEXT)) for position in range(len(rows))]
    seconds, at = [], 1_700_000_000
    for pause, _ in rows:
        at += pause
        seconds.append(at)
    senders = [SYSTEM_SENDER if kind == MessageKind.SYSTEM else position % 2 for position, kind in enumerate(given)]
    return Batch(1, seconds, senders, given, [text for _, text in rows])


def ranges(batch: Batch) -> list[tuple[int, int, int]]:
    return [chunk[:3] for chunk in chunk_messages([batch])]


def test_a_long_pause_starts_a_conversation() -> None:
    assert ranges(chat((0, "a"), (MINUTE, "b"), (4 * HOUR, "c"), (2 * HOUR, "d"))) == [(0, 1, 2), (1, 3, 4)]


def test_a_conversation_longer_than_a_chunk_is_split() -> None:
    long = "x" * (MAX_CHUNK_BYTES // 2 - 10)
    assert ranges(chat(*[(MINUTE, long)] * 5)) == [(0, 1, 2), (0, 3, 4), (0, 5, 5)]


def test_a_short_pause_ends_a_chunk_only_above_the_minimum_size() -> None:
    long = "x" * 350
    assert ranges(chat((0, long), (20 * MINUTE, "b"))) == [(0, 1, 1), (0, 2, 2)]
    assert ranges(chat((0, "a"), (20 * MINUTE, "b"))) == [(0, 1, 2)]


def test_a_message_longer_than_a_chunk_is_a_chunk_by_itself() -> None:
    assert ranges(chat((0, "a"), (1, "y" * 100_000), (1, "b"))) == [(0, 1, 1), (0, 2, 2), (0, 3, 3)]


def test_a_chunk_has_a_maximum_number_of_messages() -> None:
    chunks = ranges(chat(*[(1, "k")] * (MAX_CHUNK_MESSAGES * 2 + 1)))
    assert [last - first + 1 for _, first, last in chunks] == [MAX_CHUNK_MESSAGES, MAX_CHUNK_MESSAGES, 1]


def test_system_lines_are_not_embedded_and_start_no_chunk() -> None:
    batch = chat(
        (0, "Encrypted."), (1, "a"), (1, "Asha left"), (1, "b"), kinds={0: MessageKind.SYSTEM, 2: MessageKind.SYSTEM}
    )
    assert list(chunk_messages([batch])) == [ChunkDraft(0, 2, 4, 1, ["a\nb"])]


def test_only_what_people_wrote_is_embedded() -> None:
    kinds = {0: MessageKind.MEDIA, 1: MessageKind.MEDIA, 2: MessageKind.DELETED, 3: MessageKind.CALL}
    batch = chat(
        (0, "<Media omitted>"), (1, "IMG-1.jpg (file attached)\nat the beach"), (1, "deleted"), (1, "Call"), kinds=kinds
    )
    (chunk,) = chunk_messages([batch])
    assert (chunk.first_number, chunk.last_number, chunk.texts) == (1, 4, ["at the beach"])


@pytest.mark.parametrize("cut", [1, 3, 7, 50])
def test_chunks_do_not_depend_on_how_messages_are_split_into_batches(cut: int) -> None:
    whole = chat(*[((position % 5) * 20 * MINUTE, f"message {position} " * 9) for position in range(100)])
    parts = [
        Batch(
            1 + start,
            whole.seconds[start : start + cut],
            whole.senders[start : start + cut],
            whole.kinds[start : start + cut],
            whole.texts[start : start + cut],
        )
        for start in range(0, 100, cut)
    ]
    assert list(chunk_messages(parts)) == list(chunk_messages([whole]))


def test_a_clock_that_is_set_back_ends_no_conversation() -> None:
    assert ranges(chat((0, "a"), (-5 * HOUR, "b"), (MINUTE, "c"))) == [(0, 1, 3)]


def test_token_counts_are_similar_for_latin_and_devanagari() -> None:
    (latin,) = chunk_messages([chat((0, "we will meet at the station tomorrow evening"))])
    (hindi,) = chunk_messages([chat((0, "हम कल शाम को स्टेशन पर मिलेंगे"))])
    assert 8 <= latin.token_count <= 16
    assert 8 <= hindi.token_count <= 30


def test_the_texts_of_a_chunk_are_short_and_contain_every_message() -> None:
    messages = [f"message number {position} of this talk" for position in range(12)]
    (chunk,) = chunk_messages([chat(*[(MINUTE, message) for message in messages])])
    assert "\n".join(chunk.texts).split("\n") == messages
    assert len(chunk.texts) == 4
    assert all(len(text) <= MAX_TEXT_BYTES for text in chunk.texts)


def test_a_long_message_is_embedded_in_a_limited_number_of_parts() -> None:
    (chunk,) = chunk_messages([chat((0, "so " * 200))])
    assert "".join(chunk.texts) == "so " * 200
    (long,) = chunk_messages([chat((0, "so " * 1_000_000))])
    assert len(long.texts) == MAX_MESSAGE_TEXTS


def test_a_chunk_without_words_has_no_texts() -> None:
    (chunk,) = chunk_messages([chat((0, "<Media omitted>"), kinds={0: MessageKind.MEDIA})])
    assert chunk.texts == []
