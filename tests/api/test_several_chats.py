"""A file with several chats: the owner chooses one by its id, and no log contains the titles."""

from __future__ import annotations

import pytest

from chats.models import Chat, ChatUpload
from tests import exports, platforms
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db

TITLE = "Zanzibar honeymoon"
UPLOAD = platforms.zipped(
    {f"WhatsApp Chat with {TITLE}.txt": exports.text(40), "WhatsApp Chat with Ravi.txt": exports.text(60, seed=2)}
)


def test_the_owner_chooses_a_chat_by_its_id(api: Api) -> None:
    problem = api.upload(UPLOAD, status=422)
    assert problem["type"] == "urn:relivchats:problem:several-chats"
    assert [(chat["id"], chat["title"]) for chat in problem["chats"]] == [("2", "Ravi"), ("1", TITLE)]
    assert not Chat.objects.exists()
    assert api.upload(UPLOAD, chat="1")["message_count"] == problem["chats"][1]["messages"]
    assert api.upload(UPLOAD, chat="3", status=422)["type"] == "urn:relivchats:problem:no-such-chat"


def test_no_log_line_and_no_row_contains_the_titles(
    api: Api, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    api.upload(UPLOAD, status=422)
    written = "".join(capfd.readouterr()) + caplog.text + "".join(str(vars(record)) for record in caplog.records)
    assert "SeveralChats" in written
    assert TITLE not in written
    assert TITLE not in str([vars(row) for row in ChatUpload.objects.all()])
