"""Rehearsed failures of coins, payments, keys, tables, vectors and clocks: found, shown, and fixed as printed."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from relivchats.crypto import Keyring
from relivchats.roles import PORT_VARIABLE, ROLE_VARIABLE
from relivchats.serve import web
from relivchats.servers import free_port
from relivchats.supervisor import Child
from tests.fakes.qdrant import FakeQdrant
from tests.processes import PATIENCE_SECONDS, REPOSITORY, eventually
from tests.stack.installed import Installed
from tests.stack.rehearsal import line_of
from tests.stack.terminal import environment

pytestmark = pytest.mark.slow

_PENDING = "/admin/billing/adjustment/?status__exact=pending"
_CHANGE_WALLET = "UPDATE wallets SET balance = balance + 500 WHERE id = %s"
_ADD_TRANSACTION = """
    INSERT INTO credit_transactions
        (wallet_id, sequence, type, amount, balance_after, idempotency_key, actor, reason)
    SELECT wallet_id, sequence + 1, 'admin_adjustment', 500, balance_after + 500, 'psql', 'psql', 'psql'
    FROM credit_transactions WHERE wallet_id = %s ORDER BY sequence DESC LIMIT 1
"""


def wallet_of(installed: Installed) -> int:
    installed.customer.balance()
    ((wallet,),) = installed.sql(
        "SELECT wallet_id FROM credit_transactions WHERE reason = 'rehearsals' AND type = 'admin_adjustment'"
    )
    return int(wallet)


@pytest.mark.parametrize("statement", [_CHANGE_WALLET, _ADD_TRANSACTION], ids=["wallet", "transaction"])
def test_what_sql_changed_in_the_ledger_is_repaired_by_two_people(installed: Installed, statement: str) -> None:
    wallet = wallet_of(installed)
    installed.sql(statement, wallet)
    line = installed.report("ledger", "critical", "such as “a wallet's balance is the sum of its transactions”")
    (preview,) = installed.follow(line["remedy"], statuses=(2,))
    (propose,) = installed.follow(preview, statuses=(1,))
    (approve,) = installed.follow(propose)
    ((proposal,),) = installed.sql("SELECT id FROM coin_adjustments WHERE status = 'pending'")
    assert f"/admin/billing/adjustment/{proposal}/change/" in approve
    chosen = {"action": "approve", "_selected_action": str(proposal), "reason": "checked"}
    installed.submit(_PENDING, chosen)
    installed.expect_fine()
    ((balance, total),) = installed.sql(
        "SELECT balance, (SELECT sum(amount) FROM credit_transactions WHERE wallet_id = wallets.id) FROM wallets"
        " WHERE id = %s",
        wallet,
    )
    assert balance == total


def test_a_changed_transaction_is_named_and_nothing_is_computed_from_it(installed: Installed) -> None:
    wallet = wallet_of(installed)
    change = """
        ALTER TABLE credit_transactions DISABLE TRIGGER USER;
        UPDATE credit_transactions SET amount = {} WHERE wallet_id = {} AND sequence = 1;
        ALTER TABLE credit_transactions ENABLE TRIGGER USER;
    """
    ((amount,),) = installed.sql("SELECT amount FROM credit_transactions WHERE wallet_id = %s AND sequence = 1", wallet)
    installed.sql(change.format(amount + 500, wallet))
    line = installed.report("ledger", "critical", "2 of ")
    remedies = installed.follow(line["remedy"], statuses=(2,))
    assert not any("--repair" in remedy for remedy in remedies)
    shown = installed.run(remedies[-1], statuses=(2,))
    assert f'"wallet_id": {wallet}' in shown
    refused = installed.manage("ledger", "--repair", str(wallet))
    assert refused.returncode == 64
    assert "Restore them from a backup" in refused.stderr
    installed.sql(change.format(amount, wallet))
    installed.expect_fine()


def test_a_paid_order_without_coins_is_credited_by_the_remedy(installed: Installed) -> None:
    wallet = wallet_of(installed)
    order = installed.order()
    # A broken wallet is what keeps the coins of a payment from being granted; it was repaired since.
    installed.sql("UPDATE wallets SET balance = balance + 1 WHERE id = %s", wallet)
    link = urlsplit(order["checkout_url"]).path
    installed.submit(link, {"choice": "pay"})
    installed.sql("UPDATE wallets SET balance = balance - 1 WHERE id = %s", wallet)
    installed.sql(
        "UPDATE webhook_events SET received_at = now() - interval '6 minutes', next_attempt_at = now() + interval"
        " '1 hour' WHERE status = 'received'"
    )
    before = installed.customer.balance()["balance"]
    line = installed.report("payments", "critical", "1 paid more than five minutes ago, without coins")
    installed.follow(line["remedy"])
    assert installed.customer.balance()["balance"] == before + order["coins"]
    installed.expect_fine()


def test_a_pending_migration_is_applied_by_the_remedy(installed: Installed) -> None:
    # One that can be reversed while everything runs: it validates constraints and builds an index.
    assert installed.manage("migrate", "billing", "0016_repairs").returncode == 0
    line = installed.report("migrations", "warning", "pending, first billing.0017")
    installed.run(line["remedy"])
    installed.expect_fine()


def test_qdrant_that_is_down_is_named_and_what_it_lost_is_stored_again_by_the_remedy(installed: Installed) -> None:
    installed.expect_job(installed.unlock_chat(), "completed")
    # Chats that were indexed a moment ago are not compared.
    installed.sql("UPDATE vector_matrices SET created_at = created_at - interval '1 hour'")
    port = urlsplit(installed.qdrant.address).port
    assert port
    installed.qdrant_server.close()
    line = installed.report("qdrant", "warning", "is down: it does not accept connections")
    # `./dev` did not start it.
    assert line["remedy"] == "start qdrant with what started it before"
    # The rehearsals that follow need it too.
    installed.qdrant_server.enter_context(FakeQdrant().serving(port=port))
    line = installed.report("qdrant", "warning", "without all their vectors")
    installed.follow(line["remedy"])
    installed.expect_fine()


@pytest.mark.parametrize("started_since", [("web",), ("web", "worker", "beat")], ids=["web", "everything"])
def test_a_wrong_keyring_is_named_and_the_remedy_opens_it_in_an_editor(
    installed: Installed, tmp_path: Path, started_since: tuple[str, ...]
) -> None:
    installed.unlock_chat()
    keyring = installed.directory / "keys" / "keyring"
    right = tmp_path / "right"
    shutil.copy2(keyring, right)
    keyring.write_text(Keyring.new_text())
    for part in started_since:
        assert installed.manage("workers", "--restart", part).returncode == 0
    line = installed.report("keys", "critical", " does not open ")
    installed.run(line["remedy"], EDITOR=f"cp {right}")
    installed.expect_fine()
    # It is up to ten seconds old.
    eventually(lambda: "does not open" not in installed.overview(), because=installed.overview)


def test_a_keyring_that_changed_while_everything_runs_is_named_before_anything_starts_again(
    installed: Installed, tmp_path: Path
) -> None:
    installed.unlock_chat()
    keyring = installed.directory / "keys" / "keyring"
    right = tmp_path / "right"
    shutil.copy2(keyring, right)
    before = {part: installed.pid(part) for part in ("web", "worker", "beat")}
    keyring.write_text(Keyring.new_text())
    _, document = installed.wait_for("keys", "critical", f"{keyring} was changed")
    installed.run(line_of(document, "keys")["remedy"], EDITOR=f"cp {right}")
    installed.expect_fine()
    assert {part: installed.pid(part) for part in before} == before, "what runs had the right keys"


def test_the_remedy_in_a_shell_with_a_wrong_keyring_repeats_the_check_without_it(installed: Installed) -> None:
    installed.unlock_chat()
    wrong = {"ENCRYPTION_KEYS": Keyring.new_text()}
    with installed.elsewhere(installed.port, wrong):
        _, document = installed.wait_for("keys", "critical", "this command has another ENCRYPTION_KEYS than")
        assert "does not open" not in installed.run(line_of(document, "keys")["remedy"], statuses=(0, 1))
    installed.expect_fine()


def test_a_missing_keyring_is_reported_before_anything_has_to_start_again(installed: Installed, tmp_path: Path) -> None:
    keyring, moved = installed.directory / "keys" / "keyring", tmp_path / "keyring"
    shutil.move(keyring, moved)
    status, document = installed.look()
    line = line_of(document, "settings")
    assert status == 2
    assert f"{keyring}, are missing" in line["text"]
    # The processes still have the keys.
    installed.expect_on_overview("keys", "is missing: what runs still has its keys, and nothing can start again")
    installed.run(line["remedy"], EDITOR=f"cp {moved}")
    installed.expect_fine()


def test_a_key_store_that_was_moved_is_copied_back_by_the_remedy(installed: Installed, tmp_path: Path) -> None:
    installed.unlock_chat()
    shutil.move(installed.directory / "chat-keys", tmp_path / "moved")
    line = installed.report("keys", "critical", "the key store")
    installed.run(line["remedy"].replace("COPY/.", f"{tmp_path}/moved/."))
    installed.expect_fine()


def test_a_clock_that_is_a_minute_off_is_named_and_the_remedy_sets_it(installed: Installed, tmp_path: Path) -> None:
    """The clock of another machine, on which a web process and the operator's shell run."""
    ahead = tmp_path / "seconds"
    ahead.write_text("60")
    (tmp_path / "sitecustomize.py").write_text(
        f"import time\n_real = time.time\ntime.time = lambda: _real() + float(open({str(ahead)!r}).read())\n"
    )
    tool = tmp_path / "timedatectl"
    tool.write_text(f'#!/bin/sh\n[ "$1 $2" = "set-ntp true" ] && echo 0 >"{ahead}"\n')
    tool.chmod(0o755)
    elsewhere: dict[str, str] = {"PYTHONPATH": f"{tmp_path}:{REPOSITORY}", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    port = free_port()
    second = Child(
        name="second-web",
        command=[sys.executable, "-m", *web(host="127.0.0.1", port=port, kill_timeout_seconds=5)],
        run=installed.directory / "run",
        log=installed.directory / "logs" / "second-web.log",
        environment=environment(
            installed.directory, **installed.limits, **elsewhere, **{ROLE_VARIABLE: "web", PORT_VARIABLE: str(port)}
        ),
        cwd=REPOSITORY,
        stop_signals=[(signal.SIGTERM, PATIENCE_SECONDS)],
    )
    second.start()
    try:
        with installed.elsewhere(port, elsewhere):
            eventually(installed.serves)
            line = installed.report("clock", "warning", "s behind this machine")
            assert 59 <= -line["value"] <= 61
            installed.run(line["remedy"])
            installed.wait_for("clock", "fine")
    finally:
        second.stop()
    installed.expect_fine()
