"""Bodies are read in memory, at a minimum rate, within limits for one and for all together."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from relivchats import request_bodies
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
    return asyncio.run(read_later(reader, length, receiving(*messages)))


async def read_later(reader: BodyReader, length: int | None, receive: Receive) -> bytes:
    async with reader.reading(scope(length), receive) as body:
        return body.read()


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

        return await read_later(reader, 6, receive)

    assert asyncio.run(run()) == b"abcdef"


def test_a_client_that_leaves_is_not_answered() -> None:
    with pytest.raises(ClientGone):
        read(BodyReader(limit_bytes=10), 6, part(b"abc"), {"type": "http.disconnect"})


def test_bodies_beyond_the_memory_for_all_are_refused_until_another_response_is_made() -> None:
    reader = BodyReader(limit_bytes=10, max_buffered_bytes=10)

    async def run() -> None:
        async with reader.reading(scope(6), receiving(part(b"abcdef", more=False))) as body:
            assert body.read() == b"abcdef"
            with pytest.raises(ServiceBusy) as caught:
                await read_later(reader, 6, receiving(part(b"abcdef", more=False)))
            assert caught.value.extra["retry_after_seconds"] > 0
        assert await read_later(reader, 6, receiving(part(b"abcdef", more=False))) == b"abcdef"

    asyncio.run(run())


def test_clients_that_send_nothing_more_make_room_and_what_they_declared_takes_none() -> None:
    reader = BodyReader(limit_bytes=10, max_buffered_bytes=10)

    async def run() -> None:
        sent = [b"", b"abcdef", b"ab"]
        stalled = [asyncio.ensure_future(read_later(reader, 10, receiving(part(each)))) for each in sent]
        await asyncio.sleep(0.01)
        assert await read_later(reader, 6, receiving(part(b"abc"), part(b"def", more=False))) == b"abcdef"
        with pytest.raises(ServiceBusy):
            await stalled[1]
        assert not stalled[0].done()
        assert not stalled[2].done()
        for task in stalled:
            task.cancel()
        await asyncio.gather(*stalled, return_exceptions=True)

    asyncio.run(run())


def test_large_bodies_leave_memory_to_small_ones() -> None:
    reader = BodyReader(limit_bytes=10, max_buffered_bytes=20, max_large_bytes=10, large_bytes=4)

    async def run() -> None:
        async with reader.reading(scope(6), receiving(part(b"abcdef", more=False))):
            with pytest.raises(ServiceBusy):
                await read_later(reader, 6, receiving(part(b"abcdef", more=False)))
            assert await read_later(reader, 4, receiving(part(b"abcd", more=False))) == b"abcd"

    asyncio.run(run())


def test_the_body_of_a_refused_request_is_dropped_until_its_client_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = BodyReader(limit_bytes=10)

    def discarded(*messages: Mapping[str, Any]) -> int:
        """Return how many messages are left."""
        left = list(messages)

        async def receive() -> Mapping[str, Any]:
            if not left:
                await asyncio.Event().wait()
            return left.pop(0)

        asyncio.run(reader.discard(scope(6), receive))
        return len(left)

    assert discarded(part(b"abc"), part(b"def", more=False), {"type": "http.disconnect"}) == 1
    monkeypatch.setattr(request_bodies, "DISCARD_PAUSE_SECONDS", 0.01)
    assert discarded(part(b"abc")) == 0
