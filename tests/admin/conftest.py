from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from ops import health
from ops.console import attention, overview
from relivchats.accounts.models import User


@pytest.fixture
def staff(db: None) -> User:
    """A superuser without a password, because hashing one takes longer than most tests."""
    return User.objects.create_user("staff@example.org", is_staff=True, is_superuser=True)


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Empty the caches of the overview, which then last for the test."""
    monkeypatch.setattr(attention.cache, "seconds", 3600)
    for cache in (health, attention, overview):
        cache.clear_cache()
    yield
    for cache in (health, attention, overview):
        cache.clear_cache()


@pytest.fixture
def desk(staff: User, patient: None) -> Client:
    """A client that is logged in as a superuser."""
    client = Client()
    client.force_login(staff)
    return client
