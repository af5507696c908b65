"""Reads the body of a request on the event loop, in memory, before a thread is taken for it.

A client that sends slowly occupies no thread. It must keep a minimum rate, so that its memory is freed again. What the
bodies of all requests take is counted until their responses are made.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
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
DISCARD_SECONDS = 5.0
DISCARD_PAUSE_SECONDS = 0.5


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
        self._bodies: set[_Body] = set()

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
        body = _Body(is_large=declared > self._large_bytes)
        self._bodies.add(body)
        try:
            # Closed, which frees it: requests refer to it until the garbage collector finds them.
            with await self._read(body, receive) if declared else BytesIO() as content:
                yield content
        finally:
            self._bodies.discard(body)

    async def discard(self, scope: Scope, receive: Receive) -> None:
        """Drop the body of a request that is refused: many clients read no response before they have sent all.

        Return after DISCARD_SECONDS at the latest, and if the client pauses for DISCARD_PAUSE_SECONDS.
        """
        left = self.declared_bytes(scope)
        with suppress(TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS):
                while left > 0:
                    async with asyncio.timeout(DISCARD_PAUSE_SECONDS):
                        message = await receive()
                    left -= len(message.get("body", b""))
                    if not message.get("more_body", False):
                        break

    async def _read(self, body: _Body, receive: Receive) -> BytesIO:
        content = BytesIO()
        loop = asyncio.get_running_loop()
        started = loop.time()
        more = True
        while more:
            allowed = self._grace_seconds + body.size_bytes / self._bytes_per_second
            try:
                async with asyncio.timeout_at(started + allowed) as body.wait:
                    message = await receive()
            except TimeoutError:
                if not body.is_evicted:
                    raise RequestTimeout(
                        "The request did not arrive in time. Send it over a faster connection."
                    ) from None
            body.wait = None
            if body.is_evicted:
                raise _busy()
            if message["type"] == "http.disconnect":
                raise ClientGone
            part = message.get("body", b"")
            body.size_bytes, body.received_at = body.size_bytes + len(part), loop.time()
            self._make_room(body)
            content.write(part)
            more = message.get("more_body", False)
        content.seek(0)
        return content

    def _make_room(self, body: _Body) -> None:
        """End the reading of those that sent nothing for longest, until all fit. Raise ServiceBusy if none is left.

        What arrives counts, not what is declared: otherwise, a few clients that declare much and send slowly would keep
        all others from sending.
        """
        while self._exceeds(only_large=False) or (body.is_large and self._exceeds(only_large=True)):
            waiting = [each for each in self._bodies if each.wait and each.size_bytes and each is not body]
            if not waiting:
                raise _busy()
            min(waiting, key=lambda each: each.received_at).evict()

    def _exceeds(self, *, only_large: bool) -> bool:
        total = sum(body.size_bytes for body in self._bodies if body.is_large or not only_large)
        return total > (self._max_large_bytes if only_large else self._max_buffered_bytes)


@dataclass(eq=False)
class _Body:
    """A body of which so many bytes are in memory. `wait` is set while it waits for more."""

    is_large: bool
    size_bytes: int = 0
    received_at: float = 0.0
    wait: asyncio.Timeout | None = None
    is_evicted: bool = False

    def evict(self) -> None:
        """End its wait, and count it no more: its memory is freed at once."""
        assert self.wait
        self.is_evicted, self.size_bytes = True, 0
        self.wait.reschedule(0)


def _busy() -> ServiceBusy:
    return ServiceBusy(
        "Too many large requests arrive at the moment. Please send this one again in a few seconds.",
        retry_after_seconds=BUSY_RETRY_SECONDS,
    )
