"""A Celery application whose engine waits at a gate, so that a worker can be killed while it generates.

`celery -A tests.fakes.gated_worker worker`. While the file named by GATE exists, every call of the engine writes its
process id to GATE.waiting and waits until the file is removed.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from celery import signals
from django.dispatch import receiver

from relivchats.celery import app as celery_app  # noqa: F401

GATE = Path(os.environ["GATE"])


@receiver(signals.celeryd_init)
def _install_gate(**_: Any) -> None:
    from insights.engines.local.engine import LocalInsightEngine

    write = LocalInsightEngine.write

    def wait_and_write(self: LocalInsightEngine, brief: Any) -> Any:
        while GATE.exists():
            with GATE.with_suffix(".waiting").open("a") as file:
                file.write(f"{os.getpid()}\n")
            time.sleep(0.05)
        return write(self, brief)

    LocalInsightEngine.write = wait_and_write  # type: ignore[method-assign]
