from __future__ import annotations

import base64
import gzip
import io
import json
from pathlib import Path
from urllib.parse import quote

import pytest
from django.db import connection

from chats import indexing, search
from chats.exports.errors import ExportRefused
from chats.importing import import_chat
from chats.models import Chat, ChatUpload
from chats.transcript import read_page
from ops import errors
from ops.monitoring_models import ErrorEvent
from relivchats import error_events
from tests import exports
from tests.canary import assert_nowhere, unique
from tests.chats import samples
from tests.processes import BrokerHandle, eventually

WORD, NAME, HINDI = unique("xylophone"), unique("Quetzal Canary"), unique("गुप्त")


def lines() -> list[samples.Line]:
    return [(0, NAME, f"hello {WORD}"), (1, "Ravi", HINDI), (1, NAME, "😂 fine")] * 40


@pytest.mark.django_db(transaction=True)
def test_message_text_is_stored_only_in_sealed_columns(broker: BrokerHandle, logged: io.StringIO) -> None:
    chat = samples.stored(lines())
    indexing.request(chat)
    eventually(lambda: broker.waiting("indexing"))
    assert indexing.index_chat(chat.pk)
    chat = Chat.objects.get(pk=chat.pk)
    assert search.get_searcher(chat).search([WORD, HINDI], limit=3)
    assert_nowhere(WORD, NAME, HINDI, chat.title, logs=logged.getvalue().splitlines())
    assert WORD in read_page(chat, limit=1)[0].text


@pytest.mark.django_db(transaction=True)
def test_a_failure_reveals_nothing_of_the_content(broker: BrokerHandle, logged: io.StringIO) -> None:
    chat = samples.stored(lines())
    chat.blocks.update(sealed=b"does not open")
    indexing.request(chat)
    assert not indexing.index_chat(chat.pk)
    for content in (f"{WORD} no chat {NAME}".encode(), exports.zipped(WORD.encode(), name=f"{NAME}.txt")):
        with pytest.raises(ExportRefused):
            import_chat(owner=samples.person(), upload=content)
    assert ChatUpload.objects.filter(outcome="refused").count() == 2
    events, _ = error_events.queue.take()
    errors.write(events, role=ErrorEvent.Role.WORKER)
    assert ErrorEvent.objects.filter(event="indexing failed").exists()
    assert_nowhere(WORD, NAME, HINDI, logs=logged.getvalue().splitlines())


@pytest.mark.django_db(transaction=True)
class TestCanary:
    """The check itself must find text that leaked."""

    @pytest.mark.owner
    @pytest.mark.parametrize("table", ["text", "bytes"])
    def test_it_finds_text_in_a_column(self, table: str) -> None:
        word = unique("गुप्त")
        with connection.cursor() as cursor:
            kind = {"text": "text", "bytes": "bytea"}[table]
            cursor.execute(
                f"CREATE TABLE leak AS SELECT %s::{kind} AS said", [word if table == "text" else word.encode()]
            )
        try:
            with pytest.raises(AssertionError, match="leak row 0"):
                assert_nowhere(word)
        finally:
            with connection.cursor() as cursor:
                cursor.execute("DROP TABLE leak")

    def test_it_finds_text_in_whatever_a_test_collects(self, tmp_path: Path) -> None:
        word = unique()
        said = f"said {word}"
        packed = gzip.compress(said.encode())
        (tmp_path / "inner").mkdir()
        (tmp_path / "inner" / "file").write_bytes(packed)
        collected: dict[str, bytes | str | Path] = {
            "a text": said,
            "a redirect": f"Location: /?q={quote('é')}{word}",
            "a packed log": packed,
            "a bundle": exports.zipped(packed, name="logs.gz"),
            "a name": exports.zipped(b"", name=f"{word}.log"),
            "a directory": tmp_path,
            "a file": tmp_path / "inner" / "file",
        }
        with pytest.raises(AssertionError) as found:
            assert_nowhere(word, also=collected)
        assert [name for name in collected if f"{name}" not in str(found.value)] == []

    def test_it_finds_text_in_the_broker_and_in_the_log(self, broker: BrokerHandle) -> None:
        word = unique()
        with broker.client as client:
            client.lpush("celery", json.dumps({"body": base64.b64encode(f'["{word}"]'.encode()).decode()}))
        try:
            with pytest.raises(AssertionError, match="broker 0 b'celery'"):
                assert_nowhere(word)
        finally:
            broker.flush()
        spoken = unique()
        with pytest.raises(AssertionError, match="log line 1"):
            assert_nowhere(spoken, logs=["fine", f"saw {spoken}"])
