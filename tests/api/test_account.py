"""A person deletes their account: everything private is gone, and the coins still add up."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction

from billing import audit
from billing.models import CoinReservation, CreditTransaction, Wallet
from chats import importing, parsing_processes
from chats.importing import import_chat
from chats.models import Chat, ChatUpload, TranscriptBlock
from insights.models import GenerationJob
from insights.question_models import ChatQuestion
from insights.unlocking import unlock
from relivchats.accounts import erasure
from relivchats.accounts.models import AccessToken, User
from relivchats.limits import lock
from tests import exports
from tests.api.conftest import Api, MakePerson
from tests.concurrency import BackgroundCall, is_a_lock_awaited
from tests.processes import eventually

pytestmark = pytest.mark.django_db


def test_a_deleted_account_leaves_nothing_private_and_the_ledger_intact(
    api: Api, searchable: Chat, owner: User
) -> None:
    api.post("/api/insights/unlock", {"chat_id": str(searchable.pk), "category_id": "romantic"}, status=202)
    wallet = Wallet.objects.get(user=owner)
    api.delete("/api/me", status=204)
    for model in (User, AccessToken, Chat, TranscriptBlock, ChatUpload, ChatQuestion):
        assert not model._default_manager.exists(), model
    job, reservation = GenerationJob.objects.get(), CoinReservation.objects.get()
    assert (job.user, job.chat, job.is_open) == (None, None, False)
    assert (reservation.status, reservation.captured_coins) == (CoinReservation.Status.RELEASED, 0)
    kept = Wallet.objects.get()
    assert (kept.pk, kept.user, kept.balance, kept.reserved) == (wallet.pk, None, wallet.balance, 0)
    assert CreditTransaction.objects.filter(wallet=kept).exists()
    assert not audit.audit()
    api.delete("/api/me", status=401)


def test_another_account_keeps_everything(api: Api, stranger: Api, chat: Chat) -> None:
    stranger.delete("/api/me", status=204)
    assert list(Chat.objects.all()) == [chat]
    assert api.get("/api/me")["email"] == chat.owner.email


@pytest.mark.parametrize("flag", ["is_staff", "is_superuser"])
def test_an_account_of_staff_is_not_deleted_by_the_api(api: Api, chat: Chat, owner: User, flag: str) -> None:
    User.objects.filter(pk=owner.pk).update(**{flag: True})
    api.delete("/api/me", status=403)
    assert (User.objects.get(), Chat.objects.get()) == (owner, chat)


# A foreign key is checked at the end of a transaction.
@pytest.mark.django_db(transaction=True)
def test_an_upload_of_an_account_that_is_deleted_meanwhile_stores_nothing(
    api: Api, owner: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = parsing_processes.parse_upload

    def erase_and_parse(*arguments: Any) -> Any:
        erasure.erase(owner)
        return parse(*arguments)

    monkeypatch.setattr(importing, "parse_upload", erase_and_parse)
    assert api.upload(exports.text(60), status=401)["type"].endswith("account-deleted")
    assert not Chat.objects.exists()
    assert not ChatUpload.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_deletion_and_an_unlock_wait_for_each_other_without_a_deadlock(make_person: MakePerson) -> None:
    owner = make_person()
    chats = [import_chat(owner=owner, upload=exports.text(120 + number)) for number in range(3)]
    for chat in chats:
        unlock(user=owner, chat=chat, type_ids=["love_language"])
    with transaction.atomic():
        # As an unlock does, one step after the other.
        Chat.objects.select_for_update(no_key=True).get(pk=chats[1].pk)
        deletion = BackgroundCall(lambda: erasure.erase(owner))
        eventually(is_a_lock_awaited)
        lock(owner)
        Wallet.objects.select_for_update().get(user=owner)
    assert deletion.result() is True
    assert not User.objects.exists()
    assert not audit.audit()
