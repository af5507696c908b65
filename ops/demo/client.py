"""A small client of the REST API: what any program does that holds a token."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

Answer = Mapping[str, Any]

TIMEOUT_SECONDS = 120
MESSAGES_A_PAGE = 500
PATIENCE = 3


class Problem(Exception):
    """A refusal of the API: its problem document."""

    def __init__(self, status: int, document: Answer) -> None:
        self.status = status
        self.document = document
        super().__init__(f"{document.get('title', 'The service refused')}. {document.get('detail', '')}".strip())


class Unreachable(Exception):
    """Nothing that speaks our API answers there."""


@dataclass(frozen=True)
class Client:
    """`base_url` as in http://127.0.0.1:8000. Every method raises Problem or Unreachable."""

    base_url: str
    token: str

    def upload(self, export: bytes, **fields: str) -> Answer:
        boundary = uuid.uuid4().hex
        head = "".join(
            f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields.items()
        )
        head += f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="export"\r\n\r\n'
        body = head.encode() + export + f"\r\n--{boundary}--\r\n".encode()
        return self._ask("POST", "/api/chats/upload", body, f"multipart/form-data; boundary={boundary}")

    def unlock(self, **asked: Any) -> Answer:
        return self._ask("POST", "/api/insights/unlock", json.dumps(asked).encode(), "application/json")

    def job(self, job_id: str) -> Answer:
        return self._ask("GET", f"/api/insights/jobs/{job_id}/status")

    def insights(self, chat_id: str) -> list[Answer]:
        found: list[Answer] = self._ask("GET", f"/api/insights/chats/{chat_id}")["insights"]
        return found

    def messages(self, chat_id: str, numbers: set[int]) -> Iterator[Answer]:
        """The chat's messages with these numbers, in as few pages as they lie in."""
        left = sorted(numbers)
        while left:
            path = f"/api/chats/{chat_id}/messages?after={left[0] - 1}&limit={MESSAGES_A_PAGE}"
            yield from (message for message in self._ask("GET", path)["results"] if message["number"] in numbers)
            left = [number for number in left if number >= left[0] + MESSAGES_A_PAGE]

    def balance(self) -> Answer:
        return self._ask("GET", "/api/credits/balance")

    def _ask(self, method: str, path: str, body: bytes | None = None, content_type: str = "") -> Answer:
        for patience in reversed(range(PATIENCE)):
            status, retry_after, answer = self._send(method, path, body, content_type)
            if status != 429 or not patience:
                break
            time.sleep(retry_after)
        if status >= 400:
            raise Problem(status, answer)
        return answer

    def _send(self, method: str, path: str, body: bytes | None, content_type: str) -> tuple[int, float, Answer]:
        address = urlsplit(self.base_url)
        kind = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        connection = kind(address.netloc, timeout=TIMEOUT_SECONDS)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json, application/problem+json"}
        try:
            connection.request(method, path, body, headers | ({"Content-Type": content_type} if body else {}))
            response = connection.getresponse()
            answer = json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Unreachable(
                f"RelivChats does not answer at {self.base_url} as it should. Is `./dev up` running?"
            ) from error
        finally:
            connection.close()
        return response.status, float(response.headers.get("Retry-After") or 1), answer
