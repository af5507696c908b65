"""The faults: a plan that the seed determines, their injection, and the time from each fault's end to working again."""

from __future__ import annotations

import contextlib
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import psycopg
from celery import current_app
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from relivchats import embedded
from tests.fakes.model_server import Reply
from tests.fakes.qdrant import FakeQdrant
from tests.soak import language_model, staff
from tests.soak.language_model import SoakModel
from tests.soak.stack import LEASE_SECONDS, Stack

#: Longer than anything takes to work again. A component that is still down then is a violation.
RECOVERY_LIMIT_SECONDS = 240.0
_LOOK_SECONDS = 0.1
_QDRANT_FAULTS: Mapping[str, Reply] = {
    "503": Reply({"status": {"error": "stub"}}, 503),
    "hang": Reply(fault="hang"),
    "reset": Reply(fault="drop"),
}
#: Tables of what workers hold by a lease: status column, its value, and the prefix of the lease's columns.
_LEASED = (
    ("insights", "status", "generating", ""),
    ("chat_readings", "status", "reading", ""),
    ("chats", "vector_status", "indexing", "index_"),
    ("chat_questions", "status", "answering", ""),
)
#: Tasks whose messages are delivered again, with the table of their argument.
_TASKS = (
    ("insights.tasks.generate_insight", "insights"),
    ("insights.tasks.read_chat", "chat_readings"),
    ("insights.tasks.answer_question", "chat_questions"),
    ("chats.tasks.index_chat", "chats"),
    ("chats.tasks.store_points", "chats"),
)
#: Rows that a dead worker left and that nobody has taken yet. A question is not attempted again: it fails.
_WAITING = (
    ("insights", "status = 'pending' AND error_code = 'worker_lost'"),
    ("chat_readings", "status = 'pending' AND error_code = 'worker_lost'"),
    ("chats", "vector_status = 'pending' AND index_requested_at IS NOT NULL"),
)


@dataclass(frozen=True)
class Planned:
    """A fault of the plan: how long after the previous one of its lane, its kind, how long it lasts, and which one."""

    after_seconds: float
    kind: str
    seconds: float
    choice: float


@dataclass
class Injected:
    """A fault that was injected. `recovered_after` is in seconds from its end, None if nothing measures it."""

    kind: str
    at: float
    recovered_after: float | None = None
    is_measured: bool = False


def plan(lane: str, *, seed: int) -> Iterator[Planned]:
    """Yield the faults of a lane, without an end."""
    chance = random.Random(f"{seed}/faults/{lane}")
    kinds, weights = list(_LANES[lane].kinds), list(_LANES[lane].kinds.values())
    while True:
        kind = chance.choices(kinds, weights)[0]
        yield Planned(
            after_seconds=chance.uniform(*_LANES[lane].gap_seconds),
            kind=kind,
            seconds=chance.uniform(*_SECONDS.get(kind, (0.0, 0.0))),
            choice=chance.random(),
        )


class Injector:
    """Injects the faults of all lanes, each in a thread, and measures in others."""

    def __init__(self, stack: Stack, model: SoakModel, qdrant: FakeQdrant, *, seed: int) -> None:
        self.injected: list[Injected] = []
        self.failures: list[str] = []
        self._stack = stack
        self._model = model
        self._qdrant = qdrant
        self._seed = seed
        self._began = time.monotonic()
        self._stopping = threading.Event()
        self._measuring = ThreadPoolExecutor(16, thread_name_prefix="measure")
        self._pending: list[Future[None]] = []
        self._threads = [threading.Thread(target=self._run, args=(lane,), name=f"faults-{lane}") for lane in _LANES]

    def start(self) -> None:
        """Start to inject."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the faults, and wait until everything that was broken works again or RECOVERY_LIMIT_SECONDS passed."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        for pending in self._pending:
            pending.result()
        self._measuring.shutdown()

    def _run(self, lane: str) -> None:
        for planned in plan(lane, seed=self._seed):
            if self._stopping.wait(planned.after_seconds):
                return
            injected = Injected(planned.kind, time.monotonic() - self._began)
            self.injected.append(injected)
            try:
                _INJECT[planned.kind.partition(" ")[0]](self, planned, injected)
            except Exception as error:
                self.failures.append(f"{planned.kind} was not injected: {error!r}")

    def _measure(self, injected: Injected, works: Callable[[], bool]) -> None:
        """Note how long it takes from now until `works` returns True."""
        since = time.monotonic()
        injected.is_measured = True

        def wait() -> None:
            while time.monotonic() < since + RECOVERY_LIMIT_SECONDS:
                if works():
                    injected.recovered_after = time.monotonic() - since
                    return
                time.sleep(_LOOK_SECONDS)

        self._pending.append(self._measuring.submit(wait))

    # Processes

    def _kill(self, planned: Planned, injected: Injected) -> None:
        name = self._target(planned)
        held = Held.read() if name.startswith("worker") else None
        pid = self._stack.signal(name, signal.SIGKILL)
        if held is None:
            self._measure(injected, lambda: self._stack.is_ready(name, after=pid))
        elif held.leases:
            self._measure(injected, held.is_taken_over)

    def _freeze(self, planned: Planned, injected: Injected) -> None:
        name = self._target(planned)
        held = Held.read()
        self._stack.signal(name, signal.SIGSTOP)
        self._stopping.wait(planned.seconds)
        self._stack.signal(name, signal.SIGCONT)
        if name == "web":
            self._measure(injected, lambda: self._stack.is_ready(name))
        elif held.leases:
            self._measure(injected, held.is_taken_over)

    def _target(self, planned: Planned) -> str:
        name = planned.kind.partition(" ")[2]
        workers = self._stack.worker_names
        return workers[int(planned.choice * len(workers))] if name == "worker" else name

    def _broker(self, planned: Planned, injected: Injected) -> None:
        match planned.kind.partition(" ")[2]:
            case "killed":
                self._stack.broker.kill()
            case "flushed":
                self._stack.broker.flush()
            case "frozen":
                with self._stack.broker.paused():
                    self._stopping.wait(planned.seconds)
        self._measure(injected, canary_runs())

    def _postgres(self, planned: Planned, injected: Injected) -> None:
        # SIGQUIT is an immediate shutdown: no checkpoint, every connection breaks, and the next start recovers.
        self._stack.postgres.kill(signal.SIGQUIT)
        self._measure(injected, canary_runs())

    # Services

    def _break_model(self, planned: Planned, injected: Injected) -> None:
        self._model.fault = planned.kind.partition(" ")[2]
        self._stopping.wait(planned.seconds)
        self._model.fault = ""
        answered = self._model.answered
        # Without work, nobody calls the model, and nothing shows that it works again.
        self._measure(injected, lambda: self._model.answered > answered or not is_work_open())

    def _slow(self, planned: Planned, injected: Injected) -> None:
        self._model.delay_seconds = 2.0
        self._stopping.wait(planned.seconds)
        self._model.delay_seconds = 0.0

    def _break_qdrant(self, planned: Planned, injected: Injected) -> None:
        self._qdrant.reply = _QDRANT_FAULTS[planned.kind.partition(" ")[2]]
        self._stopping.wait(planned.seconds)
        self._qdrant.reply = None

    # Nuisances

    def _deliver_again(self, planned: Planned, injected: Injected) -> None:
        for task, table in _TASKS:
            for row_id in choose_ids(table):
                for _ in range(3):
                    with contextlib.suppress(OperationalError, RedisError, OSError):
                        current_app.send_task(task, args=[row_id])

    def _withdraw(self, planned: Planned, injected: Injected) -> None:
        types = query("SELECT id FROM insight_types ORDER BY id") or []
        if types:
            type_id = types[int(planned.choice * len(types))][0]
            staff.set_active(type_id, active=False)
            self._stopping.wait(planned.seconds)
            staff.set_active(type_id, active=True)


@dataclass(frozen=True)
class Held:
    """What all workers hold by leases at one moment: {(table, id): (token, expiry)}."""

    leases: Mapping[tuple[str, str], tuple[Any, Any]]

    @classmethod
    def read(cls) -> Held:
        """Return what is leased now."""
        return cls(_read_leases() or {})

    def is_taken_over(self) -> bool:
        """Return whether nothing of it waits for a dead worker."""
        waiting = self.waiting()
        return waiting is not None and not waiting

    def waiting(self) -> set[tuple[str, str]] | None:
        """Return what is neither leased again nor renewed nor finished, or None if the database does not answer."""
        now = _read_leases()
        waiting = set()
        for table, condition in _WAITING:
            found = query(f"SELECT id FROM {table} WHERE {condition}")
            if now is None or found is None:
                return None
            waiting |= {(table, str(row_id)) for (row_id,) in found}
        return {row for row, lease in self.leases.items() if row in waiting or (now or {}).get(row) == lease}


def _read_leases() -> dict[tuple[str, str], tuple[Any, Any]] | None:
    leases = {}
    for table, status, leased, prefix in _LEASED:
        found = query(
            f"SELECT id, {prefix}lease_token, {prefix}lease_expires_at FROM {table} WHERE {status} = '{leased}'"
        )
        if found is None:
            return None
        leases.update({(table, str(row_id)): (token, expires_at) for row_id, token, expires_at in found})
    return leases


def query(sql: str) -> list[tuple[Any, ...]] | None:
    """Return the rows of a query, or None if the database does not answer."""
    try:
        with psycopg.connect(embedded.database_url(), connect_timeout=4) as connection:
            return connection.execute(sql.encode()).fetchall()
    except psycopg.Error:
        return None


def choose_ids(table: str) -> list[str]:
    """Return the ids of some rows, whatever their state."""
    found = query(f"SELECT id FROM {table} ORDER BY random() LIMIT 3")
    return [str(row_id) for (row_id,) in found or ()]


def is_work_open() -> bool:
    """Return whether an insight, a reading or a question waits for the model."""
    found = query(
        "SELECT 1 FROM insights WHERE status IN ('pending', 'generating')"
        " UNION ALL SELECT 1 FROM chat_questions WHERE status IN ('pending', 'answering') LIMIT 1"
    )
    return found is None or bool(found)


def canary_runs() -> Callable[[], bool]:
    """Return a function that returns True once a task ran that was sent after now: broker, worker and database work.

    It sends one task each time: one of them may be lost.
    """
    since = time.time()

    def works() -> bool:
        with contextlib.suppress(OperationalError, RedisError, OSError):
            current_app.send_task("ops.tasks.canary", expires=10)
        return bool(query(f"SELECT 1 FROM heartbeats WHERE name = 'canary' AND beat_at > to_timestamp({since})"))

    return works


@dataclass(frozen=True)
class _Lane:
    """Faults that follow each other. Those of different lanes happen at the same time."""

    gap_seconds: tuple[float, float]
    kinds: Mapping[str, float]


_LANES: Mapping[str, _Lane] = {
    "processes": _Lane(
        (4, 22),
        {
            "kill worker": 5,
            "freeze worker": 3,
            "kill web": 2,
            "freeze web": 1,
            "kill beat": 1,
            "broker killed": 2,
            "broker flushed": 2,
            "broker frozen": 2,
            "postgres restarted": 3,
        },
    ),
    "services": _Lane(
        (15, 45),
        {
            **{f"model {name}": 1.0 for name in language_model.FAULTS},
            "slow model": 1,
            **{f"qdrant {name}": 1.5 for name in _QDRANT_FAULTS},
        },
    ),
    "nuisances": _Lane((5, 20), {"duplicates delivered": 3, "withdrawn type": 1}),
}
_SECONDS: Mapping[str, tuple[float, float]] = {
    # From a moment to twice the lease.
    "freeze worker": (1, 2 * LEASE_SECONDS),
    "freeze web": (0.5, 4),
    "broker frozen": (1, 12),
    **{f"model {name}": (3, 10) for name in language_model.FAULTS},
    "slow model": (3, 12),
    **{f"qdrant {name}": (3, 15) for name in _QDRANT_FAULTS},
    "withdrawn type": (2, 15),
}
_INJECT: Mapping[str, Callable[[Injector, Planned, Injected], None]] = {
    "kill": Injector._kill,
    "freeze": Injector._freeze,
    "broker": Injector._broker,
    "postgres": Injector._postgres,
    "model": Injector._break_model,
    "slow": Injector._slow,
    "qdrant": Injector._break_qdrant,
    "duplicates": Injector._deliver_again,
    "withdrawn": Injector._withdraw,
}
