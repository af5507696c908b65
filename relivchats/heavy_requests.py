"""Large requests run in threads of their own, in turns between clients, so that they occupy no thread of the others.

A client is a token and an address. Each may have only a few large requests at a time, from before the body is read
until the response. All of this happens on the event loop, so it needs no locks.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from io import BytesIO
from typing import Any, NamedTuple, TypeVar

from relivchats.errors import ServiceBusy
from relivchats.proxies import find_client
from relivchats.request_bodies import LARGE_BYTES
from relivchats.throttling import network_of

T = TypeVar("T")

#: A smaller body with a zip file may unpack to much.
_SMALL_ARCHIVE_BYTES = 5 * 1024
#: Anywhere in a body: part headers can be written in many ways.
_ARCHIVE_MARKS = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
#: Django decodes base64, which hides the marks.
_ENCODED_PART = b"content-transfer-encoding"
#: A form with the field `extend` may add to a large chat. Its name stands in the body, unless it is encoded: as in RFC
#: 2231, or in the charset of the request, such as UTF-7.
_FORM, _CHARSET = "multipart/", "charset"
_EXTEND_MARKS = (b"extend", b"name*")

MAX_PER_TOKEN = 2
#: Of people behind one address.
MAX_PER_ADDRESS = 6
MAX_WAITING = 16
#: Longer than the requests before it take, unless the machine is overloaded.
WAIT_SECONDS = 45.0
RETRY_SECONDS = 10


class Client(NamedTuple):
    """Who sends a request: an address (of IPv6 a network), and a hash of the token, or an empty string."""

    address: str
    token: str

    @classmethod
    def of(cls, environment: Mapping[str, Any]) -> Client:
        """Return the client of a WSGI environment."""
        token = environment.get("HTTP_AUTHORIZATION", "")
        # Nobody has checked the token yet.
        digest = hashlib.sha256(token.encode()).hexdigest() if token else ""
        return cls(network_of(find_client(environment)), digest)


def is_heavy(body: BytesIO, *, content_type: str) -> bool:
    """Return whether the body is large, contains a file that may unpack to much, or may extend a large chat."""
    # The value is not copied until the buffer changes.
    content = body.getvalue()
    if len(content) > LARGE_BYTES:
        return True
    lower, kind = content.lower(), content_type.lower()
    if _FORM in kind and (_CHARSET in kind or any(mark in lower for mark in _EXTEND_MARKS)):
        return True
    if len(content) <= _SMALL_ARCHIVE_BYTES:
        return False
    return any(mark in content for mark in _ARCHIVE_MARKS) or _ENCODED_PART in lower


class HeavyRequests:
    """Admits and runs large requests."""

    def __init__(
        self,
        *,
        threads: int,
        max_per_token: int = MAX_PER_TOKEN,
        max_per_address: int = MAX_PER_ADDRESS,
        max_waiting: int = MAX_WAITING,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="heavy")
        self._free = threads
        self._max_per_token = max_per_token
        self._max_per_address = max_per_address
        self._max_waiting = max_waiting
        self._wait_seconds = wait_seconds
        self._admitted: Counter[str] = Counter()
        #: The requests that wait, by client. The first client is the next.
        self._waiting: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @contextmanager
    def admit(self, client: Client) -> Iterator[None]:
        """Count a request for the block. Raise ServiceBusy if the client has too many."""
        limits = {client.address: self._max_per_address}
        if client.token:
            limits[client.token] = self._max_per_token
        if any(self._admitted[key] >= limit for key, limit in limits.items()):
            raise _busy("You are sending several large requests at once. Please send this one again after them.")
        self._admitted.update(limits.keys())
        try:
            yield
        finally:
            self._admitted.subtract(limits.keys())
            # Zeros would stay forever.
            self._admitted += Counter()

    async def run(self, client: Client, work: Callable[[], T]) -> T:
        """Return the result of the function, which runs in a thread when it is the client's turn. Raise ServiceBusy."""
        async with self._turn(client.token or client.address):
            return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    @asynccontextmanager
    async def _turn(self, key: str) -> AsyncIterator[None]:
        if self._free:
            self._free -= 1
        else:
            await self._wait(key)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, key: str) -> None:
        if sum(map(len, self._waiting.values())) >= self._max_waiting:
            raise _busy("Too many large requests are waiting. Please send this one again in a few seconds.")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(key, deque()).append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():
                # It came at the moment at which the wait ended.
                self._pass_on()
            if isinstance(error, TimeoutError):
                raise _busy("The service is busy with other large requests. Please send this one again.") from None
            raise

    def _pass_on(self) -> None:
        """Give the thread to the next client, and put that client at the end."""
        while self._waiting:
            key, turns = self._waiting.popitem(last=False)
            turn = turns.popleft()
            if turns:
                self._waiting[key] = turns
            # A wait that ended is cancelled.
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1


def _busy(detail: str) -> ServiceBusy:
    return ServiceBusy(detail, retry_after_seconds=RETRY_SECONDS)
