"""A wallet that was changed by SQL is refused, and set to the sums of its rows when a second person approves it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from billing import adjustments, ledger, operations
from billing.audit import audit
from billing.models import Adjustment, PaymentOrder, Wallet
from ops.checks import ledger as check
from ops.checks import payments
from ops.models import LedgerAudit
from relivchats.accounts.models import User
from relivchats.errors import Conflict
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.models import AuditEntry
from tests.billing.conftest import Buy, Hold, MakeRefund, MakeWallet, audit_coins, call_concurrently, wait_until_blocked
from tests.ops.test_commands import as_json, call

pytestmark = pytest.mark.django_db


def corrupt(wallet: Wallet, **columns: Any) -> Wallet:
    Wallet.objects.filter(pk=wallet.pk).update(**columns)
    wallet.refresh_from_db()
    return wallet


def propose(wallet: Wallet, *, actor: str = "user 1") -> Adjustment:
    return adjustments.propose_repair(wallet=wallet, actor=actor, reason="changed by SQL")


@pytest.mark.parametrize("columns", [{"balance": 5000}, {"balance": 40}, {"reserved": 0}, {"reserved": 100}])
def test_an_approved_repair_leaves_a_wallet_that_the_audit_finds_clean(
    make_wallet: MakeWallet, hold: Hold, columns: dict[str, int]
) -> None:
    wallet = make_wallet(coins=100)
    held = hold(wallet, 40)
    corrupt(wallet, **columns)
    assert audit_coins() != []
    sums = adjustments.approve(propose(wallet), actor="user 2", reason="checked")
    assert sums == ledger.Sums(balance=100, reserved=40, owed=0)
    assert audit() == []
    ledger.capture(reservation=held, coins=30)
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.reserved, audit()) == (70, 0, [])
    repair = Adjustment.objects.get()
    assert (repair.status, repair.transaction, repair.decided_by) == ("approved", None, "user 2")


def test_a_repair_needs_a_second_person(make_wallet: MakeWallet) -> None:
    wallet = corrupt(make_wallet(coins=100), balance=7)
    with pytest.raises(adjustments.NotBySamePerson):
        adjustments.approve(propose(wallet), actor="user 1", reason="checked")
    wallet.refresh_from_db()
    assert wallet.balance == 7


def test_a_repair_restores_what_a_wallet_owes_and_pays_it(
    make_wallet: MakeWallet, make_refund: MakeRefund, hold: Hold, buy: Buy
) -> None:
    wallet = make_wallet(coins=100)
    order: PaymentOrder | None = buy(wallet).payment_order
    assert order is not None
    held = hold(wallet, 300)
    ledger.refund(refund=make_refund(order, coins=400), coins=400)
    # 200 were spendable and taken, and the 200 others are owed until the held ones are released.
    corrupt(wallet, owed=0)
    ledger.release(reservation=held, reason="failed")
    wallet.refresh_from_db()
    assert (wallet.spendable, wallet.owed) == (300, 0)
    adjustments.approve(propose(wallet), actor="user 2", reason="checked")
    wallet.refresh_from_db()
    assert (wallet.spendable, wallet.owed) == (100, 0)
    assert audit_coins() == []


def test_coins_of_a_broken_wallet_do_not_move(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=100)
    held = hold(wallet, 40)
    corrupt(wallet, reserved=0)
    with pytest.raises(ledger.WalletBroken):
        ledger.release(reservation=held, reason="failed")
    corrupt(wallet, reserved=40, balance=5000)
    with pytest.raises(ledger.WalletBroken):
        ledger.capture(reservation=held, coins=40)
    held.refresh_from_db()
    assert held.status == "active"


def test_a_wallet_that_is_right_has_no_repair(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=100)
    with pytest.raises(Conflict, match="is right"):
        propose(wallet)
    repair = propose(corrupt(wallet, balance=7))
    corrupt(wallet, balance=100)
    with pytest.raises(Conflict, match="is right"):
        adjustments.approve(repair, actor="user 2", reason="checked")


@pytest.mark.owner
def test_a_changed_history_cannot_be_repaired(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=100)
    with connection.cursor() as cursor:
        # As the owner of the tables can: without the triggers.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only")
        cursor.execute("UPDATE credit_transactions SET amount = amount + 1 WHERE wallet_id = %s", [wallet.pk])
        cursor.execute("ALTER TABLE credit_transactions ENABLE TRIGGER credit_transactions_append_only")
    for attempt in (propose, lambda each: ledger.repair(wallet=each)):
        with pytest.raises(Conflict, match="from a backup"):
            attempt(wallet)
    lines = {line["name"]: line["remedy"] for line in as_json("ledger")[1]["lines"]}
    assert "--repair" not in lines["1"] + lines["3"], "a remedy that is refused is none"


def test_the_audit_names_the_repair_of_a_wallet(make_wallet: MakeWallet) -> None:
    wallet = corrupt(make_wallet(coins=100), balance=7)
    status, answer = as_json("ledger")
    (line,) = [line for line in answer["lines"] if line["level"] == "critical"]
    assert (status, line["name"]) == (2, "1")
    assert line["remedy"].endswith(f"ledger --repair {wallet.pk}")


def test_a_proposed_repair_is_named_wherever_the_wallet_is_with_what_an_operator_alone_can_do(
    make_wallet: MakeWallet,
) -> None:
    wallet, other = corrupt(make_wallet(coins=100), balance=7), make_wallet(coins=100)
    assert (check.ledger().remedy, "repair proposed" in check.ledger().text) == ("manage.py ledger", False)
    as_json("ledger")
    arguments = ("ledger", "--repair", str(wallet.pk))
    status, answer = as_json(*arguments, "--reason", "changed by SQL", "--yes")
    remedy = answer["lines"][0]["remedy"]
    assert status == 0, "it is proposed"
    page = f"/admin/billing/adjustment/{Adjustment.objects.get().pk}/change/"
    assert f"{page}  # as a member of the group finance" in remedy
    assert remedy.endswith(" createsuperuser")

    def broken_lines() -> list[tuple[str, str]]:
        lines = [*as_json("ledger")[1]["lines"], *as_json(*arguments)[1]["lines"], check.ledger().as_json()]
        return [(line["text"], line["remedy"]) for line in lines if line["level"] != "fine"]

    sentence = f"repair proposed: adjustment {Adjustment.objects.get().pk} waits for approval"
    audited_line = check._latest_audit_line(LedgerAudit.objects.annotate(age=Now() - F("ended_at")).latest("ended_at"))
    assert (sentence in audited_line.text, audited_line.command) == (True, remedy)
    assert [(sentence in text, printed == remedy) for text, printed in broken_lines()] == [(True, True)] * 3
    # The next step is the other wallet, which nobody has proposed to repair.
    corrupt(other, balance=8)
    (audited, _), _, (_, in_health) = broken_lines()
    assert sentence in audited
    assert in_health.endswith(" ledger")
    (line,) = [line for line in as_json("ledger")[1]["lines"] if line["level"] == "critical"]
    assert line["remedy"].endswith(f"ledger --repair {other.pk}")


def test_a_repair_that_a_command_proposed_is_approved_by_the_operators_own_login(make_wallet: MakeWallet) -> None:
    wallet = corrupt(make_wallet(coins=100), balance=7)
    call("ledger", "--repair", str(wallet.pk), "--reason", "changed by SQL", "--yes")
    operator = User.objects.create_superuser("operator@example.org", "a password")
    adjustments.approve(Adjustment.objects.get(), actor=f"user {operator.pk}", reason="checked")
    assert audit() == []


def test_a_wallet_has_one_pending_repair(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=100)
    adjustments.adjust(wallet=wallet, amount=5000, actor="user 1", reason="a claim", idempotency_key="a")
    first = propose(corrupt(wallet, balance=7))
    assert first.kind == "repair"
    assert propose(wallet, actor="user 2") == first
    first.pk = None
    first.idempotency_key = "another"
    with pytest.raises(IntegrityError, match="one_pending_repair_per_wallet"), transaction.atomic():
        first.save()
    adjustments.refuse(Adjustment.objects.get(kind="repair"), actor="user 2", reason="no")
    assert propose(wallet).status == "pending"


def test_a_repair_that_waited_too_long_is_named_with_a_remedy_that_proposes_it_again(make_wallet: MakeWallet) -> None:
    wallet = corrupt(make_wallet(coins=100), balance=7)
    first = propose(wallet)
    Adjustment.objects.update(created_at=Now() - timedelta(days=8))
    line = payments.adjustments()
    assert line.text == (
        f"1 pending for more than 7 days: can only be refused; one would have repaired wallet {wallet.pk}"
    )
    command = f"manage.py ledger --repair {wallet.pk}"
    assert line.remedy.startswith(f"{command}  #")
    call(*command.split()[1:], "--reason", "changed by SQL", "--yes")
    first.refresh_from_db()
    assert (first.status, first.decided_by, first.decision) == (
        "refused",
        "command",
        "too old, proposed again: changed by SQL",
    )
    assert payments.adjustments().data == {"waiting": 1, "late": 0, "too_old": 0}
    adjustments.approve(Adjustment.objects.pending().get(), actor="user 2", reason="checked")
    assert audit() == []


def test_the_command_previews_and_proposes_a_repair(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=100)
    assert as_json("ledger", "--repair", str(wallet.pk))[0] == 0
    corrupt(wallet, balance=7)
    status, answer = as_json("ledger", "--repair", str(wallet.pk))
    assert (status, answer["rows"][0]) == (1, {"coins": "balance", "stored": 7, "by its rows": 100})
    assert not Adjustment.objects.exists(), "a preview changes nothing"
    with pytest.raises(CommandError, match="needs a reason"):
        call("ledger", "--repair", str(wallet.pk), "--yes")
    as_json("ledger", "--repair", str(wallet.pk), "--yes", "--reason", "changed by SQL")
    wallet.refresh_from_db()
    assert wallet.balance == 7, "a second person approves it"
    operations.approve_adjustments(Adjustment.objects.all(), context=ActionContext(actor="user 2", reason="checked"))
    wallet.refresh_from_db()
    assert (wallet.balance, audit()) == (100, [])
    assert list(AuditEntry.objects.order_by("pk").values_list("action", flat=True)) == [
        "repair wallet",
        "approve adjustment",
    ]
    with pytest.raises(CommandError, match="There is no wallet"):
        call("ledger", "--repair", "0")


@pytest.mark.django_db(transaction=True)
def test_a_repair_and_concurrent_movements_lose_no_coins(make_wallet: MakeWallet, hold: Hold) -> None:
    wallet = make_wallet(coins=100)
    held = hold(wallet, 40)
    corrupt(wallet, balance=150)
    outcomes = call_concurrently(
        [
            lambda: ledger.release(reservation=held, reason="failed"),
            lambda: ledger.repair(wallet=Wallet.objects.get(pk=wallet.pk)),
        ]
    )
    assert not any(isinstance(outcome, Exception) for outcome in outcomes)
    wallet.refresh_from_db()
    assert (wallet.balance, wallet.reserved, audit()) == (100, 0, [])


def in_thread(call: Callable[[], Adjustment]) -> Adjustment:
    try:
        return call()
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
def test_concurrent_proposals_and_approvals_repair_a_wallet_once(make_wallet: MakeWallet) -> None:
    wallet = corrupt(make_wallet(coins=100), balance=150)
    with ThreadPoolExecutor() as threads:
        with transaction.atomic():
            Wallet.objects.select_for_update().get(pk=wallet.pk)
            waiting = [threads.submit(in_thread, partial(propose, wallet)) for _ in range(5)]
            wait_until_blocked(5)
        proposed = [each.result() for each in waiting]
    assert len({proposal.pk for proposal in proposed}) == 1
    approvals = [partial(adjustments.approve, proposed[0], actor="user 2", reason="checked") for _ in range(5)]
    outcomes = call_concurrently(approvals)
    assert sum(isinstance(outcome, ledger.Sums) for outcome in outcomes) == 1
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 4
    assert audit() == []
