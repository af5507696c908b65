"""What the stand-ins for payment providers share: HTTP, and misbehaving when a test says so."""

from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

Answer = tuple[int, Any]
Document = dict[str, Any]

#: What may go wrong: no answer at all, a status, something else than JSON, or the work done and the answer lost.
TROUBLES = ("hang", 500, 503, 429, "garbage", "other JSON", "lose the answer")


def _code(status: int) -> str:
    return "SERVER_ERROR" if status >= 500 else "BAD_REQUEST_ERROR"


class FakeProvider:
    """`troubles` befall the next requests, one each; None is a good answer."""

    def __init__(self) -> None:
        self.base_url = ""
        self.troubles: deque[str | int | None] = deque()
        self.asked: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.number = 0

    def next_id(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}_{id(self):x}{self.number:06}"

    def answer(self, method: str, path: str, values: Document, headers: dict[str, str]) -> Answer:
        raise NotImplementedError


Fake = TypeVar("Fake", bound=FakeProvider)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            is_json = self.headers.get("Content-Type", "").startswith("application/json")
            self._answer(json.loads(content) if is_json else dict(parse_qsl(content)))

        def _answer(self, values: Document) -> None:
            url = urlsplit(self.path)
            with fake.lock:
                fake.asked.append(f"{self.command} {url.path}")
                fake.headers.append(dict(self.headers))
                trouble = fake.troubles.popleft() if fake.troubles else None
                status: int = 500
                body: Any = {}
                if trouble is None or trouble == "lose the answer":
                    asked = {**values, **dict(parse_qsl(url.query))}
                    status, body = fake.answer(self.command, url.path, asked, dict(self.headers))
            if trouble == "hang":
                fake.closing.wait(20)
            if trouble in ("hang", "lose the answer"):
                self.close_connection = True
                return
            if isinstance(trouble, int):
                status, body = trouble, {"error": {"code": _code(trouble), "message": "out of order"}}
            self._send(200 if isinstance(trouble, str) else status, trouble, body)

        def _send(self, status: int, trouble: str | int | None, body: Any) -> None:
            content = {"garbage": b"<html>\xff", "other JSON": b"[1, 2]"}.get(str(trouble), json.dumps(body).encode())
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield fake
    finally:
        fake.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
