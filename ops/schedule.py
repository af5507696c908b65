"""The tasks of beat's schedule, sent at once by an operator."""

from __future__ import annotations

import time
from datetime import datetime

from celery import current_app
from django.conf import settings
from django.db.models import QuerySet
from kombu.exceptions import OperationalError as BrokerUnavailable
from redis.exceptions import RedisError

from ops import queues, workers
from ops.models import Heartbeat, ScheduleEntry
from ops.monitoring_models import ErrorEvent
from relivchats import clock
from relivchats.errors import Conflict, NotFound
from relivchats.staff.bulk_actions import ActionContext, BatchResult, batch_report, run_batch
from relivchats.staff.reports import Report

#: How long the tasks of one action are watched, all together: a person waits for the answer. No message expires in
#: this time, so one that is gone was run.
WATCH_SECONDS = 4.0
#: A worker writes the failure of a task within this time.
FAILURE_SECONDS = 1.5
_POLL_SECONDS = 0.1


def is_known(name: str) -> bool:
    """Return whether this release has an entry of this name in its schedule."""
    return name in settings.CELERY_BEAT_SCHEDULE


def run_now(entries: QuerySet[ScheduleEntry], *, context: ActionContext) -> BatchResult:
    """Send the task of each entry to the broker, once, and report what became of it within WATCH_SECONDS.

    Beat's own runs go on as before. An entry is refused if this release does not know it, and if no worker is alive or
    the broker does not answer.
    """
    watched_until = time.monotonic() + WATCH_SECONDS

    def send(entry: ScheduleEntry) -> str:
        known = settings.CELERY_BEAT_SCHEDULE.get(entry.name)
        if known is None or known["task"] != entry.task:
            raise Conflict("This release has no such task in its schedule. Nothing was sent.")
        if all(process.state != "alive" for process in workers.list_processes(Heartbeat.Kind.WORKER)):
            raise Conflict("No worker is alive. Nothing was sent; see manage.py workers.")
        sent_at = clock.now()
        expires_seconds = known["options"]["expires"]
        queue = current_app.amqp.router.route({}, entry.task)["queue"].name
        try:
            sent = current_app.send_task(entry.task, expires=expires_seconds)
        except (BrokerUnavailable, RedisError, OSError):
            raise Conflict("The broker did not answer, so the task was probably not sent.") from None
        state = _watch(queue=queue, task_id=str(sent.id), until=watched_until)
        if state == queues.ENDED:
            return _describe_end(entry, sent_at)
        return {
            queues.WAITING: f"sent; it still waits for a worker, and is dropped {expires_seconds} s after it was sent",
            queues.RUNNING: "sent; a worker has it, and is not done",
        }.get(state, "sent; the broker does not say what became of it")

    return run_batch("run task", entries, send, context=context)


def run_one(name: str, *, context: ActionContext) -> Report:
    """Run the task of the entry of this name, and return the report. Raise NotFound, or Conflict without a reason."""
    if not context.reason.strip():
        raise Conflict("A task is run only for a reason: --reason 'the ledger was repaired'")
    entries = ScheduleEntry.objects.filter(name=name)
    if not entries:
        raise NotFound(f"There is no entry {name} in the schedule. See manage.py queue --schedule.")
    return batch_report("Run now", run_now(entries, context=context), remedy="manage.py queue --schedule")


def _watch(*, queue: str, task_id: str, until: float) -> str:
    """Return the state of a message once it has ended, or when the time is over."""
    before = ""
    while True:
        state = queues.find_message(queue=queue, task_id=task_id)
        # Between the queue and the messages of the workers, a message is in neither for a moment.
        if state == before == queues.ENDED or time.monotonic() >= until:
            return state
        before = state
        time.sleep(_POLL_SECONDS)


def _describe_end(entry: ScheduleEntry, sent_at: datetime) -> str:
    """Return how a task ended. Periodic tasks store no result, but a failure is an event."""
    seconds = (clock.now() - sent_at).total_seconds()
    failures = ErrorEvent.objects.filter(event="task failed", code=entry.task[:64], at__gte=sent_at).order_by("at")
    until = time.monotonic() + FAILURE_SECONDS
    while not (failed := failures.first()) and time.monotonic() < until:
        time.sleep(_POLL_SECONDS)
    if failed:
        return f"sent; a worker ran it, and it failed: {failed.error} in {failed.location}"
    return f"sent; a worker ran it within {seconds:.1f} s, without an error"
