"""Staff read a chat only with the permission, for a limited time, with a reason, and so that the owner sees it."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.db import DatabaseError, connection
from django.test import Client
from django.urls import reverse

from chats import content_access, erasure
from chats.access_models import ContentAccess, ContentRead
from chats.models import Chat
from relivchats import database_roles
from relivchats.accounts.models import User
from relivchats.staff.models import AuditEntry
from tests.api.conftest import Api
from tests.chats import samples

pytestmark = pytest.mark.django_db

REASON = "answers request 1204 about missing messages"


@pytest.fixture
def chat() -> Chat:
    owner = User.objects.create_user("owner@example.org")
    return samples.stored([(1, "Asha", f"secret number {number}") for number in range(1, 121)], owner=owner)


@pytest.fixture
def member() -> User:
    member = User.objects.create_user("support@example.org", is_staff=True)
    member.user_permissions.set(
        Permission.objects.filter(codename__in=["view_chat", "view_contentaccess", "add_contentaccess"])
    )
    return member


@pytest.fixture
def client(member: User) -> Client:
    client = Client()
    client.force_login(member)
    return client


def open_address(chat: Chat) -> str:
    return reverse("admin:chats_chat_open_this", args=[chat.pk])


def open_chat(client: Client, chat: Chat) -> str:
    answer = client.post(open_address(chat), {"reason": REASON})
    assert answer.status_code == 302
    return str(answer["Location"])


def test_the_messages_are_shown_a_page_at_a_time_and_each_page_is_recorded(client: Client, chat: Chat) -> None:
    address = open_chat(client, chat)
    first = client.get(address)
    assert "secret number 1<" in first.content.decode()
    assert "secret number 51<" not in first.content.decode()
    assert "no-store" in first["Cache-Control"]
    last = client.get(address, {"after": 100}).content.decode()
    assert "secret number 120<" in last
    reads = ContentRead.objects.order_by("pk").values_list("first_number", "last_number")
    assert [*reads] == [(1, 50), (101, chat.line_count)]
    entry = AuditEntry.objects.get(action="open chat")
    assert (entry.object_id, entry.reason) == (str(chat.pk), REASON)


@pytest.mark.parametrize("reason", ["", "   ", "help", "answers the mail of anna@example.org"])
def test_a_chat_is_not_opened_without_a_reason(client: Client, chat: Chat, reason: str) -> None:
    answer = client.post(open_address(chat), {"reason": reason})
    assert answer.status_code == 200
    assert not ContentAccess.objects.exists()


def test_looking_at_the_form_opens_nothing(client: Client, chat: Chat) -> None:
    assert "secret" not in client.get(open_address(chat)).content.decode()
    assert not ContentAccess.objects.exists()


def test_an_access_lasts_fifteen_minutes(client: Client, chat: Chat) -> None:
    open_chat(client, chat)
    access = ContentAccess.objects.get()
    assert access.expires_at - access.created_at == timedelta(minutes=15)


def test_an_access_that_has_ended_shows_nothing(client: Client, chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_access, "DURATION", timedelta())
    address = open_chat(client, chat)
    page = client.get(address).content.decode()
    assert "secret" not in page
    assert "This access has ended." in page
    assert not ContentRead.objects.exists()


def test_nobody_uses_the_access_of_another(client: Client, chat: Chat) -> None:
    address = open_chat(client, chat)
    other = Client()
    other.force_login(User.objects.create_superuser("root@example.org", "a long password"))
    page = other.get(address).content.decode()
    assert "secret" not in page
    assert "This access has ended." in page


def test_without_the_permission_nothing_can_be_opened_or_read(client: Client, member: User, chat: Chat) -> None:
    address = open_chat(client, chat)
    member.user_permissions.remove(Permission.objects.get(codename="add_contentaccess"))
    assert client.get(address).status_code == 403
    assert client.post(open_address(chat), {"reason": REASON}).status_code == 403
    page = client.get(reverse("admin:chats_chat_change", args=[chat.pk])).content.decode()
    assert open_address(chat) not in page


def test_a_deleted_chat_is_not_read_and_what_was_read_stays_recorded(client: Client, chat: Chat) -> None:
    address = open_chat(client, chat)
    client.get(address)
    erasure.erase(chat)
    assert "secret" not in client.get(address).content.decode()
    assert ContentRead.objects.count() == 1
    assert client.get(reverse("admin:chats_contentaccess_changelist")).status_code == 200


@pytest.mark.parametrize("table", ["content_accesses", "content_reads"])
@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET created_at = now()"])
def test_the_record_cannot_be_changed_even_by_the_owner_of_the_table(
    client: Client, chat: Chat, transactional_db: None, table: str, statement: str
) -> None:
    client.get(open_chat(client, chat))
    with database_roles.as_owner(connection), pytest.raises(DatabaseError, match="append-only"):
        connection.cursor().execute(statement.format(table))


def test_the_owner_sees_who_opened_what_and_why_and_nobody_else_does(client: Client, chat: Chat) -> None:
    client.get(open_chat(client, chat), {"after": 50})
    assert Api(samples.person()).get("/api/me/content-accesses")["results"] == []
    (seen,) = Api(chat.owner).get("/api/me/content-accesses")["results"]
    assert (seen["chat_id"], seen["reason"]) == (str(chat.pk), REASON)
    assert [(read["first_number"], read["last_number"]) for read in seen["reads"]] == [(51, 100)]


def test_no_other_page_of_an_access_shows_a_message(client: Client, chat: Chat) -> None:
    client.get(open_chat(client, chat))
    access = ContentAccess.objects.get()
    for address in (
        reverse("admin:chats_contentaccess_changelist"),
        reverse("admin:chats_contentaccess_change", args=[access.pk]),
    ):
        page = client.get(address)
        assert page.status_code == 200
        assert not re.search(r"secret|Asha", page.content.decode())
