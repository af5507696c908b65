"""The API of unlocks, jobs and insights: responses, rejections, and the documents that a user reads."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from insights import generation, settlement
from insights.models import Category, GenerationJob, Insight, InsightType
from relivchats.accounts.models import User
from tests import exports
from tests.api.conftest import Api, MakePerson, generate_insights

pytestmark = pytest.mark.django_db

ROMANTIC_PRICE = 400


def unlock(api: Api, chat: Chat, *, status: int = 202, **fields: Any) -> Any:
    return api.post("/api/insights/unlock", {"chat_id": str(chat.pk), **fields}, status=status)


def balance(api: Api) -> Any:
    answer = api.get("/api/credits/balance")
    return answer["balance"], answer["reserved"], answer["spendable"]


def test_an_upload_can_be_unlocked_and_its_insights_read(api: Api) -> None:
    uploaded = api.upload(exports.zipped(exports.text(400)))
    chat = Chat.objects.get(pk=uploaded["id"])
    answer = unlock(api, chat, category_id="romantic")
    assert (answer["success"], answer["status"], answer["coins_reserved"]) == (True, "queued", ROMANTIC_PRICE)
    assert (answer["spendable"], balance(api)) == (0, (ROMANTIC_PRICE, ROMANTIC_PRICE, 0))

    indexing.index_chat(chat.pk)
    generate_insights(answer["job_id"])

    status = api.get(answer["poll_url"])
    assert (status["status"], status["progress_percentage"]) == ("completed", 100)
    assert (
        status["completed_insights"]
        == status["total_insights"]
        == answer["total_insights"]
        == len(type_ids("romantic"))
    )
    assert balance(api) == (0, 0, 0)
    assert api.get("/api/credits/transactions")["results"][0]["amount"] == -ROMANTIC_PRICE
    insights = api.get(f"/api/insights/chats/{chat.pk}")["insights"]
    assert [insight["insight_type_id"] for insight in insights] == type_ids("romantic")
    for insight in insights:
        check_quotes(api, chat, insight["document"])


def type_ids(category: str) -> list[str]:
    return [t.pk for t in InsightType.objects.filter(category=category).order_by("display_order")]


def check_quotes(api: Api, chat: Chat, document: Any) -> None:
    """Check that every quoted message is in the chat, word for word, under its number."""
    for section in document["sections"]:
        for exchange in section["evidence"]:
            for quoted in exchange["messages"]:
                path = f"/api/chats/{chat.pk}/messages?after={quoted['number'] - 1}&limit=1"
                (message,) = api.get(path)["results"]
                assert {name: message[name] for name in quoted} == quoted


def test_one_insight_can_be_unlocked_alone(api: Api, searchable: Chat) -> None:
    answer = unlock(api, searchable, insight_type_ids=["communication_basics"])
    assert (answer["coins_reserved"], answer["total_insights"]) == (50, 1)
    assert answer["insights"][0]["insight_type_id"] == "communication_basics"


def test_unlocking_again_answers_200_and_costs_nothing(api: Api, searchable: Chat) -> None:
    first = unlock(api, searchable, category_id="romantic")
    while_running = unlock(api, searchable, category_id="romantic", status=200)
    generate_insights(first["job_id"])
    afterwards = unlock(api, searchable, category_id="romantic", status=200)
    for again in (while_running, afterwards):
        assert (again["job_id"], again["coins_reserved"]) == (first["job_id"], 0)
    assert "being written" in while_running["message"]
    assert "unlocked already" in afterwards["message"]
    assert balance(api) == (0, 0, 0)


def test_too_few_coins_are_a_402_with_the_numbers(make_person: MakePerson) -> None:
    api = Api(make_person(coins=50))
    assert api.user is not None
    chat = import_chat(owner=api.user, upload=exports.text(300))
    problem = unlock(api, chat, category_id="romantic", status=402)
    assert problem["error_code"] == "ERR_3000"
    assert (problem["required"], problem["available"], problem["deficit"]) == (400, 50, 350)
    assert not GenerationJob.objects.exists()


def test_a_chat_that_is_too_small_is_rejected_before_coins_are_reserved(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload=exports.text(10))
    problem = unlock(api, chat, category_id="romantic", status=422)
    assert problem["error_code"] == "ERR_1001"
    assert problem["too_few_messages"] == type_ids("romantic")
    assert balance(api) == (ROMANTIC_PRICE, 0, ROMANTIC_PRICE)


def test_the_rejection_of_a_group_lists_the_insights_that_fit_it(api: Api, owner: User) -> None:
    chat = import_chat(owner=owner, upload=exports.text(400, people=4))
    problem = unlock(api, chat, category_id="romantic", status=422)
    assert problem["possible"] == ["communication_basics"]
    assert len(problem["too_many_people"]) == 5
    unlock(api, chat, insight_type_ids=problem["possible"])


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({}, 422),
        ({"category_id": "no such!"}, 422),
        ({"category_id": "nothing"}, 404),
        ({"insight_type_ids": ["nothing"]}, 404),
        ({"insight_type_ids": "communication_basics"}, 422),
        ({"insight_type_ids": ["communication_basics"] * 51}, 422),
        ({"insight_type_ids": ["\ud800"]}, 422),
        ({"category_id": "romantic", "language": "Klingon"}, 422),
        ({"category_id": {"id": "romantic"}}, 422),
    ],
)
def test_an_invalid_unlock_is_rejected(api: Api, chat: Chat, fields: dict[str, Any], status: int) -> None:
    unlock(api, chat, status=status, **fields)
    assert not GenerationJob.objects.exists()


@pytest.mark.parametrize("chat_id", ["", "1", 5, True, None, [], str(uuid.UUID(int=0)) + "0"])
def test_a_malformed_chat_id_is_rejected(api: Api, chat_id: Any) -> None:
    api.post("/api/insights/unlock", {"chat_id": chat_id, "category_id": "romantic"}, status=422)


def test_the_status_of_an_open_job_says_when_to_poll_again(api: Api, searchable: Chat) -> None:
    answer = unlock(api, searchable, category_id="romantic")
    response = api.send("GET", answer["poll_url"])
    assert int(response["Retry-After"]) > 0
    status = response.json()
    assert (status["progress_percentage"], status["completed_insights"]) == (0, 0)
    assert [insight["status"] for insight in status["insights"]] == ["pending"] * 6
    generate_insights(answer["job_id"])
    assert "Retry-After" not in api.send("GET", answer["poll_url"])


def test_a_job_is_sent_again_only_if_it_changed(api: Api, searchable: Chat) -> None:
    answer = unlock(api, searchable, insight_type_ids=["communication_basics"])
    path = answer["poll_url"]
    first = api.send("GET", path)
    again = api.send("GET", path, headers={"If-None-Match": first["ETag"]})
    assert (again.status_code, again["Retry-After"]) == (304, first["Retry-After"])
    generate_insights(answer["job_id"])
    assert api.send("GET", path, headers={"If-None-Match": first["ETag"]}).status_code == 200


def test_a_job_is_sent_again_if_one_of_its_insights_changed(api: Api, searchable: Chat) -> None:
    path = unlock(api, searchable, category_id="romantic")["poll_url"]
    first, second = Insight.objects.order_by("pk")[:2]
    generation.claim_insight(first.pk)
    running = api.send("GET", path)
    generation.claim_insight(second.pk)
    later = api.send("GET", path, headers={"If-None-Match": running["ETag"]})
    assert [insight["status"] for insight in later.json()["insights"]].count("generating") == 2


def test_insights_are_sent_again_only_if_they_changed(api: Api, searchable: Chat) -> None:
    path = f"/api/insights/chats/{searchable.pk}"
    assert api.get(path)["insights"] == []
    answer = unlock(api, searchable, insight_type_ids=["communication_basics"])
    pending = api.send("GET", path)
    assert pending.json()["insights"][0]["document"] is None
    generate_insights(answer["job_id"])
    written = api.send("GET", path, headers={"If-None-Match": pending["ETag"]})
    assert written.json()["insights"][0]["document"]["schema_version"] == 1
    assert api.send("GET", path, headers={"If-None-Match": written["ETag"]}).status_code == 304


def test_reading_many_insights_takes_few_queries(
    api: Api, searchable: Chat, django_assert_max_num_queries: Any
) -> None:
    generate_insights(unlock(api, searchable, category_id="romantic")["job_id"])
    expected = len(type_ids("romantic"))
    with django_assert_max_num_queries(5):
        assert len(api.get(f"/api/insights/chats/{searchable.pk}")["insights"]) == expected


@pytest.fixture
def failed(api: Api, searchable: Chat) -> Insight:
    """An insight that failed because its job was overdue."""
    job_id = unlock(api, searchable, insight_type_ids=["communication_basics"])["job_id"]
    settlement.fail_open_insights(uuid.UUID(job_id), error_code="overdue", error_message="The job ran out of time.")
    return Insight.objects.get(job=job_id)


def test_the_coins_of_a_failed_insight_are_released_and_it_can_be_retried(api: Api, failed: Insight) -> None:
    assert balance(api) == (ROMANTIC_PRICE, 0, ROMANTIC_PRICE)
    assert api.get(f"/api/insights/jobs/{failed.job_id}/status")["insights"][0]["error_code"] == "overdue"
    answer = api.post(f"/api/insights/{failed.pk}/retry", status=202)
    assert answer["coins_reserved"] == failed.price
    generate_insights(answer["job_id"])
    (insight,) = api.get(f"/api/insights/chats/{failed.chat_id}")["insights"]
    assert (insight["status"], insight["id"]) == ("completed", answer["insights"][0]["id"])
    again = api.post(f"/api/insights/{failed.pk}/retry", status=200)
    assert again["coins_reserved"] == 0


def test_an_insight_that_has_not_failed_cannot_be_retried(api: Api, searchable: Chat) -> None:
    answer = unlock(api, searchable, insight_type_ids=["communication_basics"])
    problem = api.post(f"/api/insights/{answer['insights'][0]['id']}/retry", status=409)
    assert problem["error_code"] == "ERR_2001"


def test_deleting_a_chat_closes_its_job_and_releases_the_coins(api: Api, searchable: Chat) -> None:
    answer = unlock(api, searchable, category_id="romantic")
    api.delete(f"/api/chats/{searchable.pk}", status=204)
    status = api.get(answer["poll_url"])
    assert (status["status"], status["chat_id"]) == ("failed", None)
    assert balance(api) == (ROMANTIC_PRICE, 0, ROMANTIC_PRICE)
    api.post(f"/api/insights/{answer['insights'][0]['id']}/retry", status=409)


def test_the_catalogue_is_public_and_in_display_order(nobody: Api) -> None:
    romantic = next(c for c in nobody.get("/api/categories")["results"] if c["id"] == "romantic")
    listed = nobody.get("/api/categories/romantic/insights")["results"]
    assert [t["id"] for t in romantic["insight_types"]] == [t["id"] for t in listed] == type_ids("romantic")
    assert (romantic["price"], listed[0]["price"]) == (ROMANTIC_PRICE, 50)


def test_an_inactive_type_or_category_is_not_listed(nobody: Api) -> None:
    InsightType.objects.filter(pk="communication_basics").update(active=False)
    romantic = next(c for c in nobody.get("/api/categories")["results"] if c["id"] == "romantic")
    listed = nobody.get("/api/categories/romantic/insights")["results"]
    assert len(romantic["insight_types"]) == len(listed) == 5
    Category.objects.filter(pk="romantic").update(active=False)
    assert "romantic" not in [c["id"] for c in nobody.get("/api/categories")["results"]]
    nobody.get("/api/categories/romantic/insights", status=404)


def test_the_catalogue_ignores_an_invalid_token(nobody: Api) -> None:
    response = nobody.send("GET", "/api/categories", headers={"Authorization": "Bearer of bad news"})
    assert response.status_code == 200


def test_an_insight_says_whether_messages_were_added_after_it(api: Api, owner: User) -> None:
    records = list(exports.lines(400))
    chat = import_chat(owner=owner, upload="".join(records[:350]).encode())
    job = unlock(api, chat, category_id="romantic")["job_id"]
    indexing.index_chat(chat.pk)
    generate_insights(job)
    address = f"/api/insights/chats/{chat.pk}"
    before = api.send("GET", address)
    assert {(insight["up_to_message"], insight["is_outdated"]) for insight in before.json()["insights"]} == {
        (350, False)
    }
    api.upload("".join(records).encode(), status=200, extend=str(chat.pk))
    after = api.send("GET", address, headers={"If-None-Match": before["ETag"]}).json()["insights"]
    assert {(insight["up_to_message"], insight["is_outdated"]) for insight in after} == {(350, True)}
    for insight in after:
        check_quotes(api, chat, insight["document"])
