"""Statistics in the API: of a whole chat, of a period, and of two periods compared."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import orjson
import pytest

from chats.counting import STATISTICS_VERSION
from chats.importing import import_chat
from chats.models import Chat
from chats.statistics import StatisticsCounter
from chats.transcript import TranscriptReader
from relivchats.accounts.models import User
from tests import exports
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db


@pytest.fixture
def chat(owner: User) -> Chat:
    """A chat of several blocks."""
    return import_chat(owner=owner, upload=exports.text(1200))


def days_of(chat: Chat) -> list[date]:
    return sorted({message.sent_at.date() for message in TranscriptReader(chat).messages(1, 10_000)})


def counted_alone(chat: Chat, first: date, last: date) -> Any:
    """Return the statistics of the messages of some days, counted one batch per message."""
    counter = StatisticsCounter()
    for batch in TranscriptReader(chat).batches():
        for position in range(len(batch)):
            one = batch.slice(position, position + 1)
            (message,) = one.messages(chat.participants)
            if first <= message.sent_at.date() <= last:
                counter.add(one)
    return orjson.loads(orjson.dumps(counter.result(chat.participants, recorded=chat.recorded_details)))


def day_figures(figures: Any, total: int) -> Any:
    return {"total_days": total, "messages_per_day_avg": round(figures["total_messages"] / total, 2)}


def test_days_without_messages_count_in_a_period_but_not_days_outside_of_the_chat(api: Api, owner: User) -> None:
    lines = [f"{day:02}/05/2024, 09:00 - {name}: hello\n" for day, name in ((2, "Asha"), (4, "Ravi"), (20, "Asha"))]
    chat = import_chat(owner=owner, upload="".join(lines).encode())
    figures = api.get(f"/api/chats/{chat.pk}/statistics?from=2024-05-01&to=2024-05-10")
    assert (figures["total_days"], figures["active_days"], figures["messages_per_day_avg"]) == (9, 2, 0.22)
    figures = api.get(f"/api/chats/{chat.pk}/statistics?from=2024-05-05&to=2024-05-10")
    assert (figures["total_days"], figures["messages_per_day_avg"]) == (6, 0.0)


def test_the_whole_chat_has_no_period(api: Api, chat: Chat) -> None:
    figures = api.get(f"/api/chats/{chat.pk}/statistics")
    assert (figures["period"], figures["comparison"], figures["total_messages"]) == (None, None, chat.message_count)


def test_a_period_is_counted_as_if_the_chat_had_no_other_messages(api: Api, chat: Chat) -> None:
    days = days_of(chat)
    first, last = days[len(days) // 3], days[len(days) // 2]
    figures = api.get(f"/api/chats/{chat.pk}/statistics?from={first}&to={last}")
    assert figures.pop("period") == {"from": str(first), "to": str(last)}
    assert figures.pop("comparison") is None
    assert 0 < figures["total_messages"] < chat.message_count
    assert figures == counted_alone(chat, first, last) | day_figures(figures, (last - first).days + 1)


def test_a_missing_day_is_the_first_or_last_of_the_chat(api: Api, chat: Chat) -> None:
    middle = days_of(chat)[3]
    before = api.get(f"/api/chats/{chat.pk}/statistics?to={middle - timedelta(days=1)}")
    after = api.get(f"/api/chats/{chat.pk}/statistics?from={middle}")
    assert before["total_messages"] + after["total_messages"] == chat.message_count
    assert before["period"]["from"] == str(chat.first_message_on)
    assert after["period"]["to"] == str(chat.last_message_on)


def test_days_are_those_of_the_time_zone_of_the_chat(api: Api, owner: User) -> None:
    # 20:00 and 23:30 UTC: after midnight in Kolkata.
    sent = [(1_710_446_400, "Asha"), (1_710_459_000, "Ravi")]
    messages = [{"sender_name": name, "timestamp_ms": 1000 * at, "content": "hello"} for at, name in reversed(sent)]
    page = {"participants": [{"name": "Asha"}, {"name": "Ravi"}], "messages": messages, "title": "Asha"}
    chat = import_chat(owner=owner, upload=orjson.dumps(page), time_zone="Asia/Kolkata")
    figures = api.get(f"/api/chats/{chat.pk}/statistics?from=2024-03-15&to=2024-03-15")
    assert figures["messages_by_date"] == {"2024-03-15": 2}
    assert api.get(f"/api/chats/{chat.pk}/statistics?to=2024-03-14")["total_messages"] == 0


def test_a_period_is_compared_with_the_one_before(api: Api, chat: Chat) -> None:
    first = days_of(chat)[4]
    last = first + timedelta(days=2)
    figures = api.get(f"/api/chats/{chat.pk}/statistics?from={first}&to={last}&compare=previous")
    comparison = figures["comparison"]
    assert comparison["period"] == {"from": str(first - timedelta(days=3)), "to": str(first - timedelta(days=1))}
    before, after = comparison["statistics"]["total_messages"], figures["total_messages"]
    assert before > 0
    assert comparison["changes"]["total_messages"] == {
        "before": before,
        "after": after,
        "change_percent": round(100 * (after - before) / before, 1),
    }


def test_a_period_is_compared_with_any_other(api: Api, chat: Chat) -> None:
    first, *_, last = days_of(chat)
    query = f"from={last}&to={last}&compare_from={first}&compare_to={first}"
    comparison = api.get(f"/api/chats/{chat.pk}/statistics?{query}")["comparison"]
    assert comparison["statistics"] == counted_alone(chat, first, first)
    assert comparison["statistics"]["total_days"] == 1
    whole = api.get(f"/api/chats/{chat.pk}/statistics?compare_from={first}&compare_to={first}")
    assert whole["total_messages"] == chat.message_count


def test_a_period_without_messages_has_counts_of_zero_and_no_change_in_percent(api: Api, chat: Chat) -> None:
    query = "from=1990-01-02&to=1990-01-02&compare=previous"
    figures = api.get(f"/api/chats/{chat.pk}/statistics?{query}")
    assert (figures["total_messages"], figures["first_message_at"], figures["user_stats"]) == (0, None, {})
    assert figures["comparison"]["changes"]["total_messages"] == {"before": 0, "after": 0, "change_percent": None}


@pytest.mark.parametrize(
    "query",
    ["from=0001-01-01&to=0001-01-01&compare=previous", "from=9999-12-31&to=9999-12-31", "from=0001-01-01"],
)
def test_the_first_and_last_day_of_the_calendar_are_accepted(api: Api, chat: Chat, query: str) -> None:
    assert api.send("GET", f"/api/chats/{chat.pk}/statistics?{query}").status_code == 200


@pytest.mark.parametrize("query", ["from=9999-12-31&compare=previous", "from=2199-01-01", "to=1990-01-01"])
def test_a_period_outside_of_the_chat_is_empty(api: Api, chat: Chat, query: str) -> None:
    figures = api.get(f"/api/chats/{chat.pk}/statistics?{query}")
    assert figures["total_messages"] == 0
    assert figures["period"]["from"] == figures["period"]["to"]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("from=yesterday", "#/from"),
        ("from=2024-02-30", "#/from"),
        ("from=2024-02-02&to=2024-02-01", "#/to"),
        ("compare=previous", "#/from"),
        ("from=2024-02-02&compare=next", "#/compare"),
        ("compare_from=2024-02-02", "#/compare_to"),
        ("compare_from=2024-02-02&compare_to=2024-02-01", "#/compare_to"),
        ("from=2024-02-02&compare=previous&compare_from=2024-02-02&compare_to=2024-02-03", "#/compare"),
        ("form=2024-02-02", "#/form"),
    ],
)
def test_a_period_that_cannot_be_counted_is_refused(api: Api, chat: Chat, query: str, pointer: str) -> None:
    response = api.send("GET", f"/api/chats/{chat.pk}/statistics?{query}")
    assert (response.status_code, response.json()["errors"][0]["pointer"]) == (422, pointer)


def test_every_period_has_its_own_etag(api: Api, chat: Chat) -> None:
    queries = ["", "?from=2024-01-01", "?to=2024-01-01", "?from=2024-01-01&compare=previous"]
    etags = [api.send("GET", f"/api/chats/{chat.pk}/statistics{query}")["ETag"] for query in queries]
    assert len(set(etags)) == len(queries)
    for query, etag in zip(queries, etags, strict=True):
        again = api.send("GET", f"/api/chats/{chat.pk}/statistics{query}", headers={"If-None-Match": etag})
        assert again.status_code == 304


def test_statistics_that_were_counted_by_earlier_rules_are_counted_again(api: Api, chat: Chat) -> None:
    expected = api.get(f"/api/chats/{chat.pk}/statistics")
    earlier = chat.key.seal(b'{"total_messages":1}', context=chat.context("statistics"))
    Chat.objects.filter(pk=chat.pk).update(statistics_version=0, sealed_statistics=earlier)
    assert api.get(f"/api/chats/{chat.pk}/statistics") == expected
    chat = Chat.objects.get(pk=chat.pk)
    assert (chat.statistics_version, chat.statistics["total_messages"]) == (STATISTICS_VERSION, chat.message_count)


def test_a_chat_says_which_details_its_export_does_not_contain(api: Api, chat: Chat) -> None:
    Chat.objects.filter(pk=chat.pk).update(recorded_details=[], statistics_version=0)
    figures = api.get(f"/api/chats/{chat.pk}/statistics")
    assert api.get(f"/api/chats/{chat.pk}")["recorded_details"] == []
    assert [figures[name] for name in ("media_by_kind", "reactions_count", "top_replies", "call_seconds")] == [None] * 4
    assert figures["user_stats"]["Aarav"]["reactions_given"] is None
