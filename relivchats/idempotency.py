"""`Idempotency-Key`: a request that its client may send again, done once.

`@idempotent()` on a view's method is all that a view needs, with `PARAMETERS` in
its description. For a day, the same person's same request under the same key is
answered with the first answer. A request that was refused or failed leaves
nothing, so it may be mended and sent again under its key.

A key is claimed with a lease before the work begins, so a process that dies in
the middle holds it for LEASE at most.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import uuid
from collections.abc import Callable
from contextlib import nullcontext, suppress
from datetime import timedelta
from typing import Any, Concatenate, ParamSpec, TypeVar

from django.core.files.uploadedfile import UploadedFile
from django.db import DatabaseError, connection, transaction
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
from relivchats.rest import body, person

HEADER = "Idempotency-Key"
REPLAYED = "Idempotent-Replayed"
KEPT = timedelta(hours=24)
#: Longer than any request takes: a second process must not start while the first still works.
LEASE = timedelta(minutes=2)
RETRY_SECONDS = 2
#: What a replayed answer repeats of the first one's headers.
_REPEATED = ("Location", "Retry-After")
_KEY = re.compile(r"[\x21-\x7e]{1,255}")

PARAMETERS = [
    OpenApiParameter(
        HEADER,
        str,
        OpenApiParameter.HEADER,
        description="A name of your own for this request, such as a UUID. Sent again within 24 hours it is not done"
        " again: you get the first answer. Another request under the same key is a 422, and one whose first sending is"
        " still being worked on a 409. A refusal or a failure uses no key up.",
    ),
    OpenApiParameter(
        REPLAYED,
        str,
        OpenApiParameter.HEADER,
        enum=("true",),
        response=["200", "201", "202"],
        description="This answers an earlier sending of the request.",
    ),
]

#: What a 409 means where nothing else is in the way.
STILL_RUNNING = "An earlier sending of this request, under the same Idempotency-Key, is still being worked on."

View = TypeVar("View")
Given = ParamSpec("Given")
Method = Callable[Concatenate[View, Request, Given], Response]
Rebuild = Callable[[Request, str], Any]


class MalformedIdempotencyKey(DomainError):
    code, status, title = "ERR_1001", 422, "Not an idempotency key"


class IdempotencyKeyReused(DomainError):
    code, status, title = "ERR_1001", 422, "Key already used for another request"


class RequestStillRunning(Conflict):
    title = "The first sending is still running"


def idempotent(
    *, atomic: bool = False, rebuild: Rebuild | None = None
) -> Callable[[Method[View, Given]], Method[View, Given]]:
    """Make a view's method heed the header. Without the header nothing changes.

    The view refuses by raising; what it returns is its answer.

    `atomic` does the work and keeps its answer in one transaction, so that a
    crash between them is impossible. Not for work that must outlive a failure,
    such as a row written before somebody else is asked.

    An answer is kept sealed under the keyring, which erasing a chat does not
    destroy. So one that holds what a chat says gives `rebuild(request, id)`:
    of the first answer only the `id` in it is kept, and the body is made anew.
    """

    def decorate(method: Method[View, Given]) -> Method[View, Given]:
        @functools.wraps(method)
        def once(view: View, request: Request, /, *args: Given.args, **kwargs: Given.kwargs) -> Response:
            key = request.headers.get(HEADER)
            work = functools.partial(method, view, request, *args, **kwargs)
            return work() if key is None else _once(key, request, work, atomic=atomic, rebuild=rebuild)

        return once

    return decorate


def prune(*, batch: int = 1000, batches: int = 50) -> int:
    """Remove the keys whose day is over, a batch a statement. Returns how many."""
    old = IdempotencyKey.objects.filter(expires_at__lt=Now()).order_by("expires_at").values("pk")[:batch]
    removed = 0
    for _ in range(batches):
        count, _by_model = IdempotencyKey.objects.filter(pk__in=old.all()).delete()
        removed += count
        if count < batch:
            break
    return removed


def _once(
    key: str, request: Request, work: Callable[[], Response], *, atomic: bool, rebuild: Rebuild | None
) -> Response:
    if not _KEY.fullmatch(key):
        raise MalformedIdempotencyKey(f"{HEADER} is 1 to 255 letters, digits or signs without spaces, such as a UUID.")
    user, token = person(request), uuid.uuid4()
    digest, fingerprint = _digest("key", f"{user.pk} {key}"), _fingerprint(request)
    pk = _claim(user, digest=digest, fingerprint=fingerprint, token=token)
    if pk is None:
        return _replay(_earlier(user, digest=digest, fingerprint=fingerprint), request, rebuild)
    held = IdempotencyKey.objects.filter(pk=pk, token=token)
    try:
        with transaction.atomic() if atomic else nullcontext():
            response = work()
            if not held.update(**_answered(response, token, whole=rebuild is None)) and atomic:
                raise _still_running()
    except BaseException:
        # Refused or failed: the key is as new. Where the database is gone, the lease runs out.
        with suppress(DatabaseError):
            held.filter(status=None).delete()
        raise
    return response


# In one statement, so that of two at once one gets the key. A day later it is as if it had never been used; one whose
# process died may be claimed by the same request only, since what it has done is not known.
_CLAIM = """
INSERT INTO idempotency_keys AS earlier (user_id, digest, fingerprint, token, lease_expires_at, expires_at)
VALUES (%(user)s, %(digest)s, %(fingerprint)s, %(token)s,
        clock_timestamp() + %(lease)s, clock_timestamp() + %(kept)s)
ON CONFLICT (user_id, digest) DO UPDATE SET
    fingerprint = EXCLUDED.fingerprint, token = EXCLUDED.token, status = NULL, sealed_answer = NULL,
    created_at = clock_timestamp(), lease_expires_at = EXCLUDED.lease_expires_at, expires_at = EXCLUDED.expires_at
WHERE earlier.expires_at < clock_timestamp()
   OR (earlier.status IS NULL AND earlier.lease_expires_at < clock_timestamp()
       AND earlier.fingerprint = EXCLUDED.fingerprint)
RETURNING id
"""


def _claim(user: User, *, digest: str, fingerprint: str, token: uuid.UUID) -> int | None:
    """The row that is ours now, or None when somebody else has the key."""
    names: dict[str, Any] = {"user": user.pk, "digest": digest, "fingerprint": fingerprint, "token": token}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, names | {"lease": LEASE, "kept": KEPT})
        row = cursor.fetchone()
    return row[0] if row else None


def _earlier(user: User, *, digest: str, fingerprint: str) -> IdempotencyKey:
    """The request that was answered under this key, if it is this one."""
    earlier = IdempotencyKey.objects.filter(user=user, digest=digest).first()
    if earlier is not None and earlier.fingerprint != fingerprint:
        raise IdempotencyKeyReused("This Idempotency-Key belongs to an earlier, different request. Use a new key.")
    # None: the first sending was refused just now.
    if earlier is None or earlier.status is None:
        raise _still_running()
    return earlier


def _still_running() -> RequestStillRunning:
    return RequestStillRunning(
        "An earlier sending of this request is being worked on. Send it again in a few seconds, under the same key.",
        retry_after_seconds=RETRY_SECONDS,
    )


def _replay(earlier: IdempotencyKey, request: Request, rebuild: Rebuild | None) -> Response:
    try:
        kept = json.loads(keyring().open(earlier.sealed_answer or b"", context=_context(earlier.token)))
    except CannotOpen:
        raise Conflict(
            "This request was done, but its answer can no longer be read. Look at what it made, or use a new key."
        ) from None
    data = kept["body"] if rebuild is None else rebuild(request, kept["body"])
    return Response(data, status=earlier.status, headers={**kept["headers"], REPLAYED: "true"})


def _answered(response: Response, token: uuid.UUID, *, whole: bool) -> dict[str, Any]:
    headers = {name: response.headers[name] for name in _REPEATED if name in response.headers}
    kept = JSONRenderer().render({"headers": headers, "body": response.data if whole else response.data["id"]})
    return {"status": response.status_code, "sealed_answer": keyring().seal(kept, context=_context(token))}


def _context(token: uuid.UUID) -> str:
    return f"idempotency:{token}"


def _fingerprint(request: Request) -> str:
    """What makes two requests the same: the address and the values, whatever their order or the form's boundary."""
    content = body(request)
    if isinstance(content, MultiValueDict):
        content = {name: [_told(value) for value in values] for name, values in content.lists()}
    return _digest("request", json.dumps([request.method, request.path, content], sort_keys=True))


def _told(value: Any) -> str:
    """A field, or what a file holds; its name does not matter. Views read the file again from its start."""
    if not isinstance(value, UploadedFile):
        return str(value)
    digest = hashlib.sha256(str(value.size).encode())
    # One that is too large is refused on reading, which is for the view to say.
    with suppress(DomainError):
        for chunk in value.chunks():
            digest.update(chunk)
        value.seek(0)
    return digest.hexdigest()


def _digest(purpose: str, text: str) -> str:
    """With the installation's secret, so that nobody can test a guess at what was sent."""
    return salted_hmac(f"idempotency {purpose}", text, algorithm="sha256").hexdigest()
