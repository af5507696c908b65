"""A request that is repeated under its Idempotency-Key is executed once and gets the first response."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connections
from django.db.models.functions import Now

from billing import ledger
from chats import importing, parsing_processes
from chats.models import Chat
from insights import settlement, unlocking
from insights.models import GenerationJob
from relivchats import idempotency
from relivchats.accounts.models import IdempotencyKey, User
from relivchats.crypto import Keyring, keyring
from tests import exports
from tests.api.conftest import Api, MakePerson, check_problem

pytestmark = pytest.mark.django_db

KEY = "6f1d2a90-7f3e-4c1b-8b19-9a3f5c2f7d10"
UNLOCK = "/api/insights/unlock"


def post(api: Api, path: str, body: Any = None, *, key: str = KEY) -> Any:
    headers = {**api.headers, "Idempotency-Key": key}
    response: Any = api.client.post(path, body, content_type="application/json", headers=headers, secure=True)
    if response.status_code >= 400:
        check_problem(response)
    return response


def unlock(api: Api, chat: Chat, *types: str, key: str = KEY) -> Any:
    return post(api, UNLOCK, {"chat_id": str(chat.pk), "insight_type_ids": list(types or ["love_language"])}, key=key)


def upload(api: Api, content: bytes, *, key: str = KEY, name: str = "chat.txt") -> Any:
    form = {"file": SimpleUploadedFile(name, content, content_type="application/octet-stream")}
    headers = {**api.headers, "Idempotency-Key": key}
    response: Any = api.client.post("/api/chats/upload", form, headers=headers, secure=True)
    if response.status_code >= 400:
        check_problem(response)
    return response


def reserved(api: Api) -> int:
    return int(api.get("/api/credits/balance")["reserved"])


def delete_response(*, lease: timedelta) -> None:
    """Leave the key as a process does that dies before the response is stored."""
    IdempotencyKey.objects.update(status=None, sealed_answer=None, lease_expires_at=Now() + lease)


def test_a_repeated_unlock_gets_the_first_response(api: Api, searchable: Chat) -> None:
    first = unlock(api, searchable)
    settlement.fail_open_insights(GenerationJob.objects.get().pk, error_code="test", error_message="")
    repeated = unlock(api, searchable)
    assert (first.status_code, repeated.status_code) == (202, 202)
    assert repeated.content == first.content
    assert repeated["Location"] == first["Location"]
    assert (first.headers.get("Idempotent-Replayed"), repeated["Idempotent-Replayed"]) == (None, "true")
    assert GenerationJob.objects.count() == 1
    assert reserved(api) == 0


def test_another_request_under_the_same_key_is_refused(api: Api, searchable: Chat) -> None:
    unlock(api, searchable, "love_language")
    refused = unlock(api, searchable, "communication_basics")
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:relivchats:problem:idempotency-key-reused")
    elsewhere = post(api, f"/api/insights/{searchable.insights.get().pk}/retry")
    assert elsewhere.status_code == 422
    assert GenerationJob.objects.count() == 1


def test_the_same_body_sent_to_another_address_is_another_request(api: Api, owner: User, searchable: Chat) -> None:
    unlocking.unlock(user=owner, chat=searchable, type_ids=["love_language", "communication_basics"])
    settlement.fail_open_insights(GenerationJob.objects.get().pk, error_code="test", error_message="")
    first, second = searchable.insights.values_list("pk", flat=True)
    assert post(api, f"/api/insights/{first}/retry").status_code == 202
    refused = post(api, f"/api/insights/{second}/retry")
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:relivchats:problem:idempotency-key-reused")
    assert GenerationJob.objects.count() == 2


def test_the_order_of_the_values_does_not_matter(api: Api, searchable: Chat) -> None:
    body = {"chat_id": str(searchable.pk), "insight_type_ids": ["love_language"]}
    post(api, UNLOCK, body)
    assert post(api, UNLOCK, dict(reversed(body.items())))["Idempotent-Replayed"] == "true"


def test_a_request_is_refused_while_the_first_one_is_still_running(
    api: Api, searchable: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    meanwhile = []
    original = unlocking.unlock

    def slow_unlock(**arguments: Any) -> unlocking.UnlockResult:
        meanwhile.append(unlock(api, searchable))
        return original(**arguments)

    monkeypatch.setattr(unlocking, "unlock", slow_unlock)
    assert unlock(api, searchable).status_code == 202
    (second,) = meanwhile
    assert (second.status_code, second["Retry-After"]) == (409, "2")


def test_a_refused_request_can_be_corrected_and_sent_again_under_its_key(make_person: MakePerson) -> None:
    person = make_person(coins=0)
    api = Api(person)
    chat = Chat.objects.get(pk=upload(api, exports.text(300), key="upload").json()["id"])
    assert unlock(api, chat, "no_such_type").status_code == 404
    assert unlock(api, chat).status_code == 402
    ledger.adjust(wallet=person.wallet, amount=100, actor="test", reason="enough now", idempotency_key="a")
    assert unlock(api, chat).status_code == 202


def test_a_request_that_failed_with_a_server_error_can_be_sent_again(
    api: Api, searchable: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(unlocking, "unlock", lambda **_: 1 / 0)
        assert unlock(api, searchable).status_code == 500
    assert unlock(api, searchable).status_code == 202


def test_a_key_whose_process_died_accepts_the_same_request_after_its_lease(api: Api, searchable: Chat) -> None:
    unlock(api, searchable)
    delete_response(lease=timedelta(minutes=1))
    assert unlock(api, searchable).status_code == 409
    delete_response(lease=-timedelta(seconds=1))
    assert unlock(api, searchable, "communication_basics").status_code == 422
    assert unlock(api, searchable).status_code == 200, "the first request was executed, so no more coins are reserved"
    assert unlock(api, searchable)["Idempotent-Replayed"] == "true"
    assert GenerationJob.objects.count() == 1


def test_a_request_that_lost_its_lease_changes_nothing(
    api: Api, searchable: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = unlocking.unlock

    def lose_the_lease(**arguments: Any) -> unlocking.UnlockResult:
        IdempotencyKey.objects.update(token="00000000-0000-4000-8000-000000000000")
        return original(**arguments)

    monkeypatch.setattr(unlocking, "unlock", lose_the_lease)
    assert unlock(api, searchable).status_code == 409
    assert not GenerationJob.objects.exists()
    assert reserved(api) == 0


def test_a_key_belongs_to_one_person(api: Api, stranger: Api, searchable: Chat) -> None:
    unlock(api, searchable)
    assert unlock(stranger, searchable).status_code == 404


def test_a_key_can_be_used_again_after_a_day(api: Api, searchable: Chat) -> None:
    unlock(api, searchable)
    IdempotencyKey.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert unlock(api, searchable, "communication_basics").status_code == 202
    IdempotencyKey.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert idempotency.prune() == 1
    assert not IdempotencyKey.objects.exists()


@pytest.mark.parametrize("key", ["", " ", "two words", "ключ".encode().decode("latin-1"), "x" * 256])
def test_a_malformed_key_is_refused(api: Api, searchable: Chat, key: str) -> None:
    refused = unlock(api, searchable, key=key)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:relivchats:problem:malformed-idempotency-key")
    assert not GenerationJob.objects.exists()


def test_a_repeated_retry_reserves_coins_once(api: Api, searchable: Chat) -> None:
    unlock(api, searchable, key="first")
    settlement.fail_open_insights(GenerationJob.objects.get().pk, error_code="test", error_message="")
    path = f"/api/insights/{searchable.insights.get().pk}/retry"
    first, repeated = post(api, path), post(api, path)
    assert (first.status_code, repeated.content) == (202, first.content)
    assert repeated["Idempotent-Replayed"] == "true"
    assert reserved(api) == searchable.insights.get(status="pending").price


def test_a_repeated_upload_creates_one_chat(api: Api) -> None:
    first, repeated = upload(api, exports.text(60)), upload(api, exports.text(60), name="again.txt")
    assert (first.status_code, repeated.status_code) == (201, 201)
    assert repeated.json() == first.json()
    assert repeated["Idempotent-Replayed"] == "true"
    assert Chat.objects.count() == 1
    assert upload(api, exports.text(61)).status_code == 422


def test_an_upload_that_lost_its_key_to_another_process_stores_no_chat(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    parse = parsing_processes.parse_upload

    def lose_the_key(*arguments: Any) -> Any:
        IdempotencyKey.objects.update(token=uuid.uuid4())
        return parse(*arguments)

    monkeypatch.setattr(importing, "parse_upload", lose_the_key)
    assert upload(api, exports.text(20)).status_code == 409
    assert not Chat.objects.exists()


def test_only_the_id_of_an_uploaded_chat_is_stored_with_the_key(api: Api) -> None:
    answer = upload(api, exports.text(60))
    stored = IdempotencyKey.objects.get()
    assert stored.sealed_answer is not None
    opened = keyring().open(stored.sealed_answer, context=f"idempotency:{stored.token}").decode()
    assert answer.json()["id"] in opened
    assert answer.json()["participants"][0] not in opened
    api.delete(f"/api/chats/{answer.json()['id']}", status=204)
    assert upload(api, exports.text(60)).status_code == 404


def test_a_file_that_is_too_large_does_not_use_up_the_key(api: Api, settings: Any) -> None:
    settings.UPLOAD_LIMIT_BYTES = 1000
    assert upload(api, exports.text(60)).status_code == 413
    settings.UPLOAD_LIMIT_BYTES = 1_000_000
    assert upload(api, exports.text(60)).status_code == 201


def test_a_request_with_an_unreadable_stored_response_is_not_repeated(
    api: Api, searchable: Chat, settings: Any
) -> None:
    unlock(api, searchable)
    settings.ENCRYPTION_KEYS = Keyring.new_text().replace("k1", "k9")
    assert unlock(api, searchable).status_code == 409
    assert GenerationJob.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_of_eight_concurrent_requests_with_one_key_one_is_executed(api: Api, searchable: Chat) -> None:
    start = threading.Barrier(8)

    def send(_: int) -> int:
        sender = Api(None)
        sender.headers = api.headers
        start.wait()
        try:
            return int(unlock(sender, searchable).status_code)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(send, range(8)))
    assert set(statuses) <= {202, 409}
    assert 202 in statuses
    assert GenerationJob.objects.count() == 1
