"""Measure how long `kill -9` of a worker delays its insights: `python -m tests.soak.kill`.

Two workers write insights with a slow model, with the leases and time limits of production. One of them is killed and
started again a second later. An insight runs again when another worker, or the new one, has leased it.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import statistics
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.soak.language_model import SoakModel
    from tests.soak.stack import Stack

#: Longer than a lease: a worker that is not killed is still writing.
_MODEL_SECONDS = 100.0
_SHORT = (
    "INSIGHT_LEASE_SECONDS",
    "INSIGHT_START_TIMEOUT",
    "INSIGHT_GENERATION_TIMEOUT",
    "REDISPATCH_SECONDS",
    "MODEL_TIMEOUT_SECONDS",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak.kill", description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how often a worker is killed")
    parser.add_argument("--insights", type=int, default=8, help="insights that run at the same time")
    options = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "relivchats.settings")
    from tests.soak.language_model import SoakModel
    from tests.soak.stack import SETTINGS, Stack, installation

    model = SoakModel(seed=1)
    with model.serving():
        settings = {name: value for name, value in SETTINGS.items() if name not in _SHORT}
        settings |= {**model.settings(), "MAX_CONCURRENT_INSIGHTS": str(options.insights)}
        with installation(settings) as directory:
            logging.disable(logging.CRITICAL)
            stack = Stack(directory, workers=2)
            with stack.running():
                seconds = [
                    each for number in range(options.times) for each in _kill_and_wait(stack, model, number, options)
                ]
    if not seconds:
        print("the killed workers had no insights")
        return 1
    print(
        f"kill -9 of a worker, {options.times} times, {len(seconds)} insights:"
        f" running again after p50 {statistics.median(seconds):.0f} s, max {max(seconds):.0f} s"
    )
    return 0


def _kill_and_wait(stack: Stack, model: SoakModel, number: int, options: argparse.Namespace) -> list[float]:
    """Kill a worker, and return after how many seconds each of its insights runs again."""
    from insights.models import Insight
    from tests.processes import eventually
    from tests.soak.accounts import Prices
    from tests.soak.client import Client, Requests
    from tests.soak.customers import Customer
    from tests.soak.faults import Held
    from tests.soak.staff import adjust, create_person
    from tests.soak.texts import Canaries

    requests = Requests()
    # Only writing is slow: the chats are indexed and read at once.
    model.writing_seconds = _MODEL_SECONDS
    for index in range(options.insights // 2):
        person = create_person(100 * number + index)
        adjust(person, 500)
        client = Client(stack.address, person.token, requests)
        prices = Prices.shown(client.get("read", "/api/categories")["results"])
        customer = Customer(person, client, canaries=Canaries(), prices=prices, seed=1)
        customer.upload(messages=300, people=2)
        chat_id = person.chats[0].id
        client.send("index", "POST", f"/api/chats/{chat_id}/reindex")
        # Two of each, so that no other insight waits for a free lease.
        types = [name for name, category in prices.category_of.items() if category == "romantic"][:2]
        body = {"chat_id": chat_id, "insight_type_ids": types}
        client.send("unlock", "POST", "/api/insights/unlock", idempotent=True, json=body)
    eventually(lambda: Insight.objects.leased().count() >= options.insights)
    held, killed_at = Held.read(), time.monotonic()
    stack.signal(f"worker-{1 + number % 2}", signal.SIGKILL)
    after: dict[str, float] = {}
    while (waiting := held.waiting()) is None or waiting:
        for table, row_id in held.leases.keys() - (waiting or set()) if waiting is not None else ():
            if table == "insights":
                after.setdefault(row_id, time.monotonic() - killed_at)
        time.sleep(0.2)
    now = Held.read()
    taken = [row for row, lease in held.leases.items() if row in now.leases and now.leases[row][0] != lease[0]]
    seconds = [after.get(row_id, time.monotonic() - killed_at) for table, row_id in taken if table == "insights"]
    print(f"{len(seconds)} insights of {len(held.leases)}: {', '.join(f'{each:.0f}' for each in sorted(seconds))} s")
    model.writing_seconds = 0.0
    while Insight.objects.filter(status__in=Insight.OPEN).exists():
        time.sleep(1)
    return seconds


if __name__ == "__main__":
    sys.exit(main())
