"""Heartbeats: each web, worker and beat process updates its row every few seconds, until it stops or is killed."""

from __future__ import annotations

import atexit
import logging
import os
import socket
import threading
from collections.abc import Callable
from datetime import timedelta
from multiprocessing import util
from typing import Any

import psutil
from celery import signals
from django.conf import settings
from django.db import Error, connections
from django.db.models import Q
from django.db.models.functions import Now

from chats import keys
from ops import activity, samples
from ops.models import Heartbeat
from relivchats import installation, roles
from relivchats.process_signals import web_started

logger = logging.getLogger(__name__)

#: A third of HEALTH_HEARTBEAT_SECONDS, so that one lost heartbeat raises no alarm.
INTERVAL_SECONDS = 10
CANARY_NAME = "canary"
RETENTION_NAME = "retention"


def write_heartbeat(*, name: str, kind: Heartbeat.Kind, threads: int = 0) -> None:
    """Create or update the row `name` with this process's id and the database's current time."""
    Heartbeat.objects.bulk_create(
        [
            Heartbeat(
                name=name,
                kind=kind,
                pid=os.getpid(),
                port=roles.port() if kind == Heartbeat.Kind.WEB else None,
                marked_as_worker=settings.CELERY_WORKER,
                version=activity.version(),
                memory_bytes=psutil.Process().memory_info().rss,
                threads=threads,
                leases=activity.held_leases(),
                activity=activity.current(),
                key_ids=keys.ids(),
            )
        ],
        update_conflicts=True,
        unique_fields=["name"],
        # Not started_at: it keeps the time of the first heartbeat.
        update_fields=[
            *("kind", "pid", "port", "marked_as_worker", "beat_at"),
            *("version", "memory_bytes", "threads", "leases", "activity", "key_ids"),
        ],
    )


class HeartbeatThread:
    """A thread that writes the heartbeat of this process. It survives an outage of the database."""

    def __init__(
        self,
        kind: Heartbeat.Kind,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        threads: int = 0,
        also: Callable[[], object] | None = None,
    ) -> None:
        self.kind = kind
        self._threads = threads
        self._also = also
        # The host name is cut, because the column holds 150 characters.
        self.name = f"{kind.value}@{socket.gethostname()[:120]}:{os.getpid()}"
        self._interval_seconds = interval_seconds
        self._stopped = threading.Event()
        # A daemon: after a fatal error in the main thread, the process must exit and its heartbeat end.
        self._thread = threading.Thread(target=self._run, name=f"heartbeat of {kind.value}", daemon=True)

    def start(self) -> None:
        """Start the thread, which writes the first heartbeat at once."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread and remove its row; wait at most 5 s for both."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def _run(self) -> None:
        self._query(self._remove_stale)
        self._query(lambda: samples.add_start(self.kind))
        is_first = True
        while not self._stopped.is_set():
            self._query(lambda: write_heartbeat(name=self.name, kind=self.kind, threads=self._threads))
            if self._also:
                self._query(self._also)
            if is_first:
                self._query(self._remove_those_without_container)
                is_first = False
            self._stopped.wait(self._interval_seconds)
        self._query(lambda: Heartbeat.objects.filter(name=self.name).delete())

    def _query(self, query: Callable[[], object]) -> None:
        # A new connection for each heartbeat: after an outage, or behind a pooler, an old one may be dead.
        try:
            query()
        except (Error, OSError) as error:
            logger.warning("a heartbeat was not written", extra={"heartbeat": self.name, "error": type(error).__name__})
        finally:
            connections.close_all()

    def _remove_stale(self) -> None:
        """Remove the rows of this host's killed processes: they could not remove their own."""
        # A process id that is in use again keeps its row until `prune`: rare, and only a warning of health. In a
        # container that starts again it is this process's own.
        prefix = self.name.rpartition(":")[0] + ":"
        for row in Heartbeat.objects.filter(kind=self.kind, name__startswith=prefix):
            if row.name == self.name or not psutil.pid_exists(row.pid):
                row.delete()

    def _remove_those_without_container(self) -> None:
        """Remove the rows of this kind whose containers do not run any more: nobody else would for an hour.

        One that is silent in a container that runs is frozen, so its row stays. This comes after the first heartbeat,
        because a name server that is away takes seconds.
        """
        for name in Heartbeat.objects.filter(kind=self.kind).exclude(name=self.name).values_list("name", flat=True):
            if installation.has_container(name) is False:
                Heartbeat.objects.filter(name=name).delete()


def prune(*, batch: int = 1000) -> int:
    """Remove at most `batch` rows of processes that have been silent for an hour, and return their number."""
    # Not those of tasks: their age shows for how long none has run.
    tasks = Q(kind__in=(Heartbeat.Kind.CANARY, Heartbeat.Kind.RETENTION))
    silent = Heartbeat.objects.filter(~tasks, beat_at__lt=Now() - timedelta(hours=1))
    removed, _ = Heartbeat.objects.filter(pk__in=silent.values("pk")[:batch]).delete()
    return removed


def connect_signals() -> None:
    """Start a heartbeat thread in each web process and each Celery worker when it is ready, and in beat when it starts.

    Beat also records the states of the health checks: it runs once, and it needs neither the broker nor a worker.
    """
    worker_threads: list[HeartbeatThread] = []
    activity.connect_signals()

    def on_worker_ready(sender: Any = None, **_: Any) -> None:
        threads = getattr(getattr(sender, "pool", None), "limit", 0) or 0
        worker_threads.append(HeartbeatThread(Heartbeat.Kind.WORKER, threads=threads))
        worker_threads[-1].start()

    def on_worker_shutdown(**_: Any) -> None:
        while worker_threads:
            worker_threads.pop().stop()

    def on_beat_init(sender: Any, **_: Any) -> None:
        # The checks import most of the code, and most processes run none.
        from ops import page_recorder

        # The schedule is read when it is first used, and the first heartbeat is earlier.
        thread = HeartbeatThread(Heartbeat.Kind.BEAT, also=lambda: activity.write_schedule(sender.scheduler.schedule))
        thread.start()
        # Celery sends no signal when beat stops.
        atexit.register(thread.stop)
        page_recorder.start()

    def on_web_started(**_: Any) -> None:
        thread = HeartbeatThread(Heartbeat.Kind.WEB)
        thread.start()
        # A forked process of the web server runs the finalizers of multiprocessing, and no functions of atexit.
        util.Finalize(None, thread.stop, exitpriority=10)
        atexit.register(thread.stop)

    signals.worker_ready.connect(on_worker_ready, weak=False)
    signals.worker_shutdown.connect(on_worker_shutdown, weak=False)
    signals.beat_init.connect(on_beat_init, weak=False)
    web_started.connect(on_web_started, weak=False)
