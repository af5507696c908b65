"""Reads the body of a request on the event loop, in memory, before a thread is taken for it.

A client that sends slowly occupies no thread. It must keep a minimum rate, so that its memory is freed again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from io import BytesIO
from typing import Any

from relivchats.errors import RequestTimeout, ServiceBusy

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

#: A body must arrive within these seconds, and those that its bytes take at this rate.
GRACE_SECONDS = 20.0
MIN_BYTES_PER_SECOND = 8 * 1024
#: Bytes of all bodies that are read at the same time.
MAX_BUFFERED_BYTES = 256 * 1024 * 1024
BUSY_RETRY_SECONDS = 10


class ClientGone(Exception):
    """The client closed the connection."""


class BodyReader:
    """Reads bodies of at most `limit_bytes`, and of all together at most `max_buffered_bytes`."""

    def __init__(
        self,
        *,
        limit_bytes: int,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        grace_seconds: float = GRACE_SECONDS,
        bytes_per_second: float = MIN_BYTES_PER_SECOND,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self._grace_seconds = grace_seconds
        self._bytes_per_second = bytes_per_second
        self._buffered_bytes = 0

    async def read(self, scope: Scope, receive: Receive) -> BytesIO:
        """Return the body. One that declares no length, or more than the limit, is left unread: the views refuse it.

        Raise RequestTimeout, ServiceBusy or ClientGone.
        """
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        declared = int(lengths[0]) if lengths and lengths[0].isdigit() else 0
        body = BytesIO()
        if not 0 < declared <= self._limit_bytes:
            return body
        if self._buffered_bytes + declared > self._max_buffered_bytes:
            raise ServiceBusy(
                "Too many large requests arrive at the moment. Please send this one again in a few seconds.",
                retry_after_seconds=BUSY_RETRY_SECONDS,
            )
        # All of it at once: a body that has begun must be able to end.
        self._buffered_bytes += declared
        loop = asyncio.get_running_loop()
        started = loop.time()
        try:
            more = True
            while more:
                allowed = self._grace_seconds + body.tell() / self._bytes_per_second
                async with asyncio.timeout_at(started + allowed):
                    message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGone
                body.write(message.get("body", b""))
                more = message.get("more_body", False)
        except TimeoutError:
            raise RequestTimeout("The request did not arrive in time. Send it over a faster connection.") from None
        finally:
            self._buffered_bytes -= declared
        body.seek(0)
        return body
