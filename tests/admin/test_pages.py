"""Every model has a page. No page shows private text, and none gets slower as its table grows."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission
from django.db import connection, models
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django_celery_results.models import TaskResult

from billing.models import CoinDebt, CoinReservation, CreditTransaction, Wallet
from chats.models import Chat, Chunk, TranscriptBlock
from insights.models import ChatReading, GenerationJob, Insight, ReadWindow, UnlockPause
from relivchats.accounts.models import User
from relivchats.staff.admin import StaffAdmin
from relivchats.staff.lists import BoundedPaginator
from tests.admin import everything
from tests.admin.conftest import CANARY
from tests.ops import rows

SEARCHES = ("7", "9" * 30, "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11", "words", "a" * 500)
ALL_MODELS = everything.all_models()


def test_every_model_has_a_page() -> None:
    assert [model for model in ALL_MODELS if model not in admin.site._registry] == []


@pytest.mark.django_db
def test_every_page_opens_and_nests_no_link_in_another(desk: Client) -> None:
    everything.one_of_each(1)
    addresses = ["/admin/", *everything.add_addresses(), reverse("admin:accounts_user_add")]
    for model in ALL_MODELS:
        row = model._default_manager.first()
        assert row is not None, f"no {model.__name__} to open"
        addresses += [everything.list_address(model), *everything.row_addresses(row)]
        addresses += everything.action_addresses(row)
    for address in addresses:
        answer = desk.get(address)
        assert answer.status_code == 200, address
        assert nested_anchors(answer.content.decode()) == [], address


def nested_anchors(html: str) -> list[str]:
    """Return the href of every anchor that is inside another one."""
    nested: list[str] = []

    class AnchorParser(HTMLParser):
        depth = 0

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "a":
                self.depth += 1
                if self.depth > 1:
                    nested.append(str(dict(attrs).get("href")))

        def handle_endtag(self, tag: str) -> None:
            if tag == "a":
                self.depth -= 1

    parser = AnchorParser()
    parser.feed(html)
    parser.close()
    assert parser.depth == 0, "an anchor is not closed"
    return nested


def test_an_anchor_inside_another_is_found() -> None:
    assert nested_anchors('<a href="/1">one <a href="/2">two</a></a><a href="/3">three</a>') == ["/2"]


@pytest.mark.django_db
@pytest.mark.parametrize("model", ALL_MODELS, ids=lambda model: model.__name__)
def test_every_filter_and_search_works(staff: User, model: type[models.Model]) -> None:
    everything.one_of_each(1)
    unfiltered = _list(staff, model, "")
    filters = [choice for spec in unfiltered.filter_specs for choice in spec.choices(unfiltered)]
    for query in [choice["query_string"] for choice in filters] + [f"?q={term}" for term in SEARCHES]:
        assert _list(staff, model, query).result_count <= unfiltered.result_count, query


def _list(staff: User, model: type[models.Model], query: str) -> Any:
    request = RequestFactory().get(everything.list_address(model) + query)
    request.user = staff
    return admin.site._registry[model].get_changelist_instance(request)


@pytest.mark.django_db
@pytest.mark.parametrize("query", ["?p=3", "?status=nonsense", "?o=1.-2", "?nonsense=1"])
def test_a_list_ignores_invalid_parameters(desk: Client, query: str) -> None:
    everything.one_of_each(1)
    assert desk.get(everything.list_address(Insight) + query, follow=True).status_code == 200


@pytest.mark.django_db
def test_a_list_runs_the_same_number_of_queries_for_three_rows_and_for_thirty(desk: Client) -> None:
    for number in range(3):
        everything.one_of_each(number)
    desk.get("/admin/")
    few = {model: _queries(desk, model) for model in ALL_MODELS}
    for number in range(3, 30):
        everything.one_of_each(number)
    assert Chat.objects.count() >= 30
    assert {model: _queries(desk, model) for model in ALL_MODELS} == few


def _queries(desk: Client, model: type[models.Model]) -> int:
    with CaptureQueriesContext(connection) as captured:
        assert desk.get(everything.list_address(model)).status_code == 200
    return len(captured)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "model",
    [
        Chat,
        Chunk,
        TranscriptBlock,
        GenerationJob,
        Insight,
        ChatReading,
        ReadWindow,
        CoinReservation,
        CreditTransaction,
    ],
)
def test_a_long_list_neither_counts_all_rows_nor_reads_sealed_columns(desk: Client, model: type[models.Model]) -> None:
    everything.one_of_each(1)
    # The badges of the sidebar are counted, and cached.
    desk.get("/admin/")
    with CaptureQueriesContext(connection) as captured:
        desk.get(everything.list_address(model))
    table = model._meta.db_table
    queries = [query["sql"] for query in captured if f'FROM "{table}"' in query["sql"]]
    counts = [sql for sql in queries if "COUNT(*)" in sql]
    assert f"LIMIT {BoundedPaginator.MAX_COUNT + 1}" in counts[0]
    assert all(sql.count("COUNT(") <= sql.count("LIMIT ") for sql in counts), "each count stops at a limit"
    selected = [sql for sql in queries if "COUNT(*)" not in sql]
    assert selected
    assert all("sealed" not in sql and "wrapped_key" not in sql for sql in selected)


def test_no_column_has_the_name_of_a_field_that_django_would_show_in_its_place() -> None:
    for model, model_admin in admin.site._registry.items():
        fields = {field.name for field in model._meta.get_fields()}
        columns = {name for name in model_admin.list_display if isinstance(name, str)}
        hidden = {name for name in columns & fields if hasattr(type(model_admin), name)}
        assert not hidden, f"{model.__name__} shows its fields {hidden} and not the methods of its page"


@pytest.mark.django_db(transaction=True)
def test_no_page_shows_private_text(desk: Client, private_chat: Chat) -> None:
    words = json.dumps({"exc_type": "ValueError", "exc_message": [f"what {CANARY} wrote"]})
    TaskResult.objects.create(task_id="t", status="FAILURE", result=words, traceback=f"ValueError: {CANARY}")
    pages = {"/admin/": desk.get("/admin/")}
    for address in everything.live_addresses():
        pages[address] = desk.get(address)
    for address in everything.console_addresses(jobs=GenerationJob.objects.all()):
        pages[address] = desk.get(address)
    for model in ALL_MODELS:
        if model is User:
            continue
        addresses = [everything.list_address(model), f"{everything.list_address(model)}?q={private_chat.pk}"]
        for row in model._default_manager.order_by("-pk")[:3]:
            assert CANARY.lower() not in str(row).lower()
            addresses += everything.row_addresses(row)
        pages |= {address: desk.get(address) for address in addresses}
    assert len(pages) > 60
    assert [address for address, page in pages.items() if CANARY.lower() in page.content.decode().lower()] == []


@pytest.mark.django_db(transaction=True)
def test_a_search_for_private_words_finds_nothing(desk: Client, private_chat: Chat) -> None:
    for model in ALL_MODELS:
        if model is not User:
            found = desk.get(everything.list_address(model), {"q": CANARY}).context["cl"]
            assert found.result_count == 0 or not found.search_fields, model
    assert desk.get("/admin/search/", {"s": CANARY, "extended": "1"}).content.decode().count(CANARY) == 0


@pytest.mark.django_db
@pytest.mark.parametrize("name", ["pk", "chat_id"])
def test_an_id_finds_its_row(desk: Client, name: str) -> None:
    everything.one_of_each(1)
    everything.one_of_each(2)
    insight = Insight.objects.order_by("-created_at")[0]
    found = desk.get(everything.list_address(Insight), {"q": str(getattr(insight, name))}).context["cl"]
    assert insight in found.result_list
    assert found.result_count < Insight.objects.count()


@pytest.mark.django_db
def test_a_user_is_found_by_e_mail_address_and_by_id(desk: Client) -> None:
    person = rows.person(email="ann@example.org")
    rows.person()
    for term in ("Ann@Example.org", str(person.pk)):
        found = desk.get(everything.list_address(User), {"q": term}).context["cl"]
        assert list(found.result_list) == [person]


@pytest.mark.django_db
@pytest.mark.parametrize("model", [Wallet, CoinReservation, CoinDebt, CreditTransaction])
def test_the_ledger_is_read_only_even_for_a_superuser(desk: Client, model: type[models.Model]) -> None:
    everything.one_of_each(1)
    row = model._default_manager.all()[0]
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}"
    before = list(model._default_manager.order_by("pk").values())
    assert desk.get(reverse(f"{name}_add")).status_code == 403
    assert desk.get(reverse(f"{name}_delete", args=[row.pk])).status_code == 403
    assert (
        desk.post(reverse(f"{name}_change", args=[row.pk]), {"balance": 9, "amount": 9, "coins": 9}).status_code == 403
    )
    chosen = {"action": "delete_selected", "_selected_action": [str(row.pk)], "post": "yes"}
    desk.post(everything.list_address(model), chosen)
    assert list(model._default_manager.order_by("pk").values()) == before


@pytest.mark.django_db
def test_the_index_page_counts_the_alerts_and_links_to_their_rows(desk: Client) -> None:
    rows.overdue_job()
    rows.failed_job()
    rows.orphaned_reservation()
    rows.abandoned_insight()
    rows.chat(rows.person(), vector_status="failed")
    rows.adjustment()
    UnlockPause.objects.create(reason="test", paused_by="command")
    page = desk.get("/admin/")
    alerts = {item.title: item for item in page.context["items"]}
    assert {title: alert.count for title, alert in alerts.items()} == {
        "Adjustments to approve": "1",
        "Adjustments too old to approve": "0",
        "Events held for review": "0",
        "Orders to review": "0",
        "Disputes to answer": "0",
        "Paid, no coins": "0",
        "Paid twice": "0",
        "Coins owed": "0",
        "Overdue reservations": "1",
        "Stuck jobs": "2",
        "Stuck insights": "1",
        "Failed insights, not retried": "2",
        "Failed indexing": "1",
        "Unlocks paused": "1",
        "Insights paused": "0",
    }
    for alert in alerts.values():
        assert str(desk.get(alert.link).context["cl"].result_count) == alert.count


@pytest.mark.django_db
def test_the_index_page_shows_each_failing_check_with_its_remedy(desk: Client) -> None:
    page = desk.get("/admin/")
    assert page.context["level"] == "critical"
    assert "no worker is alive" in page.content.decode()
    assert "./dev up" in page.content.decode()


@pytest.mark.django_db
def test_staff_see_only_the_pages_that_they_have_permission_for(desk: Client) -> None:
    viewer = rows.person(email="viewer@example.org")
    viewer.is_staff = True
    viewer.save()
    viewer.user_permissions.add(Permission.objects.get(codename="view_chat"))
    client = Client()
    client.force_login(viewer)
    page = client.get("/admin/")
    assert [item.title for item in page.context["items"]] == ["Failed indexing"]
    shown = [item["title"] for group in page.context["sidebar_navigation"] for item in group["items"]]
    assert shown == ["Overview", "Search", "Chats"]
    for model in ALL_MODELS:
        assert client.get(everything.list_address(model)).status_code == (200 if model is Chat else 403)


@pytest.mark.django_db
def test_the_sidebar_of_a_superuser_lists_every_page(desk: Client) -> None:
    groups = desk.get("/admin/").context["sidebar_navigation"]
    links = [item["link"] for group in groups for item in group["items"]]
    assert sorted(links) == sorted(
        ["/admin/", "/admin/find", *everything.live_addresses(), *map(everything.list_address, admin.site._registry)]
    )


def test_every_page_lists_its_fields_explicitly() -> None:
    """A page names the fields that it shows, so that a new column does not appear on it by itself."""
    for model, model_admin in admin.site._registry.items():
        if isinstance(model_admin, StaffAdmin):
            fields: Any = model_admin.fields
            assert fields, model
            assert "sealed" not in str((fields, model_admin.list_display)), model
