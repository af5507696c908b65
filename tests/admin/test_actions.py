"""Admin actions ask for a reason, log it, and do the same as the commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import models
from django.test import Client
from django.urls import reverse

from billing import audit
from billing.models import CoinReservation
from chats.models import Chat
from insights import engines
from insights.models import (
    Category,
    ChatReading,
    DispatchPause,
    GenerationJob,
    Insight,
    ReadWindow,
    UnlockPause,
)
from ops.console import attention
from relivchats.accounts.models import User
from relivchats.staff.models import AuditEntry
from tests.admin import everything
from tests.fakes.reader import FakeReader
from tests.ops import rows
from tests.ops.test_commands import call

pytestmark = pytest.mark.django_db


def failed_chat() -> Chat:
    return rows.chat(rows.person(), vector_status="failed")


def failed_insight() -> Insight:
    return rows.failed_job().insights.all()[0]


ACTIONS: list[tuple[str, Callable[[], models.Model], Callable[[Any], bool]]] = [
    ("reindex", failed_chat, lambda row: Chat.objects.index_due().filter(pk=row.pk).exists()),
    ("recover", rows.overdue_job, lambda row: GenerationJob.objects.filter(pk=row.pk, status="failed").exists()),
    (
        "release",
        rows.orphaned_reservation,
        lambda row: CoinReservation.objects.filter(pk=row.pk, status="released").exists(),
    ),
    (
        "resume",
        lambda: UnlockPause.objects.create(reason="test", paused_by="command"),
        lambda row: not UnlockPause.objects.active().exists(),
    ),
    (
        "resume_insights",
        lambda: DispatchPause.objects.create(reason="test", paused_by="command"),
        lambda row: not DispatchPause.objects.filter(resumed_at=None).exists(),
    ),
    ("retry", failed_insight, lambda row: Insight.objects.filter(chat=row.chat_id, status="pending").exists()),
]
every_action = pytest.mark.parametrize(("name", "create", "is_done"), ACTIONS, ids=[action[0] for action in ACTIONS])


def choose(client: Client, row: models.Model, name: str, **more: str) -> Any:
    chosen = {"action": name, "_selected_action": [str(row.pk)], **more}
    return client.post(everything.list_address(type(row)), chosen, follow=True)


@every_action
def test_an_action_asks_for_a_reason_first(
    desk: Client, name: str, create: Callable[[], models.Model], is_done: Callable[[Any], bool]
) -> None:
    row = create()
    answers = [choose(desk, row, name)]
    if name != "recover":
        answers.append(choose(desk, row, name, reason="  "))
    for answer in answers:
        assert answer.status_code == 200
        assert "staff/confirm_action.html" in {template.name for template in answer.templates}
        assert str(row.pk) in answer.content.decode()
    assert not is_done(row)
    assert not AuditEntry.objects.exists()


def test_jobs_are_recovered_without_a_reason_as_by_beat_and_the_command(desk: Client) -> None:
    job = rows.overdue_job()
    choose(desk, job, "recover", reason="")
    assert GenerationJob.objects.get().status == "failed"
    assert AuditEntry.objects.get().reason == ""
    assert LogEntry.objects.get().change_message.startswith("Recover. Outcome: recovered; failed")
    rows.overdue_job()
    assert call("jobs", "--recover")[0] == 0


@every_action
def test_with_a_reason_an_action_is_done_and_logged(
    desk: Client, staff: User, name: str, create: Callable[[], models.Model], is_done: Callable[[Any], bool]
) -> None:
    row = create()
    answer = choose(desk, row, name, reason="asked by support")
    assert answer.redirect_chain
    assert is_done(row)
    entry = AuditEntry.objects.get()
    assert (entry.actor, entry.object_id, entry.reason, entry.done) == (
        f"user {staff.pk}",
        str(row.pk),
        "asked by support",
        True,
    )
    written = LogEntry.objects.get()
    assert (written.user, written.object_id) == (staff, str(row.pk))
    assert "asked by support" in written.change_message
    history = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_history", args=[row.pk])
    assert "asked by support" in desk.get(history).content.decode()
    assert audit.audit() == []


@every_action
def test_the_page_of_a_row_offers_the_action_too(
    desk: Client, name: str, create: Callable[[], models.Model], is_done: Callable[[Any], bool]
) -> None:
    row = create()
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    offered = page.replace("/change/", f"/{name}/")
    assert offered in desk.get(page).content.decode()
    answer = desk.get(offered)
    assert answer.context["ids"] == [str(row.pk)]
    assert answer.context["list_address"] == everything.list_address(type(row))
    assert not is_done(row), "opening the page changes nothing"


@every_action
def test_staff_who_can_only_view_cannot_run_actions(
    name: str, create: Callable[[], models.Model], is_done: Callable[[Any], bool]
) -> None:
    row = create()
    viewer = rows.person(email="viewer@example.org")
    viewer.is_staff = True
    viewer.save()
    viewer.user_permissions.add(Permission.objects.get(codename=f"view_{row._meta.model_name}"))
    client = Client()
    client.force_login(viewer)
    choose(client, row, name, reason="without permission")
    page = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    assert client.get(page.replace("/change/", f"/{name}/")).status_code == 403
    assert not is_done(row)
    assert not AuditEntry.objects.exists()


@pytest.fixture
def read_chat() -> ChatReading:
    """A completed reading of one window."""
    reading = ChatReading.objects.create(
        chat=rows.chat(rows.person()), engine="fake", model="old", version=1, status="completed", up_to_message=9
    )
    ReadWindow.objects.create(reading=reading, first_number=1, last_number=9, status="read", sealed_result=b"sealed")
    return reading


def test_a_chat_that_is_read_again_starts_from_nothing_with_the_present_model(
    desk: Client, read_chat: ChatReading, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "get_engine", FakeReader)
    choose(desk, read_chat, "read_again", reason="asked by support")
    read_chat.refresh_from_db()
    assert (read_chat.status, read_chat.model, read_chat.up_to_message) == ("pending", "fake-reader", None)
    assert not ReadWindow.objects.exists()
    assert AuditEntry.objects.get().done


def test_reading_again_is_refused_if_the_engine_reads_nothing(desk: Client, read_chat: ChatReading) -> None:
    answer = choose(desk, read_chat, "read_again", reason="asked by support")
    assert "reads no chats" in answer.content.decode()
    assert ReadWindow.objects.exists()
    assert not AuditEntry.objects.get().done


def test_releasing_the_reservation_of_a_running_job_is_refused_and_the_page_says_why(desk: Client) -> None:
    reservation = rows.job().reservation
    answer = choose(desk, reservation, "release", reason="impatience")
    assert "its job still runs" in answer.content.decode()
    reservation.refresh_from_db()
    assert reservation.status == "active"
    assert not AuditEntry.objects.get().done


def test_staff_can_change_the_price_of_a_category(desk: Client) -> None:
    category = Category.objects.get(pk="romantic")
    page = reverse("admin:insights_category_change", args=["romantic"])
    values = {"title": category.title, "icon": category.icon, "description": category.description}
    assert desk.post(page, {**values, "price": 350, "display_order": 1, "active": "on"}).status_code == 302
    category.refresh_from_db()
    assert category.price == 350
    assert LogEntry.objects.filter(object_id="romantic").exists()


def test_a_new_user_has_a_wallet(desk: Client) -> None:
    answer = desk.post(
        reverse("admin:accounts_user_add"),
        {"email": "New@Example.org", "usable_password": "false", "password1": "", "password2": ""},
    )
    assert answer.status_code == 302, answer.context["errors"]
    assert User.objects.get(email="new@example.org").wallet.balance >= 0


@pytest.mark.parametrize(
    "address",
    [
        f"/admin/billing/{row}/{pk}/{action}/"
        for row, action in (
            ("wallet", "adjust"),
            ("wallet", "reconcile"),
            ("paymentorder", "reconcile"),
            ("paymentorder", "refund"),
        )
        for pk in ("abc", "999999", "3f9a6dbe-8b7f-4f7e-9f1b-0c8f5c1f6d11")
    ],
)
def test_the_action_page_of_a_missing_row_is_not_found(desk: Client, address: str) -> None:
    assert desk.get(address).status_code == 404


PAUSE_PAGE = "/admin/insights/unlockpause/add/"


def test_staff_pause_unlocks_with_a_reason_once(desk: Client, staff: User) -> None:
    assert desk.post(PAUSE_PAGE, {"reason": ""}).context["errors"]
    desk.post(PAUSE_PAGE, {"reason": "the model answers nonsense"})
    pause = UnlockPause.objects.get()
    assert (pause.reason, pause.paused_by) == ("the model answers nonsense", f"user {staff.pk}")
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.actor, entry.object_id) == ("pause unlocks", f"user {staff.pk}", str(pause.pk))
    assert LogEntry.objects.get().object_id == str(pause.pk)
    assert "paused already" in desk.post(PAUSE_PAGE, {"reason": "again"}).content.decode()
    assert UnlockPause.objects.count() == 1
    # Counts are shared for some seconds.
    attention.clear_cache()
    assert "Unlocks paused" in desk.get("/admin/").content.decode()


@pytest.mark.parametrize("permission", ["view_unlockpause", "change_unlockpause"])
def test_staff_without_the_permission_to_add_cannot_pause_unlocks(permission: str) -> None:
    viewer = rows.person(email="viewer@example.org")
    viewer.is_staff = True
    viewer.save()
    viewer.user_permissions.add(Permission.objects.get(codename=permission))
    client = Client()
    client.force_login(viewer)
    assert client.post(PAUSE_PAGE, {"reason": "without permission"}).status_code == 403
    assert not UnlockPause.objects.exists()
