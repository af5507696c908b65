"""A request is done once per Idempotency-Key, whatever its view does. The API's own views: tests/api."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import DataError, OperationalError, connection, transaction
from django.db.models.functions import Now
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from relivchats import idempotency
from relivchats.accounts.models import IdempotencyKey, User
from relivchats.crypto import Keyring
from relivchats.errors import Conflict, NotFound
from relivchats.idempotency import IdempotencyKeyReused, MalformedIdempotencyKey, RequestStillRunning, idempotent
from relivchats.rest import StrictJSONParser
from tests.concurrency import BackgroundCall
from tests.processes import eventually

pytestmark = pytest.mark.django_db

KEY = "6f1d2a90-7f3e-4c1b-8b19-9a3f5c2f7d10"
OTHER_TOKEN = uuid.UUID("00000000-0000-4000-8000-000000000000")


class View(APIView):
    """A view that counts how often it worked; `then` runs at the end of the work."""

    parser_classes = (StrictJSONParser, MultiPartParser)

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        super().__init__()
        self.done = 0
        self.then = then

    def work(self, request: Request) -> Response:
        self.done += 1
        User.objects.create_user(f"{self.done}@example.org")
        self.then()
        file = request.FILES.get("file")
        text = file.read().decode() if file else "text"
        return Response({"id": str(self.done), "text": text}, status=201, headers={"Location": f"/{self.done}"})

    @idempotent()
    def post(self, request: Request) -> Response:
        return self.work(request)

    @idempotent()
    def put(self, request: Request) -> Response:
        return self.work(request)

    @idempotent(atomic=True)
    def patch(self, request: Request) -> Response:
        return self.work(request)

    @idempotent(rebuild=lambda request, pk: {"id": pk, "text": "rebuilt"})
    def delete(self, request: Request) -> Response:
        response = self.work(request)
        del response["Location"]
        return response


@pytest.fixture
def ann() -> User:
    return User.objects.create_user("ann@example.org")


@pytest.fixture
def send(rf: Any, ann: User) -> Callable[..., Response]:
    def send(
        view: View,
        *,
        method: str = "post",
        path: str = "/orders",
        key: str | None = KEY,
        form: Any = None,
        user: Any = ann,
    ) -> Response:
        headers = {} if key is None else {"Idempotency-Key": key}
        given = form if form is not None else {"a": 1, "b": 2}
        content = {} if form is not None else {"content_type": "application/json"}
        request = view.initialize_request(getattr(rf, method)(path, given, headers=headers, **content))
        request.user = user
        response: Response = getattr(view, method)(request)
        return response

    return send


def is_replayed(response: Response) -> bool:
    return response.headers.get("Idempotent-Replayed") == "true"


@pytest.mark.parametrize("method", ["post", "patch", "delete"])
def test_a_request_under_a_key_is_done_once_and_without_a_key_each_time(send: Any, method: str) -> None:
    view = View()
    first, again = (send(view, method=method) for _ in range(2))
    assert (view.done, is_replayed(first), is_replayed(again)) == (1, False, True)
    assert (again.status_code, again.headers.get("Location")) == (201, first.headers.get("Location"))
    assert again.data == {"id": "1", "text": "rebuilt" if method == "delete" else "text"}
    assert [is_replayed(send(view, method=method, key=None)) for _ in range(2)] == [False, False]
    assert view.done == 3


def test_each_key_has_its_own_response(send: Any) -> None:
    view = View()
    for key in ("first", "second"):
        send(view, key=key)
    assert [send(view, key=key).data["id"] for key in ("first", "second")] == ["1", "2"]
    send(view, key="first", user=User.objects.create_user("bob@example.org"))
    assert view.done == 3, "another person's key of the same name is another key"


def test_a_malformed_key_is_refused_before_the_work(send: Any) -> None:
    view = View()
    for key in ("", "two words", "x" * 256):
        with pytest.raises(MalformedIdempotencyKey):
            send(view, key=key)
    assert view.done == 0


@pytest.mark.parametrize("other", [{"method": "put"}, {"path": "/refunds"}, {"form": {"a": "1"}}])
def test_another_method_address_or_value_is_another_request(send: Any, other: dict[str, Any]) -> None:
    view = View()
    send(view)
    with pytest.raises(IdempotencyKeyReused):
        send(view, **other)
    assert view.done == 1


def file_form(content: bytes, *, name: str = "chat.txt", separate: str = "true") -> dict[str, Any]:
    return {"file": SimpleUploadedFile(name, content), "separate": separate}


def test_a_file_is_compared_by_its_content_and_the_view_reads_all_of_it(send: Any) -> None:
    view = View()
    assert send(view, form=file_form(b"one")).data["text"] == "one"
    assert is_replayed(send(view, form=file_form(b"one", name="other.txt")))
    for form in (file_form(b"two"), file_form(b"one", separate="false")):
        with pytest.raises(IdempotencyKeyReused):
            send(view, form=form)
    assert view.done == 1


def test_a_finished_request_is_not_done_again_when_its_lease_is_over(send: Any) -> None:
    view = View()
    send(view)
    IdempotencyKey.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    assert is_replayed(send(view))
    assert view.done == 1


def test_a_running_request_is_done_again_by_the_same_request_after_its_lease(send: Any) -> None:
    view = View()
    send(view)
    IdempotencyKey.objects.update(status=None, sealed_answer=None)
    with pytest.raises(RequestStillRunning):
        send(view)
    IdempotencyKey.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
    with pytest.raises(IdempotencyKeyReused):
        send(view, path="/refunds")
    assert not is_replayed(send(view))
    assert view.done == 2


def remaining_seconds() -> float:
    """Return for how long the key stays held without another renewal."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM lease_expires_at - clock_timestamp()) FROM idempotency_keys")
        return float(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_a_process_that_works_keeps_its_key_and_a_dead_one_frees_it_soon(
    send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert timedelta(seconds=20) >= idempotency.LEASE
    monkeypatch.setattr(idempotency, "LEASE", timedelta(seconds=6))

    def work_until_the_lease_is_renewed() -> None:
        claimed = IdempotencyKey.objects.get().lease_expires_at
        eventually(lambda: IdempotencyKey.objects.get().lease_expires_at > claimed)
        with pytest.raises(RequestStillRunning):
            send(View())

    assert send(View(work_until_the_lease_is_renewed)).status_code == 201


@pytest.mark.django_db(transaction=True)
def test_only_the_keys_of_this_process_are_renewed(send: Any) -> None:
    send(View())
    IdempotencyKey.objects.update(status=None, sealed_answer=None, lease_expires_at=Now())
    row = IdempotencyKey.objects.get()
    for token, is_renewed in ((OTHER_TOKEN, False), (row.token, True)):
        idempotency._Claims().renew_all([idempotency._Claim(row.pk, token)])
        assert (remaining_seconds() > 0) is is_renewed


@pytest.mark.django_db(transaction=True)
def test_a_key_that_is_just_being_answered_does_not_delay_the_renewal_of_others(send: Any) -> None:
    view = View()
    for key in ("locked", "other"):
        send(view, key=key)
    IdempotencyKey.objects.update(status=None, sealed_answer=None, lease_expires_at=Now())
    locked, other = IdempotencyKey.objects.order_by("pk")
    claims = [idempotency._Claim(row.pk, row.token) for row in (locked, other)]
    with transaction.atomic():
        IdempotencyKey.objects.select_for_update().get(pk=locked.pk)
        BackgroundCall(lambda: idempotency._Claims().renew_all(claims)).result()
    assert list(IdempotencyKey.objects.filter(lease_expires_at__gt=Now())) == [other]


def test_an_expired_key_is_free_for_any_request(send: Any) -> None:
    view = View()
    send(view)
    IdempotencyKey.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert not is_replayed(send(view, path="/refunds"))


def test_a_request_that_meets_one_refused_in_this_moment_is_asked_to_wait(
    send: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "_claim", lambda *_, **__: None)
    with pytest.raises(RequestStillRunning):
        send(View())


def refuse() -> None:
    raise NotFound


@pytest.mark.parametrize(("method", "kept"), [("post", True), ("patch", False)])
def test_a_refused_request_frees_its_key_and_keeps_rows_only_if_it_is_not_atomic(
    send: Any, method: str, kept: bool
) -> None:
    with pytest.raises(NotFound):
        send(View(refuse), method=method)
    assert User.objects.filter(email="1@example.org").exists() is kept
    assert not IdempotencyKey.objects.exists()


def lose_the_lease() -> None:
    IdempotencyKey.objects.update(token=OTHER_TOKEN)


def test_an_atomic_request_that_lost_its_lease_changes_nothing(send: Any) -> None:
    with pytest.raises(RequestStillRunning):
        send(View(lose_the_lease), method="patch")
    assert not User.objects.filter(email="1@example.org").exists()


def test_what_must_exist_once_is_not_stored_by_a_request_that_lost_its_lease(send: Any) -> None:
    def lose_and_store() -> None:
        lose_the_lease()
        idempotency.keep_claim()

    with pytest.raises(RequestStillRunning):
        send(View(lose_and_store))
    assert IdempotencyKey.objects.get().token == OTHER_TOKEN
    idempotency.keep_claim()


def test_a_request_that_stores_keeps_its_key_until_it_has_answered(send: Any) -> None:
    def expire_and_store() -> None:
        IdempotencyKey.objects.update(lease_expires_at=Now() - timedelta(seconds=1))
        idempotency.keep_claim()
        assert 15 < remaining_seconds() <= 20

    assert send(View(expire_and_store)).status_code == 201


def test_a_request_that_lost_its_lease_leaves_the_key_to_the_other(send: Any) -> None:
    assert send(View(lose_the_lease)).status_code == 201, "its work is done, and its caller learns that"
    other = IdempotencyKey.objects.get()
    assert (other.token, other.status) == (OTHER_TOKEN, None)


def test_a_refused_request_that_lost_its_lease_leaves_the_key_to_the_other(send: Any) -> None:
    def lose_and_refuse() -> None:
        lose_the_lease()
        refuse()

    with pytest.raises(NotFound):
        send(View(lose_and_refuse))
    assert IdempotencyKey.objects.get().token == OTHER_TOKEN


def test_an_error_of_the_database_is_raised_even_if_the_key_cannot_be_freed(send: Any) -> None:
    def fail() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 / 0")

    with pytest.raises(DataError):
        send(View(fail))


@pytest.mark.django_db(transaction=True)
def test_the_key_of_a_request_whose_connection_broke_is_free_at_once(send: Any) -> None:
    def break_connection() -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")

    view = View(break_connection)
    with pytest.raises(OperationalError):
        send(view)
    view.then = lambda: None
    assert send(view).status_code == 201
    assert view.done == 2


def test_a_key_that_was_answered_although_the_commit_seemed_to_fail_stays_used(send: Any) -> None:
    def answer_and_fail() -> None:
        IdempotencyKey.objects.update(status=201, sealed_answer=b"sealed")
        raise ConnectionError

    with pytest.raises(ConnectionError):
        send(View(answer_and_fail))
    assert IdempotencyKey.objects.get().status == 201


def test_a_response_that_cannot_be_opened_is_a_conflict_and_nothing_is_done_again(send: Any, settings: Any) -> None:
    view = View()
    send(view)
    settings.ENCRYPTION_KEYS = Keyring.new_text().replace("k1", "k9")
    with pytest.raises(Conflict, match="can no longer be read"):
        send(view)
    assert view.done == 1


def test_prune_deletes_expired_keys_in_batches_and_no_other(send: Any, django_assert_num_queries: Any) -> None:
    view = View()
    for number in range(6):
        send(view, key=f"key-{number}")
    fresh = IdempotencyKey.objects.earliest("pk")
    IdempotencyKey.objects.exclude(pk=fresh.pk).update(expires_at=Now() - timedelta(seconds=1))
    with django_assert_num_queries(1):
        assert idempotency.prune(batch=2, batches=1) == 2
    with django_assert_num_queries(2):
        assert idempotency.prune(batch=2) == 3
    assert IdempotencyKey.objects.get() == fresh
