from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest
from django.db import connection, transaction

from chats import indexing, search
from chats.erasure import erase
from chats.importing import ImportOptions, import_chat, import_upload
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from chats.signals import chat_erasing
from relivchats.accounts.erasure import erase as erase_account
from tests import exports
from tests.chats import samples

pytestmark = pytest.mark.django_db

WAYS: dict[str, Callable[[Chat], object]] = {
    "erase": erase,
    "delete": lambda chat: chat.delete(),
    "queryset": lambda chat: Chat.objects.filter(pk=chat.pk).delete(),
    "owner": lambda chat: chat.owner.delete(),
    "account": lambda chat: erase_account(chat.owner),
}


@contextmanager
def record_signals() -> Iterator[list[tuple[UUID, bool]]]:
    """Record each signal: the chat's id, and whether its row still existed in an open transaction."""
    calls: list[tuple[UUID, bool]] = []

    def listen(*, chat: Chat, **_: Any) -> None:
        calls.append((chat.pk, connection.in_atomic_block and Chat.objects.filter(pk=chat.pk).exists()))

    chat_erasing.connect(listen)
    try:
        yield calls
    finally:
        chat_erasing.disconnect(listen)


@pytest.fixture
def chat() -> Chat:
    chat = samples.stored()
    indexing.request(chat)
    assert indexing.index_chat(chat.pk)
    return Chat.objects.get(pk=chat.pk)


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_deleting_a_chat_removes_all_its_rows(chat: Chat, way: str) -> None:
    assert chat.blocks.exists()
    assert chat.chunks.exists()
    WAYS[way](chat)
    for model in (Chat, TranscriptBlock, Chunk, VectorMatrix):
        assert not model._default_manager.exists(), model


def test_erasing_a_chat_removes_the_fingerprints_of_its_uploads() -> None:
    owner = samples.person()
    chat = import_chat(owner=owner, upload=exports.text(20))
    import_upload(owner=owner, upload=exports.text(25), options=ImportOptions(extend=chat.pk))
    erase(chat)
    records = ChatUpload.objects.filter(chat=None, content_fingerprint=None)
    assert sorted(records.values_list("outcome", flat=True)) == ["accepted", "extended"]


@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_deleting_a_chat_sends_one_signal_before_rows_are_deleted(chat: Chat, way: str) -> None:
    chat_id = chat.pk
    with record_signals() as calls:
        WAYS[way](chat)
    assert calls == [(chat_id, True)]


def test_the_data_key_is_deleted_with_the_rows(chat: Chat) -> None:
    wrapped = bytes(chat.wrapped_key).hex()
    with connection.cursor() as cursor:
        held = "SELECT count(*) FROM chats WHERE encode(wrapped_key, 'hex') = %s"
        cursor.execute(held, [wrapped])
        assert cursor.fetchone() == (1,)
        erase(chat)
        cursor.execute(held, [wrapped])
        assert cursor.fetchone() == (0,)


def test_the_upload_row_remains_without_its_chat(chat: Chat) -> None:
    erase(chat)
    assert ChatUpload.objects.get().chat is None


def test_a_chat_is_not_erased_if_a_receiver_fails(chat: Chat) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("not now")

    chat_erasing.connect(refuse)
    try:
        with pytest.raises(RuntimeError), transaction.atomic():
            erase(chat)
    finally:
        chat_erasing.disconnect(refuse)
    assert Chat.objects.get().title == "Asha & Ravi"
    assert chat.blocks.exists()


def test_erasing_a_chat_twice_sends_one_signal(chat: Chat) -> None:
    again = Chat.objects.get(pk=chat.pk)
    with record_signals() as calls:
        erase(chat)
        erase(again)
    assert len(calls) == 1


def test_a_cached_searcher_is_dropped(chat: Chat) -> None:
    kept = search.get_searcher(chat)
    assert search.get_searcher(chat) is kept
    copy = Chat.objects.get(pk=chat.pk)
    erase(chat)
    with pytest.raises(search.NotSearchable):
        search.get_searcher(copy)
