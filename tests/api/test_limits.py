"""What one user may store is limited. An upload beyond it stores nothing, and `/api/me` shows limits and usage."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any, NoReturn

import pytest
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Length

from chats import importing, limits
from chats.importing import ImportOptions, import_upload
from chats.models import Chat, ChatUpload, TranscriptBlock
from insights import unlocking
from relivchats.accounts.models import User
from relivchats.limits import LimitReached
from tests import exports
from tests.api.conftest import Api, MakePerson
from tests.concurrency import call_at_once

pytestmark = pytest.mark.django_db

MEGABYTE = 1024 * 1024


@pytest.fixture
def no_parsing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail if an upload is parsed."""

    def parse(*_: Any) -> NoReturn:
        raise AssertionError("the upload was parsed")

    monkeypatch.setattr(importing, "parse_upload", parse)


def leave_room(chat: Chat, *, size_bytes: int) -> None:
    """Let the chats of an owner leave so many bytes of one megabyte."""
    Chat.objects.filter(pk=chat.pk).update(stored_bytes=MEGABYTE - size_bytes)


def sealed_bytes(chat: Chat) -> int:
    total: int = TranscriptBlock.objects.filter(chat=chat).aggregate(total=Sum(Length("sealed")))["total"]
    return total


def test_another_chat_than_the_last_one_that_is_allowed_is_refused_unparsed(
    api: Api, stranger: Api, chat: Chat, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAX_CHATS_PER_USER, settings.MAX_STORED_MB_PER_USER = 1, 0
    with monkeypatch.context() as patched:
        patched.setattr(importing, "parse_upload", None)
        problem = api.upload(exports.text(60), status=409)
    assert problem["type"].endswith("limit-reached")
    assert (problem["limit"], problem["allowed"], problem["used"]) == ("chats", 1, 1)
    assert "Delete a chat" in problem["detail"]
    assert list(Chat.objects.all()) == [chat]
    assert ChatUpload.objects.latest("pk").outcome == "refused"
    assert api.upload(exports.text(320), status=200, extend=str(chat.pk))["outcome"] == "extended"
    stranger.upload(exports.text(60))
    settings.MAX_CHATS_PER_USER = 0
    other = api.upload(exports.text(60), separate="true")
    settings.MAX_CHATS_PER_USER = 1
    extended = api.upload(exports.text(340), status=200, extend=str(chat.pk))
    assert extended["outcome"] == "extended", "a limit that was lowered refuses new chats only"
    api.delete(f"/api/chats/{other['id']}", status=204)
    api.delete(f"/api/chats/{chat.pk}", status=204)
    api.upload(exports.text(60))


@pytest.mark.parametrize("extends", [False, True])
def test_without_room_for_a_byte_an_upload_is_refused_unparsed(
    api: Api, chat: Chat, settings: Any, no_parsing: None, extends: bool
) -> None:
    settings.MAX_STORED_MB_PER_USER = 1
    leave_room(chat, size_bytes=0)
    fields = {"extend": str(chat.pk)} if extends else {}
    problem = api.upload(exports.text(320), status=409, **fields)
    assert (problem["limit"], problem["allowed"], problem["used"]) == ("stored_bytes", MEGABYTE, MEGABYTE)


@pytest.mark.parametrize("extends", [False, True])
def test_an_upload_that_does_not_fit_changes_nothing(api: Api, chat: Chat, settings: Any, extends: bool) -> None:
    settings.MAX_STORED_MB_PER_USER = 1
    leave_room(chat, size_bytes=100)
    before = Chat.objects.values().get(), sealed_bytes(chat)
    fields = {"extend": str(chat.pk)} if extends else {"separate": "true"}
    problem = api.upload(exports.text(400), status=409, **fields)
    assert (problem["limit"], "Delete a chat" in problem["detail"]) == ("stored_bytes", True)
    assert (Chat.objects.values().get(), sealed_bytes(chat)) == before
    leave_room(chat, size_bytes=MEGABYTE // 2)
    assert api.upload(exports.text(400), status=200 if extends else 201, **fields)


def test_a_file_that_would_not_fit_into_an_empty_account_is_refused_with_other_advice(
    api: Api, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.MAX_STORED_MB_PER_USER = 1
    monkeypatch.setattr(limits, "STORED_BYTES", replace(limits.STORED_BYTES, unit=1000))
    detail = api.upload(exports.text(400), status=409)["detail"]
    assert "does not fit: export a shorter time" in detail
    assert "Delete a chat" not in detail


def test_an_uploads_bytes_are_counted_however_the_chat_grew(owner: User, chat: Chat) -> None:
    assert chat.stored_bytes == sealed_bytes(chat) > 0
    import_upload(owner=owner, upload=exports.text(1200), options=ImportOptions(extend=chat.pk))
    grown = Chat.objects.get()
    assert grown.stored_bytes == sealed_bytes(chat) > chat.stored_bytes
    Chat.objects.update(stored_bytes=0)
    with connection.cursor() as cursor:
        cursor.execute(import_module("chats.migrations.0011_stored_bytes").COUNT_STORED)
    assert Chat.objects.get().stored_bytes == grown.stored_bytes


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("limit", ["MAX_CHATS_PER_USER", "MAX_STORED_MB_PER_USER"])
def test_uploads_at_once_cannot_pass_a_limit_together(owner: User, settings: Any, limit: str) -> None:
    setattr(settings, limit, 1)
    uploads = [exports.text(60), exports.text(70, people=3)]
    if limit == "MAX_STORED_MB_PER_USER":
        stored = import_upload(owner=owner, upload=exports.text(300)).chat
        # Room for one of the others.
        leave_room(stored, size_bytes=stored.stored_bytes // 3)
    options = ImportOptions(separate=True)
    results = call_at_once(
        [lambda upload=upload: import_upload(owner=owner, upload=upload, options=options) for upload in uploads]  # type: ignore[misc]
    )
    assert sum(isinstance(result, LimitReached) for result in results) == 1, results


def test_a_user_sees_the_limits_and_what_is_used(
    api: Api, chat: Chat, settings: Any, rate_clock: list[float], make_person: MakePerson
) -> None:
    settings.UPLOADS_PER_HOUR, settings.MAX_STORED_MB_PER_USER, settings.MAX_OPEN_INSIGHTS_PER_USER = 20, 2, 9
    settings.MAX_CHATS_PER_USER = 0
    api.upload(exports.text(60), separate="true")
    unlocking.unlock(user=chat.owner, chat=chat, type_ids=["communication_basics"])
    stored = Chat.objects.aggregate(total=Sum("stored_bytes"))["total"]
    assert api.get("/api/me")["limits"] == {
        "chats": {"limit": None, "used": 2},
        "open_insights": {"limit": 9, "used": 1},
        "stored_bytes": {"limit": 2 * MEGABYTE, "used": stored},
        "uploads_per_hour": {"limit": 20, "used": 1},
    }
    assert {each["used"] for each in Api(make_person()).get("/api/me")["limits"].values()} == {0}
