"""A quote states the price of an unlock, and the unlock costs exactly that."""

from __future__ import annotations

import json
from itertools import combinations
from typing import Any

import pytest

from billing.models import CoinReservation
from chats.importing import import_chat
from chats.models import Chat
from insights import pauses, settlement
from insights.models import Category, GenerationJob, InsightType
from relivchats.staff.bulk_actions import ActionContext
from tests import exports
from tests.api.conftest import Api, MakePerson, generate_insights

pytestmark = pytest.mark.django_db


def post(api: Api, address: str, chat: Chat, *, status: int, **fields: Any) -> Any:
    return api.post(f"/api/insights/{address}", {"chat_id": str(chat.pk), **fields}, status=status)


def quote(api: Api, chat: Chat, *, status: int = 200, **fields: Any) -> Any:
    return post(api, "quote", chat, status=status, **fields)


def by_type(quoted: Any, name: str) -> dict[str, Any]:
    return {insight["insight_type_id"]: insight[name] for insight in quoted["insights"]}


def test_a_quote_states_prices_parts_and_the_deficit(make_person: MakePerson) -> None:
    person = make_person(coins=150)
    chat = import_chat(owner=person, upload=exports.text(300))
    quoted = quote(Api(person), chat, category_id="romantic")
    assert (quoted["coins"], quoted["balance"], quoted["spendable"], quoted["deficit"]) == (400, 150, 150, 250)
    assert not quoted["can_unlock"]
    assert sum(by_type(quoted, "coins").values()) == 400 < sum(by_type(quoted, "price").values())
    assert set(by_type(quoted, "state").values()) == {"available"}
    assert quoted["possible"] == list(by_type(quoted, "coins"))
    assert not CoinReservation.objects.exists()


def test_a_quote_states_which_insights_are_owned_running_or_failed(api: Api, searchable: Chat) -> None:
    owned = post(api, "unlock", searchable, status=202, insight_type_ids=["communication_basics"])
    generate_insights(owned["job_id"])
    post(api, "unlock", searchable, status=202, insight_type_ids=["love_language"])
    quoted = quote(api, searchable, insight_type_ids=["communication_basics", "love_language"])
    assert by_type(quoted, "state") == {"communication_basics": "owned", "love_language": "running"}
    assert by_type(quoted, "insight_id")["communication_basics"] == owned["insights"][0]["id"]
    assert (quoted["coins"], quoted["can_unlock"], quoted["possible"]) == (0, True, [])
    settlement.fail_open_insights(GenerationJob.objects.open().get().pk, error_code="test", error_message="")
    assert quote(api, searchable, insight_type_ids=["love_language"])["coins"] == 100


def test_a_failed_insight_is_quoted_unlocked_and_retried_for_its_own_part(make_person: MakePerson) -> None:
    person = make_person(coins=400)
    api, chat = Api(person), import_chat(owner=person, upload=exports.text(300))
    first_ids = {
        insight["insight_type_id"]: insight["id"]
        for insight in post(api, "unlock", chat, status=202, category_id="romantic")["insights"]
    }
    settlement.fail_open_insights(GenerationJob.objects.open().get().pk, error_code="test", error_message="")
    quoted = quote(api, chat, category_id="romantic")
    assert set(by_type(quoted, "state").values()) == {"failed"}
    assert by_type(quoted, "insight_id") == first_ids
    assert quoted["coins"] == sum(by_type(quoted, "coins").values()) == sum(by_type(quoted, "price").values()) == 400
    alone = quote(api, chat, insight_type_ids=["love_language"])
    assert (by_type(alone, "price"), alone["coins"]) == ({"love_language": 80}, 80)
    assert post(api, "unlock", chat, status=202, insight_type_ids=["love_language"])["coins_reserved"] == 80
    InsightType.objects.filter(pk="conflict_resolution").update(price=60)
    for type_id, part in (("emotional_intimacy", 80), ("conflict_resolution", 60)):
        assert by_type(quote(api, chat, category_id="romantic"), "price")[type_id] == part
        assert api.post(f"/api/insights/{first_ids[type_id]}/retry", status=202)["coins_reserved"] == part
    for job in GenerationJob.objects.open():
        settlement.fail_open_insights(job.pk, error_code="test", error_message="")
    InsightType.objects.filter(pk="conflict_resolution").update(price=100)
    latest = quote(api, chat, category_id="romantic")
    assert by_type(latest, "price")["conflict_resolution"] == 60, "the price is that of the latest failed insight"
    assert by_type(latest, "insight_id")["conflict_resolution"] != first_ids["conflict_resolution"]
    again = api.post(f"/api/insights/{first_ids['conflict_resolution']}/retry", status=202)
    assert again["coins_reserved"] == 60, "also if the request names an older insight"


def test_a_quote_states_which_insights_do_not_fit_and_why(api: Api) -> None:
    group = import_chat(owner=api.user, upload=exports.text(400, people=4))  # type: ignore[arg-type]
    quoted = quote(api, group, category_id="romantic")
    assert quoted["possible"] == ["communication_basics"]
    assert (quoted["coins"], quoted["can_unlock"]) == (50, False)
    assert by_type(quoted, "state")["love_language"] == "does_not_fit"
    assert "4 people" in by_type(quoted, "why_not")["love_language"]
    small = import_chat(owner=api.user, upload=exports.text(10))  # type: ignore[arg-type]
    quoted = quote(api, small, insight_type_ids=["love_language"])
    assert (quoted["coins"], quoted["possible"]) == (0, [])
    assert "messages" in by_type(quoted, "why_not")["love_language"]


CHATS: dict[str, Any] = {
    "two people": {"messages": 300},
    "a group": {"messages": 300, "people": 4},
    "short": {"messages": 61},
}


@pytest.mark.parametrize("kind", CHATS)
@pytest.mark.parametrize(("coins", "category_price"), [(0, 400), (100, 120), (399, 400), (1000, 400)])
def test_a_quote_and_an_unlock_never_disagree(
    make_person: MakePerson, kind: str, coins: int, category_price: int
) -> None:
    """Quote and then unlock several selections of one chat, one after the other."""
    Category.objects.filter(pk="romantic").update(price=category_price)
    person = make_person(coins=coins)
    api, chat = Api(person), import_chat(owner=person, upload=exports.text(**CHATS[kind]))
    ids = list(InsightType.objects.filter(category="romantic").order_by("display_order").values_list("pk", flat=True))
    for chosen in [*(list(pair) for pair in combinations(ids[:4], 2)), ids[3:], ids]:
        fields: dict[str, Any] = {"insight_type_ids": chosen}
        quoted = quote(api, chat, **fields)
        response = api.client.post(
            "/api/insights/unlock",
            {"chat_id": str(chat.pk), **fields},
            content_type="application/json",
            headers=api.headers,
            secure=True,
        )
        answer = response.json()
        assert quoted["can_unlock"] == (response.status_code < 400), (quoted, answer)
        if response.status_code < 400:
            assert answer["coins_reserved"] == quoted["coins"]
            parts = {
                i["insight_type_id"]: i["price"]
                for i in answer["insights"]
                if i["insight_type_id"] in quoted["possible"]
            }
            assert parts == {name: part for name, part in by_type(quoted, "coins").items() if part}
        elif response.status_code == 402:
            assert (answer["required"], answer["deficit"]) == (quoted["coins"], quoted["deficit"])
        else:
            assert answer["possible"] == quoted["possible"]


@pytest.mark.parametrize(
    ("fields", "status"),
    [({}, 422), ({"category_id": "nothing"}, 404), ({"category_id": "romantic", "language": "fr"}, 422)],
)
def test_an_invalid_quote_is_rejected(api: Api, chat: Chat, fields: dict[str, Any], status: int) -> None:
    quote(api, chat, status=status, **fields)


def test_a_chat_of_another_user_has_no_quote(stranger: Api, chat: Chat) -> None:
    quote(stranger, chat, status=404, category_id="romantic")


def test_while_unlocks_are_paused_quotes_say_so_and_nothing_but_unlocking_is_refused(
    api: Api, searchable: Chat
) -> None:
    owned = post(api, "unlock", searchable, status=202, insight_type_ids=["communication_basics"])
    pauses.pause(context=ActionContext(reason="a test"))
    quoted = quote(api, searchable, insight_type_ids=["love_language"])
    assert (quoted["can_unlock"], quoted["coins"]) == (False, 100)
    assert quoted["unavailable"]["reason"] == "paused"
    refused = api.send(
        "POST",
        "/api/insights/unlock",
        data=json.dumps({"chat_id": str(searchable.pk), "insight_type_ids": ["love_language"]}),
        content_type="application/json",
    )
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:relivchats:problem:unlocks-unavailable")
    assert refused.json()["detail"] == quoted["unavailable"]["detail"]
    assert int(refused["Retry-After"]) == quoted["unavailable"]["retry_after_seconds"] > 0
    for address in (f"/api/insights/jobs/{owned['job_id']}/status", f"/api/insights/chats/{searchable.pk}"):
        api.get(address)
    assert quote(api, searchable, insight_type_ids=["communication_basics"])["can_unlock"], "it exists and is free"
    assert not post(api, "unlock", searchable, status=200, insight_type_ids=["communication_basics"])["coins_reserved"]
