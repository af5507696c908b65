"""Fixtures: two users with tokens, a chat of the first, and API clients for both."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from billing import ledger
from billing.models import Wallet
from chats import indexing
from chats.importing import import_chat
from chats.models import Chat
from insights import generation
from insights.models import GenerationJob
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests import exports

PROBLEM_MEMBERS = {"type", "title", "status", "detail", "error_code", "request_id", "support_email"}


@dataclass
class Api:
    """An API client of one user. It checks that every error is a problem document."""

    user: User | None
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def __post_init__(self) -> None:
        token = tokens.issue(self.user) if self.user else None
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def send(self, method: str, path: str, *, headers: Mapping[str, str] | None = None, **content: Any) -> Any:
        url = urlsplit(path)
        response: Any = self.client.generic(
            method,
            url.path,
            query_params=None,
            headers={**self.headers, **(headers or {})},
            secure=True,
            QUERY_STRING=url.query,
            **content,
        )
        if response.status_code >= 400:
            check_problem(response)
        return response

    def get(self, path: str, *, status: int = 200) -> Any:
        response = self.send("GET", path)
        assert response.status_code == status, response.content
        return response.json()

    def post(self, path: str, body: Any = None, *, status: int) -> Any:
        response = self.client.post(path, body, content_type="application/json", headers=self.headers, secure=True)
        assert response.status_code == status, response.content
        if status >= 400:
            check_problem(response)
        return response.json()

    def delete(self, path: str, *, status: int) -> None:
        response = self.send("DELETE", path)
        assert response.status_code == status, response.content

    def upload(self, content: bytes, *, status: int = 201, name: str = "chat.txt", **fields: Any) -> Any:
        form = {"file": SimpleUploadedFile(name, content, content_type="application/octet-stream"), **fields}
        response = self.client.post("/api/chats/upload", form, headers=self.headers, secure=True)
        assert response.status_code == status, response.content
        if status >= 400:
            check_problem(response)
        return response.json()


def check_problem(response: Any) -> None:
    """Check that the response is a problem document with every member that all problems have."""
    assert response["Content-Type"] == "application/problem+json", response.content
    problem = response.json()
    assert problem.keys() >= PROBLEM_MEMBERS
    assert problem["status"] == response.status_code
    assert problem["request_id"] == response["X-Request-ID"]
    assert problem["error_code"].startswith("ERR_")
    assert problem["detail"].endswith((".", "…"))


class MakePerson(Protocol):
    def __call__(self, *, coins: int = ...) -> User: ...


@pytest.fixture
def make_person(db: None) -> MakePerson:
    def make(*, coins: int = 400) -> User:
        """Return a new user with exactly this many coins."""
        user = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
        wallet = Wallet.objects.get(user=user)
        if change := coins - wallet.balance:
            ledger.adjust(wallet=wallet, amount=change, actor="test", reason="test", idempotency_key="coins")
        return user

    return make


@pytest.fixture
def owner(make_person: MakePerson) -> User:
    return make_person()


@pytest.fixture
def api(owner: User) -> Api:
    return Api(owner)


@pytest.fixture
def stranger(make_person: MakePerson) -> Api:
    """A client of another user, who has coins."""
    return Api(make_person())


@pytest.fixture
def nobody(db: None) -> Api:
    """A client without a token."""
    return Api(None)


@pytest.fixture
def chat(owner: User) -> Chat:
    return import_chat(owner=owner, upload=exports.text(300))


@pytest.fixture
def searchable(chat: Chat) -> Chat:
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    return chat


def generate_insights(job_id: str) -> GenerationJob:
    """Generate every insight of the job, one after the other, as workers do. Return the job."""
    job = GenerationJob.objects.get(pk=job_id)
    for insight_id in job.insights.values_list("pk", flat=True):
        generation.run(insight_id)
    job.refresh_from_db()
    return job
