"""The command lines of the processes."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from relivchats import serve
from relivchats.web_server import FINISH_SECONDS, ReplacingServer
from tests.processes import PATIENCE_SECONDS, eventually


@pytest.mark.parametrize(("limit", "threads"), [("8", 28), ("50", 112), ("0", 12), ("", 28), ("many", 28)])
def test_readings_and_insights_at_their_limits_leave_threads_for_other_tasks(
    monkeypatch: pytest.MonkeyPatch, limit: str, threads: int
) -> None:
    monkeypatch.setenv("MAX_CONCURRENT_INSIGHTS", limit)
    words = serve.worker()
    assert words[words.index("--concurrency") + 1] == str(threads)


class WebProcess:
    """A process of the web server. Its requests last until `ended` is set, or it is killed."""

    idx = 0

    def __init__(self) -> None:
        self.interrupt_by_parent = self.is_killed = False
        self.stopping, self.ended = threading.Event(), threading.Event()

    def _id(self) -> int:
        return id(self)

    def start(self) -> None:
        pass

    def terminate(self) -> None:
        self.stopping.set()

    def join(self, timeout: float | None = None) -> None:
        # All but a replacement lose patience at once.
        self.ended.wait(PATIENCE_SECONDS if timeout == FINISH_SECONDS else 0)

    def is_alive(self) -> bool:
        return not self.ended.is_set()

    def kill(self) -> None:
        self.is_killed = True
        self.ended.set()


class WebServer(ReplacingServer):
    """The web server with one process, each of which takes too much memory."""

    def __init__(self, *, replacement_seconds: float) -> None:
        super().__init__(
            "unused", workers_kill_timeout=5, workers_max_rss=1, respawn_interval=replacement_seconds, log_enabled=False
        )
        self.wrks: list[Any] = [WebProcess()]
        self._rss_collector: Any = self

    def memory(self, pids: list[int]) -> dict[int, int]:
        return dict.fromkeys(pids, 2**30)

    def _spawn_worker(self, *_: Any, **__: Any) -> Any:
        return WebProcess()

    def look_at_memory(self) -> WebProcess:
        """Return the process that takes connections after another look at the memory."""
        self._handle_rss_signal(None, None)
        (process,) = self.wrks
        assert isinstance(process, WebProcess)
        return process


def test_a_replaced_web_process_finishes_its_requests_while_the_server_goes_on() -> None:
    server = WebServer(replacement_seconds=0)
    (old,) = server.wrks
    new = server.look_at_memory()
    assert new is not old
    assert old.stopping.wait(PATIENCE_SECONDS)
    assert old.interrupt_by_parent, "otherwise its end ends the server"
    assert server.look_at_memory() is new, "one at a time"
    old.ended.set()
    eventually(lambda: server.look_at_memory() is not new)
    assert not old.is_killed
    server._stop_workers()


def test_a_stop_waits_for_a_replaced_web_process_as_for_the_others() -> None:
    server = WebServer(replacement_seconds=PATIENCE_SECONDS)
    (old,) = server.wrks
    new = server.look_at_memory()
    assert not old.stopping.is_set(), "it takes connections until the next one is ready"
    server._stop_workers()
    assert new.is_killed
    assert old.is_killed
