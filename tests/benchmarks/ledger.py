"""Measure the ledger under load and with many rows: `python -m tests.benchmarks.ledger`.

First the unlocks (reserve and capture) per second of several processes, on one wallet and on many, and
`POST /api/insights/unlock` over HTTP. Then `manage.py ledger` on a generated history, and the incremental audit that
`health` runs.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import psutil

from tests.benchmarks import stage

_TABLES = ["credit_transactions", "coin_reservations"]

#: Each wallet alternates between a purchase of 400 coins and an unlock of 40.
_FILL = """
INSERT INTO wallets (balance, reserved) SELECT 0, 0 FROM generate_series(1, {wallets});
INSERT INTO coin_reservations
    (id, wallet_id, coins, captured_coins, status, expires_at, resolved_at, idempotency_key, reason, release_reason,
     created_at)
SELECT md5(w.id || '/' || n)::uuid, w.id, 60, 40, 'captured', at + interval '20 min', at + interval '1 min',
    'unlock ' || n, 'unlock', '', at
FROM wallets w, generate_series(2, {lines}, 2) n, LATERAL (SELECT now() - interval '1 year' * random() AS at) t
WHERE w.user_id IS NULL;
INSERT INTO credit_transactions
    (wallet_id, sequence, type, amount, balance_after, reservation_id, idempotency_key, actor, reason, created_at)
SELECT w.id, n, CASE WHEN n % 2 = 0 THEN 'insight_unlock' ELSE 'purchase' END,
    CASE WHEN n % 2 = 0 THEN -40 ELSE 400 END,
    (n + 1) / 2 * 400 - n / 2 * 40, CASE WHEN n % 2 = 0 THEN md5(w.id || '/' || n)::uuid END, 'line ' || n, '', '',
    now() - interval '1 year' + interval '36 days' * n * 10 / {lines} + w.id * interval '0.1 s'
FROM generate_series(1, {lines}) n, wallets w WHERE w.user_id IS NULL;
UPDATE wallets SET balance = ({lines} + 1) / 2 * 400 - {lines} / 2 * 40 WHERE user_id IS NULL;
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--transactions", type=int, default=10_000_000)
    parser.add_argument("--wallets", type=int, default=1_000_000)
    parser.add_argument("--processes", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--only", choices=("load", "size"))
    chosen = parser.parse_args()
    print(stage.machine(), flush=True)
    with stage.installation():
        if chosen.only != "size":
            _measure_load(processes=chosen.processes, seconds=chosen.seconds)
        if chosen.only != "load":
            _measure_size(transactions=chosen.transactions, wallets=chosen.wallets)


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


def _measure_size(*, transactions: int, wallets: int) -> None:
    from django.db import connection

    from relivchats import database_roles

    lines = transactions // wallets
    started = time.perf_counter()
    with database_roles.as_owner(connection), connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0; SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
        with _without_indexes(cursor):
            for statement in filter(str.strip, _FILL.format(wallets=wallets, lines=lines).split(";\n")):
                cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE")
    print(f"{lines * wallets:,} transactions of {wallets:,} wallets, created in {time.perf_counter() - started:.0f} s")
    _measure_command("the first audit in full")
    _measure_command("again")
    _measure_incremental_audit()


@contextlib.contextmanager
def _without_indexes(cursor: Any) -> Iterator[None]:
    """Drop triggers, foreign keys and indexes for the block: with them, filling the tables takes an hour."""
    cursor.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('f', 'u')",
        [_TABLES],
    )
    constraints = cursor.fetchall()
    cursor.execute("SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)", [_TABLES])
    kept = {name for _, name, _ in constraints}
    indexes = [(name, sql) for name, sql in cursor.fetchall() if name not in kept and not name.endswith("_pkey")]
    for table, name, _ in constraints:
        cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}")
    for name, _ in indexes:
        cursor.execute(f"DROP INDEX {name}")
    cursor.execute("ALTER TABLE credit_transactions DISABLE TRIGGER USER")
    yield
    cursor.execute("ALTER TABLE credit_transactions ENABLE TRIGGER USER")
    for _, sql in indexes:
        cursor.execute(sql)
    for table, name, sql in constraints:
        cursor.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {sql}")


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
