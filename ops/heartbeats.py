"""Signs of life. A process writes its row every few seconds in a thread of its own, until it stops or is killed."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
from datetime import timedelta
from typing import Any

import psutil
from celery import signals
from django.conf import settings
from django.db import Error, connections
from django.db.models import Q
from django.db.models.functions import Now

from ops.models import Heartbeat

logger = logging.getLogger(__name__)

SECONDS = 10
CANARY = "canary"


def beat(*, name: str, kind: Heartbeat.Kind) -> None:
    """Say that this process is alive, by the database's clock."""
    Heartbeat.objects.bulk_create(
        [Heartbeat(name=name, kind=kind, pid=os.getpid(), marked_as_worker=settings.CELERY_WORKER)],
        update_conflicts=True,
        unique_fields=["name"],
        update_fields=["kind", "pid", "marked_as_worker", "beat_at"],
    )


class Pulse:
    """One process's heartbeat. A database out of reach costs beats, never the thread."""

    def __init__(self, kind: Heartbeat.Kind, *, seconds: float = SECONDS) -> None:
        self.kind = kind
        self.name = f"{kind.value}@{socket.gethostname()[:120]}:{os.getpid()}"
        self._seconds = seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"heartbeat of {kind.value}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Go, and say so: the row is removed."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        self._try(self._bury_the_dead)
        while not self._stopped.is_set():
            self._try(self._beat)
            self._stopped.wait(self._seconds)
        self._try(self._leave)

    def _try(self, step: Any) -> None:
        # A connection for each beat: after an outage, or behind a pooler, there is nothing stale to trip over.
        try:
            step()
        except (Error, OSError) as error:
            logger.warning("a heartbeat was not written", extra={"heartbeat": self.name, "error": type(error).__name__})
        finally:
            connections.close_all()

    def _beat(self) -> None:
        beat(name=self.name, kind=self.kind)

    def _leave(self) -> None:
        Heartbeat.objects.filter(name=self.name).delete()

    def _bury_the_dead(self) -> None:
        """Rows of this host whose process is gone: killed, so it could not remove its own."""
        prefix = self.name.rpartition(":")[0] + ":"
        for row in Heartbeat.objects.of(self.kind).filter(name__startswith=prefix):
            if not psutil.pid_exists(row.pid):
                row.delete()


def prune(*, batch: int = 1000) -> int:
    """Remove the rows of processes that have been silent for an hour. Returns how many."""
    silent = Heartbeat.objects.filter(~Q(kind=Heartbeat.Kind.CANARY), beat_at__lt=Now() - timedelta(hours=1))
    removed, _ = Heartbeat.objects.filter(pk__in=silent.values("pk")[:batch]).delete()
    return removed


_pulses: dict[Heartbeat.Kind, Pulse] = {}


def connect() -> None:
    """Let Celery's processes beat: workers from ready to shutdown, beat from its start to its exit."""
    signals.worker_ready.connect(_worker_started, weak=False)
    signals.worker_shutdown.connect(_worker_stopped, weak=False)
    signals.beat_init.connect(_beat_started, weak=False)


def _start(kind: Heartbeat.Kind) -> Pulse:
    pulse = _pulses[kind] = Pulse(kind)
    pulse.start()
    return pulse


def _worker_started(**_: Any) -> None:
    _start(Heartbeat.Kind.WORKER)


def _worker_stopped(**_: Any) -> None:
    if pulse := _pulses.pop(Heartbeat.Kind.WORKER, None):
        pulse.stop()


def _beat_started(**_: Any) -> None:
    # Celery has no signal for beat's end.
    atexit.register(_start(Heartbeat.Kind.BEAT).stop)
