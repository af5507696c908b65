"""The timeline: what is counted is free, what was read needs an unlock, and nobody's danger is a highlight."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.urls import URLPattern, URLResolver, get_resolver

from chats import indexing
from chats.importing import ImportOptions, import_chat, import_upload
from chats.models import Chat
from insights import engines, safety, unlocking
from insights.engines.base import EngineRefused
from insights.episodes import Danger, Episode, Relationship, Tone, Window, WindowReading
from insights.models import ChatReading, GenerationJob, Insight
from insights.reading import stage
from insights.timeline import EntryKind
from insights.translation import get_language
from relivchats.accounts.models import User
from tests import exports
from tests.api.conftest import Api, MakePerson
from tests.chats.samples import START, export
from tests.fakes.reader import FakeReader

pytestmark = pytest.mark.django_db(transaction=True)

TYPE = "communication_basics"
NOTICE = safety.write_notice(get_language("en"))
#: Two people, a talk on each of 40 evenings, and three weeks of silence before the last ten.
TALKS = [
    (
        24 * 60 * (22 if day == 30 and not line else 1) if not line else 1,
        ("Asha", "Ravi")[line % 2],
        f"line {day}/{line}",
    )
    for day in range(40)
    for line in range(4)
]


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    reader = FakeReader()
    monkeypatch.setattr(engines, "get_engine", lambda: reader)
    monkeypatch.setattr("relivchats.leases.publish", lambda task, row_id: True)
    return reader


@pytest.fixture
def chat(owner: User) -> Chat:
    return import_chat(owner=owner, upload=export(TALKS))


def make_episode(window: Window, kind: str, first: int, last: int = 0, **changes: Any) -> Episode:
    """Return an episode of messages of the window, by their positions in it."""
    begin, end = window.messages[first], window.messages[last or first]
    values: dict[str, Any] = {
        "kind": kind,
        "topic": "other",
        "first": begin.number,
        "last": end.number,
        "roles": {0: ("does",), 1: ("receives",)},
        "strength": 3,
        "tone": Tone.SINCERE,
        "subject": "a line of the talk",
        "shows": (begin.number,),
        "started_at": begin.sent_at,
        "ended_at": end.sent_at,
    }
    return Episode(**(values | changes))


def find(*make: Callable[[Window], Episode], dangers: tuple[Danger, ...] = ()) -> Callable[[Window], WindowReading]:
    """Return answers that find these episodes in the first window, and nothing in the others."""

    def answer(window: Window) -> WindowReading:
        is_first = window.messages[0].number == 1
        episodes = tuple(one(window) for one in make) if is_first else ()
        return WindowReading(episodes, dangers if is_first else (), Relationship.COUPLE, ("English",), model="fake-1")

    return answer


def read(chat: Chat) -> None:
    """Unlock an insight, and read the chat as a worker does. The insight is not written."""
    unlocking.unlock(user=chat.owner, chat=chat, type_ids=[TYPE])
    indexing.index_chat(chat.pk)
    stage.run(ChatReading.objects.get(chat=chat).pk)


def complete(chat: Chat) -> None:
    """Mark the insight as written, without its document."""
    Insight.objects.filter(chat=chat).update(
        status=Insight.Status.COMPLETED, sealed_document=b"-", finished_at=chat.created_at, up_to_message=1
    )


def url(chat: Chat, query: str = "") -> str:
    return f"/api/chats/{chat.pk}/timeline{query and '?'}{query}"


def change(api: Api, chat: Chat, **changes: Any) -> None:
    body = json.dumps(changes).encode()
    answer = api.send("PATCH", f"/api/chats/{chat.pk}", data=body, content_type="application/json")
    assert answer.status_code == 200


def entries(page: dict[str, Any]) -> list[dict[str, Any]]:
    return [entry for month in page["results"] for entry in month["entries"]]


def kinds(page: dict[str, Any], *, source: str = "read") -> list[str]:
    return [entry["kind"] for entry in entries(page) if entry["source"] == source]


def test_a_chat_of_one_message_has_a_timeline(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload=b"14/03/2024, 09:00 - Asha: hello?\n")
    page = api.get(url(chat))
    assert [month["month"] for month in page["results"]] == ["2024-03"]
    (entry,) = entries(page)
    assert entry == {
        "kind": "first_message",
        "source": "counted",
        "starts_at": "2024-03-14T09:00:00",
        "ends_at": "2024-03-14T09:00:00",
        "title": "The first message",
        "sentence": "Asha wrote the first message of this chat.",
        "subject": "",
        "people": ["Asha"],
        "figures": [],
        "numbers": [1],
    }
    assert (page["next"], page["previous"], page["notice"]) == (None, None, "")


def test_what_is_counted_is_free_and_names_messages_of_the_chat(api: Api, chat: Chat) -> None:
    page = api.get(url(chat))
    found = {entry["kind"]: entry for entry in entries(page)}
    assert found.keys() >= {"first_message", "last_message", "silence", "streak", "record_day"}
    assert {entry["source"] for entry in entries(page)} == {"counted"}
    silence = found["silence"]
    assert silence["sentence"] == "Nobody wrote for 22 days. Then Asha wrote again."
    before, after = silence["numbers"]
    messages = api.get(f"/api/chats/{chat.pk}/messages?after={before - 1}&limit=2")["results"]
    assert [(each["number"], each["sent_at"]) for each in messages] == [
        (before, silence["starts_at"]),
        (after, silence["ends_at"]),
    ]
    assert page["read"]["is_shown"] is False
    assert page["read"]["entries"] is None
    assert "counts" in page["read"]["note"]
    assert not GenerationJob.objects.exists()


def test_who_joins_a_group_later_is_an_entry(api: Api, owner: User) -> None:
    lines = [*TALKS, (5, "Meera", "hello all"), (1, "Asha", "welcome")]
    chat = import_chat(owner=owner, upload=export(lines))
    newcomers = [entry for entry in entries(api.get(url(chat))) if entry["title"] == "A new voice"]
    assert [(entry["kind"], entry["people"]) for entry in newcomers] == [("first", ["Meera"])]


def test_entries_are_filtered_by_kind_and_by_days(api: Api, chat: Chat) -> None:
    assert {entry["kind"] for entry in entries(api.get(url(chat, "kind=silence&kind=streak")))} == {"silence", "streak"}
    silence = entries(api.get(url(chat, "kind=silence")))[0]
    day = silence["starts_at"][:10]
    assert entries(api.get(url(chat, f"kind=silence&from={day}&to={day}"))) == [silence]
    assert entries(api.get(url(chat, f"kind=first_message&from={day}"))) == []
    before = api.get(url(chat, f"from=2000-01-01&to={day}"))
    assert all(entry["starts_at"][:10] <= day for entry in entries(before))
    assert entries(api.get(url(chat, "to=2000-01-01"))) == []


@pytest.mark.parametrize(
    "query",
    [
        "kind=quarrel",
        "from=yesterday",
        "from=2024-02-01&to=2024-01-01",
        "after=2024-13",
        "after=2024",
        "limit=0",
        "limit=61",
        "page=2",
    ],
)
def test_a_wrong_query_is_refused(api: Api, chat: Chat, query: str) -> None:
    api.get(url(chat, query), status=422)


def test_pages_of_months_follow_each_other_in_both_directions(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload=exports.text(20_000))
    whole = api.get(url(chat, "limit=60"))["results"]
    assert len(whole) > 4

    def follow(start: str, direction: str) -> Iterator[dict[str, Any]]:
        address: str | None = start
        while address:
            page = api.get(address)
            yield page
            address = page[direction]

    forward = list(follow(url(chat, "limit=2"), "next"))
    assert [month for page in forward for month in page["results"]] == whole
    backward = list(follow(forward[-1]["previous"], "previous"))
    assert [month for page in backward[::-1] for month in page["results"]] == [
        month for page in forward[:-1] for month in page["results"]
    ]
    second = api.get(url(chat, f"after={whole[0]['month']}&limit=5"))
    assert api.get(second["previous"])["results"] == whole[:1]


def test_what_was_read_needs_an_unlocked_insight(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2), lambda w: make_episode(w, "plan", 6))
    before = api.get(url(chat))
    assert (before["read"]["entries"], before["read"]["is_shown"]) == (None, False)
    assert "when you unlock an insight" in before["read"]["note"]
    read(chat)
    locked = api.get(url(chat))
    assert (locked["read"]["entries"], locked["read"]["is_shown"], kinds(locked)) == (2, False, [])
    assert "2 more entries were found. Any insight" in locked["read"]["note"]
    complete(chat)
    shown = api.get(url(chat))
    assert (shown["read"], kinds(shown)) == (
        {"is_shown": True, "entries": 2, "note": ""},
        ["best_moment", "plan"],
    )
    best = next(entry for entry in entries(shown) if entry["kind"] == "best_moment")
    assert (best["sentence"], best["numbers"], best["people"]) == ("Asha thanked Ravi.", [3], ["Asha", "Ravi"])


def test_a_running_reading_is_announced(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2), lambda w: make_episode(w, "plan", 6))
    unlocking.unlock(user=chat.owner, chat=chat, type_ids=[TYPE])
    answer = api.send("GET", url(chat))
    assert "being read" in answer.json()["read"]["note"]
    read(chat)
    answer = api.send("GET", url(chat), headers={"If-None-Match": answer["ETag"]})
    assert "entries were found" in answer.json()["read"]["note"]


def test_an_argument_has_its_repair_and_the_hours_between(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(
        lambda w: make_episode(w, "conflict", 1, 2, topic="money", roles={0: ("starts",), 1: ("escalates",)}),
        lambda w: make_episode(w, "repair", 4, 5, roles={1: ("repairs",)}),
    )
    read(chat)
    complete(chat)
    (entry,) = [entry for entry in entries(api.get(url(chat))) if entry["source"] == "read"]
    assert (entry["kind"], entry["title"]) == ("argument", "A tense moment about money")
    assert (
        entry["sentence"]
        == "There was tension between Asha and Ravi about money. They made up 24 hours after it began."
    )
    assert entry["numbers"] == [2, 5]
    # From the second line of the first evening to the second line of the next one.
    assert entry["figures"] == [{"label": "Time until calm", "value": 1443 * 60.0, "unit": "seconds"}]
    assert entry["ends_at"] == (START + timedelta(days=2, minutes=4)).isoformat()


@pytest.mark.parametrize(("person", "current"), [(0, True), (0, False), (None, True)])
def test_an_episode_with_a_message_of_danger_is_never_listed(
    engine: FakeReader, api: Api, chat: Chat, person: int | None, current: bool
) -> None:
    engine.answers = find(
        lambda w: make_episode(w, "affection", 1, 3),
        lambda w: make_episode(w, "gratitude", 1, 3),
        lambda w: make_episode(w, "support", 5),
        lambda w: make_episode(w, "conflict", 1, 3),
        dangers=(Danger("self_harm", (3,), person, current=current),),
    )
    read(chat)
    complete(chat)
    assert kinds(api.get(url(chat))) == ["best_moment"]


def test_next_to_a_present_danger_quarrels_are_withheld_and_help_is_named(
    engine: FakeReader, api: Api, chat: Chat
) -> None:
    episodes = (
        lambda w: make_episode(w, "conflict", 20, 22, roles={0: ("starts",), 1: ("repairs",)}),
        lambda w: make_episode(w, "repair", 30),
        lambda w: make_episode(w, "support", 40),
    )
    engine.answers = find(*episodes, dangers=(Danger("violence", (2,), 1, current=True),))
    read(chat)
    # Help does not depend on an unlock.
    assert api.get(url(chat))["notice"] == NOTICE
    complete(chat)
    page = api.get(url(chat))
    assert (kinds(page), page["notice"]) == (["best_moment"], NOTICE)


def test_a_danger_of_the_past_withholds_no_quarrel(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(
        lambda w: make_episode(w, "conflict", 20, 22), dangers=(Danger("violence", (2,), 1, current=False),)
    )
    read(chat)
    complete(chat)
    page = api.get(url(chat))
    assert (kinds(page), page["notice"]) == (["argument"], "")


@pytest.mark.parametrize(
    ("subject", "shown"),
    [
        ("a line of the talk", "a line of the talk"),
        ("thanks to Asha", "thanks to Asha"),
        ("meeting Bernadette in secret", ""),
        ("the loan of 5000", ""),
        ("see www.example.com", ""),
        ("she said “never again”", ""),
    ],
)
def test_a_subject_is_shown_only_if_its_messages_support_it(
    engine: FakeReader, api: Api, chat: Chat, subject: str, shown: str
) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2, subject=subject))
    read(chat)
    complete(chat)
    (entry,) = [entry for entry in entries(api.get(url(chat))) if entry["source"] == "read"]
    assert entry["subject"] == shown


def test_renamed_and_merged_people_are_shown_at_once(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2))
    read(chat)
    complete(chat)
    etag = api.send("GET", url(chat))["ETag"]
    change(api, chat, people=[{"name": "Asha Rao", "aliases": ["Asha"]}])
    answer = api.send("GET", url(chat), headers={"If-None-Match": etag})
    assert answer.status_code == 200
    sentences = [entry["sentence"] for entry in entries(answer.json())]
    assert "Asha Rao thanked Ravi." in sentences
    assert "Asha Rao wrote the first message of this chat." in sentences


def test_an_extension_is_counted_at_once(api: Api, chat: Chat) -> None:
    etag = api.send("GET", url(chat))["ETag"]
    newer = export([*TALKS, (24 * 60, "Ravi", "one more evening")])
    import_upload(owner=chat.owner, upload=newer, options=ImportOptions(extend=chat.pk))
    answer = api.send("GET", url(chat), headers={"If-None-Match": etag})
    last = next(entry for entry in entries(answer.json()) if entry["kind"] == "last_message")
    assert (last["numbers"], last["people"]) == ([len(TALKS) + 1], ["Ravi"])


def test_messages_that_were_added_after_the_reading_are_announced(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2))
    read(chat)
    complete(chat)
    newer = export([*TALKS, (24 * 60, "Ravi", "one more evening")])
    import_upload(owner=chat.owner, upload=newer, options=ImportOptions(extend=chat.pk))
    page = api.get(url(chat))
    assert kinds(page) == ["best_moment"]
    assert f"Messages after number {len(TALKS)} were added since." in page["read"]["note"]


def test_a_partly_read_chat_says_how_much_was_read(engine: FakeReader, api: Api, chat: Chat) -> None:
    def answer(window: Window) -> WindowReading:
        # A message of the first month, which the first window does not reach.
        if any(message.number == 60 for message in window.messages):
            raise EngineRefused
        return find(lambda w: make_episode(w, "affection", 2))(window)

    engine.answers, engine.window_tokens = answer, 500
    read(chat)
    complete(chat)
    page = api.get(url(chat))
    assert kinds(page) == ["best_moment"], "and not the first, which could be in what was not read"
    assert f"of {len(TALKS)} messages with text were read." in page["read"]["note"]


def test_merged_people_are_one_voice(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload=export([*TALKS, (5, "Asha 2", "new phone"), (1, "Ravi", "ok")]))
    assert "A new voice" in [entry["title"] for entry in entries(api.get(url(chat)))]
    change(api, chat, people=[{"name": "Asha", "aliases": ["Asha", "Asha 2"]}])
    assert "A new voice" not in [entry["title"] for entry in entries(api.get(url(chat)))]


def test_another_time_zone_moves_the_times(api: Api, owner: User) -> None:
    sample = Path(__file__).resolve().parents[2] / "ops" / "demo" / "sample-instagram.zip"
    chat = import_chat(owner=owner, upload=sample.read_bytes())
    utc = entries(api.get(url(chat, "kind=first_message")))[0]["starts_at"]
    change(api, chat, time_zone="Asia/Kolkata")
    shown = entries(api.get(url(chat, "kind=first_message")))[0]["starts_at"]
    assert datetime.fromisoformat(shown) - datetime.fromisoformat(utc) == timedelta(hours=5, minutes=30)


def test_an_unchanged_timeline_is_a_304_until_something_is_unlocked(engine: FakeReader, api: Api, chat: Chat) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2))
    read(chat)
    etag = api.send("GET", url(chat))["ETag"]
    again = api.send("GET", url(chat), headers={"If-None-Match": etag})
    assert (again.status_code, again.content) == (304, b"")
    assert api.send("GET", url(chat, "kind=burst"), headers={"If-None-Match": etag}).status_code == 200
    complete(chat)
    assert api.send("GET", url(chat), headers={"If-None-Match": etag}).status_code == 200


def test_only_the_owner_gets_it_also_not_staff(chat: Chat, make_person: MakePerson) -> None:
    staff = make_person()
    staff.is_staff = staff.is_superuser = True
    staff.save()
    for other in (make_person(), staff):
        Api(other).get(url(chat), status=404)


def test_no_page_of_the_admin_gives_it() -> None:
    def paths(patterns: list[URLPattern | URLResolver], prefix: str = "") -> Iterator[str]:
        for pattern in patterns:
            path = f"{prefix}{pattern.pattern}"
            if isinstance(pattern, URLResolver):
                yield from paths(pattern.url_patterns, path)
            else:
                yield path

    assert [path for path in paths(get_resolver().url_patterns) if "timeline" in path] == [
        # Of the steps of a person, an order and a job.
        "admin/accounts/user/<path:object_id>/timeline/",
        "admin/billing/paymentorder/<path:object_id>/timeline/",
        "admin/insights/generationjob/<path:object_id>/timeline/",
        "api/chats/<uuid:chat_id>/timeline",
    ]


def test_nothing_of_it_is_logged(engine: FakeReader, api: Api, chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    engine.answers = find(lambda w: make_episode(w, "gratitude", 2))
    read(chat)
    complete(chat)
    with caplog.at_level(logging.DEBUG):
        caplog.clear()
        shown = entries(api.get(url(chat)))
    assert shown
    private = {"Asha", "Ravi", "a line of the talk", "line 0/1"}
    assert [record for record in caplog.records if any(word in record.getMessage() for word in private)] == []


def test_every_kind_of_entry_is_described() -> None:
    described = Path(__file__).resolve().parents[2].joinpath("docs", "timeline.md").read_text()
    assert [kind for kind in EntryKind if f"`{kind}`" not in described] == []
