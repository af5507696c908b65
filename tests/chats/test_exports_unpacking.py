"""Unpacking: archives, encodings, size limits, and files that are not exports."""

from __future__ import annotations

import io
import random
import stat
import struct
import zipfile

import pytest

from chats.exports import errors, read, unpacking
from tests import exports

CHAT = exports.text(40)
OTHER = exports.text(40, seed=2)
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)


def archive(*files: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as target:
        for name, content in files:
            target.writestr(name, content)
    return packed.getvalue()


def text(upload: bytes) -> bytes:
    return unpacking.unpack(upload)[0].text()


def chat(upload: bytes, wanted: str | None = None) -> list[str]:
    """Return the texts of all messages."""
    return [message for batch in read(upload, chat=wanted).batches for message in batch.texts]


CHAT_TEXTS, OTHER_TEXTS = chat(CHAT), chat(OTHER)


def test_a_text_file_is_read_unchanged() -> None:
    assert text(CHAT) == CHAT


def test_byte_order_mark_and_nul_are_removed() -> None:
    assert text(b"\xef\xbb\xbf" + CHAT.replace(b" - ", b" \0- ")) == CHAT


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be"])
def test_utf_16_is_read_with_and_without_a_byte_order_mark(encoding: str) -> None:
    assert text(CHAT.decode().encode(encoding)) == CHAT


def test_only_the_invalid_byte_is_replaced() -> None:
    broken = CHAT.replace("नहीं".encode(), "नहीं".encode() + b"\xff", 1)
    assert text(broken).decode() == CHAT.decode().replace("नहीं", "नहीं\ufffd", 1)


def test_cp1252_is_read_if_the_whole_file_is_valid() -> None:
    printed = "01/02/2024, 10:00 - Zoë: café “très” bien – à bientôt\n" * 3
    assert text(printed.encode("cp1252")).decode() == printed


def test_the_chat_of_a_zip_is_found_among_media_and_system_files() -> None:
    upload = archive(
        ("__MACOSX/._chat.txt", b"junk"),
        ("__MACOSX/export/_chat.txt", OTHER),
        ("folder/", b""),
        ("IMG-1.jpg", random.Random(1).randbytes(2000)),
        ("export/_chat.txt", CHAT),
        ("notes.txt", OTHER),
    )
    assert chat(upload) == CHAT_TEXTS


def test_the_file_named_like_an_android_export_comes_before_other_texts() -> None:
    assert chat(archive(("a.txt", OTHER), ("WhatsApp Chat with Meera.txt", CHAT))) == CHAT_TEXTS


def test_a_text_with_another_name_is_read_if_it_is_the_only_chat() -> None:
    assert chat(archive(("readme.txt", b"hello"), ("Чат.TXT", CHAT))) == CHAT_TEXTS


def test_a_stored_entry_is_read_like_a_deflated_one() -> None:
    assert chat(archive(("_chat.txt", CHAT), method=zipfile.ZIP_STORED)) == CHAT_TEXTS


def test_several_chats_in_one_archive_are_listed() -> None:
    upload = archive(("a.txt", CHAT), ("b.txt", OTHER))
    with pytest.raises(errors.SeveralChats) as refusal:
        chat(upload)
    assert refusal.value.extra["chats"] == [
        {"id": "1", "title": "a", "messages": 39},
        {"id": "2", "title": "b", "messages": 39},
    ]
    assert chat(upload, "2") == OTHER_TEXTS


def test_a_chat_that_is_not_in_the_upload_is_not_replaced_by_another() -> None:
    with pytest.raises(errors.NoSuchChat) as refusal:
        chat(archive(("a.txt", CHAT), ("b.txt", OTHER)), "3")
    assert [listed["id"] for listed in refusal.value.extra["chats"]] == ["1", "2"]


def test_chats_of_one_name_are_distinguished_by_their_folders() -> None:
    upload = archive(("WhatsApp Chat - Meera/_chat.txt", CHAT), ("out/Ravi/_chat.txt", OTHER))
    with pytest.raises(errors.SeveralChats) as refusal:
        chat(upload)
    assert [listed["title"] for listed in refusal.value.extra["chats"]] == ["Meera", "Ravi"]


def corrupt(upload: bytes, content: bytes) -> bytes:
    """Return the archive with a changed byte in a stored entry, whose checksum then fails."""
    assert upload.count(content) == 1
    return upload.replace(content, content[:-1] + b"?")


CARD = b"BEGIN:VCARD\nFN:Meera\nEND:VCARD\n"


@pytest.mark.parametrize("name", ["Meera.vcf", "old.txt", "likes.json", "chats/likes.json"])
def test_a_damaged_file_next_to_an_intact_chat_is_skipped(name: str) -> None:
    upload = archive(("_chat.txt", CHAT), (name, CARD), method=zipfile.ZIP_STORED)
    assert chat(corrupt(upload, CARD)) == CHAT_TEXTS


def test_an_unsupported_compression_next_to_the_chat_is_skipped() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("_chat.txt", CHAT)
        target.writestr("old.txt", CARD, zipfile.ZIP_BZIP2)
    assert chat(packed.getvalue()) == CHAT_TEXTS


@pytest.mark.parametrize(("damaged", "intact"), [("_chat.txt", "notes.txt"), ("Meera.vcf", "hello.txt")])
def test_a_damaged_file_that_may_be_the_chat_is_not_replaced_by_another(damaged: str, intact: str) -> None:
    other = CHAT if intact == "notes.txt" else b"hello"
    with pytest.raises(errors.DamagedArchive):
        chat(corrupt(archive((intact, other), (damaged, CARD), method=zipfile.ZIP_STORED), CARD))


def test_a_chat_with_a_damaged_page_is_refused() -> None:
    page = b'{"participants": [], "messages": [{"sender_name": "A", "timestamp_ms": 1710400000000, "content": "%d"}]}'
    upload = archive(("a/message_1.json", page % 1), ("a/message_2.json", page % 2), method=zipfile.ZIP_STORED)
    assert chat(upload) == ["2", "1"]
    with pytest.raises(errors.DamagedArchive):
        chat(corrupt(upload, page % 2))
    picture = archive(("a/message_1.json", page % 1), ("a/Meera.vcf", CARD), method=zipfile.ZIP_STORED)
    assert chat(corrupt(picture, CARD)) == ["1"], "a damaged file of another kind is no page"


def test_the_pages_of_a_chat_together_count_as_one_text(monkeypatch: pytest.MonkeyPatch) -> None:
    pages = [unpacking.Document(b"", lambda: b"page 1"), unpacking.Document(b"", lambda: b"page 2")]
    assert unpacking.read_pages(pages) == [b"page 1", b"page 2"]
    monkeypatch.setattr(unpacking, "UNPACKED_LIMIT_BYTES", 11)
    with pytest.raises(errors.UnpackedTooLarge):
        unpacking.read_pages(pages)


def test_a_web_page_and_an_empty_text_next_to_the_chat_are_skipped() -> None:
    upload = archive(("a.html", b"<!doctype html><title>x</title>"), ("a.txt", b""), ("_chat.txt", CHAT))
    assert chat(upload) == CHAT_TEXTS


def test_only_the_beginning_of_each_entry_is_unpacked_to_recognise_it() -> None:
    page = b'<!DOCTYPE html><div class="page_body chat_page">' + b"text " * 200_000
    picture = random.Random(2).randbytes(1_000_000)
    looked = unpacking._Archive(archive(("a.txt", CHAT * 500), ("b.jpg", picture), ("messages.html", page)))
    assert [document.name for document in looked.documents()] == ["a.txt", "messages.html"]
    assert looked.budget.work_bytes < 300_000


@pytest.mark.parametrize(("name", "beginning"), [("_chat.txt", b"\x07"), ("photo", b"")])
def test_a_chat_that_begins_after_other_text_is_recognised(name: str, beginning: bytes) -> None:
    (document,) = unpacking.unpack(archive((name, beginning + b"x" * 5_000 + b"\n" + CHAT)))
    assert document.is_likely_a_chat


def test_a_text_that_is_not_like_a_chat_is_left_to_detection() -> None:
    assert text(b"just notes") == b"just notes"
    assert text(archive(("notes.txt", b"just notes"))) == b"just notes"


def test_a_file_in_utf_16_is_not_taken_for_a_binary_one() -> None:
    cyrillic = CHAT.decode().replace("Meera", "Мира").encode("utf-16")
    assert text(archive(("photo", cyrillic))) == unpacking.as_utf8(cyrillic)


def test_links_and_directories_are_never_the_chat() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as target:
        link = zipfile.ZipInfo("_chat.txt")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, CHAT)
    with pytest.raises(errors.NoChatText):
        chat(packed.getvalue())


@pytest.mark.parametrize("shadow", ["._other.txt", "__MACOSX/other.txt", "folder/"])
def test_folders_and_the_shadows_that_macos_packs_are_no_texts(shadow: str) -> None:
    documents = unpacking.unpack(archive(("a.txt", CHAT), (shadow, CHAT)))
    assert [document.name for document in documents] == ["a.txt"]


def test_a_text_that_begins_after_much_blank_space_is_not_called_empty() -> None:
    assert chat(b"\n" * 600_000 + CHAT) == CHAT_TEXTS


@pytest.mark.parametrize("name", ["photo", "chat.zip", "backup.db"])
def test_a_file_not_named_like_a_text_is_read_only_if_it_reads_like_a_chat(name: str) -> None:
    for content in (archive(("_chat.txt", CHAT)), bytes(range(256)) * 20, b"notes only"):
        documents = unpacking.unpack(archive(("a.txt", CHAT), (name, content)))
        assert [document.name for document in documents] == ["a.txt"]
    documents = unpacking.unpack(archive(("a.txt", CHAT), (name, CHAT)))
    assert [document.name for document in documents] == ["a.txt", name]


@pytest.mark.parametrize(
    "upload", [b"", b" \r\n\t\n", b"\0\0\0\0", b"\xef\xbb\xbf", b"\xff\xfe", archive(("_chat.txt", b"\xef\xbb\xbf\n"))]
)
def test_a_file_without_text_is_refused_as_empty(upload: bytes) -> None:
    with pytest.raises(errors.EmptyExport):
        chat(upload)


def test_an_upload_above_the_limit_is_refused_with_its_size() -> None:
    with pytest.raises(errors.ExportTooLarge) as refusal:
        chat(bytes(unpacking.UPLOAD_LIMIT_BYTES + 1))
    assert refusal.value.status == 413
    assert refusal.value.code == "ERR_3004"
    assert refusal.value.extra == {"limit_bytes": 25 * 1024 * 1024, "size_bytes": 25 * 1024 * 1024 + 1}


def test_a_zip_bomb_is_refused_by_its_ratio() -> None:
    with pytest.raises(errors.UnpackedTooLarge):
        chat(archive(("_chat.txt", CHAT + bytes(20_000_000))))


def test_the_limit_of_unpacked_bytes_applies_at_any_ratio(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED_LIMIT_BYTES", len(CHAT) - 1)
    with pytest.raises(errors.UnpackedTooLarge):
        chat(archive(("_chat.txt", CHAT)))


def test_wrong_sizes_in_the_directory_do_not_raise_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    upload = bytearray(archive(("_chat.txt", CHAT + b" " * 3_000_000)))
    place = upload.index(b"PK\x01\x02")
    struct.pack_into("<I", upload, place + 24, 10)
    with pytest.raises((errors.DamagedArchive, errors.UnpackedTooLarge)):
        chat(bytes(upload))
    struct.pack_into("<I", upload, place + 24, 2**32 - 2)
    with pytest.raises((errors.DamagedArchive, errors.UnpackedTooLarge)):
        chat(bytes(upload))


def test_looking_through_an_archive_inflates_a_few_times_one_text_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "UNPACKED_LIMIT_BYTES", 2 * len(CHAT))
    several = archive(*((f"{number}.txt", CHAT) for number in range(2)))
    documents = unpacking.unpack(several)
    # Of eight texts, two were looked at; the limit of one text holds for each by itself.
    assert [documents[0].text() for _ in range(6)] == [CHAT] * 6
    with pytest.raises(errors.UnpackedTooLarge):
        documents[0].text()


def test_too_many_entries_are_refused() -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as target:
        for number in range(unpacking.ENTRIES_LIMIT + 1):
            target.writestr(f"{number}.txt", b"")
    with pytest.raises(errors.UnpackedTooLarge):
        chat(packed.getvalue())


def test_an_encrypted_archive_is_refused_as_password_protected() -> None:
    upload = bytearray(archive(("_chat.txt", CHAT)))
    upload[6] |= 1
    upload[upload.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(errors.PasswordProtected):
        chat(bytes(upload))


#: Read as one text, its header included, it would be a chat in UTF-16.
STORED_UTF_16 = archive(("chat.txt", CHAT.decode().encode("utf-16-le")), method=zipfile.ZIP_STORED)


@pytest.mark.parametrize(
    "files",
    [
        (),
        (("photo.jpg", b"x"),),
        (("photo.jpg", b""),),
        (("chat.zip", archive(("_chat.txt", CHAT))),),
        (("chat.zip", STORED_UTF_16),),
    ],
)
def test_an_archive_without_text_is_refused_and_nested_ones_stay_closed(files: tuple[tuple[str, bytes], ...]) -> None:
    with pytest.raises(errors.NoChatText):
        chat(archive(*files))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_without_bounded_reads_are_refused(method: int) -> None:
    with pytest.raises(errors.DamagedArchive):
        chat(archive(("_chat.txt", CHAT), method=method))
    with pytest.raises(errors.NoChatText):
        chat(archive(("photo.jpg", CHAT), method=method))


def test_a_randomly_damaged_archive_is_read_or_refused() -> None:
    whole = archive(("_chat.txt", CHAT))
    chance = random.Random(3)
    for _ in range(400):
        upload = bytearray(whole)
        for _ in range(chance.randrange(1, 4)):
            upload[chance.randrange(4, len(upload))] = chance.randrange(256)
        upload = upload[: chance.randrange(4, len(upload))] if chance.random() < 0.3 else upload
        try:
            chat(bytes(upload))
        except errors.ExportRefused:
            continue


def test_a_truncated_archive_is_refused_as_damaged() -> None:
    with pytest.raises(errors.DamagedArchive):
        chat(archive(("_chat.txt", CHAT))[:-30])


def test_an_archive_with_a_flipped_byte_is_refused_as_damaged() -> None:
    upload = bytearray(archive(("_chat.txt", CHAT)))
    upload[len(upload) // 2] ^= 0xFF
    with pytest.raises(errors.DamagedArchive):
        chat(bytes(upload))


def test_each_refusal_names_its_cause_and_what_to_do() -> None:
    kinds = errors.ExportRefused.__subclasses__() + errors.NotAChatExport.__subclasses__()
    assert len({kind.title for kind in kinds}) == len(kinds)
    for kind in kinds:
        refusal = kind(limit_bytes=26_214_400, size_bytes=30_000_000)
        assert refusal.detail.endswith(".")
        assert refusal.detail != refusal.title
        assert 400 <= refusal.status < 500
        assert refusal.code in {"ERR_3002", "ERR_3003", "ERR_3004"}


def test_the_shape_of_a_header_contains_no_letter_of_the_chat() -> None:
    line = "20.3.2024 klo 18.00 - Ärla Söder: geheim 42 🌸 हिन्दी"
    shape = unpacking.header_shape(f"title\n{line}\nmore".encode())
    assert shape == "99.9.9999 aaa 99.99 - aaaa aaaaa: aaaaaa 99 ? aaaaaa"
    assert len(unpacking.header_shape(CHAT)) <= 60
    assert unpacking.header_shape(archive(("_chat.txt", CHAT))).startswith("99/99/9999, 99:99 - ")


def test_the_shape_of_a_header_shows_no_control_character() -> None:
    assert unpacking.header_shape(b"01/02/2024, 10:00 - A\x07B: text") == "99/99/9999, 99:99 - a?a: aaaa"
    assert unpacking.header_shape("1/2/2024, 1:00\u202fPM - A: b".encode()) == "9/9/9999, 9:99 aa - a: a"


@pytest.mark.parametrize(
    "junk", [b"my secret in 2024 and 2025", b"1 of my secrets", b"", b"no date here", EMPTY_ZIP, b"PK\x03\x04junk"]
)
def test_a_file_without_a_header_has_no_shape(junk: bytes) -> None:
    assert unpacking.header_shape(junk) == ""


@pytest.mark.parametrize(
    ("beginning", "refusal"),
    [
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", errors.Picture),
        (b"\x89PNG\r\n\x1a\n", errors.Picture),
        (b"\0\0\0\x18ftypheic", errors.Picture),
        (b"\0\0\0\x18ftypmp42", errors.Recording),
        (b"OggS\0", errors.Recording),
        (b"%PDF-1.7\n", errors.Pdf),
        (b"{\\rtf1\\ansi " + CHAT, errors.FormattedText),
        (b"Rar!\x1a\x07\x01\0", errors.OtherArchive),
        (b"7z\xbc\xaf\x27\x1c", errors.OtherArchive),
        (b"\x1f\x8b\x08\0", errors.OtherArchive),
        (random.Random(7).randbytes(5_000), errors.NotText),
        (b'{"contacts": []}', errors.OtherJson),
        (b'[{"name": "Asha"}]', errors.OtherJson),
    ],
)
def test_each_other_kind_of_file_is_refused_by_its_name(beginning: bytes, refusal: type[errors.ExportRefused]) -> None:
    with pytest.raises(errors.NotAChatExport) as refused:
        read(beginning)
    assert type(refused.value) is refusal


def test_a_chat_that_mentions_a_version_of_the_app_is_not_called_a_backup() -> None:
    assert chat(b"01/02/2024, 10:00 - Meera: update to 2.24.11.75\n") == ["update to 2.24.11.75"]


def test_a_chat_that_quotes_a_page_is_not_taken_for_one() -> None:
    quoted = '<div class="page_body chat_page">'
    assert chat(f"01/02/2024, 10:00 - Meera: {quoted}\n".encode()) == [quoted]


def test_a_chat_with_a_control_byte_or_a_pasted_list_is_read() -> None:
    assert chat(CHAT.replace(b": ", b": \x07", 1))
    assert chat(b'[{"as": "pasted"}]\n' + CHAT)


def test_only_a_packed_upload_can_become_larger() -> None:
    text = exports.text(20)
    assert unpacking.max_unpacked_bytes(text) == len(text)
    packed = exports.zipped(text)
    assert unpacking.max_unpacked_bytes(packed) >= max(len(text), unpacking.RATIO_LIMIT * len(packed))
