"""Chats in the API: pages, messages by number, statistics, vector status, deletion."""

from __future__ import annotations

from typing import Any

import pytest

from chats import indexing, transcript
from chats.importing import import_chat
from chats.models import Chat, ChatUpload, TranscriptBlock
from relivchats.accounts.models import User
from tests import exports
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def five_chats(owner: User) -> list[str]:
    """Five chats, newest first."""
    chats = [import_chat(owner=owner, upload=exports.text(60, seed=10 + number)) for number in range(5)]
    return [str(chat.pk) for chat in reversed(chats)]


def ids(page: Any) -> list[str]:
    return [chat["id"] for chat in page["results"]]


def test_chats_are_listed_in_pages_newest_first(api: Api, five_chats: list[str]) -> None:
    first = api.get("/api/chats?limit=2")
    second = api.get(first["next"])
    third = api.get(second["next"])
    assert [ids(page) for page in (first, second, third)] == [five_chats[:2], five_chats[2:4], five_chats[4:]]
    assert (first["previous"], third["next"]) == (None, None)
    assert ids(api.get(third["previous"])) == five_chats[2:4]


def test_a_page_does_not_change_when_chats_are_added(api: Api, owner: User, five_chats: list[str]) -> None:
    first = api.get("/api/chats?limit=2")
    import_chat(owner=owner, upload=exports.text(70, seed=9))
    assert ids(api.get(first["next"])) == five_chats[2:4]


@pytest.mark.parametrize("query", ["limit=0", "limit=101", "limit=many", "limit=" + "9" * 5000])
def test_an_invalid_page_size_is_refused(api: Api, query: str) -> None:
    response = api.send("GET", f"/api/chats?{query}")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "#/limit")


@pytest.mark.parametrize("cursor", ["nonsense", "cD1qdW5r", "cD0yMDI2LTEzLTQ1", "cD0lMDA=", "é"])
def test_an_invalid_cursor_is_refused(api: Api, chat: Chat, cursor: str) -> None:
    response = api.send("GET", f"/api/chats?cursor={cursor}")
    assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "invalid_cursor")


def test_a_list_contains_no_statistics(api: Api, chat: Chat) -> None:
    assert "statistics" not in api.get("/api/chats")["results"][0]


def test_every_message_is_read_once_by_following_next(api: Api, chat: Chat) -> None:
    url, messages = f"/api/chats/{chat.pk}/messages?limit=70", []
    while url:
        page = api.get(url)
        messages += page["results"]
        url = page["next"]
    assert [message["number"] for message in messages] == list(range(1, chat.line_count + 1))
    stored = transcript.read_page(chat, limit=chat.line_count)
    assert [message["text"] for message in messages] == [message.text for message in stored]
    assert [message["sent_at"] for message in messages] == [message.sent_at.isoformat() for message in stored]


def test_following_previous_repeats_no_message(api: Api, chat: Chat) -> None:
    page = api.get(f"/api/chats/{chat.pk}/messages?after=150&limit=100")
    before = api.get(page["previous"])
    first = api.get(before["previous"])
    numbers = [message["number"] for part in (first, before, page) for message in part["results"]]
    assert numbers == list(range(1, 251))
    assert first["previous"] is None


def test_the_page_after_the_last_message_is_empty(api: Api, chat: Chat) -> None:
    page = api.get(f"/api/chats/{chat.pk}/messages?after={10**9}")
    assert (page["results"], page["next"]) == ([], None)
    assert api.get(page["previous"])["results"][-1]["number"] == chat.line_count


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", "after=99999999999999999999", "limit=0", "limit=501", "before=3"]
)
def test_invalid_query_parameters_of_messages_are_refused(api: Api, chat: Chat, query: str) -> None:
    response = api.send("GET", f"/api/chats/{chat.pk}/messages?{query}")
    assert response.status_code == 422


def test_a_system_message_has_no_sender(api: Api, chat: Chat) -> None:
    first = api.get(f"/api/chats/{chat.pk}/messages?limit=1")["results"][0]
    assert (first["kind"], first["sender"]) == ("system", None)


@pytest.mark.parametrize("path", ["", "/statistics"])
def test_an_unchanged_version_is_not_sent_again(api: Api, chat: Chat, path: str) -> None:
    first = api.send("GET", f"/api/chats/{chat.pk}{path}")
    again = api.send("GET", f"/api/chats/{chat.pk}{path}", headers={"If-None-Match": first["ETag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
    assert first["Cache-Control"] == "private, no-store"


@pytest.mark.parametrize("if_none_match", ["W/{}", '"other", {}', "*"])
def test_a_version_is_recognised_in_a_list_of_etags(api: Api, chat: Chat, if_none_match: str) -> None:
    etag = api.send("GET", f"/api/chats/{chat.pk}")["ETag"]
    headers = {"If-None-Match": if_none_match.format(etag)}
    assert api.send("GET", f"/api/chats/{chat.pk}", headers=headers).status_code == 304


@pytest.mark.parametrize("headers", [{"If-None-Match": "nonsense"}, {"If-None-Match": ""}, {"If-Match": '"other"'}])
def test_the_chat_is_sent_if_its_etag_is_not_listed(api: Api, chat: Chat, headers: dict[str, str]) -> None:
    assert api.send("GET", f"/api/chats/{chat.pk}", headers=headers).status_code == 200


def test_a_chat_that_changed_is_sent_again(api: Api, chat: Chat) -> None:
    first = api.send("GET", f"/api/chats/{chat.pk}")
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    again = api.send("GET", f"/api/chats/{chat.pk}", headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again.json()["vector_status"]) == (200, "completed")


def test_the_vector_status_shows_when_a_chat_is_searchable(api: Api, chat: Chat) -> None:
    path = f"/api/chats/{chat.pk}/vector-status"
    before = api.get(path)
    assert before == {
        "chat_id": str(chat.pk),
        "vector_status": "pending",
        "chunk_count": 0,
        "indexed_at": None,
        "is_searchable": False,
    }
    requested = api.post(f"/api/chats/{chat.pk}/reindex", status=202)
    assert requested["is_searchable"] is False
    indexing.index_chat(chat.pk)
    after = api.get(path)
    assert (after["is_searchable"], after["chunk_count"] > 0, after["indexed_at"] is None) == (True, True, False)


def test_deleting_a_chat_deletes_everything_in_it(api: Api, chat: Chat) -> None:
    api.delete(f"/api/chats/{chat.pk}", status=204)
    api.delete(f"/api/chats/{chat.pk}", status=404)
    api.get(f"/api/chats/{chat.pk}", status=404)
    assert api.get("/api/chats")["results"] == []
    assert not Chat.objects.exists()
    assert not TranscriptBlock.objects.exists()
    assert ChatUpload.objects.get().chat is None


def test_chats_of_another_user_are_not_listed(stranger: Api, chat: Chat) -> None:
    assert stranger.get("/api/chats")["results"] == []


@pytest.mark.parametrize("column", ["wrapped_key", "sealed_title", "sealed_participants"])
def test_a_chat_that_does_not_open_is_listed_and_can_be_deleted(api: Api, chat: Chat, owner: User, column: str) -> None:
    other = import_chat(owner=owner, upload=exports.text(40, seed=7))
    Chat.objects.filter(pk=chat.pk).update(**{column: b"\x04lost" + b"x" * 60})
    listed = {each["id"]: each for each in api.get("/api/chats")["results"]}
    broken = listed[str(chat.pk)]
    assert (broken["is_openable"], broken["title"], broken["participants"], broken["people"]) == (False, "", [], [])
    assert broken["message_count"] == chat.message_count
    assert listed[str(other.pk)]["is_openable"]
    assert api.get(f"/api/chats/{chat.pk}")["is_openable"] is False
    if column == "wrapped_key":
        problem = api.get(f"/api/chats/{chat.pk}/messages", status=503)
        assert (problem["title"], "Nothing is lost" in problem["detail"]) == ("The data cannot be opened now", True)
        api.post("/api/insights/unlock", {"chat_id": str(chat.pk), "category_id": "romantic"}, status=503)
    api.delete(f"/api/chats/{chat.pk}", status=204)
    assert [each["id"] for each in api.get("/api/chats")["results"]] == [str(other.pk)]
