"""granian, with web processes that are replaced without a wait: `python -m relivchats.web_server OPTIONS APP`.

granian itself replaces a process in its main loop, and gives its requests as long as a stop of the whole server. A
question that takes 90 s would be cut off, or a stop would take minutes. No Django.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

from granian import cli
from granian.server.mp import MPServer, WorkerProcess

logger = logging.getLogger("_granian")

#: How long the requests of a process that is replaced may take: longer than a large upload, which waits 45 s for a
#: thread and 30 s for a process, and is parsed within 80 s.
FINISH_SECONDS = 180


class ReplacingServer(MPServer):
    """Starts another process for one that takes too much memory, which stops taking connections and then finishes."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        #: Processes that were replaced and still run.
        self._replaced: list[WorkerProcess] = []
        self._is_stopping = threading.Event()

    def _handle_rss_signal(self, *arguments: Any) -> None:
        # Otherwise, processes that all need more would become ever more.
        if not self._replaced:
            super()._handle_rss_signal(*arguments)  # type: ignore[no-untyped-call]

    def _respawn_workers(
        self, workers: Sequence[int], spawn_target: Any, target_loader: Callable[..., Any], delay: float = 0
    ) -> None:
        """Start the next processes. Those before take connections for `delay` seconds more."""
        for index in workers:
            old, new = self.wrks[index], self._spawn_worker(index, spawn_target, target_loader)
            # Its end is expected from now on. That of another process ends the server.
            old.interrupt_by_parent = True
            new.start()  # type: ignore[no-untyped-call]
            self.wrks[index] = new
            self._replaced.append(old)
            threading.Thread(target=self._finish, args=(old, delay), daemon=True).start()
        self._metrics.incr_spawn(len(workers))

    def _finish(self, worker: Any, delay: float) -> None:
        self._is_stopping.wait(delay)
        worker.terminate()
        worker.join(FINISH_SECONDS)
        if worker.is_alive():
            logger.warning("killing a replaced process whose requests took too long")
            worker.kill()
            worker.join()
        self._replaced.remove(worker)

    def _stop_workers(self) -> None:
        self._is_stopping.set()
        # A stop waits for them as for the others.
        self.wrks.extend(self._replaced)
        super()._stop_workers()  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    cli.Server = ReplacingServer  # type: ignore[attr-defined]
    cli.entrypoint()  # type: ignore[no-untyped-call]
