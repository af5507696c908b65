"""A worker that takes too much memory ends by itself, and loses no insight or coin."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chats.models import Chat
from insights import unlocking
from insights.models import Insight, InsightAttempt
from relivchats.accounts.models import User
from tests.conftest import StartCelery
from tests.insights.test_crashes import assert_delivered_and_charged_once, finished, gate, waiting_at  # noqa: F401
from tests.processes import eventually

pytestmark = pytest.mark.django_db(transaction=True)

LIMIT_MIB = 400


@pytest.mark.parametrize(("memory_mib", "finishes"), [(450, True), (650, False)])
def test_a_worker_beyond_its_limit_finishes_its_insights_and_one_far_beyond_gives_them_back(
    worker: StartCelery,
    gate: Path,  # noqa: F811
    person: User,
    make_chat: Callable[..., Chat],
    memory_mib: int,
    finishes: bool,
) -> None:
    chat = make_chat(person)
    limited = worker(app="tests.fakes.gated_worker", GATE=str(gate), WORKER_MEMORY_MB=str(LIMIT_MIB))
    job = unlocking.unlock(user=person, chat=chat, category_id="romantic").job
    eventually(lambda: Insight.objects.leased().count() == job.total_insights and limited.pid in waiting_at(gate))
    gate.with_suffix(".memory").write_text(str(memory_mib))
    if finishes:
        eventually(lambda: "finishing the tasks" in limited.log.read_text())
        gate.unlink()
    eventually(lambda: not limited.alive)
    if not finishes:
        assert set(Insight.objects.values_list("status", "attempt", "lease_token")) == {("pending", 1, None)}
        # Of another worker, which Celery would otherwise stop at the gate.
        gate.unlink()
        worker()
    eventually(lambda: finished(job))
    assert_delivered_and_charged_once(job)
    # One that needs too much memory must not end one worker after another.
    assert set(InsightAttempt.objects.values_list("number", "outcome")) == {(1 if finishes else 2, "completed")}
