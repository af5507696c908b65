"""Rate limits, counted in Redis over all processes through the library `limits`.

A limit counts in windows of the clock: from one full minute, or hour, to the next. While the broker does not answer,
each process counts for itself. Keys contain a keyed hash of the subject, so the broker learns no e-mail address.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from relivchats import following
from relivchats.errors import DomainError

if TYPE_CHECKING:
    from limits.storage import Storage

logger = logging.getLogger(__name__)

#: How long a request waits for a broker that does not answer, and for how long the next ones do not ask it.
BROKER_TIMEOUT_SECONDS = 0.5
BROKER_PAUSE_SECONDS = 5.0

_PERIODS = {60: "minute", 3600: "hour"}

HEADERS = {
    "X-RateLimit-Limit": "Requests of this kind that you may send in a minute or an hour.",
    "X-RateLimit-Remaining": "How many of them are left.",
    "X-RateLimit-Reset": "Seconds until the limit is reset.",
}


class TooManyRequests(DomainError):
    """The caller is over a limit (429). `retry_after_seconds` says when the next window starts."""

    code, status, title = "ERR_1005", 429, "Too many requests"
    slug = "rate-limited"


class Window(NamedTuple):
    """The state of a limit for one subject: requests allowed, requests left, seconds until the window ends.

    `key` and `storage` are where the request was counted. `is_first_refusal` is true of the first one over the limit.
    """

    limit: int
    remaining: int
    reset_seconds: int
    exceeded: bool
    key: str
    storage: Storage
    is_first_refusal: bool = False


@dataclass(frozen=True)
class Limit:
    """At most `settings.<setting>` requests per subject in `seconds`; any number if it is 0.

    `name` is part of the key in Redis.
    """

    name: str
    setting: str
    seconds: int = 60

    def hit(self, subject: object) -> Window | None:
        """Count one request and return the window, or None if there is no limit."""
        limit: int = getattr(settings, self.setting)
        if not limit:
            return None
        key, elapsed = self._window(subject)
        count, storage = _ask(lambda storage: storage.incr(key, self.seconds))
        reset_seconds = max(1, math.ceil(self.seconds - elapsed))
        remaining, is_first_refusal = max(0, limit - count), count == limit + 1
        return Window(limit, remaining, reset_seconds, count > limit, key, storage, is_first_refusal)

    def count(self, subject: object) -> int:
        """Return the requests that count now, without counting one. There may be more than the limit."""
        key, _ = self._window(subject)
        return _ask(lambda storage: storage.get(key))[0]

    def _window(self, subject: object) -> tuple[str, float]:
        """Return the key of the subject's counter, and the seconds since its window began."""
        number, elapsed = divmod(time.time(), self.seconds)
        subject_hash = salted_hmac("rate limit", str(subject), algorithm="sha256").hexdigest()[:32]
        return f"{self.name}:{subject_hash}:{int(number)}", elapsed

    def undo(self, window: Window) -> None:
        """Take back one `hit`, such as that of a login that succeeded, where it was counted."""
        try:
            window.storage.incr(window.key, self.seconds, amount=-1)
        except (RedisError, OSError) as error:
            logger.warning("a request stays counted", extra={"error": type(error).__name__})

    @property
    def period(self) -> str:
        """The window in words."""
        return _PERIODS[self.seconds]


#: Every request of the API that has no limit of its own.
REQUESTS = Limit("requests", "REQUESTS_PER_MINUTE")


class RequestThrottle(BaseThrottle):
    """Counts a request of the API: per user, and per address if the user is unknown.

    A view names the limits of a method in `limits`, the shorter windows first. Every response has the headers of the
    limit that is nearest to its end.
    """

    def allow_request(self, request: Request, view: Any) -> bool:
        """Return True, or raise TooManyRequests."""
        if following.followed(request._request):
            # The server repeats a request that it counted.
            return True
        own: Mapping[str, Sequence[Limit]] = getattr(view, "limits", {})
        user = request.user
        subject = user.pk if user.is_authenticated else client_address(request)
        nearest: Window | None = None
        for limit in own.get(str(request.method), (REQUESTS,)):
            window = limit.hit(subject)
            if window is None:
                continue
            if nearest is None or window.remaining <= nearest.remaining:
                nearest = window
            if window.exceeded:
                _set_headers(view, window)
                raise TooManyRequests(
                    f"You can send {window.limit} of these requests per {limit.period}."
                    f" Send this one again in {window.reset_seconds} s.",
                    retry_after_seconds=window.reset_seconds,
                )
        if nearest is not None:
            _set_headers(view, nearest)
        return True


def _set_headers(view: Any, window: Window) -> None:
    values = (window.limit, window.remaining, window.reset_seconds)
    view.headers.update(zip(HEADERS, map(str, values), strict=True))


def _ask(question: Callable[[Storage], int]) -> tuple[int, Storage]:
    """Ask Redis, or this process if the broker does not answer. Return the value of the counter and its place."""
    for storage in _storages():
        try:
            return question(storage), storage
        except (RedisError, OSError) as error:
            _pause.until = time.monotonic() + BROKER_PAUSE_SECONDS
            logger.warning("requests are counted in this process", extra={"error": type(error).__name__})
    raise AssertionError("a counter in memory does not fail")


class _Pause:
    """Until when the broker is not asked: otherwise every request would wait for a broker that is frozen."""

    until = 0.0


_pause = _Pause()


def _storages() -> Iterator[Storage]:
    if time.monotonic() >= _pause.until:
        yield _redis(settings.REDIS_URL, BROKER_TIMEOUT_SECONDS)
    yield _memory()


@functools.cache
def _redis(url: str, timeout_seconds: float) -> Storage:
    # Imported at the first counted request: the import takes a tenth of the startup time.
    from limits.storage import RedisStorage

    # No retries: a request waits for the broker once.
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    return RedisStorage(url, key_prefix="limit", **options)


@functools.cache
def _memory() -> Storage:
    from limits.storage import MemoryStorage

    return MemoryStorage()


def client_address(request: HttpRequest | Request) -> str:
    """Return the caller's IP address; of IPv6 the /64 network, because one caller has all of it."""
    return network_of(request.META.get("REMOTE_ADDR", ""))


def network_of(address: str) -> str:
    """Return an IPv4 address unchanged, and the /64 network of an IPv6 address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
