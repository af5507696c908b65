from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.contrib import admin
from django.db import connection
from django.test import Client

from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from insights import generation, unlocking
from insights.models import Insight
from ops import health
from ops.console import attention, outage, overview
from relivchats.accounts.models import User
from relivchats.staff import bounded, lists
from tests.ops import rows

# As `relivchats.urls` does: the tests go through all pages before they open one.
admin.autodiscover()

#: Is in the text, the names and the title of `private_chat`, and in the e-mail address of its owner.
CANARY = "Zorblax"


@contextmanager
def slow(text: str) -> Iterator[None]:
    """Let each query with this text take 20 s."""

    def wait(execute: Any, sql: str, parameters: Any, many: bool, context: dict[str, Any]) -> Any:
        if text in sql:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(20)")
        return execute(sql, parameters, many, context)

    with connection.execute_wrapper(wait):
        yield


@pytest.fixture
def staff(db: None) -> User:
    """A superuser without a password, because hashing one takes longer than most tests."""
    return User.objects.create_user("staff@example.org", is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty the caches of the overview, which then last for the test, and give counts time on a slow machine."""
    monkeypatch.setattr(attention.cache, "seconds", 3600)
    monkeypatch.setattr(lists, "COUNT_MILLISECONDS", 10_000)
    for cache in (health, attention, overview, outage, bounded):
        cache.clear_cache()
    yield
    for cache in (health, attention, overview, outage, bounded):
        cache.clear_cache()


@pytest.fixture
def desk(staff: User, patient: None) -> Client:
    """A client that is logged in as a superuser."""
    client = Client()
    client.force_login(staff)
    return client


@pytest.fixture
def private_chat(staff: User) -> Chat:
    """A chat with completed insights, whose title, names and texts all contain the canary."""
    lines = [
        f"{1 + day % 28:02}/0{1 + day // 28}/2024, 10:{minute:02} - {CANARY} {name}: I love {CANARY}, {CANARY}{minute}"
        for day in range(100)
        for minute, name in enumerate(["Ann", "Bob", "Ann", "Bob", "Ann", "Bob"])
    ]
    owner = rows.person(email=f"{CANARY.lower()}@example.org")
    chat = import_chat(owner=owner, upload="\n".join(lines).encode())
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    unlocked = unlocking.unlock(user=owner, chat=chat, category_id="romantic")
    for insight in unlocked.insights:
        generation.run(insight.pk)
    assert CANARY in chat.title + "".join(chat.participants)
    assert Insight.objects.filter(status="completed", sealed_document__isnull=False).exists()
    return chat
