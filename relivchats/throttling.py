"""Rate limits, counted in Redis over all processes by the library `limits`.

A limit counts in a fixed window that starts with the first request. While the broker does not answer, nothing is
counted and nobody is refused. Keys contain a keyed hash of the subject, so the broker learns no e-mail address.
"""

from __future__ import annotations

import functools
import ipaddress
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Concatenate, NamedTuple, ParamSpec, TypeVar

from django.conf import settings
from django.http import HttpRequest
from django.utils.crypto import salted_hmac
from drf_spectacular.utils import OpenApiParameter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.response import Response

from relivchats.errors import DomainError
from relivchats.rest import authenticated_user

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.strategies import FixedWindowRateLimiter

logger = logging.getLogger(__name__)

#: How long a request waits for a broker that does not answer.
BROKER_TIMEOUT_SECONDS = 0.5

View = TypeVar("View", bound=Any)
Result = TypeVar("Result")
Params = ParamSpec("Params")
Method = Callable[Concatenate[View, Request, Params], Response]

PARAMETERS = [
    OpenApiParameter(f"X-RateLimit-{name}", int, OpenApiParameter.HEADER, response=True, description=description)
    for name, description in (
        ("Limit", "Requests of this kind that you may send in a minute."),
        ("Remaining", "How many of them are left."),
        ("Reset", "Seconds until the limit is reset."),
    )
]


class TooManyRequests(DomainError):
    """The caller is over a limit (429). `retry_after_seconds` says when the next window starts."""

    code, status, title = "ERR_1005", 429, "Too many requests"
    slug = "rate-limited"


class Window(NamedTuple):
    """The state of a limit for one subject: requests allowed, requests left, seconds until the window ends."""

    limit: int
    remaining: int
    reset_seconds: int
    exceeded: bool


@dataclass(frozen=True)
class Limit:
    """At most `settings.<setting>` requests per subject in `seconds`. `name` is part of the key in Redis."""

    name: str
    setting: str
    seconds: int = 60

    def hit(self, subject: object) -> Window | None:
        """Count one request and return the window, or None if the broker does not answer."""
        limit: int = getattr(settings, self.setting)

        def count(limiter: FixedWindowRateLimiter, item: RateLimitItem, key: str) -> Window:
            accepted = limiter.hit(item, key)
            reset_at, remaining = limiter.get_window_stats(item, key)
            return Window(limit, remaining, max(1, math.ceil(reset_at - time.time())), not accepted)

        return self._call(subject, count)

    def undo(self, subject: object) -> None:
        """Take back one `hit`, such as that of a login that succeeded."""
        self._call(subject, lambda limiter, item, key: limiter.hit(item, key, cost=-1))

    def _call(
        self, subject: object, call: Callable[[FixedWindowRateLimiter, RateLimitItem, str], Result]
    ) -> Result | None:
        # Imported at the first counted request: the import takes a tenth of the startup time.
        from limits import RateLimitItemPerSecond

        item = RateLimitItemPerSecond(getattr(settings, self.setting), self.seconds, namespace="relivchats")
        key = f"{self.name}:{salted_hmac('rate limit', str(subject), algorithm='sha256').hexdigest()[:32]}"
        try:
            return call(_limiter(settings.REDIS_URL, BROKER_TIMEOUT_SECONDS), item, key)
        except (RedisError, OSError) as error:
            logger.warning("requests are not counted", extra={"limit": self.name, "error": type(error).__name__})
            return None


@functools.cache
def _limiter(url: str, timeout_seconds: float) -> FixedWindowRateLimiter:
    from limits.storage import RedisStorage
    from limits.strategies import FixedWindowRateLimiter

    # No retries: a request waits for the broker once.
    options: dict[str, Any] = {
        "socket_timeout": timeout_seconds,
        "socket_connect_timeout": timeout_seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    return FixedWindowRateLimiter(RedisStorage(url, key_prefix="limit", **options))


def limited(name: str, *, setting: str) -> Callable[[Method[View, Params]], Method[View, Params]]:
    """Return a decorator for a view's method that refuses requests above the setting's number per user and minute.

    Responses contain the X-RateLimit headers of `PARAMETERS`, unless the broker does not answer.
    """
    limit = Limit(name, setting)

    def decorate(method: Method[View, Params]) -> Method[View, Params]:
        @functools.wraps(method)
        def counted(view: View, request: Request, /, *args: Params.args, **kwargs: Params.kwargs) -> Response:
            if (window := limit.hit(authenticated_user(request).pk)) is not None:
                view.headers["X-RateLimit-Limit"] = str(window.limit)
                view.headers["X-RateLimit-Remaining"] = str(window.remaining)
                view.headers["X-RateLimit-Reset"] = str(window.reset_seconds)
                if window.exceeded:
                    raise TooManyRequests(
                        f"You can send {window.limit} of these requests per minute."
                        f" Send this one again in {window.reset_seconds} s.",
                        retry_after_seconds=window.reset_seconds,
                    )
            return method(view, request, *args, **kwargs)

        return counted

    return decorate


def client_address(request: HttpRequest) -> str:
    """Return the caller's IP address; of IPv6 the /64 network, because one caller has all of it."""
    text: str = request.META.get("REMOTE_ADDR", "")
    if settings.BEHIND_PROXY:
        # The proxy appends the address that it sees. Callers can invent the entries before it.
        text = request.headers.get("X-Forwarded-For", text).rsplit(",", 1)[-1].strip()
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return text
    return str(ipaddress.ip_network((address, 64), strict=False)) if address.version == 6 else text
