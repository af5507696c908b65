"""The base of the stub servers of language models: HTTP/1.1 with kept connections, a delay, and faults.

A response is one single write: a server that writes head and body separately costs 44 ms per call.
"""

from __future__ import annotations

import json
import socket
import ssl
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Asked:
    """One call in the terms of `ModelRequest`, whatever the protocol. `body` is the request's JSON, `path` its path."""

    model: str
    instructions: str
    content: str
    schema: Mapping[str, Any]
    max_output_tokens: int
    body: Mapping[str, Any]
    path: str


@dataclass(frozen=True)
class Reply:
    """A raw response: a JSON document or bytes. `fault` says how it is sent.

    `trickle_head` and `trickle_body` send one byte every 50 ms, the first in a header that never ends. `hang` sends
    nothing, `drop` closes the connection.
    """

    body: Any = b""
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    fault: Literal["", "trickle_head", "trickle_body", "hang", "drop"] = ""


#: Returns the model's answer: a JSON document or a text. A `Reply` is sent as it is.
Answer = Callable[[Asked], Any]


class ModelServer(ABC):
    """A stub server. All attributes can be changed while it runs."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.delay_seconds = 0.0
        #: Makes requests wait for each other: none is answered before all its parties wait, or before it breaks.
        self.barrier: threading.Barrier | None = None
        #: The JSON of all requests with a body, the request lines of all requests, and their headers in lower case.
        self.bodies: list[dict[str, Any]] = []
        self.requests: list[str] = []
        self.headers: list[dict[str, str]] = []
        #: Requests that wait for their response, now and at most; connections that were accepted.
        self.waiting = 0
        self.max_waiting = 0
        self.connections = 0
        self.address = ""
        self.closing = threading.Event()
        #: Set when a trickling response could not be written any more: the client closed the connection.
        self.cut_off = threading.Event()
        self.lock = threading.Lock()

    @abstractmethod
    def parse(self, path: str, body: Mapping[str, Any]) -> Asked:
        """Return what a request asks for."""

    @abstractmethod
    def wrap(self, text: str, asked: Asked) -> dict[str, Any]:
        """Return the response that contains this answer."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings that make the client call this server."""

    def describe(self, path: str) -> Any:
        """Return the document of a GET request."""
        return Reply({"error": {"code": 404, "message": f"nothing at {path}"}}, 404)

    def reply(self, path: str, body: Mapping[str, Any] | None) -> Reply:
        """Return the response to a request."""
        if body is None:
            found = self.describe(path)
            return found if isinstance(found, Reply) else Reply(found)
        asked = self.parse(path, body)
        answered = self.answer(asked)
        if isinstance(answered, Reply):
            return answered
        text = answered if isinstance(answered, str) else json.dumps(answered, ensure_ascii=False)
        return Reply(self.wrap(text, asked))

    @contextmanager
    def serving(self, *, tls: ssl.SSLContext | None = None) -> Iterator[Self]:
        """Run the server in threads for the block, on a free port of 127.0.0.1."""
        server = _Server(self)
        if tls:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        self.address = f"{'https' if tls else 'http'}://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="model-server")
        thread.start()
        try:
            yield self
        finally:
            self.closing.set()
            server.shutdown()
            thread.join()
            server.server_close()


class _Server(ThreadingHTTPServer):
    #: 300 clients connect at once.
    request_queue_size = 1024
    daemon_threads = True
    # A handler waits for the next request of a kept connection: nobody waits for it.
    block_on_close = False

    def __init__(self, stub: ModelServer) -> None:
        self.stub = stub
        super().__init__(("127.0.0.1", 0), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that close their connection."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.server.stub.lock:
            self.server.stub.connections += 1

    def do_GET(self) -> None:
        self._respond(None)

    def do_POST(self) -> None:
        self._respond(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _respond(self, body: dict[str, Any] | None) -> None:
        stub = self.server.stub
        with stub.lock:
            stub.requests.append(f"{self.command} {self.path}")
            stub.headers.append({name.lower(): value for name, value in self.headers.items()})
            if body is not None:
                stub.bodies.append(body)
            stub.waiting += 1
            stub.max_waiting = max(stub.max_waiting, stub.waiting)
        try:
            if stub.delay_seconds:
                stub.closing.wait(stub.delay_seconds)
            if stub.barrier:
                with suppress(threading.BrokenBarrierError):
                    stub.barrier.wait()
            reply = stub.reply(self.path, body)
        finally:
            with stub.lock:
                stub.waiting -= 1
        if reply.fault:
            self.close_connection = True
        if reply.fault == "hang":
            stub.closing.wait()
        elif reply.fault != "drop":
            self._send(reply)

    def _send(self, reply: Reply) -> None:
        content = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
        length = 1_000_000 if reply.fault == "trickle_body" else len(content)
        headers = {"Content-Type": "application/json; charset=UTF-8", "Content-Length": str(length), **reply.headers}
        head = f"HTTP/1.1 {reply.status} Status\r\n" + "".join(f"{name}: {headers[name]}\r\n" for name in headers)
        if not reply.fault:
            self.wfile.write(head.encode() + b"\r\n" + content)
            return
        try:
            self.wfile.write(head.encode() + (b"X-Slow: " if reply.fault == "trickle_head" else b"\r\n"))
            while not self.server.stub.closing.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            self.server.stub.cut_off.set()

    def log_message(self, format: str, *args: object) -> None:
        pass
