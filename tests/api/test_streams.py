"""The real web server: a stream, a wait and a slow sender occupy no thread, and it answers as WSGI did."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from chats.models import Chat
from insights import answering, questions
from insights.question_models import ChatQuestion
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.asking import MOVING, QuestionOracle, answering_as, claim, decide, find, make_chat
from tests.conftest import StartCelery
from tests.processes import PATIENCE_SECONDS, eventually, serving_web

pytestmark = pytest.mark.django_db(transaction=True)

WHERE = "Where did we want to move to?"
SENTENCE = "Asha and Ravi want to move to Pune in August."
#: More than the server has threads.
MANY = 40


def answer_moving(lines: Any) -> Any:
    return decide("answer", claims=[claim("P1 and P2 want to move to Pune in August.", *find(lines, "Pune"))])


@pytest.fixture
def talk(owner: User) -> Chat:
    return make_chat(owner, (datetime.fromisoformat("2024-02-20T22:00"), MOVING))


@pytest.fixture
def token(owner: User) -> str:
    return tokens.issue(owner)


@pytest.fixture
def port(tmp_path: Path, owner: User) -> Iterator[int]:
    # As in production, behind a proxy.
    behind_proxy = {"HTTPS_ONLY": "true", "TRUSTED_PROXIES": "127.0.0.1"}
    database = connection.settings_dict["NAME"]
    with serving_web(tmp_path, database=database, ASKS_PER_MINUTE="1000", **behind_proxy) as port:
        yield port


class Client:
    """A connection of one client."""

    def __init__(self, port: int, token: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "X-Forwarded-For": "192.0.2.7",
            "X-Forwarded-Proto": "https",
        }

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> http.client.HTTPResponse:
        content = None if body is None else json.dumps(body)
        self.connection.request(method, path, content, {**self.headers, **headers})
        return self.connection.getresponse()


def read_event(response: http.client.HTTPResponse) -> tuple[str, Any]:
    """Return the name and the content of the next event."""
    lines = []
    while line := response.readline().decode().rstrip("\n"):
        lines.append(line)
    event, data = lines
    return event.removeprefix("event: "), json.loads(data.removeprefix("data: "))


def read_events(response: http.client.HTTPResponse) -> list[tuple[str, Any]]:
    parts = [part.split("\n") for part in response.read().decode().split("\n\n") if part and not part.startswith(":")]
    return [(event.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for event, data in parts]


def test_a_stream_shows_the_progress_and_then_the_answer(port: int, token: str, talk: Chat) -> None:
    response = Client(port, token).send(
        "POST", f"/api/chats/{talk.pk}/ask", {"question": WHERE}, Accept="text/event-stream"
    )
    assert (response.status, response.headers["Content-Type"]) == (200, "text/event-stream")
    assert response.headers["X-Relivchats-Follow"] is None
    assert response.headers["Retry-After"] is None
    assert int(response.headers["X-RateLimit-Remaining"]) == 999
    assert read_event(response) == ("progress", {"step": "waiting", "messages_read": 0})
    question = ChatQuestion.objects.get()
    ChatQuestion.objects.update(step="reading", messages_read=7)
    assert read_event(response) == ("progress", {"step": "reading", "messages_read": 7})
    with answering_as(QuestionOracle(answer_moving)):
        answering.run(question.pk)
    events = read_events(response)
    assert {name for name, _ in events[:-2]} <= {"progress"}
    (claimed, sentence), (done, asked) = events[-2:]
    assert (claimed, sentence["sentence"]) == ("claim", SENTENCE)
    assert (done, asked["id"], asked["answer"]["answer"]) == ("done", str(question.pk), SENTENCE)


@pytest.mark.slow
def test_a_stream_of_a_row_that_does_not_change_gives_a_sign_of_life(port: int, token: str, talk: Chat) -> None:
    response = Client(port, token).send(
        "POST", f"/api/chats/{talk.pk}/ask", {"question": WHERE}, Accept="text/event-stream"
    )
    read_event(response)
    # Sooner than the 60 s after which common proxies end a silent response, and than the end of the question.
    assert response.readline() == b": waiting\n"
    assert ChatQuestion.objects.open().exists()


def test_a_stream_of_a_question_that_fails_ends_with_the_problem(port: int, token: str, talk: Chat) -> None:
    response = Client(port, token).send(
        "POST", f"/api/chats/{talk.pk}/ask", {"question": WHERE}, Accept="text/event-stream"
    )
    read_event(response)
    with answering_as(QuestionOracle(lambda lines: "no JSON")):
        answering.run(ChatQuestion.objects.get().pk)
    name, problem = read_events(response)[-1]
    assert (name, problem["status"], problem["reason"]) == ("error", 503, "malformed_answer")


def test_a_request_without_a_stream_gets_the_answer(port: int, token: str, talk: Chat, worker: StartCelery) -> None:
    with answering_as(QuestionOracle(answer_moving)) as server:
        worker(INSIGHT_ENGINE="gemini", **server.settings())
        response = Client(port, token).send("POST", f"/api/chats/{talk.pk}/ask", {"question": WHERE})
        asked = json.loads(response.read())
        assert (response.status, asked["answer"]["answer"]) == (200, SENTENCE)
        assert "X-RateLimit-Limit" in response.headers
        assert "X-Relivchats-Follow" not in response.headers
        found = Client(port, token).send("POST", "/api/rag/query", {"chat_id": str(talk.pk), "question": WHERE})
        assert json.loads(found.read())["answer"] == SENTENCE


def test_a_refused_question_is_a_problem_and_no_stream(port: int, token: str, talk: Chat) -> None:
    response = Client(port, token).send(
        "POST", f"/api/chats/{talk.pk}/ask", {"question": ""}, Accept="text/event-stream"
    )
    assert (response.status, response.headers["Content-Type"]) == (422, "application/problem+json")


def test_streams_and_waits_occupy_no_thread(port: int, token: str, talk: Chat) -> None:
    """More of both than the server has threads, and another client is answered at once."""
    clients = [Client(port, token) for _ in range(2 * MANY)]

    def ask(index: int) -> http.client.HTTPResponse | None:
        accept = "text/event-stream" if index % 2 else "application/json"
        client = clients[index]
        headers = {**client.headers, "Accept": accept}
        client.connection.request("POST", f"/api/chats/{talk.pk}/ask", json.dumps({"question": "x"}), headers)
        return client.connection.getresponse() if index % 2 else None

    with ThreadPoolExecutor(8) as threads:
        streams = list(threads.map(ask, range(2 * MANY)))
    assert [stream.status for stream in streams if stream] == [200] * MANY
    eventually(lambda: ChatQuestion.objects.count() == 2 * MANY)
    started = time.monotonic()
    response = Client(port, token).send("GET", "/api/chats")
    assert response.status == 200
    assert time.monotonic() - started < 5
    questions.delete(ChatQuestion.objects.all())
    assert {client.connection.getresponse().status for client in clients[::2]} == {404}
    assert [read_events(stream)[-1][0] for stream in streams if stream] == ["error"] * MANY


def test_a_client_that_leaves_ends_its_stream(port: int, token: str, talk: Chat) -> None:
    for _ in range(MANY):
        client = Client(port, token)
        client.send("POST", f"/api/chats/{talk.pk}/ask", {"question": "x"}, Accept="text/event-stream")
        client.connection.close()
    assert Client(port, token).send("GET", "/api/chats").status == 200


def test_slow_senders_occupy_no_thread(port: int, token: str) -> None:
    with ExitStack() as stack:
        for _ in range(MANY):
            slow = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            slow.sendall(
                b"POST /api/insights/unlock HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                b"Content-Length: 1000\r\n\r\n{"
            )
        started = time.monotonic()
        assert Client(port, token).send("GET", "/api/chats").status == 200
        assert time.monotonic() - started < 5


def test_requests_arrive_as_they_did(port: int, token: str, talk: Chat) -> None:
    client = Client(port, token)
    assert client.send("GET", "/health/live").read()
    assert json.loads(client.send("GET", "/api/chats?limit=1").read())["results"][0]["id"] == str(talk.pk)
    unknown = client.send("GET", "/api/%E0%A4%95%20?x=%E0%A4%95")
    assert (unknown.status, unknown.headers["Content-Type"]) == (404, "application/problem+json")
    unknown.read()
    given = client.send("GET", "/api/chats", **{"X-Request-ID": "my-own-request-id"})
    assert given.headers["X-Request-ID"] == "my-own-request-id"
    given.read()
    head = client.send("HEAD", "/api/docs")
    assert (head.status, head.read()) == (200, b"")
    chunked = Client(port, token)
    # The answer may come, and the connection close, before the last chunk is sent.
    with suppress(BrokenPipeError, ConnectionResetError):
        chunked.connection.request("POST", "/api/insights/unlock", iter([b"{}"]), chunked.headers, encode_chunked=True)
    assert chunked.connection.getresponse().status == 411
    large = Client(port, token)
    large.connection.putrequest("POST", "/api/chats/upload")
    for name, value in {**large.headers, "Content-Type": "multipart/form-data; boundary=x"}.items():
        large.connection.putheader(name, value)
    large.connection.putheader("Content-Length", str(100 * 1024 * 1024))
    large.connection.endheaders()
    assert large.connection.getresponse().status == 413


def test_the_first_requests_of_a_new_process_are_all_answered(port: int, token: str) -> None:
    paths = ["/api/schema", "/api/docs", "/api/categories", "/api/me", "/admin/login/", "/health/live"] * 4
    together = threading.Barrier(len(paths), timeout=PATIENCE_SECONDS)

    def get(path: str) -> int:
        together.wait()
        return Client(port, token).send("GET", path).status

    with ThreadPoolExecutor(len(paths)) as threads:
        assert set(threads.map(get, paths)) == {200}
