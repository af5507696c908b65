"""A Celery application whose engine waits at a gate, so that a worker can be killed while it generates.

`celery -A tests.fakes.gated_worker worker`. While the file named by GATE exists, every call of the engine writes its
process id to GATE.waiting and waits until the file is removed. The worker takes as many MiB of memory as the file
GATE.memory names.
"""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import psutil
from celery import signals
from django.dispatch import receiver

from relivchats.celery import app as celery_app  # noqa: F401

GATE = Path(os.environ["GATE"])
_ballast: list[bytes] = []
_filling = threading.Lock()


def fill_memory() -> None:
    """Take the memory that a test asks for."""
    memory = GATE.with_suffix(".memory")
    with _filling:
        if memory.exists() and not _ballast:
            missing = int(memory.read_text()) * 1024 * 1024 - psutil.Process().memory_info().rss
            _ballast.append(b"x" * max(0, missing))


@receiver(signals.celeryd_init)
def _install_gate(**_: Any) -> None:
    from insights.engines.local.engine import LocalInsightEngine

    write = LocalInsightEngine.write

    def wait_and_write(self: LocalInsightEngine, brief: Any) -> Any:
        while GATE.exists():
            with GATE.with_suffix(".waiting").open("a") as file:
                file.write(f"{os.getpid()}\n")
            fill_memory()
            time.sleep(0.05)
        return write(self, brief)

    LocalInsightEngine.write = wait_and_write  # type: ignore[method-assign]
