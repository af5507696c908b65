"""A client of the API that repeats a request until it is answered, under the same key. It counts what it gets."""

from __future__ import annotations

import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httpx

#: How long a request is repeated before the client calls it lost, and how long its effect is awaited.
PATIENCE_SECONDS = 420.0
_TIMEOUT_SECONDS = 45.0
_WAIT_SECONDS = 0.5


class Unanswered(Exception):
    """A request got no answer within PATIENCE_SECONDS, or has not happened by then what must follow it."""


def wait_until(is_done: Callable[[], object], *, every_seconds: float, awaited: str) -> None:
    """Wait until the function returns something true. Raise Unanswered after PATIENCE_SECONDS."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_done():
        if time.monotonic() > deadline:
            raise Unanswered(f"{awaited}: not within {PATIENCE_SECONDS:g} s")
        time.sleep(every_seconds)


class Requests:
    """Counts of all requests by action and result, and the longest time until an answer. Used by all threads."""

    def __init__(self) -> None:
        self.results: Counter[tuple[str, str]] = Counter()
        self.slowest_seconds = 0.0
        self._lock = threading.Lock()

    def count(self, action: str, result: str) -> None:
        """Count one result."""
        with self._lock:
            self.results[action, result] += 1

    def answered_after(self, seconds: float) -> None:
        """Note how long a client waited for an answer, with all its repetitions."""
        with self._lock:
            self.slowest_seconds = max(self.slowest_seconds, seconds)


class Client:
    """The requests of one person."""

    def __init__(self, base_url: str, token: str, requests: Requests) -> None:
        self._requests = requests
        self._http = httpx.Client(base_url=base_url, timeout=_TIMEOUT_SECONDS, trust_env=False)
        self._headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def send(
        self, action: str, method: str, path: str, *, idempotent: bool = False, key: str = "", **content: Any
    ) -> httpx.Response:
        """Return the first answer that is not a fault of the server. Raise Unanswered.

        With `idempotent`, all repetitions have one Idempotency-Key: `key`, or a new one.
        """
        headers = {**self._headers}
        if idempotent or key:
            headers["Idempotency-Key"] = key or str(uuid.uuid4())
        started = time.monotonic()
        while time.monotonic() < started + PATIENCE_SECONDS:
            try:
                response = self._http.request(method, path, headers=headers, **content)
            except httpx.HTTPError as error:
                self._requests.count(action, type(error).__name__)
                time.sleep(_WAIT_SECONDS)
                continue
            self._requests.count(action, _describe(response))
            if not _must_repeat(response):
                self._requests.answered_after(time.monotonic() - started)
                return response
            time.sleep(min(5.0, float(response.headers.get("Retry-After", _WAIT_SECONDS))))
        raise Unanswered(f"{action}: no answer within {PATIENCE_SECONDS:g} s")

    def get(self, action: str, path: str) -> Any:
        """Return the document at a path, or None for a 404."""
        response = self.send(action, "GET", path)
        return None if response.status_code == 404 else response.json()

    def pay(self, checkout_url: str) -> bool:
        """Press the button of the sandbox's page. Return False if the page did not answer."""
        path = urlsplit(checkout_url).path
        with httpx.Client(base_url=self._http.base_url, timeout=_TIMEOUT_SECONDS, trust_env=False) as browser:
            try:
                page = browser.get(path)
                token = re.search(r'name="csrfmiddlewaretoken" value="(.+?)"', page.text)
                # Without a form, the order is paid already.
                form = {"choice": "pay", "csrfmiddlewaretoken": token[1] if token else ""}
                answered = (browser.post(path, data=form) if token else page).status_code
            except httpx.HTTPError as error:
                self._requests.count("pay", type(error).__name__)
                return False
        self._requests.count("pay", str(answered))
        return answered == 200


def _must_repeat(response: httpx.Response) -> bool:
    """Return whether the server says that it did not finish this request, or that it comes too soon."""
    if response.status_code == 503:
        # A refusal with a reason is an answer: nothing was reserved.
        return "reason" not in _document(response)
    if response.status_code == 409:
        return _document(response).get("title") == "The first request is still running"
    return response.status_code in (429, 500, 502)


def _describe(response: httpx.Response) -> str:
    document = _document(response) if response.status_code >= 400 else {}
    detail = document.get("reason") or (document.get("title", "") if response.status_code in (409, 422) else "")
    return f"{response.status_code} {detail}".strip()


def _document(response: httpx.Response) -> dict[str, Any]:
    try:
        document = response.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
