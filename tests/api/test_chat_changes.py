"""PATCH /api/chats/{id} changes title, time zone and people. Statistics and messages follow, and all can be undone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from chats import indexing, search
from chats.exports.parsed import Batch, MessageKind, ParsedExport, Platform
from chats.importing import import_chat
from chats.models import Chat
from chats.serializers import TITLE_LIMIT
from chats.transcript import TranscriptReader
from relivchats.accounts.models import User
from tests import exports
from tests.api.conftest import Api, check_problem
from tests.canary import assert_nowhere, unique

pytestmark = pytest.mark.django_db

LINES = [
    "14/03/2024, 09:00 - Asha: good morning",
    "14/03/2024, 09:01 - Ravi: morning",
    "14/03/2024, 09:02 - +91 98765 43210: new phone, it is Ravi",
    "14/03/2024, 09:03 - Asha: ok",
    "14/03/2024, 09:04 - Meera: hello all",
]
RAVI = {"name": "Ravi K", "aliases": ["Ravi", "+91 98765 43210"]}


@pytest.fixture
def group(owner: User) -> Chat:
    return import_chat(owner=owner, upload="\n".join(LINES).encode())


def patch(api: Api, chat: Chat, *, status: int = 200, **changes: Any) -> Any:
    response = api.client.patch(
        f"/api/chats/{chat.pk}", changes, content_type="application/json", headers=api.headers, secure=True
    )
    assert response.status_code == status, response.content
    if status >= 400:
        check_problem(response)
    return response.json()


def senders(api: Api, chat: Chat) -> list[str]:
    return [message["sender"] for message in api.get(f"/api/chats/{chat.pk}/messages")["results"]]


def test_two_names_can_be_merged_into_one_person_and_separated_again(api: Api, group: Chat) -> None:
    before = api.get(f"/api/chats/{group.pk}/statistics")
    changed = patch(api, group, people=[RAVI])
    assert changed["participants"] == ["Asha", "Ravi K", "Meera"]
    assert (changed["participant_count"], changed["title"]) == (3, "Group of 3")
    assert changed["people"][1] == RAVI
    assert senders(api, group) == ["Asha", "Ravi K", "Ravi K", "Asha", "Meera"]
    statistics = api.get(f"/api/chats/{group.pk}/statistics")
    assert {name: person["message_count"] for name, person in statistics["user_stats"].items()} == {
        "Asha": 2,
        "Ravi K": 2,
        "Meera": 1,
    }
    undone = patch(api, group, people=[])
    assert (undone["participant_count"], undone["title"]) == (4, "Group of 4")
    assert api.get(f"/api/chats/{group.pk}/statistics") == before


def test_the_people_of_a_response_can_be_sent_back(api: Api, group: Chat) -> None:
    shown = patch(api, group, people=[RAVI])["people"]
    assert patch(api, group, people=shown)["people"] == shown


def test_renaming_people_keeps_the_owners_title(api: Api, group: Chat) -> None:
    assert patch(api, group, title="  Family  ")["title"] == "Family"
    assert patch(api, group, people=[RAVI])["title"] == "Family"
    assert patch(api, group, title=None)["title"] == "Group of 3"
    two = import_chat(owner=group.owner, upload="\n".join(LINES[:2]).encode())
    assert patch(api, two, people=[{"name": "Mum", "aliases": ["Asha"]}])["title"] == "Mum & Ravi"
    longest = [{"name": name * 300, "aliases": [alias]} for name, alias in (("x", "Asha"), ("y", "Ravi"))]
    shown = patch(api, two, people=longest)["title"]
    assert patch(api, two, title=shown)["title"] == shown


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"people": [{"name": "X", "aliases": ["Asha", "Nobody"]}]}, "#/people/0/aliases/1"),
        ({"people": [RAVI, {"name": "Y", "aliases": ["Ravi"]}]}, "#/people/1/aliases/0"),
        ({"people": [{"name": "Meera", "aliases": ["Asha"]}]}, "#/people"),
        ({"people": [{"name": "All", "aliases": ["Asha", "Ravi", "+91 98765 43210", "Meera"]}]}, "#/people"),
        ({"people": [{"name": "X", "aliases": []}]}, "#/people/0/aliases"),
        ({"people": [{"aliases": ["Asha"]}]}, "#/people/0/name"),
        ({"nonsense": 1}, "#/nonsense"),
        ({"title": "Family", "timezone": "Asia/Kolkata"}, "#/timezone"),
        ({"people": [{**RAVI, "alias": "R"}]}, "#/people/0/alias"),
        ({"time_zone": "Mars/Olympus"}, "#/time_zone"),
        ({"time_zone": "../etc/passwd"}, "#/time_zone"),
        ({"title": " "}, "#/title"),
        ({"title": "x" * (TITLE_LIMIT + 1)}, "#/title"),
        ({"people": "Ben"}, "#/people"),
        ({"people": ["Ben"]}, "#/people/0"),
        ({"time_zone": None}, "#/time_zone"),
    ],
)
def test_an_invalid_change_is_refused_with_a_pointer_to_it(
    api: Api, group: Chat, changes: dict[str, Any], pointer: str
) -> None:
    problem = patch(api, group, status=422, **changes)
    assert problem["errors"][0]["pointer"] == pointer
    assert "This field may not" not in problem["detail"]
    assert senders(api, group) == ["Asha", "Ravi", "+91 98765 43210", "Asha", "Meera"]


def test_a_chat_of_another_user_cannot_be_changed(stranger: Api, group: Chat) -> None:
    patch(stranger, group, status=404, title="Mine")
    assert Chat.objects.get(pk=group.pk).title == "Group of 4"


def test_a_change_invalidates_earlier_etags(api: Api, group: Chat) -> None:
    etags = [api.send("GET", f"/api/chats/{group.pk}{path}")["ETag"] for path in ("", "/statistics")]
    patch(api, group, people=[RAVI])
    for path, etag in zip(("", "/statistics"), etags, strict=True):
        assert api.send("GET", f"/api/chats/{group.pk}{path}", headers={"If-None-Match": etag}).status_code == 200


def test_a_search_uses_merged_people_immediately(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload=exports.text(400, people=3))
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    separate = search.get_searcher(chat).count_matches(["chai"])
    first, second = chat.participants[:2]
    patch(api, chat, people=[{"name": "Both", "aliases": [first, second]}])
    merged = search.get_searcher(Chat.objects.get(pk=chat.pk)).count_matches(["chai"])
    assert merged == [separate[0] + separate[1], separate[2]]


def test_a_wall_clock_is_not_moved_by_the_time_zone(api: Api, group: Chat) -> None:
    before = api.get(f"/api/chats/{group.pk}/statistics")
    assert patch(api, group, time_zone="Asia/Kolkata")["time_zone"] == "Asia/Kolkata"
    assert api.get(f"/api/chats/{group.pk}/statistics") == before
    assert patch(api, group, time_zone="")["time_zone"] == ""


class TestInstants:
    @pytest.fixture
    def chat(self, owner: User, monkeypatch: pytest.MonkeyPatch) -> Chat:
        """An export of instants, late in March, across the start of summer time."""
        instants = [datetime(2024, 3, 30, 23, 30, tzinfo=UTC), datetime(2024, 3, 31, 12, tzinfo=UTC)]
        seconds = [int(instant.timestamp()) for instant in instants]
        batch = Batch(1, seconds, [0, 1], [int(MessageKind.TEXT)] * 2, ["hi", "hello"])
        export = ParsedExport(
            Platform.INSTAGRAM, "instagram", "ymd", False, iter([batch]), ["Asha", "Ravi"], n_messages=2, clock="utc"
        )
        monkeypatch.setattr("chats.exports.read", lambda *_, **__: export)
        return import_chat(owner=owner, upload=b"x")

    def times(self, api: Api, chat: Chat) -> list[str]:
        return [message["sent_at"] for message in api.get(f"/api/chats/{chat.pk}/messages")["results"]]

    def test_instants_are_shown_and_counted_in_the_owners_time_zone(self, api: Api, chat: Chat) -> None:
        assert self.times(api, chat) == ["2024-03-30T23:30:00", "2024-03-31T12:00:00"]
        changed = patch(api, chat, time_zone="Europe/Berlin")
        assert self.times(api, chat) == ["2024-03-31T00:30:00", "2024-03-31T14:00:00"]
        assert (changed["clock"], changed["first_message_on"]) == ("utc", "2024-03-31")
        statistics = api.get(f"/api/chats/{chat.pk}/statistics")
        assert [hour for hour, count in enumerate(statistics["hourly_distribution"]) if count] == [0, 14]
        assert patch(api, chat, time_zone="")["first_message_on"] == "2024-03-30"
        assert self.times(api, chat) == ["2024-03-30T23:30:00", "2024-03-31T12:00:00"]

    def test_stored_instants_do_not_change(self, api: Api, chat: Chat) -> None:
        patch(api, chat, time_zone="Pacific/Auckland")
        (batch,) = TranscriptReader(chat, as_stored=True).batches()
        assert batch.seconds == [1711841400, 1711886400]


class TestAround:
    @pytest.mark.parametrize(
        ("around", "first", "last"), [(150, 140, 159), (1, 1, 20), (300, 290, 300), (10**6, 290, 300)]
    )
    def test_a_page_around_a_message_contains_its_neighbours(
        self, api: Api, chat: Chat, around: int, first: int, last: int
    ) -> None:
        page = api.get(f"/api/chats/{chat.pk}/messages?around={around}&limit=20")
        numbers = [message["number"] for message in page["results"]]
        assert (numbers[0], numbers[-1]) == (first, last)
        for link, number in (("next", last + 1), ("previous", first - 1)):
            if page[link]:
                neighbours = [message["number"] for message in api.get(page[link])["results"]]
                assert number in (neighbours[0], neighbours[-1])

    def test_after_and_around_cannot_be_combined(self, api: Api, chat: Chat) -> None:
        response = api.send("GET", f"/api/chats/{chat.pk}/messages?around=5&after=5")
        assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, "#/around")


@pytest.mark.django_db(transaction=True)
def test_titles_and_names_are_stored_only_in_sealed_columns(api: Api, group: Chat, logged: Any) -> None:
    title, name = unique("Secret Title"), unique("Darling")
    patch(api, group, title=title, people=[{"name": name, "aliases": ["Asha"]}])
    assert_nowhere(title, name, logs=logged.getvalue().splitlines())
    assert api.get(f"/api/chats/{group.pk}")["participants"][0] == name
