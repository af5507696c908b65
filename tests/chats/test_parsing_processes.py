"""Large uploads are parsed in processes with limits, and no process can do harm to another upload or to the server."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime
from functools import cache
from multiprocessing import forkserver
from queue import SimpleQueue
from typing import Any

import psutil
import pytest
from django.db import connection

from chats import parsing, parsing_processes
from chats.exports.errors import ExportTooLarge, NotAChatExport, SeveralChats, TooCostly
from chats.importing import import_upload
from chats.models import Chat, ChatUpload
from chats.parsing import ChildLimits, ParsedUpload, ParseReport, ParseRequest
from chats.parsing_processes import ParsingFailed, ParsingInterrupted, ParsingPool
from relivchats import error_events
from relivchats.accounts.models import User
from relivchats.errors import DomainError, ServiceBusy
from tests import exports, platforms
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually

MIB = 1024 * 1024
REQUEST = ParseRequest(None, None, "", now=datetime.now(UTC), limit_bytes=25 * MIB)


@cache
def text(messages: int = 20_000) -> bytes:
    return exports.text(messages)


def pool(
    *,
    slots: int = 1,
    memory_bytes: int = 512 * MIB,
    cpu_seconds: int = 60,
    timeout_seconds: float = PATIENCE_SECONDS,
    wait_seconds: float = PATIENCE_SECONDS,
) -> ParsingPool:
    limits = ChildLimits(memory_bytes, cpu_seconds)
    return ParsingPool(threading.BoundedSemaphore(slots), limits, timeout_seconds, wait_seconds)


def parse(content: bytes, using: ParsingPool | None = None) -> ParsedUpload | DomainError:
    return (using or pool()).parse(content, REQUEST)[1]


@pytest.fixture
def limited(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that sets the pool that imports use."""
    return lambda used: monkeypatch.setattr(parsing_processes, "_pool", lambda: used)


def test_a_process_finds_what_the_thread_finds() -> None:
    report, parsed = pool().parse(text(), REQUEST)
    expected_report = ParseReport()
    expected = parsing.parse(text(), REQUEST, expected_report)
    assert isinstance(parsed, ParsedUpload)
    assert parsed.figures == expected.figures
    assert (parsed.sealed.digest, parsed.sealed.participants) == (expected.sealed.digest, expected.sealed.participants)
    assert [len(batch) for batch in parsed.sealed.batches()] == [len(batch) for batch in expected.sealed.batches()]
    assert (report.platform, report.dialect) == (expected_report.platform, expected_report.dialect)
    assert report.stages.keys() > expected_report.stages.keys()


@pytest.mark.parametrize("archive", [False, True])
def test_uploads_that_can_unpack_to_much_get_a_process(limited: Any, archive: bool) -> None:
    # No child can start in it, so an upload that needs one is refused.
    limited(pool(memory_bytes=0))
    large = exports.zipped(text(3_000)) if archive else text()
    assert (len(large) < parsing_processes.SMALL_BYTES) is archive
    assert isinstance(parsing_processes.parse_upload(large, REQUEST)[1], DomainError)
    small = exports.zipped(text(10)) if archive else text(3_000)
    assert isinstance(parsing_processes.parse_upload(small, REQUEST)[1], ParsedUpload)


def test_a_refusal_comes_back_with_its_context() -> None:
    report, refused = pool().parse(b"12/31/2021 nothing like a chat\n" * 50_000, REQUEST)
    assert type(refused) is NotAChatExport
    assert report.header_shape.startswith("99/99/9999 aaaaaaa")
    several = platforms.zipped({"WhatsApp Chat with A.txt": text(50), "WhatsApp Chat with B.txt": text(60)})
    expected = parsing_processes.parse_upload(several, REQUEST)[1]
    refused = parse(several)
    assert type(refused) is type(expected) is SeveralChats
    assert refused.extra == expected.extra
    assert len(refused.extra["chats"]) == 2


@pytest.mark.parametrize("error", [ExportTooLarge(limit_bytes=5, size_bytes=7), SeveralChats(chats=[{"id": "1"}])])
def test_an_error_can_be_sent_to_another_process(error: DomainError) -> None:
    received = pickle.loads(pickle.dumps(error))
    assert (type(received), received.detail, received.extra) == (type(error), error.detail, error.extra)
    assert str(received) == str(error)


def stop_instead_of_parsing(*_: object) -> None:
    """Stand for a child's function."""
    os.kill(os.getpid(), signal.SIGSTOP)


def stopped_children() -> list[psutil.Process]:
    """Return the children that are stopped. They are children of the fork server."""
    children = psutil.Process().children(recursive=True)
    return [child for child in children if child.is_running() and child.status() == psutil.STATUS_STOPPED]


def test_a_killed_process_fails_only_its_own_upload(monkeypatch: pytest.MonkeyPatch) -> None:
    using = pool(slots=2)
    killed, unharmed = SimpleQueue[object](), SimpleQueue[object]()

    def start(results: SimpleQueue[object]) -> None:
        # A daemon: a thread that waits for a dead child must not keep the tests from ending.
        threading.Thread(target=lambda: results.put(parse(text(), using)), daemon=True).start()

    with monkeypatch.context() as patched:
        patched.setattr("chats.parsing_child.run", stop_instead_of_parsing)
        start(killed)
        eventually(stopped_children)
    start(unharmed)
    (child,) = stopped_children()
    child.kill()
    assert isinstance(killed.get(timeout=PATIENCE_SECONDS), ParsingInterrupted)
    assert isinstance(unharmed.get(timeout=PATIENCE_SECONDS), ParsedUpload)
    assert isinstance(parse(text(), using), ParsedUpload)


def test_an_upload_that_exceeds_the_memory_is_refused() -> None:
    assert isinstance(parse(text() * 3, pool(memory_bytes=8 * MIB)), TooCostly)


def test_an_upload_that_exceeds_the_processor_time_is_refused() -> None:
    # Several times what a fast machine reads in a second.
    request = REQUEST._replace(limit_bytes=200 * MIB)
    assert isinstance(pool(cpu_seconds=1).parse(text() * 60, request)[1], TooCostly)


def test_an_upload_that_takes_too_long_on_a_busy_machine_can_be_sent_again() -> None:
    refused = parse(text() * 10, pool(timeout_seconds=0.01))
    assert isinstance(refused, ParsingInterrupted)
    assert refused.status == 503
    assert refused.extra["retry_after_seconds"] > 0


def test_no_more_processes_run_than_there_are_slots() -> None:
    using = pool(wait_seconds=0)
    assert using.slots.acquire()
    with pytest.raises(ServiceBusy) as caught:
        using.parse(text(), REQUEST)
    assert caught.value.extra["retry_after_seconds"] > 0
    using.slots.release()
    assert isinstance(using.parse(text(), REQUEST)[1], ParsedUpload)


def test_the_memory_of_an_upload_returns_to_the_system() -> None:
    content = text() * 5
    parse(text())
    before = psutil.Process().memory_info().rss
    for _ in range(3):
        assert isinstance(parse(content), ParsedUpload)
    assert psutil.Process().memory_info().rss - before < 32 * MIB
    assert multiprocessing.active_children() == []


_ORPHAN = """
import multiprocessing, sys, threading, time
import django
django.setup()
from tests.chats.test_parsing_processes import parse, pool, text
if __name__ == "__main__":
    threading.Thread(target=parse, args=(text() * 20, pool()), daemon=True).start()
    while not multiprocessing.active_children():
        time.sleep(0.01)
    print(multiprocessing.active_children()[0].pid, flush=True)
    time.sleep(600)
"""


def test_a_process_dies_with_the_server() -> None:
    with subprocess.Popen([sys.executable, "-c", _ORPHAN], stdout=subprocess.PIPE, cwd=REPOSITORY, text=True) as server:
        assert server.stdout
        pid = int(server.stdout.readline())
        server.kill()

    def has_ended() -> bool:
        # Nobody may be there to reap a process whose parent died.
        with contextlib.suppress(psutil.NoSuchProcess):
            return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
        return True

    eventually(has_ended)


@pytest.mark.django_db(transaction=True)
def test_a_large_upload_uses_no_connection_while_it_is_parsed(limited: Any) -> None:
    used, connections = pool(), []

    class Observed:
        def run(self, content: bytes, work: Any) -> Any:
            connections.append(connection.connection)
            return used.run(content, work)

    limited(Observed())
    import_upload(owner=User.objects.create_user("heavy@example.org"), upload=text())
    assert connections == [None]
    assert Chat.objects.count() == 1


@pytest.mark.django_db
def test_refusals_by_the_limits_are_recorded_and_store_nothing(limited: Any) -> None:
    owner = User.objects.create_user("heavy@example.org")
    for using, error, outcome in (
        (pool(memory_bytes=8 * MIB), TooCostly, ChatUpload.Outcome.REFUSED),
        (pool(timeout_seconds=0.01), ParsingInterrupted, ChatUpload.Outcome.FAILED),
    ):
        limited(using)
        with pytest.raises(error):
            import_upload(owner=owner, upload=text() * 5)
        row = ChatUpload.objects.latest("pk")
        assert (row.outcome, row.reason, row.header_shape) == (outcome, error.__name__, "")
    assert not Chat.objects.exists()


@pytest.mark.django_db
def test_an_error_of_ours_is_logged_and_recorded_without_the_text(
    limited: Any, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = User.objects.create_user("heavy@example.org")
    limited(pool())
    # The next one writes to the output that is captured here.
    forkserver._forkserver._stop()  # type: ignore[attr-defined]
    # Not a time zone, which no caller can choose: the serializer refuses it.
    request = REQUEST._replace(time_zone="Swordfish/Secret")
    monkeypatch.setattr("chats.importing.ParseRequest", lambda *_, **__: request)
    monkeypatch.setattr(parsing_processes, "SMALL_BYTES", 0)
    (page,) = platforms.instagram(platforms.messages_of(text(100)))
    error_events.queue.take()
    with pytest.raises(ParsingFailed):
        import_upload(owner=owner, upload=page)
    failed, upload = error_events.queue.take()[0]
    assert (failed.level, failed.event, failed.error) == ("ERROR", "parsing failed", "ZoneInfoNotFoundError")
    assert failed.location.startswith("chats.")
    assert upload.event == "upload failed"
    assert "Swordfish" not in f"{failed} {upload}"
    assert ChatUpload.objects.latest("pk").reason == "ZoneInfoNotFoundError"
    # As in a command, the log is the error output.
    logged = capfd.readouterr().err
    assert "parsing failed" in logged
    assert "ZoneInfoNotFoundError" in logged
    assert "Swordfish" not in logged
