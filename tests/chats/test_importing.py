from __future__ import annotations

from datetime import date
from io import BytesIO
from pathlib import Path
from typing import Any, NoReturn

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile, UploadedFile
from django.core.handlers.wsgi import WSGIRequest
from django.db import IntegrityError, connection
from django.test import RequestFactory
from pytest_django.fixtures import Settings

from chats.exports.errors import ExportRefused, ExportTooLarge
from chats.importing import import_chat
from chats.models import Chat, ChatUpload, TranscriptBlock
from chats.transcript import TranscriptReader, read_page
from chats.upload_handler import BytesUpload
from tests import exports
from tests.chats import samples

pytestmark = pytest.mark.django_db


def test_an_upload_becomes_a_chat_with_its_statistics() -> None:
    owner = samples.person()
    stored = import_chat(owner=owner, upload=samples.export(samples.TALK), request_id="request-1")
    chat = Chat.objects.get(pk=stored.pk)
    assert (chat.owner, chat.title, chat.participants) == (owner, "Asha & Ravi", ["Asha", "Ravi"])
    assert (chat.message_count, chat.line_count, chat.participant_count) == (6, 6, 2)
    assert (chat.first_message_on, chat.last_message_on) == (date(2024, 3, 14), date(2024, 3, 15))
    assert (chat.status, chat.vector_status, chat.index_requested_at) == ("completed", "pending", None)
    assert chat.statistics["total_messages"] == 6
    assert [message.text for message in read_page(chat, limit=10)] == [text for _, _, text in samples.TALK]


def test_an_accepted_upload_leaves_a_row_that_describes_it() -> None:
    content = samples.export(samples.TALK)
    chat = import_chat(owner=samples.person(), upload=content, request_id="request-1")
    row = ChatUpload.objects.get()
    assert (row.outcome, row.chat, row.request_id, row.size_bytes) == ("accepted", chat, "request-1", len(content))
    assert (row.platform, row.dialect, row.message_count) == (chat.platform, chat.dialect, 6)


def test_every_message_of_a_long_export_is_kept() -> None:
    content = exports.text(2_500)
    chat = import_chat(owner=samples.person(), upload=exports.zipped(content))
    texts = [text for batch in TranscriptReader(chat).batches() for text in batch.texts]
    assert len(texts) == chat.line_count == 2_500
    assert chat.message_count == chat.statistics["total_messages"] <= 2_500
    assert chat.blocks.count() == 5
    assert all(text.split("\n")[0].replace("\u200e", "").split(" <")[0] in content.decode() for text in texts)


def test_a_group_is_named_by_its_size() -> None:
    names = ["Asha", "Ravi", "Meera"]
    chat = samples.stored((1, name, f"hello from {name}") for name in names)
    assert (chat.title, chat.is_group, chat.participants) == ("Group of 3", True, names)


@pytest.mark.parametrize(
    "content", [b"", b"just a note to myself", b"PK\x03\x04 nothing", bytes(range(256)) * 40], ids=str
)
def test_a_refused_upload_leaves_only_its_row(content: bytes) -> None:
    with pytest.raises(ExportRefused) as refused:
        import_chat(owner=samples.person(), upload=content)
    row = ChatUpload.objects.get()
    assert (row.outcome, row.chat, row.size_bytes) == ("refused", None, len(content))
    assert (row.error_code, row.reason) == (refused.value.code, type(refused.value).__name__)
    assert not Chat.objects.exists()
    assert not TranscriptBlock.objects.exists()


def test_the_row_of_a_refused_file_has_the_shape_of_its_first_line_but_no_word() -> None:
    with pytest.raises(ExportRefused):
        import_chat(owner=samples.person(), upload=b"2024/03/14 at nine Asha wrote: secret\n" * 3)
    row = ChatUpload.objects.get()
    assert row.header_shape.startswith("9999/99/99 aa aaaa")
    assert "Asha" not in row.header_shape


@pytest.mark.owner
def test_an_internal_error_is_raised_and_leaves_only_its_row() -> None:
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE transcript_blocks ADD CONSTRAINT broken CHECK (first_number < 0) NOT VALID")
    with pytest.raises(IntegrityError):
        samples.stored()
    row = ChatUpload.objects.get()
    assert (row.outcome, row.error_code, row.reason) == ("failed", "ERR_1000", "IntegrityError")
    assert not Chat.objects.exists()


def test_two_chats_never_share_a_key() -> None:
    one, other = samples.stored(), samples.stored()
    assert bytes(one.wrapped_key) != bytes(other.wrapped_key)
    other.sealed_title = one.sealed_title
    with pytest.raises(Exception, match="do not open"):
        _ = other.title


def sent(*contents: bytes) -> WSGIRequest:
    files = [SimpleUploadedFile("chat.txt", content) for content in contents]
    return RequestFactory().post("/", {"file": files})


class Unreadable(BytesIO):
    def read(self, *_: Any) -> NoReturn:
        raise AssertionError("the body was read")


class TestUploadHandler:
    @pytest.fixture(autouse=True)
    def limit(self, settings: Settings) -> None:
        settings.UPLOAD_LIMIT_BYTES = 200_000

    def received(self, request: WSGIRequest) -> BytesUpload:
        file = request.FILES["file"]
        assert isinstance(file, UploadedFile)
        return file

    def test_a_file_of_exactly_the_limit_is_accepted(self) -> None:
        content = samples.export(samples.TALK)
        content += b"\n" * (200_000 - len(content))
        file = self.received(sent(content))
        assert (file.size, file.read()) == (200_000, content)

    def test_even_a_large_upload_writes_no_temporary_file(self, tmp_path: Path, settings: Settings) -> None:
        settings.FILE_UPLOAD_TEMP_DIR = str(tmp_path)
        settings.UPLOAD_LIMIT_BYTES = 8_000_000
        file = self.received(sent(b"x" * 6_000_000))
        assert file.size == 6_000_000
        assert not hasattr(file, "temporary_file_path")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("size_bytes", [200_001, 250_000, 5_000_000])
    def test_a_file_over_the_limit_is_refused_and_recorded(self, size_bytes: int) -> None:
        file = self.received(sent(b"x" * size_bytes))
        with pytest.raises(ExportTooLarge):
            import_chat(owner=samples.person(), upload=file)
        row = ChatUpload.objects.get()
        assert (row.outcome, row.reason) == ("refused", "ExportTooLarge")
        assert row.size_bytes >= size_bytes

    def test_a_body_that_declares_too_many_bytes_is_not_read(self) -> None:
        request = sent(b"")
        request.META["CONTENT_LENGTH"] = str(10 * 1024**3)
        request.META["wsgi.input"] = request._stream = Unreadable()
        file = self.received(request)
        assert file.size == 10 * 1024**3
        with pytest.raises(ExportTooLarge):
            file.read()

    def test_several_files_share_one_limit(self) -> None:
        first, second = sent(b"x" * 120_000, b"y" * 120_000).FILES.getlist("file")
        assert first.size == 120_000
        with pytest.raises(ExportTooLarge):
            second.read()
