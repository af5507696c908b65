"""A client with many connections, or with many large requests, does not lock others out."""

from __future__ import annotations

import http.client
import resource
import select
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest
from django.db import connection

from relivchats.accounts import tokens
from relivchats.accounts.models import User
from relivchats.launch import OPEN_FILES
from tests.processes import eventually, serving_web

pytestmark = pytest.mark.django_db(transaction=True)

#: More than granian serves by default.
IDLE_CONNECTIONS = 1_100


@pytest.fixture
def port(tmp_path: Path, transactional_db: None) -> Iterator[int]:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4 * IDLE_CONNECTIONS), hard))
    with serving_web(tmp_path, database=connection.settings_dict["NAME"]) as port:
        yield port


def send(port: int, method: str, path: str, *, length: int = 0, **headers: str) -> http.client.HTTPConnection:
    """Send the head of a request that declares a body, without the body."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    client.putrequest(method, path)
    for name, value in {"Content-Length": str(length), **headers}.items():
        client.putheader(name, value)
    client.endheaders()
    return client


def is_readable(connection: socket.socket) -> bool:
    """Return whether an answer has arrived, or the end of the connection."""
    # Unlike select(), poll() takes file descriptors beyond 1,023.
    waiting = select.poll()
    waiting.register(connection, select.POLLIN)
    return bool(waiting.poll(0))


def test_idle_connections_and_large_requests_of_one_client_do_not_lock_out_others(port: int) -> None:
    greedy, other = (f"Bearer {tokens.issue(User.objects.create_user(f'{name}@example.org'))}" for name in "ab")
    with ExitStack() as opened:
        idle = [
            opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=60))
            for _ in range(IDLE_CONNECTIONS)
        ]
        # Half of them send nothing, the others a part of a request.
        for each in idle[1::2]:
            each.sendall(b"GET /health/live HTT")
        assert send(port, "GET", "/health/live").getresponse().status == 200
        # The server still holds all: it closes the oldest first.
        assert not is_readable(idle[0])

        path, large = "/api/chats/upload", 2 * 1024 * 1024

        # The server waits for the bodies of a few, which never arrive.
        clients = [send(port, "POST", path, length=large, Authorization=greedy) for _ in range(20)]
        for client in clients:
            opened.callback(client.close)
        eventually(lambda: any(is_readable(client.sock) for client in clients))
        refused = next(client for client in clients if is_readable(client.sock)).getresponse()
        assert refused.status == 503
        assert int(refused.headers["Retry-After"]) > 0
        assert b"several large requests" in refused.read()

        # Without a file: it is read, and refused by the view.
        client = send(port, "POST", path, length=large, Authorization=other)
        opened.callback(client.close)
        client.send(bytes(large))
        assert client.getresponse().status == 415
        assert send(port, "GET", "/api/chats", Authorization=greedy).getresponse().status == 200


def test_the_server_may_open_many_files_and_writes_no_core_file(port: int) -> None:
    (server,) = (
        process for process in psutil.Process().children() if any("asgi" in word for word in process.cmdline())
    )
    soft, hard = server.rlimit(psutil.RLIMIT_NOFILE)
    assert soft == min(OPEN_FILES, hard)
    assert server.rlimit(psutil.RLIMIT_CORE)[0] == 0
    assert server.environ()["MALLOC_ARENA_MAX"] == "2"
