"""A web process that takes too much memory is replaced, and no request is lost."""

from __future__ import annotations

import http.client
import json
from datetime import datetime
from pathlib import Path

import psutil
import pytest
from django.db import connection

from relivchats import serve
from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.asking import MOVING, make_chat
from tests.processes import PATIENCE_SECONDS, eventually, serving_web

pytestmark = [pytest.mark.abuse, pytest.mark.django_db(transaction=True)]


def serving_pids() -> set[int]:
    """Return the ids of the processes that answer: children of the web server's main process."""
    (main,) = (process for process in psutil.Process().children() if serve.WEB_SERVER in process.cmdline())
    return {child.pid for child in main.children() if child.status() != psutil.STATUS_ZOMBIE}


#: Longer than a process is replaced within, and than a stop waits for its requests.
QUESTION_SECONDS = 30


def test_a_process_that_takes_too_much_is_replaced_without_a_lost_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: User
) -> None:
    # Less than any process takes, so each is replaced.
    monkeypatch.setenv("WEB_MEMORY_MB", "32")
    headers = {"Authorization": f"Bearer {tokens.issue(owner)}", "Content-Type": "application/json"}
    chat = make_chat(owner, (datetime.fromisoformat("2024-02-20T22:00"), MOVING))
    database = connection.settings_dict["NAME"]
    with serving_web(tmp_path, database=database, ASK_TIMEOUT_SECONDS=str(QUESTION_SECONDS)) as port:

        def answers() -> bool:
            client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            client.request("GET", "/api/chats", headers=headers)
            assert client.getresponse().status == http.HTTPStatus.OK
            client.close()
            return True

        eventually(answers)
        # The next one may have started already.
        first = {min(serving_pids())}
        body = b'{"chat_id": "none", "category_id": "romantic"}'
        slow = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        slow.putrequest("POST", "/api/insights/unlock")
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            slow.putheader(name, value)
        slow.endheaders(body[:10])
        # No worker runs, so the stream lasts as long as a question may.
        asking = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
        question = json.dumps({"question": "Where did we want to move to?"})
        asking.request("POST", f"/api/chats/{chat.pk}/ask", question, {**headers, "Accept": "text/event-stream"})
        stream = asking.getresponse()
        assert stream.status == http.HTTPStatus.OK
        eventually(lambda: answers() and serving_pids() - first)
        # Both may take connections now.
        slow.send(body[10:])
        assert slow.getresponse().status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        assert b"Not finished in time" in stream.read()
        eventually(lambda: answers() and serving_pids().isdisjoint(first))
        assert answers()
