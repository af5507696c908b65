"""The base class of the stub servers of payment providers: HTTP, faults on demand, and the interface of `Shop`."""

from __future__ import annotations

import json
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from urllib.parse import parse_qsl, urlsplit

if TYPE_CHECKING:
    from billing.models import PaymentOrder

Answer = tuple[int, Any]
Document = dict[str, Any]

#: Faults: no response, an error status, a body that is not a JSON object, or success without a response.
FAULTS = ("hang", 500, 503, 429, "garbage", "other JSON", "lose the answer")


def _code(status: int) -> str:
    return "SERVER_ERROR" if status >= 500 else "BAD_REQUEST_ERROR"


class FakeProvider(ABC):
    """A stub server of one provider. Each request takes the next item of `faults`. None means a normal response.

    `tests.fakes.NAME.Fake` is the stub of the provider NAME. Every test with the fixture `shop` runs with each of them.
    """

    #: The name of the provider in `billing.payments.providers.REGISTRY`.
    name: ClassVar[str]
    #: Environment variables with a key that the provider rejects.
    wrong_key: ClassVar[dict[str, str]]
    #: The provider's JSON: the fields for a payment's amount and an event's time, and the status of a completed refund.
    paid_amount_field: ClassVar[str]
    event_time_field: ClassVar[str]
    refund_completed: ClassVar[str]
    #: The fields that identify a second payment of the same order.
    second_payment: ClassVar[dict[str, Any]]
    #: The number of requests that create an order.
    requests_per_order: ClassVar[int] = 1

    def __init__(self) -> None:
        self.base_url = ""
        self.faults: deque[str | int | None] = deque()
        self.requests: list[str] = []
        #: The parameters of the requests, with the same index.
        self.values: list[Document] = []
        self.refunds: dict[str, Document] = {}
        #: Response bodies by idempotency key.
        self.by_key: dict[str, Document] = {}
        self.headers: list[dict[str, str]] = []
        self.closing = threading.Event()
        self.lock = threading.Lock()
        self.number = 0

    def next_id(self, prefix: str) -> str:
        self.number += 1
        return f"{prefix}_{id(self):x}{self.number:06}"

    def forget_idempotency_keys(self) -> None:
        """Forget the keys of earlier requests, as Stripe does after a day."""
        self.by_key.clear()

    @abstractmethod
    def answer(self, method: str, path: str, values: Document, headers: dict[str, str]) -> Answer:
        """Return the status and the JSON document for a request."""

    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """Return the settings that make the provider's client call this server."""

    @abstractmethod
    def sign(self, body: bytes, *, event_id: str = "") -> dict[str, str]:
        """Return the headers of a webhook with a valid signature."""

    @abstractmethod
    def forged_headers(self, body: bytes) -> dict[str, dict[str, str]]:
        """Return headers that must be rejected. The keys say what is wrong with them."""

    @abstractmethod
    def order_ids(self) -> list[str]:
        """Return the ids of the orders created here."""

    @abstractmethod
    def pay_order(self, order: PaymentOrder) -> Document:
        """Pay the order unless it is paid. Return its payment."""

    @abstractmethod
    def paid_events(self, order: PaymentOrder, change: Document) -> list[bytes]:
        """Return every event that the provider sends for one payment."""

    @abstractmethod
    def order_event(self, order: PaymentOrder, kind: str, *, amount: int, change: Document) -> bytes:
        """Return an event of the order. Kinds: paid, failed, processing, refunded, disputed, lost, won."""

    @abstractmethod
    def refund_event(self, order: PaymentOrder, kind: str, **change: Any) -> bytes:
        """Return an event of the first refund made here. Kinds: created, updated, failed."""

    @abstractmethod
    def make_refund(self, payment_id: str, amount: int) -> Document:
        """Refund a payment as a person does in the provider's dashboard. Return the refund."""


Fake = TypeVar("Fake", bound=FakeProvider)


@contextmanager
def serving(fake: Fake) -> Iterator[Fake]:
    """Run the stub server in a thread for the block."""

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
                query = {**values, **dict(parse_qsl(url.query))}
                fake.requests.append(f"{self.command} {url.path}")
                fake.values.append(query)
                fake.headers.append(dict(self.headers))
                fault = fake.faults.popleft() if fake.faults else None
                status: int = 500
                body: Any = {}
                if fault is None or fault == "lose the answer":
                    status, body = fake.answer(self.command, url.path, query, dict(self.headers))
            if fault == "hang":
                fake.closing.wait(20)
            if fault in ("hang", "lose the answer"):
                self.close_connection = True
                return
            if isinstance(fault, int):
                status, body = fault, {"error": {"code": _code(fault), "message": "out of order"}}
            self._send(200 if isinstance(fault, str) else status, fault, body)

        def _send(self, status: int, fault: str | int | None, body: Any) -> None:
            content = {"garbage": b"<html>\xff", "other JSON": b"[1, 2]"}.get(str(fault), json.dumps(body).encode())
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
