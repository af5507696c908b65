"""`Idempotency-Key`: a request that the client may send again is executed once.

A view's method needs `@idempotent()`, and `PARAMETERS` in its description. For 24 hours, the same request of the same
user under the same key gets the first response. A request that was refused or failed leaves nothing, so it can be
corrected and sent again under its key.

A key is claimed with a lease before the work starts, and the lease is renewed while the process works. A process that
dies holds its keys for at most LEASE.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid
from collections.abc import Callable, Collection
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.db import Error, connection, transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils.crypto import salted_hmac
from django.utils.datastructures import MultiValueDict
from drf_spectacular.utils import OpenApiParameter
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from relivchats.accounts.models import IdempotencyKey, User
from relivchats.crypto import CannotOpen, keyring
from relivchats.errors import Conflict, DomainError
from relivchats.leases import LeaseRenewer
from relivchats.rest import authenticated_user, parse_body

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
#: Three renewals may fail before it expires: a second process must not start while the first is still working.
LEASE = timedelta(seconds=20)
RETRY_SECONDS = 2
#: The headers of the first response that a replayed one repeats.
_REPLAYED_HEADERS = ("Location", "Retry-After")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

PARAMETERS = [
    OpenApiParameter(
        HEADER,
        str,
        OpenApiParameter.HEADER,
        description="A unique value that you choose for this request, such as a UUID. If you send the request again"
        " within 24 hours, it is not executed again: you get the first response. Another request under the same key is"
        " a 422. While the first one is still running, you get a 409. A request that is refused or fails leaves its key"
        " unused.",
    ),
    OpenApiParameter(
        REPLAYED,
        str,
        OpenApiParameter.HEADER,
        enum=("true",),
        response=["200", "201", "202"],
        description="This is the response to an earlier request under the same key.",
    ),
]

#: The description of a 409 that has no other cause.
STILL_RUNNING = "An earlier request under the same Idempotency-Key is still running."

View = TypeVar("View")
Params = ParamSpec("Params")
Method = Callable[Concatenate[View, Request, Params], Response]
Rebuild = Callable[[Request, str], Any]


class MalformedIdempotencyKey(DomainError):
    """The header is not a usable key (422)."""

    code, status, title = "ERR_1001", 422, "Not an idempotency key"


class IdempotencyKeyReused(DomainError):
    """The key belongs to another request (422)."""

    code, status, title = "ERR_1001", 422, "Key already used for another request"


class RequestStillRunning(Conflict):
    """The first request under the key has no response yet (409)."""

    title = "The first request is still running"


class _Claim(NamedTuple):
    """A key that a request of this process holds. The token proves it."""

    pk: int
    token: uuid.UUID


class _Claims:
    """The claims of running requests, to be renewed."""

    @property
    def lease_seconds(self) -> float:
        return LEASE.total_seconds()

    def renew_all(self, claims: Collection[_Claim]) -> None:
        with transaction.atomic():
            # A locked row is just getting its response.
            held = IdempotencyKey.objects.filter(
                pk__in=[claim.pk for claim in claims], token__in=[claim.token for claim in claims], status=None
            )
            unlocked = held.order_by("pk").select_for_update(skip_locked=True)
            IdempotencyKey.objects.filter(pk__in=unlocked.values("pk")).update(lease_expires_at=Now() + LEASE)


_renewer = LeaseRenewer(_Claims())
#: The claim of the request that this thread works on.
_current: ContextVar[_Claim | None] = ContextVar("idempotency_claim", default=None)


def keep_claim() -> None:
    """Renew the claim of the current request, if it has one. Raise RequestStillRunning if another process took it over.

    A view that is not atomic calls this in the transaction that stores what must exist once: a process that could not
    renew its lease, such as during a failover of the database, then stores nothing beside the one that took over.
    """
    claim = _current.get()
    if claim is None:
        return
    held = IdempotencyKey.objects.filter(pk=claim.pk, token=claim.token)
    if not held.update(lease_expires_at=Now() + LEASE):
        raise _still_running()


def idempotent(
    *, atomic: bool = False, rebuild: Rebuild | None = None
) -> Callable[[Method[View, Params]], Method[View, Params]]:
    """Return a decorator that makes a view's method idempotent for requests with the header.

    The view must raise to refuse a request: what it returns is stored as the response.

    `atomic` runs the view and stores its response in one transaction, so that a crash between the two is impossible.
    It does not suit work that must survive a failure, such as a row that is written before a provider is called.

    A response is stored sealed under the keyring, which deleting a chat does not destroy. A view whose response
    contains chat text therefore passes `rebuild(request, id)`: only the `id` of the response is stored, and `rebuild`
    creates the body again. It returns a Response if status and headers have changed with the body.
    """

    def decorate(method: Method[View, Params]) -> Method[View, Params]:
        @functools.wraps(method)
        def wrapper(view: View, request: Request, /, *args: Params.args, **kwargs: Params.kwargs) -> Response:
            key = request.headers.get(HEADER)
            call_view = functools.partial(method, view, request, *args, **kwargs)
            return call_view() if key is None else _once(key, request, call_view, atomic=atomic, rebuild=rebuild)

        return wrapper

    return decorate


def prune(*, batch: int = 1000, batches: int = 50) -> int:
    """Delete expired keys, at most `batches` statements of `batch` rows. Return their number."""
    expired = IdempotencyKey.objects.filter(expires_at__lt=Now()).order_by("expires_at").values("pk")[:batch]
    removed = 0
    for _ in range(batches):
        count, _by_model = IdempotencyKey.objects.filter(pk__in=expired.all()).delete()
        removed += count
        if count < batch:
            break
    return removed


def _once(
    key: str, request: Request, call_view: Callable[[], Response], *, atomic: bool, rebuild: Rebuild | None
) -> Response:
    if not _KEY.fullmatch(key):
        raise MalformedIdempotencyKey(f"{HEADER} is 1 to 255 letters, digits or signs without spaces, such as a UUID.")
    user = authenticated_user(request)
    digest, fingerprint = _digest("key", f"{user.pk} {key}"), _fingerprint(request)
    claim = _claim(user, digest=digest, fingerprint=fingerprint)
    if claim is None:
        return _replay(_earlier(user, digest=digest, fingerprint=fingerprint), request, rebuild)
    held = IdempotencyKey.objects.filter(pk=claim.pk, token=claim.token)
    with _renewer.renewing(claim):
        current = _current.set(claim)
        try:
            with transaction.atomic() if atomic else nullcontext():
                response = call_view()
                headers = {name: response.headers[name] for name in _REPLAYED_HEADERS if name in response.headers}
                # A response with chat text must not outlive its chat, so only its id is stored.
                content = response.data if rebuild is None else response.data["id"]
                answer = JSONRenderer().render({"headers": headers, "body": content})
                sealed = keyring().seal(answer, context=_context(claim.token))
                # A process that was frozen for LEASE may have lost the key to another: our token matches no row then.
                if not held.update(status=response.status_code, sealed_answer=sealed) and atomic:
                    raise _still_running()
        except BaseException:
            _free(held)
            raise
        finally:
            _current.reset(current)
    return response


def _free(held: QuerySet[IdempotencyKey]) -> None:
    """Free the key of a request that was refused or failed. If the database is down, the key's lease expires."""
    for _ in range(2):
        try:
            held.filter(status=None).delete()
            return
        except Error:
            # Perhaps Postgres was restarted. A pool waits some seconds for a new connection; without this, the client's
            # next request would wait for the rest of the lease.
            connection.close()


# One statement, so that only one of two concurrent requests gets the key. An expired key is free. A key whose process
# died can be claimed only by the same request, because it is unknown what the process has done.
_CLAIM = """
INSERT INTO idempotency_keys AS earlier (user_id, digest, fingerprint, token, lease_expires_at, expires_at)
VALUES (%(user)s, %(digest)s, %(fingerprint)s, %(token)s,
        clock_timestamp() + %(lease)s, clock_timestamp() + %(retention)s)
ON CONFLICT (user_id, digest) DO UPDATE SET
    fingerprint = EXCLUDED.fingerprint, token = EXCLUDED.token, status = NULL, sealed_answer = NULL,
    created_at = clock_timestamp(), lease_expires_at = EXCLUDED.lease_expires_at, expires_at = EXCLUDED.expires_at
WHERE earlier.expires_at < clock_timestamp()
   OR (earlier.status IS NULL AND earlier.lease_expires_at < clock_timestamp()
       AND earlier.fingerprint = EXCLUDED.fingerprint)
RETURNING id
"""


def _claim(user: User, *, digest: str, fingerprint: str) -> _Claim | None:
    """Return the claim if the key is ours now, or None if another request has it."""
    token = uuid.uuid4()
    names: dict[str, Any] = {"user": user.pk, "digest": digest, "fingerprint": fingerprint, "token": token}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, names | {"lease": LEASE, "retention": IdempotencyKey.RETENTION})
        row = cursor.fetchone()
    return _Claim(row[0], token) if row else None


def _earlier(user: User, *, digest: str, fingerprint: str) -> IdempotencyKey:
    """Return the row of the finished request. Raise IdempotencyKeyReused or RequestStillRunning."""
    earlier = IdempotencyKey.objects.filter(user=user, digest=digest).first()
    if earlier is not None and earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key belongs to an earlier, different request. Use a new key.")
    # No row: the first request has just been refused.
    if earlier is None or earlier.status is None:
        raise _still_running()
    return earlier


def _still_running() -> RequestStillRunning:
    return RequestStillRunning(
        "An earlier request under this key is still running. Send this one again in a few seconds, under the same key.",
        retry_after_seconds=RETRY_SECONDS,
    )


def _replay(earlier: IdempotencyKey, request: Request, rebuild: Rebuild | None) -> Response:
    try:
        stored = json.loads(keyring().open(earlier.sealed_answer or b"", context=_context(earlier.token)))
    except CannotOpen:
        raise Conflict(
            "This request was executed, but its response can no longer be read. Check its result, or use a new key."
        ) from None
    data = stored["body"] if rebuild is None else rebuild(request, stored["body"])
    if isinstance(data, Response):
        data.headers[REPLAYED] = "true"
        return data
    return Response(data, status=earlier.status, headers={**stored["headers"], REPLAYED: "true"})


def _context(token: uuid.UUID) -> str:
    return f"idempotency:{token}"


def _fingerprint(request: Request) -> str:
    """Return a hash of method, path and values, independent of the order of values and the boundary of a form."""
    content = parse_body(request)
    if isinstance(content, MultiValueDict):
        content = {name: [_content(value) for value in values] for name, values in content.lists()}
    return _digest("request", json.dumps([request.method, request.path, content], sort_keys=True))


def _content(value: Any) -> str:
    """Return a form field's text, or a hash of a file's content without its name. The file is rewound for the view."""
    if not isinstance(value, UploadedFile):
        return str(value)
    digest = hashlib.sha256(str(value.size).encode())
    # Reading a file that is too large raises. The view will read it again and raise the same.
    with suppress(DomainError):
        for chunk in value.chunks():
            digest.update(chunk)
        value.seek(0)
    return digest.hexdigest()


def _digest(purpose: str, text: str) -> str:
    """Return a hash keyed with SECRET_KEY, so that nobody can test guesses of what was sent."""
    return salted_hmac(f"idempotency {purpose}", text, algorithm="sha256").hexdigest()
