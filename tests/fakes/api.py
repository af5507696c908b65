"""An HTTP server that replaces the API, for responses that the real API gives rarely."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Answer(NamedTuple):
    body: Any
    status: int = 200
    retry_after: int | None = None


class FakeAPI:
    """Serves `answers` by method and path. Several answers are served in order, and the last one repeatedly."""

    def __init__(self, answers: dict[str, list[Answer]]) -> None:
        self.answers = answers
        self.requests: list[str] = []
        self.base_url = ""

    def answer(self, method: str, path: str) -> Answer:
        requested = f"{method} {urlsplit(path).path}"
        self.requests.append(requested)
        remaining = self.answers.get(requested) or [Answer({"title": f"No answer for {requested}"}, 404)]
        return remaining.pop(0) if len(remaining) > 1 else remaining[0]


@contextmanager
def serving(answers: dict[str, list[Answer]]) -> Iterator[FakeAPI]:
    """Run the server in a thread for the block."""
    api = FakeAPI(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._reply()

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self._reply()

        def _reply(self) -> None:
            answer = api.answer(self.command, self.path)
            body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
            self.send_response(answer.status)
            if answer.retry_after is not None:
                self.send_header("Retry-After", str(answer.retry_after))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api.base_url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield api
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
