"""Measure how long an unlock takes: `python -m tests.benchmarks.unlock`.

Sends requests over HTTP to a web process, with a worker, both as in `./dev up`. First the time from the unlock of a
chat of 100,000 messages to its six insights, with and without indexing. Then the response times of unlocks and of job
statuses.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

from tests import exports
from tests.benchmarks import stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--requests", type=int, default=200)
    chosen = parser.parse_args()
    print(stage.machine())
    with stage.installation(), stage.web() as web, worker():
        _measure_delivery(web.port, exports.text(chosen.messages), rounds=chosen.rounds)
        _measure_responses(web.port, requests=chosen.requests)


@contextlib.contextmanager
def worker() -> Iterator[None]:
    """Run one worker with the options of `./dev up`."""
    options = ["--pool", "threads", "--concurrency", "8", "-Q", "insights,indexing,upkeep"]
    command = [sys.executable, "-m", "celery", "-A", "relivchats", "worker", *options]
    environment = {**os.environ, "CELERY_WORKER": "true"}
    with subprocess.Popen(
        command, cwd=stage.REPOSITORY, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as child:
        try:
            yield
        finally:
            child.terminate()


def _measure_delivery(port: int, content: bytes, *, rounds: int) -> None:
    from chats.importing import import_chat
    from insights.models import Insight, InsightAttempt

    not_indexed, indexed = [], []
    for _ in range(rounds):
        person, client = _person(port, coins=800)
        chat = import_chat(owner=person, upload=content)
        not_indexed.append(client.seconds_to_all_insights(str(chat.pk)))
        # Detach the insights, so that the same chat, which is indexed now, can be unlocked again.
        InsightAttempt.objects.all().delete()
        Insight.objects.filter(chat=chat).update(chat=None)
        indexed.append(client.seconds_to_all_insights(str(chat.pk)))
    print(f"unlock to six insights, indexing included: {stage.median(not_indexed)}")
    print(f"unlock to six insights, indexed before: {stage.median(indexed)}")


def _measure_responses(port: int, *, requests: int) -> None:
    from chats.importing import import_chat

    person, client = _person(port, coins=50 * requests)
    content = exports.text(200)
    unlocks, jobs = [], []
    for _ in range(requests):
        chat = import_chat(owner=person, upload=content)
        request = {"chat_id": str(chat.pk), "insight_type_ids": ["communication_basics"]}
        started = time.perf_counter()
        jobs.append(client.call("POST", "/api/insights/unlock", request)["job_id"])
        unlocks.append(time.perf_counter() - started)
    statuses = []
    for job_id in jobs:
        started = time.perf_counter()
        client.call("GET", f"/api/insights/jobs/{job_id}/status")
        statuses.append(time.perf_counter() - started)
    for name, seconds in (("unlock request", unlocks), ("job status", statuses)):
        milliseconds = [1000 * each for each in seconds]
        p95 = statistics.quantiles(milliseconds, n=20)[-1]
        print(f"{name}: median {statistics.median(milliseconds):.1f} ms, p95 {p95:.1f} ms over {requests} requests")


def _person(port: int, *, coins: int) -> tuple[Any, Client]:
    from billing import ledger
    from relivchats.accounts.models import User
    from relivchats.accounts.tokens import issue

    person = User.objects.create_user(f"benchmark-{time.time_ns()}@example.org")
    ledger.adjust(wallet=person.wallet, amount=coins, actor="benchmark", reason="benchmark", idempotency_key="coins")
    return person, Client(port, issue(person))


class Client:
    """One person's connection to the API."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}

    def call(self, method: str, path: str, body: object = None) -> Any:
        self._connection.request(method, path, json.dumps(body) if body else None, self._headers)
        answer = self._connection.getresponse()
        content = json.loads(answer.read())
        assert answer.status < 300, content
        return content

    def seconds_to_all_insights(self, chat_id: str) -> float:
        started = time.perf_counter()
        job = self.call("POST", "/api/insights/unlock", {"chat_id": chat_id, "category_id": "romantic"})
        while True:
            status = self.call("GET", f"/api/insights/jobs/{job['job_id']}/status")
            if status["finished_at"]:
                assert status["completed_insights"] == 6, status
                return time.perf_counter() - started
            time.sleep(0.05)


if __name__ == "__main__":
    main()
