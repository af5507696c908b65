"""A web process that takes too much memory is replaced, and no request is lost."""

from __future__ import annotations

import http.client
from pathlib import Path

import psutil
import pytest
from django.db import connection

from relivchats.accounts import tokens
from relivchats.accounts.models import User
from tests.processes import eventually, serving_web

pytestmark = [pytest.mark.abuse, pytest.mark.django_db(transaction=True)]


def serving_pids() -> set[int]:
    """Return the ids of the processes that answer: children of the web server's main process."""
    (main,) = (process for process in psutil.Process().children() if "granian" in process.cmdline())
    return {child.pid for child in main.children() if child.status() != psutil.STATUS_ZOMBIE}


def test_a_process_that_takes_too_much_is_replaced_without_a_lost_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Less than any process takes, so each is replaced.
    monkeypatch.setenv("WEB_MEMORY_MB", "32")
    headers = {"Authorization": f"Bearer {tokens.issue(User.objects.create_user('anna@example.org'))}"}
    with serving_web(tmp_path, database=connection.settings_dict["NAME"]) as port:

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
        for name, value in {**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}.items():
            slow.putheader(name, value)
        slow.endheaders(body[:10])
        eventually(lambda: answers() and serving_pids() - first)
        # Both may take connections now.
        slow.send(body[10:])
        assert slow.getresponse().status == http.HTTPStatus.UNPROCESSABLE_ENTITY
        eventually(lambda: answers() and serving_pids().isdisjoint(first))
        assert answers()
