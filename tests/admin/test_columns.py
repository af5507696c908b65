"""Ids are short and can be copied, people and rows are linked, times have a zone, and states have colours."""

from __future__ import annotations

import re
import uuid
from html.parser import HTMLParser
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db import models
from django.test import Client
from django.urls import reverse

from chats.models import Chat, ChatUpload
from insights.models import Insight
from ops.console import attention
from ops.monitoring_models import ErrorEvent
from relivchats.accounts.models import User
from relivchats.staff import markup
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import MAX_COUNTED
from tests.admin import everything
from tests.ops import rows

pytestmark = pytest.mark.django_db

UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


class Table(HTMLParser):
    """The text of a list's rows, the ids that can be copied, and the links to rows with such ids."""

    def __init__(self) -> None:
        super().__init__()
        self.depth = 0
        self.text = ""
        self.copied: set[str] = set()
        self.linked: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "table" and (self.depth or values.get("id") == "result_list"):
            self.depth += 1
        if self.depth:
            self.copied.add(str(values.get("data-copy")))
            if tag == "a" and values.get("class") == "rc-link":
                self.linked.update(UUID.findall(str(values.get("href"))))

    def handle_endtag(self, tag: str) -> None:
        if tag == "table" and self.depth:
            self.depth -= 1

    def handle_data(self, data: str) -> None:
        if self.depth:
            self.text += f"{data} "


def read(client: Client, model: type[models.Model]) -> Table:
    table = Table()
    table.feed(client.get(everything.list_address(model)).content.decode())
    return table


def test_ids_of_lists_are_short_and_each_linked_one_can_be_copied(desk: Client, staff: User) -> None:
    everything.one_of_each(1)
    AuditEntry.objects.create(
        actor=f"user {staff.pk}", action="reindex chat", object_id=str(uuid.uuid4()), done=True, outcome="requested"
    )
    linked = 0
    for model in everything.all_models():
        table = read(client=desk, model=model)
        # An address of the provider, or a process, is a name and no id of a row.
        long = [found for found in UUID.findall(table.text) if f"@{found}" not in table.text]
        assert long == [] or model._meta.model_name in {"taskresult", "groupresult", "chordcounter", "keydestruction",
                                                       "keystoreidentity"}, (model, long)  # fmt: skip
        assert table.linked <= table.copied, model
        linked += len(table.linked)
    assert linked > 20


def test_a_time_of_a_list_or_page_has_its_zone(desk: Client) -> None:
    everything.one_of_each(1)
    Chat.objects.update(index_error_code="engine_quota", index_not_before="2026-01-01T10:00:00Z")
    for model in everything.all_models():
        row = model._default_manager.order_by("-pk")[0]
        for address in (everything.list_address(model), next(everything.row_addresses(row))):
            page = desk.get(address).content.decode()
            text = re.sub(r"<(script|style|textarea)\b.*?</\1>|<[^>]*>", " ", page, flags=re.DOTALL)
            assert re.findall(r".{20}\b\d\d:\d\d:\d\d\b(?! UTC)", text) == [], address


def test_a_state_of_a_list_is_a_coloured_label() -> None:
    for model, model_admin in admin.site._registry.items():
        choices = {field.name for field in model._meta.concrete_fields if field.choices}
        plain = choices & {name for name in model_admin.list_display if isinstance(name, str)}
        # These are not good or bad.
        assert plain <= {"kind", "role", "source", "action_flag", "event", "currency", "clock"}, (model, plain)


def test_who_acted_is_linked(staff: User) -> None:
    other = uuid.uuid4()
    text = str(markup.actor_links(f"user {staff.pk}, approved by user {other}"))
    for pk in (staff.pk, other):
        assert f'href="/admin/accounts/user/{pk}/change/"' in text
    assert re.sub(r"<[^>]*>", "", text) == f"user {str(staff.pk)[:8]}, approved by user {str(other)[:8]}"
    assert markup.actor_links("command") == "command"
    assert markup.actor_links("<b>user 7</b>") == "<b>user 7</b>", "escaped by the template"
    assert "&lt;b&gt;" in markup.actor_links(f"<b>user {other}</b>")


def test_each_of_two_people_has_a_column(desk: Client) -> None:
    row = rows.adjustment()
    page = desk.get(reverse("admin:billing_adjustment_change", args=[row.pk])).content.decode()
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", page))
    assert "Proposed by command" in text
    assert "Decided by –" in text


def test_an_audit_entry_leads_to_its_row_and_to_who_acted(desk: Client, staff: User) -> None:
    row = uuid.uuid4()
    for object_id in (str(row), "12", "billing.paymentorder"):
        AuditEntry.objects.create(
            actor=f"user {staff.pk}", action="test", object_id=object_id, done=False, outcome="refused"
        )
    page = desk.get(everything.list_address(AuditEntry)).content.decode()
    assert f'href="{reverse("console:find")}?q={row}"' in page
    assert f'href="{reverse("console:find")}?q=12"' in page
    assert "q=billing" not in page
    assert f'href="/admin/accounts/user/{staff.pk}/change/"' in page


def test_an_error_and_the_log_of_the_admin_lead_to_their_rows(desk: Client) -> None:
    everything.one_of_each(1)
    insight: Any = Insight.objects.all()[0]
    ErrorEvent.objects.update(insight_id=insight.pk, job_id=insight.job_id)
    event = ErrorEvent.objects.all()[0]
    page = desk.get(reverse("admin:ops_errorevent_change", args=[event.pk])).content.decode()
    assert f'href="/admin/insights/insight/{insight.pk}/change/"' in page
    assert f'href="/admin/insights/generationjob/{insight.job_id}/change/"' in page
    entry = LogEntry.objects.filter(content_type__model="chat")[0]
    assert (
        f'href="/admin/chats/chat/{entry.object_id}/change/"'
        in desk.get(everything.list_address(LogEntry)).content.decode()
    )


def test_a_quantity_of_a_list_has_its_unit_and_a_related_row_its_link(desk: Client) -> None:
    insight: Any = rows.failed_job().insights.all()[0]
    ChatUpload.objects.create(owner=rows.person(), outcome="accepted", size_bytes=3_526_320, milliseconds=1346)
    table = read(desk, ChatUpload)
    assert "3.5 MB" in table.text
    assert "1,346 ms" in table.text
    assert {"Size", "Duration", "Id"} <= set(table.text.split())
    page = desk.get(everything.list_address(Insight)).content.decode()
    assert f'href="/admin/insights/insighttype/{insight.insight_type_id}/change/"' in page


def test_an_age_has_its_time_as_a_title(desk: Client) -> None:
    chat = rows.chat(rows.person())
    stamp = f"{chat.created_at:%Y-%m-%d %H:%M:%S} UTC"
    assert f'title="{stamp}">' in desk.get(everything.list_address(Chat)).content.decode()


def test_a_badge_of_the_sidebar_is_the_length_of_a_list_that_waits(desk: Client) -> None:
    rows.overdue_job()
    rows.failed_job()
    rows.adjustment()
    rows.chat(rows.person(), vector_status="failed")
    page = desk.get("/admin/")
    badges = {
        item["link"]: item["badge"]
        for group in page.context["sidebar_navigation"]
        for item in group["items"]
        if item.get("badge")
    }
    waiting = [item for item in attention.items(page.wsgi_request) if item.number]
    assert len(badges) >= 4
    for address, badge in badges.items():
        lengths = {
            str(desk.get(item.link).context["cl"].result_count)
            for item in waiting
            if item.link.startswith(f"{address}?")
        }
        assert badge in lengths, address
    assert badges.keys() == {item.link.split("?")[0] for item in waiting}


def test_a_badge_above_the_limit_of_counting_says_so() -> None:
    item = attention.Item("Stuck jobs", MAX_COUNTED + 1, "danger", "/", Chat)
    assert item.count == f"more than {MAX_COUNTED}"
    assert attention.Item("Stuck jobs", None, "danger", "/", Chat).count == "?"
