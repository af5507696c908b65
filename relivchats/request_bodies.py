"""Reads the body of a request on the event loop, in memory, before a thread is taken for it.

A client that sends slowly occupies no thread. It must keep a minimum rate, so that its memory is freed again. What the
bodies of all requests take is counted until their responses are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from io import BytesIO
from typing import Any

from relivchats.errors import RequestTimeout, ServiceBusy

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]

#: A body must arrive within these seconds, and those that its bytes take at this rate.
GRACE_SECONDS = 20.0
MIN_BYTES_PER_SECOND = 8 * 1024
#: Bytes of the bodies of all requests, and of those that are larger than LARGE_BYTES: small requests find room.
MAX_BUFFERED_BYTES = 256 * 1024 * 1024
MAX_LARGE_BYTES = 192 * 1024 * 1024
#: A body beyond this is large.
LARGE_BYTES = 1024 * 1024
BUSY_RETRY_SECONDS = 10


class ClientGone(Exception):
    """The client closed the connection."""


class BodyReader:
    """Reads bodies of at most `limit_bytes`; all together, or the large ones, take no more than their maximum."""

    def __init__(
        self,
        *,
        limit_bytes: int,
        max_buffered_bytes: int = MAX_BUFFERED_BYTES,
        max_large_bytes: int = MAX_LARGE_BYTES,
        large_bytes: int = LARGE_BYTES,
        grace_seconds: float = GRACE_SECONDS,
        bytes_per_second: float = MIN_BYTES_PER_SECOND,
    ) -> None:
        self._limit_bytes = limit_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self._max_large_bytes = max_large_bytes
        self._large_bytes = large_bytes
        self._grace_seconds = grace_seconds
        self._bytes_per_second = bytes_per_second
        self._buffered_bytes = 0
        self._buffered_large_bytes = 0

    def declared_bytes(self, scope: Scope) -> int:
        """Return the length of the body that is read; 0 if none is declared, or more than the limit."""
        lengths = [value for name, value in scope["headers"] if name == b"content-length"]
        declared = int(lengths[0]) if lengths and lengths[0].isdigit() else 0
        return declared if declared <= self._limit_bytes else 0

    @asynccontextmanager
    async def reading(self, scope: Scope, receive: Receive) -> AsyncIterator[BytesIO]:
        """Read the body, and count it for the block. One that `declared_bytes` is 0 for is unread: the views refuse it.

        Raise RequestTimeout, ServiceBusy or ClientGone.
        """
        declared = self.declared_bytes(scope)
        large = declared if declared > self._large_bytes else 0
        if (
            self._buffered_bytes + declared > self._max_buffered_bytes
            or self._buffered_large_bytes + large > self._max_large_bytes
        ):
            raise ServiceBusy(
                "Too many large requests arrive at the moment. Please send this one again in a few seconds.",
                retry_after_seconds=BUSY_RETRY_SECONDS,
            )
        # All of it at once: a body that has begun must be able to end.
        self._buffered_bytes += declared
        self._buffered_large_bytes += large
        try:
            yield await self._read(receive) if declared else BytesIO()
        finally:
            self._buffered_bytes -= declared
            self._buffered_large_bytes -= large

    async def _read(self, receive: Receive) -> BytesIO:
        body = BytesIO()
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
        body.seek(0)
        return body
