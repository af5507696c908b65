"""A minimal client of the REST API. It uses only the standard library, like any program that holds a token could."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Document = Mapping[str, Any]

TIMEOUT_SECONDS = 120
PAGE_SIZE, PAGE_MONTHS = 500, 60
#: A request that is answered with 429 is sent this many times at most.
MAX_ATTEMPTS = 3


class Problem(Exception):
    """A response of the API with a status of 400 or more, and its problem document (RFC 9457)."""

    def __init__(self, status: int, document: Document) -> None:
        self.status = status
        self.document = document
        super().__init__(f"{document.get('title', 'The service refused')}. {document.get('detail', '')}".strip())


class Unreachable(Exception):
    """No server answers at the base URL, or what answers is not the API."""


@dataclass(frozen=True)
class Client:
    """A client for one user. `base_url` is like http://127.0.0.1:8000. Every method raises Problem or Unreachable."""

    base_url: str
    token: str

    def upload(self, export: bytes, **fields: str) -> Document:
        """Upload an export with additional form fields, and return the chat."""
        boundary = uuid.uuid4().hex
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="export"\r\n\r\n'
        body = head.encode() + export + f"\r\n--{boundary}--\r\n".encode()
        return self._request("POST", "/api/chats/upload", body, f"multipart/form-data; boundary={boundary}")

    def unlock(self, **fields: Any) -> Document:
        """Unlock insights of a chat, and return the job."""
        return self._request("POST", "/api/insights/unlock", json.dumps(fields).encode(), "application/json")

    def job(self, job_id: str) -> Document:
        """Return the job with the status of each of its insights."""
        return self._request("GET", f"/api/insights/jobs/{job_id}/status")

    def insights(self, chat_id: str) -> list[Document]:
        """Return all insights of a chat."""
        insights: list[Document] = self._request("GET", f"/api/insights/chats/{chat_id}")["insights"]
        return insights

    def timeline(self, chat_id: str, *, language: str = "en") -> list[Document]:
        """Return all entries of the timeline of a chat, in order, in this language."""
        entries: list[Document] = []
        after = ""
        while True:
            page = self._request("GET", f"/api/chats/{chat_id}/timeline?limit={PAGE_MONTHS}&language={language}{after}")
            entries += [entry for month in page["results"] for entry in month["entries"]]
            if page["next"] is None:
                return entries
            after = f"&after={page['results'][-1]['month']}"

    def messages(self, chat_id: str, numbers: set[int]) -> Iterator[Document]:
        """Yield the chat's messages with these numbers. Each request reads one page of PAGE_SIZE messages."""
        remaining = sorted(numbers)
        while remaining:
            path = f"/api/chats/{chat_id}/messages?after={remaining[0] - 1}&limit={PAGE_SIZE}"
            yield from (message for message in self._request("GET", path)["results"] if message["number"] in numbers)
            remaining = [number for number in remaining if number >= remaining[0] + PAGE_SIZE]

    def balance(self) -> Document:
        """Return the user's coins: owned, reserved and spendable."""
        return self._request("GET", "/api/credits/balance")

    def _request(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Document:
        """Return the document of a successful response. A response of 429 is retried after its `Retry-After`."""
        for attempts_left in reversed(range(MAX_ATTEMPTS)):
            status, retry_after, document = self._send(method, path, body, content_type)
            if status != 429 or not attempts_left:
                break
            time.sleep(retry_after)
        if status >= 400:
            raise Problem(status, document)
        return document

    def _send(self, method: str, path: str, body: bytes | None, content_type: str) -> tuple[int, float, Document]:
        """Send one request; return the status, the seconds to wait before a retry, and the JSON document."""
        address = urlsplit(self.base_url)
        connection_class = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = connection_class(address.netloc, timeout=TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json, application/problem+json"}
        try:
            connection.request(method, path, body, headers | ({"Content-Type": content_type} if body else {}))
            response = connection.getresponse()
            document = json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: the answer is not JSON, so it comes from another server.
            raise Unreachable(f"RelivChats does not answer at {self.base_url}. Is `./dev up` running?") from error
        finally:
            connection.close()
        return response.status, float(response.headers.get("Retry-After") or 1), document
