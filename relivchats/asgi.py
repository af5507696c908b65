"""The ASGI entry point of the web server. Only this process pools database connections, one per thread.

The event loop receives requests and sends responses; Django's views run in threads, as under WSGI. What waits for a
slow client or for a worker waits on the event loop and occupies no thread: bodies (request_bodies.py), and requests
that follow a row (following.py), which get one response when it is finished, or server-sent events until then. Large
requests have threads of their own (heavy_requests.py).
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes
from uuid import UUID, uuid4

from django.core.wsgi import get_wsgi_application

from relivchats.environment import read, whole

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
#: Of requests, of health, of the polls of those who wait, of the renewal of Idempotency-Keys, and two that write about
#: this process: its heartbeat, and what it counted and logged.
THREADS, HEALTH_THREADS, POLL_THREADS, RENEWAL_THREADS, RECORDER_THREADS = 8, 2, 1, 1, 2
# The settings read it, and are not loaded yet. A large request has a thread for each parsing process.
_parsing_processes = read("PARSING_PROCESSES", whole, default=2, least=1)
_connections = THREADS + HEALTH_THREADS + POLL_THREADS + RENEWAL_THREADS + RECORDER_THREADS + _parsing_processes
os.environ.setdefault("DATABASE_POOL_SIZE", str(_connections))

_wsgi = get_wsgi_application()

# After Django is set up.
from django.conf import settings  # noqa: E402
from django.db import Error, connections  # noqa: E402

from relivchats import following, process_signals, request_counts  # noqa: E402
from relivchats.errors import DomainError, ServiceBusy  # noqa: E402
from relivchats.headers import set_security_headers  # noqa: E402
from relivchats.heavy_requests import Client, HeavyRequests, is_heavy  # noqa: E402
from relivchats.logs import request_id  # noqa: E402
from relivchats.problems import refusal_response  # noqa: E402
from relivchats.request_bodies import LARGE_BYTES, BodyReader, ClientGone, Receive, Scope  # noqa: E402

logger = logging.getLogger(__name__)

#: Bytes of a body besides an uploaded file.
_OVERHEAD_BYTES = 64 * 1024
#: A response is sent at once up to this size. A larger one is sent while it is made, and waits for its client.
MAX_BUFFERED_RESPONSE_BYTES = 4 * 1024 * 1024
SEND_TIMEOUT_SECONDS = 60
#: Between two looks at the rows of those who wait, and between two signs of life in a stream.
POLL_SECONDS = 0.3
#: How long a thread may keep the interpreter from others that wait for it; Python's default is 5 ms. With 50 slow and
#: 20 heavy clients, this alone made the p95 of others a fifth shorter (docs/performance.md).
SWITCH_SECONDS = 0.0005
HEARTBEAT_SECONDS = 15.0

Send = Callable[[Mapping[str, Any]], Awaitable[None]]

sys.setswitchinterval(SWITCH_SECONDS)
_requests = ThreadPoolExecutor(THREADS, thread_name_prefix="request")
#: Health answers while all other threads work.
_health = ThreadPoolExecutor(HEALTH_THREADS, thread_name_prefix="health")
_heavy = HeavyRequests(threads=settings.PARSING_PROCESSES)
_polls = ThreadPoolExecutor(POLL_THREADS, thread_name_prefix="poll")
_bodies = BodyReader(limit_bytes=settings.UPLOAD_LIMIT_BYTES + _OVERHEAD_BYTES)


@dataclass
class Response:
    """A response of a view; its body as far as it was not sent yet."""

    status: int = 500
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    is_sent: bool = False

    def take_header(self, name: str) -> str:
        """Remove a header and return its value, or an empty string."""
        values = [value for each, value in self.headers if each.lower() == name.lower()]
        self.headers = [(each, value) for each, value in self.headers if each.lower() != name.lower()]
        return values[0] if values else ""

    def get_header(self, name: str) -> str:
        """Return the value of a header, or an empty string."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), "")


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one HTTP request."""
    if scope["type"] != "http":
        return
    environment = make_environ(scope)
    is_read = False
    started = time.perf_counter()
    try:
        with ExitStack() as admitted:
            client = Client.of(environment)
            is_large = _bodies.declared_bytes(scope) > LARGE_BYTES
            if is_large:
                admitted.enter_context(_heavy.admit(client))
            async with _bodies.reading(scope, receive) as body:
                is_read = True
                environment["wsgi.input"] = body
                environment[following.CAN_FOLLOW] = True
                if is_heavy(body, content_type=environment.get("CONTENT_TYPE", "")):
                    if not is_large:
                        admitted.enter_context(_heavy.admit(client))
                    response = await _heavy.run(client, partial(_respond, environment, _sender(send)))
                else:
                    response = await _run(environment, send)
    except ClientGone:
        return
    except DomainError as error:
        if isinstance(error, ServiceBusy) and not is_read:
            await _bodies.discard(scope, receive)
        # No middleware sees this response.
        request_counts.counter.count(
            route=request_counts.find_route(environment["PATH_INFO"]),
            method=environment["REQUEST_METHOD"],
            status=error.status,
            milliseconds=(time.perf_counter() - started) * 1000,
        )
        token = request_id.set(uuid4().hex)
        refusal = refusal_response(error)
        set_security_headers(refusal, path=environment["PATH_INFO"])
        headers = [*refusal.items(), ("X-Request-ID", request_id.get()), ("Connection", "close")]
        request_id.reset(token)
        await _send(send, Response(refusal.status_code, headers, refusal.content))
        return
    # The body is closed.
    environment["wsgi.input"] = BytesIO()
    if response.is_sent:
        return
    if followed := response.take_header(following.HEADER):
        await _follow(environment, followed, response, receive, send)
    else:
        await _send(send, response)


def make_environ(scope: Scope) -> dict[str, Any]:
    """Return the WSGI environment (PEP 3333) of a request with an empty body."""
    raw_path = scope.get("raw_path") or scope["path"].encode()
    server = scope.get("server") or ("localhost", 80)
    environment: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(raw_path.partition(b"?")[0]).decode("latin-1"),
        "QUERY_STRING": scope.get("query_string", b"").decode("latin-1"),
        "SERVER_NAME": str(server[0]),
        "SERVER_PORT": str(server[1] or 80),
        "SERVER_PROTOCOL": f"HTTP/{scope.get('http_version', '1.1')}",
        "REMOTE_ADDR": str((scope.get("client") or ("", 0))[0]),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    for raw_name, raw_value in scope["headers"]:
        # With an underscore, a name would be that of another header: X_Forwarded_Proto.
        if b"_" in raw_name:
            continue
        name, value = raw_name.decode("latin-1").upper().replace("-", "_"), raw_value.decode("latin-1")
        key = name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"
        separator = "; " if name == "COOKIE" else ","
        environment[key] = f"{environment[key]}{separator}{value}" if key in environment else value
    return environment


async def _run(environment: dict[str, Any], send: Send) -> Response:
    """Run the view in a thread."""
    pool = _health if environment["PATH_INFO"].startswith("/health") else _requests
    return await asyncio.get_running_loop().run_in_executor(pool, _respond, environment, _sender(send))


def _sender(send: Send) -> Callable[[Mapping[str, Any]], None]:
    """Return a function that sends a message from a thread and waits until it is sent."""
    loop = asyncio.get_running_loop()

    def send_now(message: Mapping[str, Any]) -> None:
        asyncio.run_coroutine_threadsafe(send(message), loop).result(SEND_TIMEOUT_SECONDS)  # type: ignore[arg-type]

    return send_now


def _respond(environment: dict[str, Any], send_now: Callable[[Mapping[str, Any]], None]) -> Response:
    """Run the view in this thread. A large response is sent meanwhile, and waits for its client."""
    response = Response()

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> None:
        response.status, response.headers = int(status.split(" ", 1)[0]), list(headers)

    # A copy: middleware changes it, and a request that is repeated later starts from what the client sent.
    result = _wsgi(dict(environment), start_response)  # type: ignore[arg-type]
    try:
        parts: list[bytes] = []
        size = 0
        for part in result:
            parts.append(part)
            size += len(part)
            if size > MAX_BUFFERED_RESPONSE_BYTES or (response.is_sent and size):
                if not response.is_sent:
                    send_now(_start(response))
                    response.is_sent = True
                send_now({"type": "http.response.body", "body": b"".join(parts), "more_body": True})
                parts, size = [], 0
        if response.is_sent:
            send_now({"type": "http.response.body", "body": b""})
        response.body = b"".join(parts)
    finally:
        if hasattr(result, "close"):
            result.close()
    return response


def _start(response: Response) -> dict[str, Any]:
    headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    return {"type": "http.response.start", "status": response.status, "headers": headers}


async def _send(send: Send, response: Response) -> None:
    await send(_start(response))
    await send({"type": "http.response.body", "body": response.body})


async def _follow(environment: Mapping[str, Any], followed: str, first: Response, receive: Receive, send: Send) -> None:
    """Wait for the row that a view named, and answer: with events if the client accepts them, else once."""
    source, row_id, seconds, purpose = followed.split(" ")
    wait = _Wait(environment, first, source, UUID(row_id), float(seconds), purpose, send)
    as_events = "text/event-stream" in environment.get("HTTP_ACCEPT", "")
    answering = asyncio.ensure_future(wait.stream() if as_events else wait.answer())
    # The worker goes on without the client; only the wait ends.
    gone = asyncio.ensure_future(_wait_until_gone(receive))
    await asyncio.wait([answering, gone], return_when=asyncio.FIRST_COMPLETED)
    gone.cancel()
    if not answering.done():
        answering.cancel()
    await asyncio.gather(answering, gone, return_exceptions=True)
    if not answering.cancelled() and (error := answering.exception()):
        raise error


async def _wait_until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True)
class _Wait:
    """A request that waits for a row, and how it ends."""

    environment: Mapping[str, Any]
    first: Response
    source: str
    row_id: UUID
    seconds: float
    purpose: str
    send: Send

    async def answer(self) -> None:
        """Send the finished row, or the first response if that takes too long."""
        finished = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds), aclosing(_watcher.watch(self.source, self.row_id)) as watched:
                async for progress in watched:
                    finished = progress.is_finished
        response = await self._repeat() if finished else self.first
        if not response.is_sent:
            await _send(self.send, response)

    async def stream(self) -> None:
        """Send what happens to a row as server-sent events: `progress`, then those of the view, or an `error`."""
        # A stream has all there is to wait for, so it has no Retry-After.
        dropped = ("content-length", "content-type", "retry-after")
        kept = [row for row in self.first.headers if row[0].lower() not in dropped]
        added = [("Content-Type", "text/event-stream"), ("Cache-Control", "no-store"), ("X-Accel-Buffering", "no")]
        await self.send(_start(Response(200, [*kept, *added])))
        watched = _watcher.watch(self.source, self.row_id, heartbeat_seconds=HEARTBEAT_SECONDS)
        finished = False
        with suppress(TimeoutError):
            async with asyncio.timeout(self.seconds), aclosing(watched):
                async for progress in watched:
                    finished = progress.is_finished
                    await self._write(make_event("progress", progress.shown) if progress.shown else ": waiting\n\n")
        if finished:
            response = await self._repeat()
            is_stream = response.status == 200 and response.get_header("Content-Type").startswith("text/event-stream")
            text = response.body.decode()
            await self._write(text if is_stream else f"event: error\ndata: {' '.join(text.split())}\n\n")
        else:
            missed = {"title": "Not finished in time", "location": self.first.get_header("Location")}
            await self._write(make_event("error", missed))
        await self.send({"type": "http.response.body", "body": b""})

    async def _write(self, text: str) -> None:
        await self.send({"type": "http.response.body", "body": text.encode(), "more_body": True})

    async def _repeat(self) -> Response:
        """Return the response to a GET of the first response's Location, on behalf of the same client."""
        kept = {
            name: value for name, value in self.environment.items() if name not in ("CONTENT_LENGTH", "CONTENT_TYPE")
        }
        changed = {
            "REQUEST_METHOD": "GET",
            "PATH_INFO": self.first.get_header("Location"),
            "QUERY_STRING": "",
            "wsgi.input": BytesIO(),
            following.FOLLOWED: self.purpose,
        }
        response = await _run({**kept, **changed}, self.send)
        response.headers += [row for row in self.first.headers if row[0].lower().startswith("x-ratelimit-")]
        return response


def make_event(name: str, content: Any) -> str:
    """Return one server-sent event."""
    return f"event: {name}\ndata: {json.dumps(content, ensure_ascii=False)}\n\n"


class _Watcher:
    """Polls the rows of all who wait in this process, with one query for all of a source."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, UUID], set[asyncio.Queue[following.Progress]]] = {}
        self._task: asyncio.Task[None] | None = None

    async def watch(
        self, source: str, row_id: UUID, *, heartbeat_seconds: float | None = None
    ) -> AsyncGenerator[following.Progress, None]:
        """Yield the progress of a row when it changes, up to the last one; an empty one as a sign of life."""
        queue: asyncio.Queue[following.Progress] = asyncio.Queue()
        key = source, row_id
        self._waiting.setdefault(key, set()).add(queue)
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._poll())
        loop = asyncio.get_running_loop()
        last: following.Progress | None = None
        yielded_at = loop.time()
        try:
            while last is None or not last.is_finished:
                try:
                    # Since the latest yield: a row that does not change is in the queue with each poll.
                    async with asyncio.timeout_at(heartbeat_seconds and yielded_at + heartbeat_seconds):
                        progress = await queue.get()
                except TimeoutError:
                    yield following.Progress({}, is_finished=False)
                    yielded_at = loop.time()
                    continue
                if progress != last:
                    last = progress
                    yield progress
                    yielded_at = loop.time()
        finally:
            self._waiting[key].discard(queue)
            if not self._waiting[key]:
                del self._waiting[key]

    async def _poll(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            rows = list(self._waiting)
            for name in {name for name, _ in rows}:
                ids = [row_id for each, row_id in rows if each == name]
                try:
                    found = await loop.run_in_executor(_polls, _look, name, ids)
                except Error as error:
                    logger.warning("rows not polled", extra={"source": name, "error": type(error).__name__})
                    continue
                for row_id in ids:
                    # A row that is gone was deleted: the repeated request says so.
                    progress = found.get(row_id, following.Progress({}, is_finished=True))
                    for queue in self._waiting.get((name, row_id), ()):
                        queue.put_nowait(progress)
            await asyncio.sleep(POLL_SECONDS)


def _look(source: str, ids: list[UUID]) -> Mapping[UUID, following.Progress]:
    try:
        return following.sources[source](ids)
    finally:
        connections.close_all()


_watcher = _Watcher()
process_signals.web_started.send(sender=None)
