from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from chats.counting import Period
from chats.exports.parsed import Batch, Details, MediaKind, MessageKind, Reaction
from chats.models import TranscriptBlock
from chats.transcript import BLOCK_MESSAGES, BlockSealer, SealedBlock, TranscriptReader, open_block, read_page
from relivchats.crypto import CannotOpen, DataKey, new_data_key
from tests.chats import samples


def batch(first_number: int, texts: list[str], **columns: list[int]) -> Batch:
    n = len(texts)
    return Batch(
        first_number,
        columns.get("seconds", [1_700_000_000 + 60 * position for position in range(n)]),
        columns.get("senders", [position % 2 for position in range(n)]),
        columns.get("kinds", [int(MessageKind.TEXT)] * n),
        texts,
        frozenset(columns.get("edited", [])),
    )


def seal(key: DataKey, batches: list[Batch]) -> list[SealedBlock]:
    sealer = BlockSealer(key, "chat:1")
    for part in batches:
        sealer.add(part)
    return sealer.finish()


def seal_and_open(batches: list[Batch]) -> Iterator[Batch]:
    key = new_data_key()
    for sealed in seal(key, batches):
        block = open_block(key, "chat:1", first_number=sealed.first_number, sealed=sealed.sealed)
        assert (block.first_number, block.first_number + len(block) - 1) == (sealed.first_number, sealed.last_number)
        assert (min(block.seconds) // 86_400, max(block.seconds) // 86_400) == (sealed.min_day, sealed.max_day)
        yield block


def test_every_column_survives_sealing() -> None:
    original = batch(
        1,
        ["hello", "", "नमस्ते 👩‍❤️‍👨", "nul \0 and\nnew line", '"quoted" \\u0041'],
        seconds=[5, 5, 3, 1_700_000_000, -60],
        senders=[0, -1, 41, 1, 0],
        kinds=[0, 7, 1, 2, 6],
        edited=[0, 4],
    )
    assert list(seal_and_open([original])) == [original]


def test_details_and_offsets_survive_sealing_and_splitting_into_blocks() -> None:
    n = BLOCK_MESSAGES + 20
    original = batch(1, ["text"] * n)
    original.details = {
        3: Details(media=MediaKind.VOICE, duration_seconds=12, is_forwarded=True),
        499: Details(reply_to=4, reply_to_sender=1),
        500: Details(reply_to=0, reactions=(Reaction("❤", 3, ("Asha", "Ravi")), Reaction("👍", 1))),
        n - 1: Details(media=MediaKind.STICKER),
    }
    original.utc_offsets = [None, *[3600] * 300, *[7200] * (n - 301)]
    first, second = seal_and_open([original.slice(0, 7), original.slice(7, n)])
    assert [first, second] == [original.slice(0, BLOCK_MESSAGES), original.slice(BLOCK_MESSAGES, n)]
    assert first.followed_by(second) == original


def test_a_part_of_a_batch_by_time_has_its_edits_details_and_offsets() -> None:
    original = batch(1, ["a", "b", "c", "d"], seconds=[10, 99, 20, 5], edited=[1, 2])
    original.details = {2: Details(is_forwarded=True), 3: Details(reply_to=1)}
    original.utc_offsets = [1, 2, 3, 4]
    part = original.between(10, 90)
    assert (part.texts, set(part.edited), part.utc_offsets) == (["a", "c"], {1}, [1, 3])
    assert (part.details, part.numbers) == ({1: Details(is_forwarded=True)}, [1, 3])
    assert part.between(20, 30).numbers == [3]
    assert original.between(0, 100) is original


def test_joined_batches_have_all_columns_and_their_numbers() -> None:
    original = batch(1, ["a", "b", "c", "d", "e"], seconds=[10, 99, 20, 5, 30], edited=[1, 4])
    original.details = {0: Details(reply_to=0), 4: Details(is_forwarded=True)}
    original.utc_offsets = [1, 2, 3, 4, 5]
    parts = [original.slice(0, 2), original.slice(2, 5)]
    joined = Batch.joined(parts)
    assert list(joined.messages(["Asha", "Ravi"])) == list(original.messages(["Asha", "Ravi"]))
    in_period = Batch.joined([part.between(10, 90) for part in parts])
    assert (in_period.texts, in_period.numbers, set(in_period.edited)) == (["a", "c", "e"], [1, 3, 5], {2})


def test_offsets_are_unknown_for_the_part_that_has_none() -> None:
    one, other = batch(1, ["a", "b"]), batch(3, ["c"])
    other.utc_offsets = [3600]
    assert one.followed_by(other).utc_offsets == [None, None, 3600]


def test_the_digest_identifies_messages_whatever_their_details() -> None:
    one, other = batch(1, ["a", "b"]), batch(1, ["a", "b"])
    other.details = {1: Details(reactions=(Reaction("👍", 1),))}
    digests = []
    for part in (one, other):
        sealer = BlockSealer(new_data_key(), "chat:1")
        sealer.add(part)
        sealer.finish()
        digests.append(sealer.digest.digest())
    assert digests[0] == digests[1]


def test_a_lone_surrogate_is_replaced_and_a_pair_is_joined() -> None:
    (block,) = seal_and_open([batch(1, ["half \ud83d", "pair \ud83d\ude00", "plain"])])
    assert block.texts == ["half \ufffd", "pair 😀", "plain"]


@pytest.mark.parametrize("sizes", [[1], [499], [500], [501], [1200, 3, 700], [5000, 5000], [0, 10, 0], [250] * 5])
def test_all_blocks_but_the_last_have_the_same_size(sizes: list[int]) -> None:
    batches, number = [], 1
    for size in sizes:
        texts = [f"text {number + position}" for position in range(size)]
        batches.append(batch(number, texts, edited=[size - 1] if size else []))
        number += size
    blocks = list(seal_and_open(batches))
    assert [len(block) for block in blocks[:-1]] == [BLOCK_MESSAGES] * (len(blocks) - 1)
    assert [text for block in blocks for text in block.texts] == [f"text {n}" for n in range(1, number)]
    edited = {block.first_number + position for block in blocks for position in block.edited}
    assert edited == {part.first_number + len(part) - 1 for part in batches if len(part)}


def test_a_gap_between_batches_raises_an_error() -> None:
    with pytest.raises(ValueError, match="message 3 follows 1"):
        seal(new_data_key(), [batch(1, ["a"]), batch(3, ["b"])])


def test_a_block_opens_only_in_its_chat_and_at_its_number() -> None:
    key = new_data_key()
    ((first, *_, sealed),) = seal(key, [batch(1, ["secret"])])
    for context, number, other_key in [("chat:2", first, key), ("chat:1", 501, key), ("chat:1", 1, new_data_key())]:
        with pytest.raises(CannotOpen):
            open_block(other_key, context, first_number=number, sealed=sealed)


@pytest.mark.django_db
class TestReading:
    @pytest.fixture
    def reader(self) -> TranscriptReader:
        return TranscriptReader(
            samples.stored((1, "AR"[number % 2] * 3, f"message {number}") for number in range(1, 1301))
        )

    def test_messages_are_read_by_number(self, reader: TranscriptReader) -> None:
        read = reader.messages(499, 1002)
        assert [message.number for message in read] == list(range(499, 1003))
        assert [message.text for message in read] == [f"message {n}" for n in range(499, 1003)]
        assert {(message.sender, message.number % 2) for message in read} == {("AAA", 0), ("RRR", 1)}

    def test_numbers_that_do_not_exist_are_skipped(self, reader: TranscriptReader) -> None:
        assert [message.number for message in reader.messages(-5, 2)] == [1, 2]
        assert [message.number for message in reader.messages(1299, 10**9)] == [1299, 1300]
        assert reader.messages(1301, 1400) == reader.messages(10, 5) == []
        assert reader.get([0, -1, 1301, 10**12]) == {}

    def test_scattered_numbers_are_found(self, reader: TranscriptReader) -> None:
        read = reader.get([1300, 3, 3, 500, 501, 9999])
        assert {number: message.text for number, message in read.items()} == {
            number: f"message {number}" for number in (3, 500, 501, 1300)
        }

    def test_batches_contain_every_message_once(self, reader: TranscriptReader) -> None:
        texts = [text for part in reader.batches() for text in part.texts]
        assert texts == [f"message {number}" for number in range(1, 1301)]

    def test_messages_of_a_period_keep_their_numbers(self) -> None:
        day = 24 * 60
        # The clock was set back for the second message.
        lines = [(0, "Asha", "one"), (-day, "Ravi", "two"), (day, "Asha", "three"), (day, "Ravi", "four")]
        today = Period(samples.START.date(), samples.START.date())
        (batch,) = TranscriptReader(samples.stored(lines)).batches_between(*today.seconds)
        read = batch.messages(["Asha", "Ravi"])
        assert [(message.number, message.sender, message.text) for message in read] == [
            (1, "Asha", "one"),
            (3, "Asha", "three"),
        ]

    def test_a_period_opens_only_its_own_blocks(self) -> None:
        # A hundred messages a day.
        pauses = (24 * 60 * (number > 0 and number % 100 == 0) for number in range(1500))
        chat = samples.stored((pause, "Asha", "hello") for pause in pauses)
        TranscriptBlock.objects.filter(chat=chat).exclude(first_number=501).update(sealed=b"would not open")
        first, last = (samples.START.date() + timedelta(days=days) for days in (6, 7))
        (batch,) = TranscriptReader(chat).batches_between(*Period(first, last).seconds)
        assert [message.number for message in batch.messages(["Asha"])] == list(range(601, 801))

    def test_a_block_without_times_belongs_to_any_period(self, reader: TranscriptReader) -> None:
        TranscriptBlock.objects.update(min_day=None, max_day=None)
        everything = Period(date(2000, 1, 1), date(2100, 1, 1))
        assert sum(map(len, reader.batches_between(*everything.seconds))) == 1300

    def test_pages_follow_each_other(self, reader: TranscriptReader) -> None:
        numbers, after = [], 0
        while messages := read_page(reader.chat, after=after, limit=450):
            after = messages[-1].number
            numbers += [message.number for message in messages]
        assert numbers == list(range(1, 1301))

    def test_a_page_opens_only_the_blocks_it_needs(
        self, reader: TranscriptReader, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        TranscriptBlock.objects.exclude(first_number=501).update(sealed=b"would not open")
        with django_assert_num_queries(2):
            assert [message.number for message in read_page(reader.chat, after=500, limit=500)] == list(
                range(501, 1001)
            )

    def test_a_block_is_read_once(
        self, reader: TranscriptReader, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        reader.get([1])
        with django_assert_num_queries(0):
            reader.messages(2, 500)

    def test_a_block_moved_to_another_chat_does_not_open(self, reader: TranscriptReader) -> None:
        other = samples.stored()
        TranscriptBlock.objects.filter(chat=other).delete()
        TranscriptBlock.objects.filter(chat=reader.chat, first_number=1).update(chat=other)
        with pytest.raises(CannotOpen):
            read_page(other, limit=1)
