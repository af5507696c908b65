"""Uploads in the API: the response contains the chat with its statistics, or the cause of the refusal."""

from __future__ import annotations

import io
import struct
import uuid
import zipfile
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django.fixtures import Settings

from chats.models import Chat, ChatUpload, TranscriptBlock
from tests import exports, platforms
from tests.api.conftest import Api, check_problem

pytestmark = pytest.mark.django_db

SYSTEM_LINE = "14/03/2024, 09:00 - Messages and calls are end-to-end encrypted.\n"


def test_an_upload_returns_the_chat_with_its_statistics(api: Api) -> None:
    answer = api.upload(exports.text(300))
    assert answer["participants"] == ["Aarav", "Anaya"]
    assert (answer["platform"], answer["is_group"], answer["vector_status"]) == ("whatsapp", False, "pending")
    assert answer["statistics"]["total_messages"] == answer["message_count"]
    whole_chat = {"period": None, "comparison": None}
    assert answer["statistics"] | whole_chat == api.get(f"/api/chats/{answer['id']}/statistics")


@pytest.mark.parametrize("top", [platforms.MESSENGER_TOP, ""])
def test_a_zip_of_messenger_becomes_a_chat_with_its_details_and_is_recognised_again(api: Api, top: str) -> None:
    messages = list(platforms.messages_of(exports.text(300)))
    files = {"messages/Asha_12.json": platforms.encrypted(messages)}
    if top:
        files = platforms.inbox(platforms.instagram(messages, page_messages=100), top=top)
    answer = api.upload(platforms.zipped(files))
    assert (answer["platform"], answer["clock"]) == ("messenger", "utc")
    assert answer["statistics"]["total_messages"] == answer["message_count"]
    assert {"media_kinds", "reactions"} <= set(answer["recorded_details"])
    again = api.upload(platforms.zipped(files | {"other.txt": b"hello"}), status=200)
    assert again["id"] == answer["id"]


def test_an_export_of_messenger_without_messages_is_refused_as_empty(api: Api) -> None:
    problem = api.upload(platforms.encrypted([]), status=422)
    assert problem["title"] == "The chat has no messages"


def test_the_location_header_names_the_new_chat(api: Api) -> None:
    form = {"file": SimpleUploadedFile("chat.txt", exports.text(50))}
    response = api.client.post("/api/chats/upload", form, headers=api.headers, secure=True)
    assert api.get(response["Location"])["id"] == response.json()["id"]


def test_the_name_of_a_zip_does_not_matter(api: Api) -> None:
    answer = api.upload(exports.zipped(exports.text(80)), name="../../etc/passwd")
    assert answer["statistics"]["total_messages"] > 0


def test_date_order_decides_ambiguous_dates(api: Api) -> None:
    content = b"03/04/2024, 09:00 - Asha: hello\n03/04/2024, 09:01 - Ravi: hi\n"
    days = [api.upload(content, date_order=order)["first_message_on"] for order in ("dmy", "mdy")]
    assert days == ["2024-04-03", "2024-03-04"]
    assert api.upload(content, status=200)["ambiguous_dates"] is False


def test_messages_that_are_dated_later_than_the_upload_are_reported(api: Api) -> None:
    content = b"13/02/2024, 09:00 - Asha: hello\n13/02/2094, 09:01 - Ravi: hi\n"
    answer = api.upload(content)
    assert (answer["message_count"], answer["future_count"]) == (2, 1)
    assert api.get(f"/api/chats/{answer['id']}")["future_count"] == 1


@pytest.mark.parametrize(
    ("fields", "place", "advice"),
    [
        ({"date_order": "ydm"}, "date_order", "Send dmy (day, month, year), mdy or ymd"),
        ({"extend": "nonsense"}, "extend", "GET /api/chats lists yours"),
        ({"separate": "maybe"}, "separate", "Send true or false."),
        ({"timezone": "Europe/Berlin"}, "timezone", "The fields are: file, date_order"),
        ({"time_zone": ["Europe/Berlin", "Asia/Kolkata"]}, "time_zone", "Send this once"),
        ({"file": [SimpleUploadedFile("a", b"x"), SimpleUploadedFile("b", b"x")]}, "file", "Send this once"),
    ],
)
def test_an_invalid_field_is_refused_with_what_to_send(
    api: Api, fields: dict[str, Any], place: str, advice: str
) -> None:
    problem = api.upload(exports.text(50), status=422, **fields)
    assert [error["pointer"] for error in problem["errors"]] == [f"#/{place}"]
    assert advice in problem["detail"]


def test_fields_of_other_clients_and_browsers_are_ignored(api: Api) -> None:
    api.upload(exports.text(50), date_order="DMY", category_id="7", csrfmiddlewaretoken="x")


def damaged_zip() -> bytes:
    whole = exports.zipped(exports.text(200))
    return whole[: len(whole) // 2]


def encrypted_zip() -> bytes:
    """Return a zip with an encrypted entry (APPNOTE 4.4.4: bit 0 of the flags)."""
    content = bytearray(exports.zipped(exports.text(50)))
    for header, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.index(header) + offset
        flags = struct.unpack_from("<H", content, start)[0]
        struct.pack_into("<H", content, start, flags | 1)
    return bytes(content)


def zip_bomb() -> bytes:
    return exports.zipped(b"0" * (50 * 1024 * 1024))


def zip_of_pictures() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("IMG-1.jpg", b"\xff\xd8\xff")
    return buffer.getvalue()


REFUSALS: dict[str, tuple[Any, int, str, str]] = {
    "empty": (lambda: b"", 400, "ERR_3002", "empty-export"),
    "only blanks": (lambda: b" \r\n\n ", 400, "ERR_3002", "empty-export"),
    "not a chat": (lambda: b"Dear Sir,\nplease find enclosed.\n", 422, "ERR_3003", "not-a-chat-export"),
    "binary junk": (lambda: bytes(range(256)) * 64, 422, "ERR_3003", "not-text"),
    "a damaged zip": (damaged_zip, 422, "ERR_3003", "damaged-archive"),
    "an encrypted zip": (encrypted_zip, 422, "ERR_3003", "password-protected"),
    "a zip bomb": (zip_bomb, 413, "ERR_3004", "unpacked-too-large"),
    "a zip of pictures": (zip_of_pictures, 422, "ERR_3003", "no-chat-text"),
    "only system messages": (lambda: SYSTEM_LINE.encode() * 3, 422, "ERR_3002", "only-system-messages"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_refused_upload_names_its_cause_and_leaves_only_its_row(api: Api, name: str) -> None:
    content, status, code, slug = REFUSALS[name]
    problem = api.upload(content(), status=status)
    assert (problem["error_code"], problem["type"]) == (code, f"urn:relivchats:problem:{slug}")
    upload = ChatUpload.objects.get()
    assert (upload.outcome, upload.error_code, upload.request_id) == ("refused", code, problem["request_id"])
    assert not Chat.objects.exists()
    assert not TranscriptBlock.objects.exists()


@pytest.mark.parametrize("size", [1_001, 200_000])
def test_an_oversized_upload_is_refused(api: Api, settings: Settings, size: int) -> None:
    settings.UPLOAD_LIMIT_BYTES = 1_000
    problem = api.upload(b"x" * size, status=413)
    assert (problem["title"], problem["limit_bytes"]) == ("The file is too large", 1_000)
    assert problem["detail"].startswith("Up to 0.0009537 MB are taken.")
    assert ChatUpload.objects.get().outcome == "refused"


def test_a_form_without_a_file_is_refused_with_what_is_missing(api: Api) -> None:
    response = api.client.post("/api/chats/upload", {"date_order": "dmy"}, headers=api.headers, secure=True)
    check_problem(response)
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "#/file")
    assert "Send the export itself" in response.json()["detail"]


def test_a_truncated_form_is_refused(api: Api) -> None:
    response = api.send("POST", "/api/chats/upload", data=b"--x", content_type="multipart/form-data")
    assert response.status_code == 400


def test_json_is_not_an_upload(api: Api) -> None:
    response = api.send("POST", "/api/chats/upload", data=b"{}", content_type="application/json")
    assert response.status_code == 415


def test_an_upload_without_a_token_leaves_no_row(nobody: Api) -> None:
    assert nobody.upload(exports.text(50), status=401)["error_code"] == "ERR_1003"
    assert not ChatUpload.objects.exists()


def test_no_word_of_an_upload_is_logged(api: Api, caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
    line = "14/03/2024, 09:00 - Ferdinand: the swordfish is in the cellar\n"
    api.upload(line.encode() * 3)
    api.upload(("swordfish " * 50).encode(), status=422)
    logged = caplog.text + capsys.readouterr().out + "".join(str(vars(record)) for record in caplog.records)
    assert "swordfish" not in logged
    assert "Ferdinand" not in logged


class TestUploadingAgain:
    @pytest.fixture
    def records(self) -> list[str]:
        return list(exports.lines(120))

    @pytest.fixture
    def chat(self, api: Api, records: list[str]) -> Any:
        return api.upload("".join(records[:100]).encode())

    def test_the_same_file_returns_the_existing_chat(self, api: Api, chat: Any, records: list[str]) -> None:
        again = api.upload("".join(records[:100]).encode(), status=200)
        assert (again["id"], again["outcome"], again["added_messages"]) == (chat["id"], "identical", 0)
        assert again["statistics"] == chat["statistics"]

    def test_a_newer_export_is_a_conflict_until_extend_is_sent(self, api: Api, chat: Any, records: list[str]) -> None:
        newer = "".join(records).encode()
        problem = api.upload(newer, status=409)
        assert problem["candidate"]["id"] == chat["id"]
        assert problem["new_messages"] > 0
        assert f"extend={chat['id']}" in problem["detail"]
        extended = api.upload(newer, status=200, extend=problem["candidate"]["id"])
        assert (extended["id"], extended["outcome"], extended["last_message_number"]) == (chat["id"], "extended", 120)
        assert extended["added_messages"] == problem["new_messages"]
        assert extended["message_count"] == chat["message_count"] + problem["new_messages"]
        assert api.upload(newer, status=200)["outcome"] == "identical"

    def test_a_newer_export_can_become_a_separate_chat(self, api: Api, chat: Any, records: list[str]) -> None:
        other = api.upload("".join(records).encode(), separate="true")
        assert other["id"] != chat["id"]

    def test_the_chat_of_another_user_cannot_be_discovered(
        self, api: Api, stranger: Api, chat: Any, records: list[str]
    ) -> None:
        newer = "".join(records).encode()
        problem = stranger.upload(newer, status=404, extend=chat["id"])
        assert problem["error_code"] == "ERR_1002"
        assert stranger.upload(newer)["outcome"] == "accepted"
        assert api.get(f"/api/chats/{chat['id']}")["last_message_number"] == 100

    @pytest.mark.parametrize(
        ("fields", "pointer"),
        [
            ({"extend": "nonsense"}, "#/extend"),
            ({"time_zone": "Mars/Olympus"}, "#/time_zone"),
            ({"separate": "true", "extend": str(uuid.uuid4())}, "#/separate"),
            ({"time_zone": "Asia/Kolkata", "extend": str(uuid.uuid4())}, "#/time_zone"),
        ],
    )
    def test_options_that_contradict_each_other_are_refused(
        self, api: Api, fields: dict[str, str], pointer: str
    ) -> None:
        assert api.upload(exports.text(50), status=422, **fields)["errors"][0]["pointer"] == pointer

    def test_nothing_of_the_candidate_is_logged(self, api: Api, caplog: pytest.LogCaptureFixture, capsys: Any) -> None:
        lines = [f"14/03/2024, 09:0{minute} - Ferdinand: the swordfish {minute}\n" for minute in range(9)]
        api.upload("".join(lines[:5]).encode())
        api.upload("".join(lines).encode(), status=409)
        logged = caplog.text + capsys.readouterr().out + "".join(str(vars(record)) for record in caplog.records)
        assert "swordfish" not in logged
        assert "Ferdinand" not in logged
