"""Measure the ledger under load and with many rows: `python -m tests.benchmarks.ledger`.

First `manage.py ledger` on a generated history, and the incremental audit that `health` runs. Then, in this ledger, the
unlocks (reserve and capture) per second of several processes, on one wallet and on many, and
`POST /api/insights/unlock` over HTTP.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Sequence
from datetime import timedelta

import psutil

from tests.benchmarks import population, stage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=10_000_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", choices=("load", "size"))
    chosen = parser.parse_args()
    print(stage.machine(), flush=True)
    with stage.installation():
        # The rows are created in an empty database.
        if chosen.only != "load":
            _measure_size(transactions=chosen.transactions)
        if chosen.only != "size":
            _measure_load(processes=chosen.processes, seconds=chosen.seconds)


def _measure_load(*, processes: int, seconds: float) -> None:
    for name, number in (("one wallet", 1), ("1,000 wallets", 1000)):
        wallets = [_create_wallet() for _ in range(number)]
        context = multiprocessing.get_context("spawn")
        with context.Pool(processes, initializer=_set_up_django) as pool:
            done = pool.starmap(_unlock_repeatedly, [(wallets, seconds)] * processes)
        print(f"reserve and capture on {name}: {sum(done) / seconds:.0f} a second, {processes} processes", flush=True)
    _measure_requests(200)


def _create_wallet() -> int:
    from billing import ledger
    from billing.models import Wallet

    wallet = Wallet.objects.create()
    ledger.adjust(wallet=wallet, amount=1_000_000, actor="benchmark", reason="benchmark", idempotency_key="coins")
    return wallet.pk


def _set_up_django() -> None:
    import django

    django.setup()


def _unlock_repeatedly(wallets: Sequence[int], seconds: float) -> int:
    """Reserve and capture coins for this time. Return how often."""
    import random

    from billing import ledger
    from billing.models import Wallet
    from relivchats import clock

    deadline, done = time.monotonic() + seconds, 0
    expires_at = clock.now() + timedelta(hours=1)
    while time.monotonic() < deadline:
        wallet = Wallet(pk=random.choice(wallets))
        held = ledger.reserve(wallet=wallet, coins=5, idempotency_key=uuid.uuid4().hex, expires_at=expires_at)
        ledger.capture(reservation=held, coins=4)
        done += 1
    return done


def _measure_requests(number: int) -> None:
    from chats.importing import import_chat
    from tests import exports
    from tests.benchmarks import unlock

    with stage.web() as web:
        person, client = unlock._person(web.port, coins=100 * number)
        content, spent = exports.text(200), []
        for _ in range(number):
            request = {
                "chat_id": str(import_chat(owner=person, upload=content).pk),
                "insight_type_ids": ["communication_basics"],
            }
            started = time.perf_counter()
            client.call("POST", "/api/insights/unlock", request)
            spent.append(1000 * (time.perf_counter() - started))
    p95 = statistics.quantiles(spent, n=20)[-1]
    print(f"POST /api/insights/unlock: median {statistics.median(spent):.0f} ms, p95 {p95:.0f} ms over {number}")


def _measure_size(*, transactions: int) -> None:
    people = transactions // population.TRANSACTIONS_PER_PERSON
    seconds = population.create(people=people)
    print(f"{transactions:,} transactions of {people:,} wallets, created in {seconds:.0f} s")
    _measure_command("the first audit in full")
    _measure_command("again")
    _measure_incremental_audit()


def _measure_command(name: str) -> None:
    """Run `manage.py ledger`. Print its time, its memory, and that of the largest Postgres process."""
    command = [sys.executable, "manage.py", "ledger"]
    started = time.perf_counter()
    own, server = 0, 0
    with subprocess.Popen(command, cwd=stage.REPOSITORY, stdout=subprocess.PIPE, env=dict(os.environ)) as child:
        while child.poll() is None:
            own, server = max(own, _resident([child.pid])), max(server, _resident(_backends()))
            time.sleep(0.2)
        assert child.returncode == 0, (child.stdout.read() if child.stdout else b"").decode()
    seconds = time.perf_counter() - started
    print(f"manage.py ledger, {name}: {seconds:.1f} s, {stage.megabytes(own)}, a backend {stage.megabytes(server)}")


def _backends() -> list[int]:
    """Return the process ids of the backends that run a query, with their parallel workers."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE state = 'active' AND pid <> pg_backend_pid()")
        return [pid for (pid,) in cursor.fetchall()]


def _resident(pids: Sequence[int]) -> int:
    sizes = [0]
    for pid in pids:
        try:
            memory = psutil.Process(pid).memory_full_info()
            sizes.append(memory.uss)
        except psutil.Error:
            continue
    return max(sizes)


def _measure_incremental_audit() -> None:
    """Measure the incremental audits of beat and `health` after a few thousand movements."""
    from ops import ledger
    from ops.checks import ledger as ledger_check
    from ops.models import LedgerAudit

    wallets = [_create_wallet() for _ in range(100)]
    moved = _unlock_repeatedly(wallets, 20)
    audit_seconds, check_seconds = [], []
    for _ in range(5):
        started = time.perf_counter()
        assert ledger.recent_audit() == []
        audit_seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        line = ledger_check.ledger()
        check_seconds.append(time.perf_counter() - started)
    assert not LedgerAudit.objects.latest("ended_at").complete
    print(
        f"after {moved} unlocks: audit of what changed {stage.median(audit_seconds)};"
        f" the check of health {stage.median(check_seconds)}"
    )
    print(f"health: {line.level}, {line.text}")


if __name__ == "__main__":
    main()
