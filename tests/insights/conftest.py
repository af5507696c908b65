"""A user with coins, and a chat that is searchable."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from billing import ledger
from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from relivchats.accounts.models import User
from tests import exports

ROMANTIC_PRICE = 400


@pytest.fixture
def person(make_person: Callable[..., User]) -> User:
    return make_person(coins=ROMANTIC_PRICE)


@pytest.fixture
def make_person(db: None) -> Callable[..., User]:
    def make(*, coins: int = 0) -> User:
        """Create a user whose balance is exactly `coins`."""
        user = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
        wallet = user.wallet
        if change := coins - wallet.balance:
            ledger.adjust(wallet=wallet, amount=change, actor="test", reason="test", idempotency_key="coins")
        return user

    return make


@pytest.fixture
def make_chat() -> Callable[..., Chat]:
    def make(owner: User, *, messages: int = 300, people: int = 2, searchable: bool = True) -> Chat:
        chat = import_chat(owner=owner, upload=exports.text(messages, people=people))
        if searchable:
            indexing.request(chat)
            indexing.index_chat(chat.pk)
            chat.refresh_from_db()
        return chat

    return make


@pytest.fixture
def chat(person: User, make_chat: Callable[..., Chat]) -> Chat:
    return make_chat(person)
