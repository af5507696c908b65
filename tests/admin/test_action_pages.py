"""An action is offered where it applies, says what will happen, and reports what changed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.db import models
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse

from billing.models import Adjustment, WebhookEvent
from chats.models import Chat
from insights.models import ChatReading, Insight, InsightTypeVersion, UnlockPause
from relivchats.accounts import tokens
from relivchats.accounts.models import AccessToken
from relivchats.staff.actions import BulkAction
from tests.admin import everything
from tests.admin.test_actions import choose
from tests.ops import rows

pytestmark = pytest.mark.django_db


def indexing_chat() -> Chat:
    chat = rows.chat(rows.person())
    Chat.objects.filter(pk=chat.pk).update(
        vector_status="indexing", index_lease_token="3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11", index_lease_expires_at=Now()
    )
    return chat


def failed_insight_without_chat() -> Insight:
    insight = rows.failed_job().insights.all()[0]
    Insight.objects.filter(pk=insight.pk).update(chat=None)
    return insight


def refused_adjustment() -> Adjustment:
    row = rows.adjustment()
    Adjustment.objects.filter(pk=row.pk).update(status="refused", decided_by="user 7", decided_at=Now())
    return row


def revoked_token() -> AccessToken:
    token = AccessToken.objects.get(digest=tokens.digest(tokens.issue(rows.person())))
    AccessToken.objects.filter(pk=token.pk).update(revoked_at=Now())
    return token


def applied_event() -> WebhookEvent:
    return WebhookEvent.objects.create(
        provider="stripe", event_id="evt_1", type="x", kind="paid", status="applied", applied_at=Now()
    )


#: Rows to which an action of their page does not apply.
NOT_APPLICABLE: list[tuple[str, Callable[[], models.Model]]] = [
    ("reindex", indexing_chat),
    ("release", lambda: rows.job().reservation),
    ("recover", rows.failed_job),
    ("retry", failed_insight_without_chat),
    ("restore", lambda: InsightTypeVersion.objects.order_by("-version")[0]),
    ("approve", refused_adjustment),
    ("refuse", refused_adjustment),
    ("revoke", revoked_token),
    ("apply", applied_event),
    ("set_aside", applied_event),
    ("read_again", lambda: ChatReading.objects.create(chat=rows.chat(rows.person()), engine="x", model="x", version=1)),
    ("resume", lambda: UnlockPause.objects.create(
        reason="test", paused_by="command", resumed_by="command", resumed_at=Now()
    )),
]  # fmt: skip


def page_of(row: models.Model) -> str:
    return reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])


@pytest.mark.parametrize(("name", "create"), NOT_APPLICABLE, ids=[name for name, _ in NOT_APPLICABLE])
def test_the_page_of_a_row_does_not_offer_an_action_that_does_not_apply(
    desk: Client, name: str, create: Callable[[], models.Model]
) -> None:
    row = create()
    page = page_of(row)
    assert page.replace("/change/", f"/{name}/") not in desk.get(page).content.decode()
    confirmation = desk.get(page.replace("/change/", f"/{name}/"))
    assert "This does not apply to the row: it is refused." in confirmation.content.decode()


def all_actions() -> Iterator[tuple[Any, BulkAction]]:
    for model_admin in admin.site._registry.values():
        for action in getattr(model_admin, "bulk_actions", ()):
            yield model_admin, action


def test_every_action_says_in_sentences_what_will_happen() -> None:
    found = list(all_actions())
    assert len(found) > 12
    for _, action in found:
        assert re.fullmatch(r"[A-Z].+\.", action.consequence), action.name
        assert action.title[0].isupper()
        assert (action.heading or action.title).startswith(action.title.split()[0])


def test_the_title_and_the_button_of_a_confirmation_name_the_action_and_its_rows(desk: Client) -> None:
    chats = [rows.chat(rows.person(), vector_status="failed") for _ in range(2)]
    one = desk.get(page_of(chats[0]).replace("/change/", "/reindex/"))
    assert one.context["title"] == "Reindex 1 chat"
    assert re.search(r"<h2[^>]*>Reindex 1 chat</h2>", one.content.decode()), "on the page, not only in its tab"
    button = re.search(r'<button[^>]*type="submit"[^>]*>\s*Reindex\s*</button>', one.content.decode())
    assert button, "the button has the name of the action"
    chosen = {"action": "reindex", "_selected_action": [str(chat.pk) for chat in chats]}
    two = desk.post(everything.list_address(Chat), chosen)
    assert two.context["title"] == "Reindex 2 chats"


def test_an_action_of_a_row_leads_back_to_the_row_and_one_of_a_list_to_the_list(desk: Client) -> None:
    chat = rows.chat(rows.person(), vector_status="failed")
    confirmation = desk.get(page_of(chat).replace("/change/", "/reindex/")).content.decode()
    assert '<input type="hidden" name="from_row" value="1">' in confirmation
    assert f'href="{page_of(chat)}"' in confirmation, "to cancel"
    assert choose(desk, chat, "reindex", reason=" ", from_row="1").context["back"] == page_of(chat)
    answer = choose(desk, chat, "reindex", reason="asked by support", from_row="1")
    assert answer.redirect_chain[-1][0] == page_of(chat)
    answer = choose(desk, chat, "reindex", reason="asked by support")
    assert answer.redirect_chain[-1][0] == everything.list_address(Chat)


def test_the_report_counts_each_outcome_and_what_was_left_unchanged(desk: Client) -> None:
    chats = [rows.chat(rows.person(), vector_status=status) for status in ("failed", "failed", "completed")]
    chats.append(indexing_chat())
    chosen = {"action": "reindex", "_selected_action": [str(chat.pk) for chat in chats]}
    page = desk.post(everything.list_address(Chat), chosen).content.decode()
    assert "This does not apply to 1 of the 4 chats" in page
    answer = desk.post(everything.list_address(Chat), {**chosen, "reason": "test"}, follow=True)
    (message,) = (str(each) for each in answer.context["messages"])
    assert message.startswith("Reindex: 4 done: requested; it was failed (2); ")
    assert "requested; it was completed" in message
    assert "unchanged: it is being indexed now" in message
    assert Chat.objects.get(pk=chats[-1].pk).vector_status == "indexing"


def test_a_refusal_is_reported_as_unchanged_with_its_cause(desk: Client) -> None:
    answer = choose(desk, rows.job().reservation, "release", reason="impatience")
    (message,) = (str(each) for each in answer.context["messages"])
    assert message.startswith("Release if overdue: 1 refused, unchanged: This reservation is not past its time")
