"""A soak test: customers, and faults at random, for some minutes; then nothing may be wrong.

`python -m tests.soak --minutes 60 --seed 1`. It exits with 0 if there is no violation. docs/jobs.md describes it.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import shutil
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.soak.customers import Crowd
    from tests.soak.report import Report

_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=3.0, help="how long faults are injected")
    parser.add_argument("--seed", type=int, default=1, help="determines the plan of actions and faults")
    parser.add_argument("--customers", type=int, default=8, help="people who act at the same time")
    parser.add_argument("--workers", type=int, default=2, help="Celery workers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there as well")
    parser.add_argument("--keep-logs", type=Path, metavar="DIRECTORY", help="copy the logs there")
    options = parser.parse_args()
    report = run(options)
    report.show()
    if options.json:
        report.write(options.json)
    return 1 if report.violations else 0


def run(options: argparse.Namespace) -> Report:
    """Run the soak test and return its report."""
    from tests.fakes.qdrant import FakeQdrant
    from tests.soak.stack import SETTINGS, Stack, installation

    # The stub servers are started first: their addresses are settings.
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
    from tests.soak.language_model import SoakModel

    model = SoakModel(seed=options.seed)
    with model.serving(), FakeQdrant().serving() as qdrant:
        settings = {**SETTINGS, **model.settings(), **qdrant.settings()}
        with installation(settings) as directory:
            logging.disable(logging.CRITICAL)
            stack = Stack(directory, workers=options.workers)
            try:
                with stack.running():
                    return _run_on(stack, model, qdrant, options)
            finally:
                if options.keep_logs:
                    shutil.copytree(directory / "logs", options.keep_logs, dirs_exist_ok=True)


def _run_on(stack: Any, model: Any, qdrant: Any, options: argparse.Namespace) -> Report:
    import httpx

    from tests.soak import verification
    from tests.soak.accounts import Prices
    from tests.soak.customers import Crowd
    from tests.soak.faults import Injector
    from tests.soak.report import Report, summarize
    from tests.soak.texts import Canaries

    canaries = Canaries()
    prices = Prices.shown(httpx.get(f"{stack.address}/api/categories", trust_env=False).json()["results"])
    crowd = Crowd(stack.address, size=options.customers, seed=options.seed, canaries=canaries, prices=prices)
    injector = Injector(stack, model, qdrant, seed=options.seed)
    print(f"serving at {stack.address}; logs in {stack.directory / 'logs'}", flush=True)
    crowd.start()
    injector.start()
    loads = []
    ends_at = time.monotonic() + options.minutes * 60
    while (left := ends_at - time.monotonic()) > 0:
        time.sleep(min(left, 60))
        loads.append(os.getloadavg()[0])
        _print_progress(crowd, len(injector.injected), left)
        qdrant.forget_requests()
    injector.stop()
    crowd.stop()
    since = time.monotonic()
    violations = verification.wait_until_settled()
    settled_after = time.monotonic() - since
    logs = [
        line
        for path in (stack.directory / "logs").glob("*.log*")
        for line in path.read_text(errors="replace").splitlines()
    ]
    violations += crowd.failures + injector.failures
    violations += [
        f"{fault.kind} at {fault.at:.0f} s: nothing works again"
        for fault in injector.injected
        if fault.is_measured and fault.recovered_after is None
    ]
    violations += verification.find_violations(crowd.customers, qdrant, canaries, logs=())
    requests: dict[str, dict[str, int]] = defaultdict(dict)
    for (action, result), count in crowd.requests.results.items():
        requests[action][result] = count
        # The sandbox's page is none of the API, which answers with 503 while the database is down.
        if result.startswith("500") and action != "pay":
            violations.append(f"{action} was answered with a 500, {count} times")
    return Report(
        seed=options.seed,
        minutes=options.minutes,
        settled_after_seconds=settled_after,
        load=(round(sum(loads) / len(loads), 1), round(max(loads), 1)),
        people=len(crowd.customers),
        erased=sum(customer.person.erased for customer in crowd.customers),
        actions=crowd.actions,
        slowest_answer_seconds=crowd.requests.slowest_seconds,
        requests=dict(requests),
        rows=verification.count_rows(),
        recovery=summarize(injector.injected),
        faults=injector.injected,
        log_errors=_count_errors(logs),
        violations=violations,
    )


def _print_progress(crowd: Crowd, faults: int, left: float) -> None:
    print(
        f"{left / 60:5.1f} minutes left: {crowd.actions} actions, {faults} faults, {len(crowd.failures)} failures",
        flush=True,
    )


def _count_errors(logs: list[str]) -> dict[str, int]:
    """Return the messages of the level ERROR in the logs, with their numbers."""
    messages: Counter[str] = Counter()
    for line in logs:
        if '"ERROR"' in line or '"CRITICAL"' in line:
            try:
                messages[_ID.sub("…", str(json.loads(line).get("event")))[:80]] += 1
            except ValueError:
                messages["a line that is no JSON"] += 1
    return dict(messages.most_common(30))


if __name__ == "__main__":
    sys.exit(main())
