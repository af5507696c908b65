"""Measure insights of a language model whose calls take long: `python -m tests.benchmarks.models [--delay 20]`.

A stub server answers every call after the delay and counts tokens. First six insights on a chat of 2,000 messages and
on one of 100,000: the wall time divided by the ideal, which is three calls that depend on each other (read, write,
verify), and the tokens and their list price by stage. Then the same chat again, which is not read again. Last many jobs
at once on one worker: wall time, memory, and database connections while the calls wait.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import psutil

from tests import exports
from tests.benchmarks import stage
from tests.benchmarks.unlock import Client
from tests.fakes.gemini import FakeGemini
from tests.fakes.model_server import Asked

#: US dollars for a million tokens, in and out: the list prices of docs/engines.md.
PRICES = {"read": (0.30, 2.50), "write": (0.75, 3.75), "verify": (0.75, 3.75)}
_LINE = re.compile(r"^\[#(\d+) \S+ \S+ (P\d+)\]", re.MULTILINE)
#: One of so many messages begins an episode of the stub's readings.
_EPISODE_EVERY = 25
_KINDS = ("affection", "check_in", "conflict", "repair", "support", "plan", "joke", "gratitude", "tease", "stress")


def answer(asked: Asked) -> Any:
    """Return a plausible answer: an episode in every 25 messages, no claims, and a confirmation of everything."""
    properties = asked.schema["properties"]
    if "verdicts" in properties:
        verdict = {"shown": True, "right_person": True, "sincere": True}
        count = len(re.findall(r"^Claim \d+", asked.content, re.MULTILINE))
        return {"verdicts": [{"claim": index + 1, **verdict} for index in range(count)]}
    if "sections" in properties:
        sections = {key: {"can_judge": True, "claims": []} for key in properties["sections"]["properties"]}
        return {"can_judge": True, "sections": sections}
    episodes = [
        {
            "kind": _KINDS[position % len(_KINDS)],
            "topic": "other",
            "first": int(number),
            "last": int(number),
            "roles": [{"person": person, "role": "does"}],
            "strength": 2,
            "tone": "sincere",
            "subject": "a stub",
            "shows": [int(number)],
        }
        for position, (number, person) in enumerate(_LINE.findall(asked.content)[::_EPISODE_EVERY])
    ]
    return {"relationship": "couple", "languages": ["English"], "episodes": episodes, "dangers": []}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--delay", type=float, default=20, help="seconds that every call takes")
    parser.add_argument("--messages", type=int, nargs="*", default=[2_000, 100_000])
    parser.add_argument("--jobs", type=int, default=50, help="jobs of six insights at once")
    parser.add_argument("--slots", type=int, default=300)
    chosen = parser.parse_args()
    print(stage.machine())
    server = FakeGemini(answer)
    server.delay_seconds = chosen.delay
    with server.serving():
        os.environ.update(
            INSIGHT_ENGINE="gemini",
            GEMINI_API_KEY="stub",
            GEMINI_BASE_URL=server.address,
            MAX_CONCURRENT_INSIGHTS=str(chosen.slots),
            MODEL_REQUESTS_PER_MINUTE="0",
            MODEL_TOKENS_PER_MINUTE="0",
            INSIGHT_START_TIMEOUT="3600",
            INSIGHT_GENERATION_TIMEOUT="3600",
        )
        with stage.installation(), stage.web() as web, worker() as process:
            for messages in chosen.messages:
                _measure_chat(web.port, messages, server=server, delay=chosen.delay)
            if chosen.jobs:
                _measure_load(web.port, chosen.jobs, server=server, delay=chosen.delay, worker=process)


@contextlib.contextmanager
def worker() -> Iterator[psutil.Process]:
    """Run one worker with the command of `./dev up`, and beat, which recovers and dispatches."""
    from relivchats import serve

    environment = {**os.environ, "CELERY_WORKER": "true"}
    quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    command = [sys.executable, "-m", *serve.worker()]
    with subprocess.Popen(command, cwd=stage.REPOSITORY, env=environment, **quiet) as child:
        try:
            yield psutil.Process(child.pid)
        finally:
            child.terminate()


def _measure_chat(port: int, messages: int, *, server: FakeGemini, delay: float) -> None:
    from chats.importing import import_chat
    from insights.models import Insight, InsightAttempt, ReadWindow

    person, client = _person(port)
    chat = import_chat(owner=person, upload=exports.text(messages))
    for label, n_calls in (("first unlock", 3), ("same chat again", 2)):
        server.bodies.clear()
        seconds = client.seconds_to_all_insights(str(chat.pk))
        windows = ReadWindow.objects.filter(reading__chat=chat)
        tokens: dict[str, int] = {}
        if n_calls == 3:
            tokens["read_in"] = sum(windows.values_list("tokens_in", flat=True))
            tokens["read_out"] = sum(windows.values_list("tokens_out", flat=True))
        for insight in chat.insights.all():
            document = insight.open_document()
            assert document is not None
            for name, count in document["provenance"]["tokens"].items():
                if "_" in name:
                    tokens[name] = tokens.get(name, 0) + count
        costs = {
            name: (tokens.get(f"{name}_in", 0) * price_in + tokens.get(f"{name}_out", 0) * price_out) / 1e6
            for name, (price_in, price_out) in PRICES.items()
        }
        shown = ", ".join(
            f"{name} {tokens.get(f'{name}_in', 0):,} in {tokens.get(f'{name}_out', 0):,} out ${cost:.3f}"
            for name, cost in costs.items()
        )
        print(
            f"{messages:,} messages, {label}: {seconds:.1f} s, {seconds / (n_calls * delay):.2f} of the ideal"
            f" {n_calls * delay:.0f} s; {len(server.bodies)} calls, {windows.count()} windows; {shown};"
            f" total ${sum(costs.values()):.3f}"
        )
        # Detach the insights, so that the same chat, which was read, can be unlocked again.
        InsightAttempt.objects.all().delete()
        Insight.objects.filter(chat=chat).update(chat=None)


def _measure_load(port: int, jobs: int, *, server: FakeGemini, delay: float, worker: psutil.Process) -> None:
    from chats.importing import import_chat

    clients = []
    for _ in range(jobs):
        person, client = _person(port)
        clients.append((client, str(import_chat(owner=person, upload=exports.text(2_000)).pk)))
    samples: list[int] = []
    done = threading.Event()
    sampler = threading.Thread(target=_sample_connections, args=(worker.pid, done, samples))
    sampler.start()
    before = stage.peak_bytes(worker)
    server.max_waiting = 0
    started = time.perf_counter()
    seconds: list[float] = []
    threads = [
        threading.Thread(target=lambda each=each: seconds.append(each[0].seconds_to_all_insights(each[1])))
        for each in clients
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - started
    done.set()
    sampler.join()
    print(
        f"{jobs} jobs of six insights: {wall:.1f} s, {wall / (3 * delay):.2f} of the ideal {3 * delay:.0f} s;"
        f" median job {statistics.median(seconds):.1f} s; at most {server.max_waiting} calls at once;"
        f" worker {stage.peak_bytes(worker) / 1e6:.0f} MB at most ({before / 1e6:.0f} MB before);"
        f" its database connections: median {statistics.median(samples):.0f}, at most {max(samples)}"
    )


def _sample_connections(pid: int, done: threading.Event, samples: list[int]) -> None:
    """Count the worker's connections that are in use, twice a second."""
    from django.db import connection

    with connection.cursor() as cursor:
        while not done.wait(0.5):
            cursor.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            samples.append(cursor.fetchone()[0])
    connection.close()


def _person(port: int) -> tuple[Any, Client]:
    from billing import ledger
    from relivchats.accounts.models import User
    from relivchats.accounts.tokens import issue

    person = User.objects.create_user(f"benchmark-{time.time_ns()}@example.org")
    ledger.adjust(wallet=person.wallet, amount=2_000, actor="benchmark", reason="benchmark", idempotency_key="coins")
    return person, Client(port, issue(person))


if __name__ == "__main__":
    main()
