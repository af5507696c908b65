"""Uploading a chat again: deduplication, merging, separate chats. Message numbers never change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pytest
from django.db import connection, connections
from pytest_django.fixtures import Settings

from chats import deduplication, editing, importing, indexing, merge_plan, merging, parsing_processes, search
from chats import exports as exports_package
from chats.deduplication import ChatRecognised
from chats.erasure import erase
from chats.exports.errors import TooCostly
from chats.exports.parsed import Batch, Detail, Reaction
from chats.importing import ImportOptions, import_chat, import_upload
from chats.merging import MergeTooCostly, NotThisChat
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from chats.overlap import Overlap
from chats.parsing import ChildLimits, ParseReport
from chats.parsing_processes import ParsingInterrupted, ParsingPool
from chats.people import InvalidPeople, Person, validate_people
from chats.sealed_export import ExportSealer, SealedExport
from chats.transcript import TranscriptReader, read_page
from chats.upload_log import ImportResult, UploadLog
from relivchats.accounts.models import User
from relivchats.crypto import Keyring, keyring
from relivchats.errors import DomainError, NotFound, ServiceBusy
from tests import exports
from tests.chats import samples
from tests.processes import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db

#: Time, sender, text.
Line = tuple[str, str, str]

BEGINNING: list[Line] = [
    ("01/05/2024, 09:00", "Asha", "good morning"),
    ("01/05/2024, 09:00", "Ravi", "morning!"),
    ("01/05/2024, 09:01", "Asha", "<Media omitted>"),
    ("02/05/2024, 10:30", "Ravi", "ok"),
    ("02/05/2024, 10:30", "Asha", "ok"),
    ("13/05/2024, 18:00", "Ravi", "see you at six"),
]
REST: list[Line] = [
    ("13/05/2024, 18:00", "Asha", "see you"),
    ("14/05/2024, 08:00", "Ravi", "that was lovely"),
]


def export(lines: Iterable[Line]) -> bytes:
    return "".join(f"{at} - {sender}: {text}\n" for at, sender, text in lines).encode()


def ios(lines: Iterable[Line]) -> bytes:
    """Return the lines as an iPhone exports them: with seconds, and with other words for media."""
    printed = []
    for second, (at, sender, text) in enumerate(lines, start=10):
        day, time = at.split(", ")
        mark, body = ("\u200e", "\u200eimage omitted") if text == "<Media omitted>" else ("", text)
        printed.append(f"{mark}[{day}, {time}:{second:02}] {sender}: {body}\r\n")
    return "".join(printed).encode()


def telegram(lines: Iterable[Line]) -> bytes:
    """Return the lines as Telegram exports them."""
    rows = [
        {"id": number, "type": "message", "date": f"{at[6:10]}-{at[3:5]}-{at[:2]}T{at[12:]}:00", "from": sender}
        | {"from_id": f"user{sender}", "text": text}
        for number, (at, sender, text) in enumerate(lines)
    ]
    return json.dumps({"name": "Asha", "type": "personal_chat", "id": 7, "messages": rows}).encode()


@pytest.fixture
def owner() -> User:
    return samples.person()


def upload(owner: User, content: bytes, **options: Any) -> ImportResult:
    return import_upload(owner=owner, upload=content, options=ImportOptions(**options))


def seal(content: bytes) -> SealedExport:
    parsed = exports_package.read(content)
    sealer = ExportSealer(parsed)
    for batch in parsed.batches:
        sealer.add(batch)
    return sealer.finish()


def read(chat: Chat) -> list[tuple[str | None, str]]:
    return [(message.sender, message.text) for message in read_page(Chat.objects.get(pk=chat.pk), limit=100_000)]


def senders_and_texts(*parts: Sequence[Line]) -> list[tuple[str | None, str]]:
    return [(sender, text) for part in parts for _, sender, text in part]


class TestDeduplication:
    def test_identical_content_resolves_to_the_existing_chat(self, owner: User) -> None:
        first = upload(owner, export(BEGINNING))
        again = upload(owner, exports.zipped(export(BEGINNING)))
        assert (first.outcome, again.outcome, again.chat) == ("accepted", "identical", first.chat)
        assert Chat.objects.count() == 1
        assert list(ChatUpload.objects.order_by("pk").values_list("outcome", "chat", "message_count")) == [
            ("accepted", first.chat.pk, 6),
            ("identical", first.chat.pk, 0),
        ]

    def test_a_newer_export_is_refused_with_the_id_of_its_chat(self, owner: User) -> None:
        chat = import_chat(owner=owner, upload=export(BEGINNING))
        with pytest.raises(ChatRecognised) as recognised:
            upload(owner, export(BEGINNING + REST))
        extra = recognised.value.extra
        assert (extra["candidate"]["id"], extra["new_messages"], extra["older_messages_left_out"]) == (
            str(chat.pk),
            2,
            0,
        )
        assert Chat.objects.count() == 1

    @pytest.mark.parametrize(
        "content",
        [
            export(BEGINNING[3:] + REST),
            export(BEGINNING[:-1]),
            ios(BEGINNING + REST),
            export((at, sender.replace("Ravi", "Ravi Kumar"), text) for at, sender, text in BEGINNING + REST),
            export(
                (at, sender, text.replace("morning!", "This message was deleted")) for at, sender, text in BEGINNING
            ),
            export(
                (at, sender, text.replace("<Media omitted>", "IMG-1.jpg (file attached)"))
                for at, sender, text in BEGINNING
            ),
        ],
        ids=["from the middle", "older", "from an iPhone", "renamed", "deleted since", "with media"],
    )
    def test_another_export_of_the_chat_is_recognised_despite_its_differences(
        self, owner: User, content: bytes
    ) -> None:
        import_chat(owner=owner, upload=export(BEGINNING))
        with pytest.raises(ChatRecognised):
            upload(owner, content)

    @pytest.mark.parametrize(
        "content",
        [
            export((at, sender, text + " indeed") for at, sender, text in BEGINNING),
            export([*REST[1:], ("15/05/2024, 08:00", "Asha", "yes")]),
            export(
                [
                    ("02/05/2024, 10:30", "Asha", "ok"),
                    ("02/05/2024, 10:31", "Meera", "hi"),
                    ("09/05/2024, 10:31", "Asha", "?"),
                ]
            ),
        ],
        ids=["other words", "another time", "one word by chance"],
    )
    def test_another_chat_of_the_same_people_is_accepted(self, owner: User, content: bytes) -> None:
        import_chat(owner=owner, upload=export(BEGINNING))
        assert upload(owner, content).outcome == "accepted"

    def test_chats_of_other_users_are_not_compared(self, owner: User) -> None:
        import_chat(owner=owner, upload=export(BEGINNING))
        assert upload(samples.person(), export(BEGINNING)).outcome == "accepted"
        one, other = Chat.objects.values_list("content_fingerprint", flat=True)
        assert bytes(one or b"") != bytes(other or b"")

    def test_another_date_order_makes_another_chat(self, owner: User) -> None:
        content = export(BEGINNING[:5])
        assert upload(owner, content, date_order="dmy").outcome == "accepted"
        assert upload(owner, content, date_order="mdy").outcome == "accepted"

    def test_the_separate_option_always_makes_a_new_chat(self, owner: User) -> None:
        first = upload(owner, export(BEGINNING))
        copies = [upload(owner, export(BEGINNING), separate=True) for _ in range(2)]
        newer = upload(owner, export(BEGINNING + REST), separate=True)
        assert len({first.chat.pk, newer.chat.pk, *(copy.chat.pk for copy in copies)}) == 4
        assert upload(owner, export(BEGINNING)).chat == first.chat
        assert upload(owner, export(BEGINNING + REST)).chat == newer.chat

    def test_a_deleted_chat_is_not_recognised(self, owner: User) -> None:
        upload(owner, export(BEGINNING)).chat.delete()
        assert upload(owner, export(BEGINNING)).outcome == "accepted"

    def test_a_fingerprint_under_an_earlier_key_is_recognised(self, owner: User, settings: Settings) -> None:
        upload(owner, export(BEGINNING))
        settings.ENCRYPTION_KEYS = f"{Keyring.new_text().replace('k1', 'k2')},{settings.ENCRYPTION_KEYS}"
        assert upload(owner, export(BEGINNING)).outcome == "identical"

    def test_a_long_chat_is_recognised_among_other_long_chats(self, owner: User) -> None:
        chats = [import_chat(owner=owner, upload=exports.text(3_000, seed=seed)) for seed in (1, 2, 3)]
        with pytest.raises(ChatRecognised) as recognised:
            upload(owner, exports.text(3_600, seed=2))
        assert recognised.value.extra["candidate"]["id"] == str(chats[1].pk)

    def test_a_chat_is_recognised_among_many_newer_chats(self, owner: User) -> None:
        chat = import_chat(owner=owner, upload=export(BEGINNING))
        for number in range(10):
            other = export((at, sender, f"{text} {number}") for at, sender, text in BEGINNING)
            import_chat(owner=owner, upload=other)
        with pytest.raises(ChatRecognised) as recognised:
            upload(owner, export(BEGINNING + REST))
        assert recognised.value.extra["candidate"]["id"] == str(chat.pk)


class TestMerging:
    @pytest.fixture
    def chat(self, owner: User) -> Chat:
        return import_chat(owner=owner, upload=export(BEGINNING))

    def extend(self, chat: Chat, content: bytes, **options: Any) -> ImportResult:
        return upload(chat.owner, content, extend=chat.pk, **options)

    def test_only_new_messages_are_added_and_all_messages_are_counted_again(self, chat: Chat) -> None:
        extended = self.extend(chat, export(BEGINNING + REST))
        whole = import_chat(owner=samples.person(), upload=export(BEGINNING + REST))
        assert (extended.outcome, extended.added, extended.older_left_out) == ("extended", 2, 0)
        assert read(chat) == senders_and_texts(BEGINNING, REST)
        grown = Chat.objects.get(pk=chat.pk)
        assert grown.statistics == whole.statistics
        for column in ("message_count", "line_count", "participant_count", "first_message_on", "last_message_on"):
            assert getattr(grown, column) == getattr(whole, column), column
        assert (extended.chat.pk, grown.title) == (chat.pk, "Asha & Ravi")

    def test_the_same_file_again_changes_nothing(self, chat: Chat) -> None:
        self.extend(chat, export(BEGINNING + REST))
        before = Chat.objects.filter(pk=chat.pk).values().get()
        again = self.extend(chat, export(BEGINNING + REST))
        assert (again.outcome, again.added) == ("unchanged", 0)
        assert upload(chat.owner, export(BEGINNING + REST)).outcome == "identical"
        assert Chat.objects.filter(pk=chat.pk).values().get() == before

    def test_an_export_that_begins_in_the_middle_of_the_chat_is_added_at_the_end(self, chat: Chat) -> None:
        self.extend(chat, export(BEGINNING[3:] + REST))
        assert read(chat) == senders_and_texts(BEGINNING, REST)

    def test_messages_before_the_start_of_the_chat_are_left_out_and_counted(self, owner: User) -> None:
        chat = import_chat(owner=owner, upload=export(BEGINNING[3:]))
        extended = self.extend(chat, export(BEGINNING + REST))
        assert (extended.added, extended.older_left_out) == (2, 3)
        assert read(chat) == senders_and_texts(BEGINNING[3:], REST)

    def test_messages_missing_in_the_middle_of_the_chat_are_left_out_and_counted(self, chat: Chat) -> None:
        late = [("02/05/2024, 10:30", "Asha", "sent late"), ("02/05/2024, 10:31", "Ravi", "this one too")]
        content = export([*BEGINNING[:5], *late, BEGINNING[5], *REST])
        with pytest.raises(ChatRecognised) as recognised:
            upload(chat.owner, content)
        assert recognised.value.extra["older_messages_left_out"] == 2
        assert "2 older messages that the chat lacks would be left out" in recognised.value.detail
        extended = self.extend(chat, content)
        assert (extended.added, extended.older_left_out) == (2, 2)

    def test_a_reworded_message_is_not_counted_as_left_out(self, chat: Chat) -> None:
        other = {"morning!": "morning @Meera!", "see you at six": "This message was deleted"}
        changed = [(at, sender, other.get(text, text)) for at, sender, text in BEGINNING]
        assert self.extend(chat, export(changed + REST)).older_left_out == 0

    def test_every_file_that_was_merged_is_recognised(self, chat: Chat) -> None:
        files = [BEGINNING, BEGINNING + REST[:1], BEGINNING + REST, BEGINNING[1:]]
        for file in files[1:]:
            self.extend(chat, export(file))
        for file in files:
            again = upload(chat.owner, export(file))
            assert (again.outcome, again.chat) == ("identical", chat)

    def test_equal_messages_of_one_minute_are_distinguished_by_their_order(self, chat: Chat) -> None:
        again = [("13/05/2024, 18:00", "Ravi", "see you at six")] * 2
        self.extend(chat, export(BEGINNING + again))
        assert read(chat) == senders_and_texts(BEGINNING, again)

    def test_a_message_that_was_deleted_later_is_not_added_again(self, chat: Chat) -> None:
        gone = [*BEGINNING[:-1], ("13/05/2024, 18:00", "Ravi", "This message was deleted")]
        assert self.extend(chat, export(gone)).outcome == "unchanged"
        self.extend(chat, export(gone + REST))
        assert read(chat) == senders_and_texts(BEGINNING, REST)

    def test_an_older_export_does_not_restore_a_deleted_message(self, owner: User) -> None:
        gone = [*BEGINNING[:-1], ("13/05/2024, 18:00", "Ravi", "This message was deleted")]
        chat = import_chat(owner=owner, upload=export(gone))
        assert self.extend(chat, export(BEGINNING)).outcome == "unchanged"

    def test_an_iphone_export_continues_an_android_export(self, chat: Chat) -> None:
        self.extend(chat, ios(BEGINNING + REST))
        assert read(chat) == senders_and_texts(BEGINNING, REST)

    def test_a_renamed_contact_remains_one_person(self, chat: Chat) -> None:
        renamed = [(at, sender.replace("Ravi", "Ravi ❤️"), text) for at, sender, text in BEGINNING + REST]
        grown = self.extend(chat, export(renamed)).chat
        assert (grown.participants, grown.export_names) == (["Asha", "Ravi"], ["Asha", "Ravi", "Ravi ❤️"])
        assert read(chat) == senders_and_texts(BEGINNING, REST)
        assert grown.statistics["user_stats"]["Ravi"]["message_count"] == 4
        assert grown.participant_count == 2

    def test_a_person_who_takes_over_a_name_is_not_merged_with_its_former_owner(self, chat: Chat) -> None:
        renamed = [(at, sender.replace("Ravi", "Ravi old"), text) for at, sender, text in BEGINNING]
        rest = [("14/05/2024, 08:00", "Ravi", "my new number"), ("14/05/2024, 08:01", "Ravi old", "and my old one")]
        grown = self.extend(chat, export(renamed + rest)).chat
        assert (grown.participants, grown.export_names) == (
            ["Asha", "Ravi", "Ravi (2)"],
            ["Asha", "Ravi", "Ravi old", "Ravi (2)"],
        )
        assert read(chat) == [*senders_and_texts(BEGINNING), ("Ravi (2)", "my new number"), ("Ravi", "and my old one")]
        more = ("15/05/2024, 08:00", "Ravi", "still my new one")
        assert self.extend(chat, export([*renamed, *rest, more])).chat.participants == grown.participants
        assert read(chat)[-1] == ("Ravi (2)", "still my new one")

    def test_people_whose_names_were_swapped_keep_their_own_messages(self, chat: Chat) -> None:
        swapped = {"Asha": "Ravi", "Ravi": "Asha"}
        self.extend(chat, export((at, swapped[sender], text) for at, sender, text in BEGINNING + REST))
        assert read(chat) == senders_and_texts(BEGINNING, REST)

    def test_one_equal_message_by_chance_does_not_merge_two_people(self, owner: User) -> None:
        minute = "13/05/2024, 18:00"
        chat = import_chat(owner=owner, upload=export([*BEGINNING, (minute, "Ravi", "ok")]))
        later = [(minute, "Ravi", "This message was deleted"), (minute, "Meera", "ok"), (minute, "Meera", "hello")]
        grown = self.extend(chat, export(BEGINNING + later)).chat
        assert (grown.participants, read(chat)[-1]) == (["Asha", "Ravi", "Meera"], ("Meera", "hello"))

    def test_a_person_who_joins_never_gets_the_shown_name_of_another(self, chat: Chat) -> None:
        editing.edit_chat(chat, people=[Person(name="Mum", aliases=["Asha"])])
        joined = ("15/05/2024, 09:00", "Mum", "hello you two")
        grown = self.extend(chat, export([*BEGINNING, joined])).chat
        assert grown.participants == ["Mum", "Ravi", "Mum (2)"]
        assert len(grown.statistics["user_stats"]) == grown.participant_count == 3
        assert validate_people(grown.people.to_list(grown.export_names), export_names=grown.export_names)

    def test_a_group_keeps_its_name_when_it_grows(self, owner: User) -> None:
        group = [telegram(part).replace(b"personal_chat", b"private_group") for part in (BEGINNING, BEGINNING + REST)]
        chat = import_chat(owner=owner, upload=group[0].replace(b'"name": "Asha"', b'"name": "Goa trip"'))
        assert (chat.title, self.extend(chat, group[1]).chat.title) == ("Goa trip", "Goa trip")

    def test_a_new_person_is_added_after_the_others(self, chat: Chat) -> None:
        joined = [("15/05/2024, 09:00", "Meera", "hello you two"), ("15/05/2024, 09:01", "Asha", "welcome")]
        grown = self.extend(chat, export([*BEGINNING, *joined])).chat
        assert (grown.participants, grown.title, grown.participant_count) == (
            ["Asha", "Ravi", "Meera"],
            "Group of 3",
            3,
        )
        assert read(chat) == senders_and_texts(BEGINNING, joined)

    def test_ambiguous_dates_are_read_in_the_date_order_of_the_chat(self, owner: User) -> None:
        chat = import_chat(owner=owner, upload=export(BEGINNING[:5]), date_order="mdy")
        more = ("02/06/2024, 10:30", "Asha", "another month")
        assert self.extend(chat, export([*BEGINNING[:5], more])).added == 1
        assert str(Chat.objects.get(pk=chat.pk).last_message_on) == "2024-02-06"

    def test_an_export_of_another_chat_is_refused(self, chat: Chat) -> None:
        with pytest.raises(NotThisChat):
            self.extend(chat, export((at, sender, text + "?") for at, sender, text in BEGINNING))
        assert read(chat) == senders_and_texts(BEGINNING)
        assert ChatUpload.objects.filter(outcome="refused", reason="NotThisChat").count() == 1

    def test_an_export_of_another_platform_is_refused(self, chat: Chat) -> None:
        with pytest.raises(NotThisChat, match="comes from Telegram, and that chat from WhatsApp"):
            self.extend(chat, telegram(BEGINNING + REST))
        assert read(chat) == senders_and_texts(BEGINNING)

    def test_a_chat_of_another_user_cannot_be_extended(self, chat: Chat) -> None:
        with pytest.raises(NotFound):
            upload(samples.person(), export(BEGINNING + REST), extend=chat.pk)
        assert read(chat) == senders_and_texts(BEGINNING)

    def test_a_chat_grows_block_by_block(self, owner: User) -> None:
        whole = list(exports.lines(1_800))
        chat = import_chat(owner=owner, upload="".join(whole[:730]).encode())
        for size in (731, 999, 1_000, 1_001, 1_800):
            self.extend(chat, "".join(whole[:size]).encode())
            grown = Chat.objects.get(pk=chat.pk)
            assert grown.line_count == size
        assert [block.last_number for block in chat.blocks.order_by("first_number")] == [500, 1000, 1500, 1800]
        direct = import_chat(owner=samples.person(), upload="".join(whole).encode())
        assert read(grown) == read(direct)
        assert grown.statistics == direct.statistics

    def test_a_reader_that_was_opened_before_sees_the_same_numbers(self, chat: Chat) -> None:
        reader = TranscriptReader(chat)
        self.extend(chat, export(BEGINNING + REST))
        assert [message.text for message in reader.messages(1, 100)] == [text for _, _, text in BEGINNING]
        assert sum(map(len, TranscriptReader(chat).batches())) == 6


def indexed(chat: Chat) -> tuple[list[Any], bytes]:
    rows = list(
        Chunk.objects.filter(chat=chat)
        .order_by("number")
        .values_list("number", "conversation", "first_number", "last_number", "token_count", "vector_count")
    )
    matrix = VectorMatrix.objects.get(chat=chat)
    return rows, chat.key.open(matrix.sealed, context=chat.context("vectors"))


class TestIndexingAfterMerge:
    @pytest.fixture
    def whole(self) -> list[str]:
        return list(exports.lines(1_500))

    @pytest.fixture
    def chat(self, owner: User, whole: list[str]) -> Chat:
        chat = import_chat(owner=owner, upload="".join(whole[:1_100]).encode())
        indexing.request(chat)
        assert indexing.index_chat(chat.pk)
        return Chat.objects.get(pk=chat.pk)

    def test_the_old_part_stays_searchable_until_the_new_part_is_indexed(self, chat: Chat, whole: list[str]) -> None:
        grown = upload(chat.owner, "".join(whole).encode(), extend=chat.pk).chat
        assert (grown.vector_status, grown.index_from_number, grown.is_searchable) == ("pending", 1_101, True)
        assert search.get_searcher(grown).search(["chai"], limit=3)
        assert indexing.index_chat(chat.pk)
        done = Chat.objects.get(pk=chat.pk)
        assert (done.vector_status, done.index_from_number) == ("completed", None)
        assert search.get_searcher(done).chunks[-1].last_number > 1_400

    def test_indexing_only_the_new_part_gives_the_same_index(
        self, chat: Chat, whole: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before = indexed(chat)
        upload(chat.owner, "".join(whole).encode(), extend=chat.pk)
        read_from: list[int] = []
        batches = TranscriptReader.batches

        def noted(self: TranscriptReader, *, first: int = 1) -> Iterator[Batch]:
            read_from.append(first)
            return batches(self, first=first)

        monkeypatch.setattr(TranscriptReader, "batches", noted)
        assert indexing.index_chat(chat.pk)
        assert read_from[-1] > 500, "all of it was read again"
        rest = indexed(chat)
        indexing.request(chat)
        assert indexing.index_chat(chat.pk)
        assert read_from[-1] == 1
        assert indexed(chat) == rest
        assert rest[0][:-20] != before[0]

    def test_indexing_restarts_if_the_chat_grows_meanwhile(self, owner: User, whole: list[str]) -> None:
        chat = import_chat(owner=owner, upload="".join(whole[:1_100]).encode())
        indexing.request(chat)
        with pytest.MonkeyPatch.context() as patch:
            before(patch, indexing, "chunk_messages", lambda: upload(owner, "".join(whole).encode(), extend=chat.pk))
            assert not indexing.index_chat(chat.pk)
        assert Chat.objects.get(pk=chat.pk).vector_status == "pending"
        assert indexing.index_chat(chat.pk)
        assert Chunk.objects.filter(chat=chat).latest("number").last_number > 1_400

    def test_a_chat_without_a_request_is_not_indexed(self, owner: User, whole: list[str]) -> None:
        chat = import_chat(owner=owner, upload="".join(whole[:1_100]).encode())
        upload(owner, "".join(whole).encode(), extend=chat.pk)
        assert not Chat.objects.index_due().exists()


def before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, act: Callable[[], object]) -> None:
    """Call `act` once, just before the function is called for the first time."""
    function, left = getattr(module, name), [act]

    def act_first(*arguments: Any, **keywords: Any) -> Any:
        while left:
            left.pop()()
        return function(*arguments, **keywords)

    monkeypatch.setattr(module, name, act_first)


class TestConcurrentChanges:
    @pytest.fixture
    def chat(self, owner: User) -> Chat:
        return import_chat(owner=owner, upload=export(BEGINNING))

    def test_a_concurrent_title_change_survives_a_change_of_people(self, chat: Chat) -> None:
        editing.edit_chat(Chat.objects.get(pk=chat.pk), title="Mine")
        amended = editing.edit_chat(chat, people=[Person(name="Mum", aliases=["Asha"])])
        assert (amended.title, amended.participants) == ("Mine", ["Mum", "Ravi"])

    def test_a_concurrent_title_change_survives_a_merge(self, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
        before(monkeypatch, merging, "_save", lambda: editing.edit_chat(chat, title="Mine"))
        grown = upload(chat.owner, export(BEGINNING + REST), extend=chat.pk).chat
        assert (grown.title, read(grown)) == ("Mine", senders_and_texts(BEGINNING, REST))

    def test_new_names_are_validated_against_people_who_joined_meanwhile(self, chat: Chat) -> None:
        upload(chat.owner, export([*BEGINNING, ("15/05/2024, 09:00", "Meera", "hello you two")]), extend=chat.pk)
        with pytest.raises(InvalidPeople, match="the same name"):
            editing.edit_chat(chat, people=[Person(name="Meera", aliases=["Asha"])])
        assert Chat.objects.get(pk=chat.pk).participants == ["Asha", "Ravi", "Meera"]

    def test_an_edit_without_changes_writes_nothing(self, chat: Chat) -> None:
        stored = Chat.objects.filter(pk=chat.pk).values().get()
        editing.edit_chat(chat, title=None, people=[])
        assert Chat.objects.filter(pk=chat.pk).values().get() == stored

    def test_a_concurrent_separate_upload_does_not_prevent_a_merge(
        self, chat: Chat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        newer = export(BEGINNING + REST)
        before(monkeypatch, merging, "_save", lambda: upload(chat.owner, newer, separate=True))
        assert upload(chat.owner, newer, extend=chat.pk).outcome == "extended"

    def test_an_upload_succeeds_if_a_candidate_is_erased_meanwhile(
        self, chat: Chat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before(monkeypatch, deduplication, "_may_overlap", lambda: erase(Chat.objects.get(pk=chat.pk)))
        assert upload(chat.owner, export(BEGINNING + REST)).outcome == "accepted"

    def test_a_chat_erased_after_a_merge_leaves_one_row_of_the_upload(
        self, chat: Chat, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        save = merging._save

        def save_then_erase(*arguments: Any, **columns: Any) -> Chat | None:
            saved = save(*arguments, **columns)
            erase(Chat.objects.get(pk=chat.pk))
            return saved

        monkeypatch.setattr(merging, "_save", save_then_erase)
        assert upload(chat.owner, export(BEGINNING + REST), extend=chat.pk).outcome == "extended"
        assert list(ChatUpload.objects.order_by("pk").values_list("outcome", flat=True)) == ["accepted", "extended"]

    def test_an_upload_never_returns_an_erased_chat(self, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
        before(monkeypatch, UploadLog, "record_unchanged", lambda: erase(Chat.objects.get(pk=chat.pk)))
        with pytest.raises(NotFound):
            upload(chat.owner, export(BEGINNING))

    @pytest.mark.parametrize(
        ("module", "name", "content"),
        [
            (merging, "load_blocks", export(BEGINNING + REST)),
            (Overlap, "is_same_chat", export(BEGINNING)),
            (merge_plan, "BlockSealer", export(BEGINNING + REST)),
            (merging, "_save", export(BEGINNING + REST)),
        ],
    )
    def test_a_merge_raises_not_found_if_the_chat_is_erased_meanwhile(
        self, chat: Chat, module: Any, name: str, content: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        before(monkeypatch, module, name, lambda: erase(Chat.objects.get(pk=chat.pk)))
        with pytest.raises(NotFound):
            upload(chat.owner, content, extend=chat.pk)
        assert ChatUpload.objects.latest("pk").outcome == "refused"


def at_once(*works: Any) -> list[Any]:
    """Run each function in its own thread and database connection, and return the results in order."""
    ready, results = threading.Barrier(len(works)), [None] * len(works)

    def run(number: int, work: Any) -> None:
        try:
            ready.wait(PATIENCE_SECONDS)
            results[number] = work()
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(number, work)) for number, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_SECONDS)
    return results


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_two_uploads_of_one_file_make_one_chat(self, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
        both_compared, store = threading.Barrier(2), importing._save

        def save_after_both_compared(*arguments: Any) -> None:
            both_compared.wait(PATIENCE_SECONDS)
            store(*arguments)

        monkeypatch.setattr(importing, "_save", save_after_both_compared)
        results = at_once(*[lambda: upload(owner, export(BEGINNING))] * 2)
        assert sorted(result.outcome.value for result in results) == ["accepted", "identical"]
        assert len({result.chat.pk for result in results}) == Chat.objects.count() == 1
        assert TranscriptBlock.objects.count() == 1
        assert sorted(ChatUpload.objects.values_list("outcome", flat=True)) == ["accepted", "identical"]

    def test_two_merges_of_one_file_add_it_once(self, owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
        chat = import_chat(owner=owner, upload=export(BEGINNING))
        both_planned, write, planned = threading.Barrier(2), merging._save, set[int]()

        def save_after_both_planned(*arguments: Any, **columns: Any) -> Chat | None:
            if threading.get_ident() not in planned:
                planned.add(threading.get_ident())
                both_planned.wait(PATIENCE_SECONDS)
            return write(*arguments, **columns)

        monkeypatch.setattr(merging, "_save", save_after_both_planned)
        results = at_once(*[lambda: upload(owner, export(BEGINNING + REST), extend=chat.pk)] * 2)
        assert sorted(result.outcome.value for result in results) == ["extended", "unchanged"]
        assert read(chat) == senders_and_texts(BEGINNING, REST)


@pytest.mark.django_db
def test_a_large_chat_is_extended_in_a_process_of_its_own(owner: User, monkeypatch: pytest.MonkeyPatch) -> None:
    chats = [import_chat(owner=owner, upload=export(BEGINNING)) for _ in range(2)]
    for chat, small_lines in zip(chats, (merging.SMALL_LINES, 0), strict=True):
        monkeypatch.setattr(merging, "SMALL_LINES", small_lines)
        assert upload(owner, export(BEGINNING + REST), extend=chat.pk).outcome == "extended"
        assert read(chat) == senders_and_texts(BEGINNING, REST)
        assert upload(owner, export(BEGINNING + REST), extend=chat.pk).outcome == "unchanged"
    first, second = (Chat.objects.get(pk=chat.pk) for chat in chats)
    assert second.statistics == first.statistics
    assert ChatUpload.objects.filter(outcome="extended").latest("pk").stages.keys() >= {"wait", "compare", "count"}
    with pytest.raises(NotThisChat):
        upload(
            owner, export([("01/06/2024, 09:00", "Zoe", "hello"), ("01/06/2024, 09:01", "Max", "hi")]), extend=second.pk
        )
    # It waits for the same slots as large uploads.
    pool = ParsingPool(threading.BoundedSemaphore(1), ChildLimits(2**29, 60), wait_seconds=0)
    pool.slots.acquire()
    monkeypatch.setattr(parsing_processes, "_pool", lambda: pool)
    with pytest.raises(ServiceBusy):
        upload(owner, export(BEGINNING + REST), extend=second.pk)


@pytest.mark.django_db
def test_a_chat_that_is_too_large_to_extend_is_refused_with_what_to_do(
    owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    chat = import_chat(owner=owner, upload=export(BEGINNING))
    monkeypatch.setattr(merging, "SMALL_LINES", 0)

    def extend_as(outcome: DomainError) -> None:
        monkeypatch.setattr(merging, "run_in_child", lambda *_: (ParseReport(), outcome))
        upload(owner, export(BEGINNING + REST), extend=chat.pk)

    with pytest.raises(MergeTooCostly, match="separate=true"):
        extend_as(TooCostly())
    with pytest.raises(ParsingInterrupted):
        extend_as(ParsingInterrupted())
    monkeypatch.setattr(merging, "LARGE_LINES", 1)
    with pytest.raises(MergeTooCostly, match="separate=true"):
        extend_as(ParsingInterrupted())
    assert read(Chat.objects.get(pk=chat.pk)) == senders_and_texts(BEGINNING)


def test_the_digest_of_a_content_never_changes() -> None:
    """Stored fingerprints are made from digests: with another digest, no earlier upload would be recognised."""
    content = b"01/05/2024, 09:00 - Asha: good morning\n01/05/2024, 09:01 - Ravi: <Media omitted>\n"
    assert seal(content).digest.hex() == "8a93ef3c7a22a97ba25d58907734394452443efb217f30a74df86825862c7a48"


def test_the_database_contains_fingerprints_but_no_plain_digest(owner: User) -> None:
    chat = import_chat(owner=owner, upload=export(BEGINNING))
    upload(owner, export(BEGINNING + REST), extend=chat.pk)
    digests = [seal(content).digest for content in (export(BEGINNING), export(BEGINNING + REST))]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT content_fingerprint FROM chats UNION ALL"
            " SELECT content_fingerprint FROM chat_uploads WHERE content_fingerprint IS NOT NULL"
        )
        stored = [bytes(fingerprint) for (fingerprint,) in cursor.fetchall()]
    other = Keyring.parse(Keyring.new_text())
    for fingerprint, digest in zip(stored, digests, strict=True):
        assert fingerprint in keyring().fingerprints(digest, context=f"chats of {owner.pk}")
        assert fingerprint not in [digest, *other.fingerprints(digest, context=f"chats of {owner.pk}")]


def test_replies_of_new_messages_point_to_the_numbers_and_people_of_the_chat(owner: User) -> None:
    chat = upload(owner, telegram(BEGINNING)).chat
    newer = json.loads(telegram([*BEGINNING[2:], *REST]))
    *_, seven, eight = newer["messages"]
    # The second message of this file is number 4 of the chat, and Ravi is its first sender.
    seven["reply_to_message_id"] = newer["messages"][1]["id"]
    eight |= {
        "reply_to_message_id": seven["id"],
        "reactions": [{"type": "emoji", "count": 1, "emoji": "❤", "recent": [{"from": "Asha", "from_id": "userAsha"}]}],
    }
    extended = upload(owner, json.dumps(newer).encode(), extend=chat.pk).chat
    first, second = (message.details for message in read_page(extended, after=6, limit=10))
    assert (first.reply_to, extended.participants[first.reply_to_sender]) == (4, "Ravi")
    assert (second.reply_to, extended.participants[second.reply_to_sender]) == (7, "Asha")
    assert second.reactions == (Reaction("❤", 1, ("Asha",)),)
    assert extended.statistics["top_replies"] == [
        {"from": "Asha", "to": "Ravi", "count": 1},
        {"from": "Ravi", "to": "Asha", "count": 1},
    ]
    assert extended.statistics["user_stats"]["Asha"]["reactions_given"] == 1

    editing.edit_chat(extended, people=[Person(name="Ashi", aliases=["Asha"])])
    renamed = Chat.objects.get(pk=chat.pk)
    assert renamed.statistics["user_stats"]["Ashi"]["reactions_given"] == 1
    assert read_page(renamed, after=7, limit=1)[0].details.reactions == (Reaction("❤", 1, ("Ashi",)),)


def test_a_chat_records_only_the_details_of_all_its_exports(owner: User) -> None:
    chat = upload(owner, telegram(BEGINNING)).chat
    assert set(chat.recorded_details) == set(Detail)
    # As if it was imported before details were stored.
    Chat.objects.filter(pk=chat.pk).update(recorded_details=["replies"], unreadable_count=2, future_count=1)
    extended = upload(owner, telegram([*BEGINNING, *REST]), extend=chat.pk).chat
    assert extended.recorded_details == ["replies"]
    assert (extended.statistics["replies_count"], extended.statistics["reactions_count"]) == (0, None)
    assert (extended.unreadable_count, extended.future_count) == (2, 1)


def test_the_people_who_react_are_those_of_the_chat_whatever_the_newer_export_calls_them(owner: User) -> None:
    chat = upload(owner, telegram(BEGINNING)).chat
    newer = json.loads(telegram([*BEGINNING, *REST]).replace(b'"from": "Ravi"', b'"from": "Ravi K"'))
    *_, last = newer["messages"]
    person = {"from": "Ravi K", "from_id": "userRavi"}
    last["reactions"] = [{"type": "emoji", "count": 1, "emoji": "👍", "recent": [person]}]
    extended = upload(owner, json.dumps(newer).encode(), extend=chat.pk).chat
    assert extended.participants == ["Asha", "Ravi"]
    assert extended.statistics["user_stats"]["Ravi"]["reactions_given"] == 1


def test_a_reply_to_a_message_that_was_edited_meanwhile_has_its_number(owner: User) -> None:
    chat = upload(owner, telegram(BEGINNING)).chat
    newer = json.loads(telegram([*BEGINNING, *REST]))
    newer["messages"][5] |= {"text": "see you at seven", "edited": "2024-05-13T18:01:00"}
    newer["messages"][6]["reply_to_message_id"] = newer["messages"][5]["id"]
    extended = upload(owner, json.dumps(newer).encode(), extend=chat.pk).chat
    (reply,) = read_page(extended, after=6, limit=1)
    assert (reply.text, reply.details.reply_to) == ("see you", 6)
