from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from ops import health
from relivchats.accounts.models import User


@pytest.fixture
def staff(db: None) -> User:
    """A superuser without a password, because hashing one takes longer than most tests."""
    return User.objects.create_user("staff@example.org", is_staff=True, is_superuser=True)


@pytest.fixture
def desk(staff: User, patient: None) -> Iterator[Client]:
    """A client that is logged in as a superuser, with an empty health cache."""
    client = Client()
    client.force_login(staff)
    health.clear_cache()
    yield client
    health.clear_cache()
