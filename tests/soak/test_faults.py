"""Every fault at every step of an unlock and of a question, with a real worker, broker, Postgres and HTTP.

A gate in the stub server of the model stops the worker in the middle of a step. Whatever happens then, the insight is
delivered and charged once, or costs nothing. All tests share one running worker; tests that kill it start another.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from celery import current_app
from django.db import connection
from django.test import override_settings

from billing.audit import audit
from billing.models import CreditTransaction
from chats import editing, erasure, indexing
from chats.importing import ImportOptions, import_chat, import_upload
from chats.models import Chat, Chunk, TranscriptBlock, VectorMatrix
from insights import engines, questions, recovery, unlocking
from insights.models import ChatReading, GenerationJob, Insight, InsightAttempt, InsightType, ReadWindow
from insights.question_models import ChatQuestion
from insights.reading import queue as reading_queue
from relivchats import embedded
from relivchats.accounts.models import User
from relivchats.supervisor import tail
from tests import exports
from tests.fakes.gemini import FakeGemini
from tests.fakes.model_server import Asked, Reply
from tests.processes import BrokerHandle, RunningProcess, ServerHandle, eventually, start_celery
from tests.soak.language_model import answer, make_claim
from tests.truth.oracle import parse_lines

pytestmark = [pytest.mark.soak, pytest.mark.django_db(transaction=True)]

_SEEDS = itertools.count(1)

TYPE, PRICE, ASK_PRICE = "communication_basics", 50, 5
#: What a call of the model is for, by a property of its schema.
STAGES = {"episodes": "reading", "sections": "writing", "verdicts": "verifying", "decision": "asking"}
UNLOCK_STAGES = ("indexing", "reading", "writing", "verifying")
SETTINGS: Mapping[str, Any] = {
    "INSIGHT_ENGINE": "gemini",
    "EMBEDDING_ENGINE": "gemini",
    "GEMINI_EMBEDDING_DIMENSIONS": 128,
    "MODEL_REQUESTS_PER_MINUTE": 0,
    "MODEL_TOKENS_PER_MINUTE": 0,
    "EMBEDDING_REQUESTS_PER_MINUTE": 0,
    "EMBEDDING_TOKENS_PER_MINUTE": 0,
    "INSIGHT_LEASE_SECONDS": 3,
    "REDISPATCH_SECONDS": 1,
    "ASK_PRICE_COINS": ASK_PRICE,
}


class Gate(FakeGemini):
    """A model that stops at a stage until it is opened."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.embedding_reply = self._embed
        self.stage = ""
        self.arrived = threading.Event()
        self.opened = threading.Event()

    @contextlib.contextmanager
    def closed(self, stage: str) -> Iterator[None]:
        self.stage = stage
        self.arrived.clear()
        self.opened.clear()
        try:
            yield
        finally:
            self.opened.set()
            self.stage = ""

    def _pass(self, stage: str) -> None:
        if stage == self.stage and not self.opened.is_set():
            self.arrived.set()
            self.opened.wait(60)

    def _answer(self, asked: Asked) -> Any:
        self._pass(next(stage for name, stage in STAGES.items() if name in asked.schema["properties"]))
        if "decision" in asked.schema["properties"]:
            return {"decision": "answer", "searches": [], "claims": [make_claim(parse_lines(asked.content)[:1])]}
        return answer(asked)

    def _embed(self, texts: Sequence[str]) -> Reply | None:
        self._pass("indexing")
        return None


@dataclass
class Work:
    """An unlock or a question that is on its way, and what starts its task."""

    person: User
    chat: Chat
    seed: int
    job: GenerationJob | None = None
    question: ChatQuestion | None = None

    @property
    def is_finished(self) -> bool:
        if self.question:
            return not ChatQuestion.objects.open().filter(pk=self.question.pk).exists()
        assert self.job
        return not GenerationJob.objects.open().filter(pk=self.job.pk).exists()

    def tasks(self) -> list[tuple[str, Any]]:
        """Return the tasks of its chat with their arguments."""
        readings = ChatReading.objects.filter(chat=self.chat).values_list("pk", flat=True)
        found = [("chats.tasks.index_chat", self.chat.pk), *(("insights.tasks.read_chat", pk) for pk in readings)]
        if self.question:
            found.append(("insights.tasks.answer_question", self.question.pk))
        if self.job:
            insights = self.job.insights.values_list("pk", flat=True)
            found += [("insights.tasks.generate_insight", pk) for pk in insights]
        return found


@dataclass
class Stack:
    """The worker and the servers behind it. Nothing recovers by itself: `finish` does what beat does."""

    gate: Gate
    start: Callable[[], RunningProcess]
    worker: RunningProcess
    #: Messages that nobody will acknowledge. The broker keeps them for an hour.
    unacknowledged: set[bytes] = field(default_factory=set)
    broker: BrokerHandle = field(default_factory=lambda: BrokerHandle(embedded.valkey()))
    postgres: ServerHandle = field(default_factory=lambda: ServerHandle(embedded.postgres()))

    @contextlib.contextmanager
    def working(self, stage: str) -> Iterator[Work]:
        """Yield an unlock or a question whose worker is stopped at this stage, until the block ends."""
        person = User.objects.create_user(f"{uuid.uuid4().hex}@example.org")
        assert person.wallet.balance == PRICE
        seed = next(_SEEDS)
        work = Work(person, import_chat(owner=person, upload=exports.text(150, seed=seed)), seed)
        if stage == "asking":
            indexing.request(work.chat)
            self._look_until(lambda: Chat.objects.get(pk=work.chat.pk).is_searchable)
        with self.gate.closed(stage):
            if stage == "asking":
                work.question = questions.ask(user=person, chat=work.chat, text="what do they plan")
            else:
                work.job = unlocking.unlock(user=person, chat=work.chat, type_ids=[TYPE]).job
                indexing.dispatch()
            self._look_until(self.gate.arrived.is_set)
            yield work

    def finish(self, work: Work) -> None:
        """Do what beat does until the work is finished."""
        self._look_until(lambda: work.is_finished)

    def drain(self) -> None:
        """Wait until all messages are handled."""
        eventually(lambda: not any(map(self.broker.waiting, ("insights", "indexing"))))
        eventually(lambda: self._list_unacknowledged() <= self.unacknowledged)

    def replace_worker(self) -> RunningProcess:
        """Start another worker and return the one before."""
        before, self.worker = self.worker, self.start()
        return before

    def forget_unacknowledged(self) -> None:
        """Do not wait for what is unacknowledged now."""
        self.unacknowledged |= self._list_unacknowledged()

    def _list_unacknowledged(self) -> set[bytes]:
        with self.broker.client as client:
            return set(client.hkeys("unacked"))

    def _look_until(self, done: Callable[[], bool]) -> None:
        def look() -> bool:
            if not self.worker.alive:
                # As a supervisor does. kombu ends a worker that loses the broker while it has unacknowledged messages.
                self.worker = self.start()
            recovery.recover()
            indexing.dispatch()
            reading_queue.dispatch()
            questions.dispatch()
            return done()

        eventually(look, because=lambda: f"not finished:\n{tail(self.worker.log, lines=20)}")


def kill_worker(stack: Stack, work: Work) -> None:
    stack.worker.kill()
    stack.forget_unacknowledged()
    stack.replace_worker()


def freeze_worker(stack: Stack, work: Work) -> None:
    stack.worker.pause()
    frozen = stack.replace_worker()
    stack.gate.opened.set()
    stack.finish(work)
    frozen.resume()
    # It ends its tasks, and the late results with them.
    frozen.stop()


def kill_broker(stack: Stack, work: Work) -> None:
    stack.broker.kill()
    # The worker cannot acknowledge them on its new connection.
    stack.forget_unacknowledged()


def flush_broker(stack: Stack, work: Work) -> None:
    stack.broker.flush()


def freeze_broker(stack: Stack, work: Work) -> None:
    with stack.broker.paused():
        stack.gate.opened.set()
        # What was answered is recorded without the broker; only the next step waits for it.
        eventually(lambda: not stack.gate.waiting)


def restart_postgres(stack: Stack, work: Work) -> None:
    stack.postgres.kill(signal.SIGQUIT)
    connection.close()


def deliver_again(stack: Stack, work: Work) -> None:
    for _ in range(3):
        for task, row_id in work.tasks():
            current_app.send_task(task, args=[str(row_id)])


def extend_chat(stack: Stack, work: Work) -> None:
    upload = exports.text(220, seed=work.seed)
    import_upload(owner=work.person, upload=upload, options=ImportOptions(extend=work.chat.pk))


def edit_chat(stack: Stack, work: Work) -> None:
    editing.edit_chat(work.chat, title="another title", people=[{"name": "Amit", "aliases": ["Aarav"]}])


def withdraw_type(stack: Stack, work: Work) -> None:
    InsightType.objects.filter(pk=TYPE).update(active=False)


Fault = Callable[[Stack, Work], None]
FAULTS: tuple[Fault, ...] = (
    kill_worker,
    freeze_worker,
    kill_broker,
    flush_broker,
    freeze_broker,
    restart_postgres,
    deliver_again,
    extend_chat,
    edit_chat,
    withdraw_type,
)


@pytest.fixture(scope="module")
def stack(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    directory, numbers = tmp_path_factory.mktemp("faults"), itertools.count(1)
    started: list[RunningProcess] = []
    with Gate().serving() as gate:
        values = {**SETTINGS, **gate.settings()}

        def start() -> RunningProcess:
            environment = {name: str(value) for name, value in values.items()}
            process = start_celery(
                "worker",
                directory=directory,
                number=next(numbers),
                database=connection.settings_dict["NAME"],
                app="relivchats",
                environment=environment,
            )
            started.append(process)
            process.wait_until_ready()
            return process

        with override_settings(**values):
            engines.get_engine.cache_clear()
            BrokerHandle(embedded.valkey()).flush()
            yield Stack(gate, start, start())
            for process in started:
                process.stop()
        engines.get_engine.cache_clear()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
@pytest.mark.parametrize("stage", UNLOCK_STAGES)
def test_an_unlock_is_delivered_and_charged_once(stack: Stack, stage: str, fault: Fault) -> None:
    with stack.working(stage) as work:
        fault(stack, work)
    stack.finish(work)
    # Late: after it was completed.
    deliver_again(stack, work)
    stack.drain()
    InsightType.objects.update(active=True)
    insight = Insight.objects.get(job=work.job)
    assert insight.status == "completed", insight.error_code
    assert InsightAttempt.objects.filter(insight=insight, outcome="completed").count() == 1
    assert ReadWindow.objects.filter(reading__chat=work.chat).exclude(status="read").count() == 0
    assert amounts_of(work) == [PRICE, -PRICE]
    assert audit() == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
def test_a_question_is_answered_and_charged_once_or_costs_nothing(stack: Stack, fault: Fault) -> None:
    with stack.working("asking") as work:
        fault(stack, work)
    stack.finish(work)
    deliver_again(stack, work)
    stack.drain()
    InsightType.objects.update(active=True)
    question = ChatQuestion.objects.get(chat=work.chat)
    # Its only attempt ends with the worker, or with a lease that ran out.
    is_lost = fault in (kill_worker, freeze_worker)
    assert (question.status, question.error_code) == (("failed", "worker_lost") if is_lost else ("answered", ""))
    assert amounts_of(work) == ([PRICE] if is_lost else [PRICE, -ASK_PRICE])
    assert audit() == []


@pytest.mark.parametrize("stage", [*UNLOCK_STAGES, "asking"])
def test_a_chat_that_is_deleted_meanwhile_costs_nothing_and_leaves_nothing(stack: Stack, stage: str) -> None:
    with stack.working(stage) as work:
        tasks = work.tasks()
        erasure.erase(work.chat)
    if work.job:
        stack.finish(work)
        assert Insight.objects.get(job=work.job).error_code == "chat_deleted"
    for task, row_id in tasks * 3:
        current_app.send_task(task, args=[str(row_id)])
    stack.drain()
    for model in (ChatReading, ChatQuestion, VectorMatrix, Chunk, TranscriptBlock):
        assert not model._default_manager.filter(chat=work.chat.pk).exists()
    assert amounts_of(work) == [PRICE]
    assert audit() == []


def amounts_of(work: Work) -> list[int]:
    """Return the amounts of the person's transactions. Fail if coins are reserved."""
    work.person.wallet.refresh_from_db()
    assert work.person.wallet.reserved == 0
    lines = CreditTransaction.objects.filter(wallet=work.person.wallet).order_by("sequence")
    return list(lines.values_list("amount", flat=True))
