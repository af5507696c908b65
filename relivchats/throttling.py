"""So many requests of one kind a person: `@limited(…)` on a view's method. Redis counts, over all processes."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

import redis
from django.conf import settings
from drf_spectacular.utils import OpenApiParameter
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rest_framework.request import Request
from rest_framework.response import Response

from relivchats.errors import DomainError
from relivchats.rest import person

logger = logging.getLogger(__name__)

#: A broker that does not answer holds nobody up for longer.
PATIENCE_SECONDS = 0.5

View = TypeVar("View", bound=Any)
Given = ParamSpec("Given")
Method = Callable[Concatenate[View, Request, Given], Response]

PARAMETERS = [
    OpenApiParameter(f"X-RateLimit-{name}", int, OpenApiParameter.HEADER, response=True, description=description)
    for name, description in (
        ("Limit", "Requests of this kind that you may send in a minute."),
        ("Remaining", "How many of them are left."),
        ("Reset", "In how many seconds you have all of them again."),
    )
]


class TooManyRequests(DomainError):
    code, status, title = "ERR_1005", 429, "Too many requests"
    slug = "rate-limited"


def limited(name: str, *, setting: str) -> Callable[[Method[View, Given]], Method[View, Given]]:
    """Refuse the person's requests of this kind above the setting's number in a minute, from the first on.

    While the broker does not answer, nobody is refused.
    """

    def decorate(method: Method[View, Given]) -> Method[View, Given]:
        @functools.wraps(method)
        def counted(view: View, request: Request, /, *args: Given.args, **kwargs: Given.kwargs) -> Response:
            most: int = getattr(settings, setting)
            if (seen := _count(f"limit:{name}:{person(request).pk}")) is not None:
                count, reset = seen
                view.headers["X-RateLimit-Limit"] = str(most)
                view.headers["X-RateLimit-Remaining"] = str(max(0, most - count))
                view.headers["X-RateLimit-Reset"] = str(reset)
                if count > most:
                    raise TooManyRequests(
                        f"You may send {most} of these a minute. Send this one again in {reset} s.",
                        retry_after_seconds=reset,
                    )
            return method(view, request, *args, **kwargs)

        return counted

    return decorate


def _count(key: str, *, seconds: int = 60) -> tuple[int, int] | None:
    """How many since the first of them, this one too, and the seconds until the count begins anew. None: unknown."""
    try:
        with _client(settings.REDIS_URL, PATIENCE_SECONDS).pipeline() as broker:
            broker.set(key, 0, ex=seconds, nx=True)
            broker.incr(key)
            broker.ttl(key)
            _, count, left = broker.execute()
    except (RedisError, OSError) as error:
        logger.warning("requests are not counted", extra={"error": type(error).__name__})
        return None
    return count, max(1, left)


@functools.cache
def _client(url: str, patience_seconds: float) -> redis.Redis:
    return redis.Redis.from_url(
        url, socket_timeout=patience_seconds, socket_connect_timeout=patience_seconds, retry=Retry(NoBackoff(), 0)
    )
