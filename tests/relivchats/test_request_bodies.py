"""Bodies are read in memory, at a minimum rate, within limits for one and for all together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from relivchats.errors import RequestTimeout, ServiceBusy
from relivchats.request_bodies import BodyReader, ClientGone, Receive


def scope(length: int | None) -> dict[str, Any]:
    return {"headers": [] if length is None else [(b"content-length", str(length).encode())]}


def receiving(*messages: Mapping[str, Any]) -> Receive:
    """Return a function that returns these messages, and then waits forever."""

    async def produce() -> AsyncIterator[Mapping[str, Any]]:
        for message in messages:
            yield message
        await asyncio.Event().wait()

    iterator = produce()
    return lambda: anext(iterator)


def part(body: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


def read(reader: BodyReader, length: int | None, *messages: Mapping[str, Any]) -> bytes:
    return asyncio.run(reader.read(scope(length), receiving(*messages))).read()


def test_the_parts_of_a_body_are_joined() -> None:
    reader = BodyReader(limit_bytes=10)
    assert read(reader, 6, part(b"abc"), part(b"def", more=False)) == b"abcdef"


@pytest.mark.parametrize("length", [None, 0, 11])
def test_a_body_of_no_declared_length_or_beyond_the_limit_is_not_read(length: int | None) -> None:
    assert read(BodyReader(limit_bytes=10), length, part(b"abc")) == b""


def test_a_body_that_is_slower_than_the_minimum_rate_is_refused() -> None:
    reader = BodyReader(limit_bytes=10, grace_seconds=0.01, bytes_per_second=1e9)
    with pytest.raises(RequestTimeout):
        read(reader, 6, part(b"abc"))


def test_a_body_that_keeps_the_rate_has_more_time_than_the_grace() -> None:
    reader = BodyReader(limit_bytes=10, grace_seconds=0.01, bytes_per_second=0.1)

    async def run() -> bytes:
        parts = [part(b"abc"), part(b"def", more=False)]

        async def receive() -> Mapping[str, Any]:
            if len(parts) == 1:
                await asyncio.sleep(0.05)
            return parts.pop(0)

        return (await reader.read(scope(6), receive)).read()

    assert asyncio.run(run()) == b"abcdef"


def test_a_client_that_leaves_is_not_answered() -> None:
    with pytest.raises(ClientGone):
        read(BodyReader(limit_bytes=10), 6, part(b"abc"), {"type": "http.disconnect"})


def test_bodies_beyond_the_memory_for_all_are_refused_until_another_ended() -> None:
    reader = BodyReader(limit_bytes=10, max_buffered_bytes=10)

    async def run() -> None:
        first = asyncio.ensure_future(reader.read(scope(6), receiving(part(b"abc"))))
        await asyncio.sleep(0)
        with pytest.raises(ServiceBusy) as caught:
            await reader.read(scope(6), receiving(part(b"abcdef", more=False)))
        assert caught.value.extra["retry_after_seconds"] > 0
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        assert (await reader.read(scope(6), receiving(part(b"abcdef", more=False)))).read() == b"abcdef"

    asyncio.run(run())
