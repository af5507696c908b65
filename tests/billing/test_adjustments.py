"""Above the limit, one person proposes an adjustment, a second person approves it, and the coins move once."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command
from django.db import IntegrityError, transaction
from django.db.models import F

from billing import adjustments, ledger
from billing.audit import audit
from billing.models import Adjustment, CreditTransaction, Wallet
from relivchats.errors import Conflict
from tests.billing.conftest import Buy, MakeRefund, MakeWallet, call_concurrently

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def limit(settings: Any) -> None:
    settings.ADJUSTMENT_APPROVAL_COINS = 1000


def propose(wallet: Wallet, amount: int = 1001, *, actor: str = "user 1", key: str = "a") -> Adjustment:
    proposed = adjustments.adjust(wallet=wallet, amount=amount, actor=actor, reason=" a claim ", idempotency_key=key)
    assert isinstance(proposed, Adjustment)
    return proposed


def balance(wallet: Wallet) -> int:
    assert audit() == []
    return Wallet.objects.get(pk=wallet.pk).balance


@pytest.mark.parametrize("amount", [1000, -1000])
def test_an_adjustment_up_to_the_limit_is_made_at_once(make_wallet: MakeWallet, amount: int) -> None:
    wallet = make_wallet(coins=1000)
    adjustment = adjustments.adjust(wallet=wallet, amount=amount, actor="user 1", reason="a claim", idempotency_key="a")
    assert isinstance(adjustment, CreditTransaction)
    assert balance(wallet) == 1000 + amount


@pytest.mark.parametrize("amount", [1001, -1001])
def test_above_the_limit_coins_move_only_after_a_second_person_approves(make_wallet: MakeWallet, amount: int) -> None:
    wallet = make_wallet(coins=2000)
    proposed = propose(wallet, amount)
    assert balance(wallet) == 2000
    line = adjustments.approve(proposed, actor="user 2", reason="checked")
    assert isinstance(line, CreditTransaction)
    assert (line.amount, line.actor, line.reason) == (amount, "user 1, approved by user 2", "a claim")
    assert balance(wallet) == 2000 + amount
    proposed.refresh_from_db()
    assert (proposed.status, proposed.transaction, proposed.decided_by) == ("approved", line, "user 2")


def adjust(wallet: Wallet, amount: int, *, actor: str = "user 1", key: str) -> CreditTransaction | Adjustment:
    return adjustments.adjust(wallet=wallet, amount=amount, actor=actor, reason="a claim", idempotency_key=key)


@pytest.mark.parametrize("sign", [1, -1])
def test_small_adjustments_by_one_person_within_a_day_count_together(make_wallet: MakeWallet, sign: int) -> None:
    wallet = make_wallet(coins=5000)
    assert isinstance(adjust(wallet, sign * 600, key="a"), CreditTransaction)
    assert isinstance(adjust(wallet, sign * 400, actor=" user 1 ", key="b"), CreditTransaction)
    assert isinstance(adjust(wallet, sign * 1, key="c"), Adjustment)
    assert balance(wallet) == 5000 + sign * 1000
    assert isinstance(adjust(wallet, -sign * 1000, key="the other way"), CreditTransaction)
    assert isinstance(adjust(wallet, sign * 1, key="back again"), Adjustment), "the other way makes no room"
    assert isinstance(adjust(wallet, sign * 1000, actor="user 2", key="d"), CreditTransaction)
    assert isinstance(adjust(make_wallet(coins=5000), sign * 1000, key="another wallet"), CreditTransaction)


def test_approved_and_earlier_adjustments_do_not_count_towards_the_limit(
    make_wallet: MakeWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = make_wallet(coins=50)
    adjustments.approve(propose(wallet), actor="user 2", reason="checked")
    assert isinstance(adjust(wallet, 1000, key="b"), CreditTransaction)
    assert isinstance(adjust(wallet, 1000, key="c"), Adjustment)
    monkeypatch.setattr(adjustments, "LIMIT_WINDOW", timedelta())
    assert isinstance(adjust(wallet, 1000, key="d"), CreditTransaction)


def test_a_refund_by_the_same_person_does_not_count_towards_the_limit(
    make_wallet: MakeWallet, buy: Buy, make_refund: MakeRefund
) -> None:
    """It returned money, by a permission of its own."""
    wallet = make_wallet(coins=1000)
    order = buy(wallet).payment_order
    assert order is not None
    refund = make_refund(order, coins=400, taken_coins=400)
    ledger.refund(refund=refund, coins=400, actor="user 1", reason="asked for it")
    assert isinstance(adjust(wallet, -1000, key="b"), CreditTransaction)


def test_a_repeated_request_returns_the_same_adjustment(
    make_wallet: MakeWallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = make_wallet(coins=50)
    line, proposed = adjust(wallet, 700, key="a"), adjust(wallet, 700, key="b")
    adjust(wallet, 300, key="c")
    assert adjust(wallet, 700, key="a") == line
    monkeypatch.setattr(adjustments, "LIMIT_WINDOW", timedelta())
    assert adjust(wallet, 700, key="b") == proposed
    assert balance(wallet) == 1050


@pytest.mark.django_db(transaction=True)
def test_concurrent_adjustments_cannot_pass_the_limit_together(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    outcomes = call_concurrently([partial(adjust, wallet, 400, key=f"key {n}") for n in range(5)])
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Adjustment"] * 3 + ["CreditTransaction"] * 2
    assert balance(wallet) == 850


@pytest.mark.parametrize("actor", ["user 1", " user 1 "])
def test_an_adjustment_cannot_be_approved_by_its_author(make_wallet: MakeWallet, actor: str) -> None:
    wallet = make_wallet(coins=50)
    with pytest.raises(adjustments.NotBySamePerson):
        adjustments.approve(propose(wallet), actor=actor, reason="checked")
    assert balance(wallet) == 50


def test_the_database_rejects_an_approval_by_the_author(make_wallet: MakeWallet) -> None:
    proposed = propose(make_wallet(coins=50))
    adjustments.approve(proposed, actor="user 2", reason="checked")
    with pytest.raises(IntegrityError, match="adjustment_approved_by_another"), transaction.atomic():
        Adjustment.objects.filter(pk=proposed.pk).update(decided_by="user 1")


def test_an_adjustment_is_decided_once(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    proposed, refused = propose(wallet), propose(wallet, key="b")
    adjustments.approve(proposed, actor="user 2", reason="checked")
    adjustments.refuse(refused, actor="user 1", reason="a mistake")
    for decided in (proposed, refused):
        with pytest.raises(Conflict, match="already"):
            adjustments.approve(decided, actor="user 3", reason="checked")
        with pytest.raises(Conflict, match="already"):
            adjustments.refuse(decided, actor="user 3", reason="no")
    assert balance(wallet) == 1051


def test_a_proposal_older_than_a_week_can_only_be_refused(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    proposed = propose(wallet)
    Adjustment.objects.update(created_at=F("created_at") - timedelta(days=8))
    with pytest.raises(Conflict, match="7 days"):
        adjustments.approve(proposed, actor="user 2", reason="checked")
    adjustments.refuse(proposed, actor="user 2", reason="too old")
    assert balance(wallet) == 50


def test_an_approval_without_enough_coins_fails_and_the_proposal_stays(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=1500)
    proposed = propose(wallet, -1400)
    ledger.adjust(wallet=wallet, amount=-500, actor="user 1", reason="spent", idempotency_key="spent")
    with pytest.raises(ledger.InsufficientCoins):
        adjustments.approve(proposed, actor="user 2", reason="checked")
    proposed.refresh_from_db()
    assert (proposed.status, balance(wallet)) == ("pending", 1000)


def test_a_repeated_proposal_is_stored_once(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    assert propose(wallet) == propose(wallet)
    first = propose(rich := make_wallet(coins=2000), -1500)
    ledger.adjust(wallet=rich, amount=-600, actor="user 1", reason="spent", idempotency_key="spent")
    assert propose(rich, -1500) == first, "although the wallet no longer has 1,500 coins"
    with pytest.raises(ledger.IdempotencyMismatch):
        propose(wallet, 1002)


@pytest.mark.parametrize(
    "change",
    [{"amount": 2_000_000_000}, {"reason": " "}, {"actor": " "}, {"amount": -5000}],
)
def test_an_impossible_adjustment_is_not_proposed(make_wallet: MakeWallet, change: dict[str, Any]) -> None:
    proposal = {"amount": 5000, "actor": "user 1", "reason": "a claim", "idempotency_key": "a", **change}
    with pytest.raises((ledger.InvalidMovement, ledger.InsufficientCoins)):
        adjustments.adjust(wallet=make_wallet(), **proposal)
    assert not Adjustment.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_ten_concurrent_approvals_move_the_coins_once(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    proposed = propose(wallet)
    approvals = [partial(adjustments.approve, proposed, actor=f"user {n}", reason="checked") for n in range(2, 12)]
    outcomes = call_concurrently(approvals)
    assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Conflict"] * 9 + ["CreditTransaction"]
    with pytest.raises(Conflict):
        adjustments.refuse(proposed, actor="user 12", reason="no")
    assert balance(wallet) == 1051


def test_the_command_reports_that_a_second_person_must_approve(make_wallet: MakeWallet) -> None:
    wallet = make_wallet(coins=50)
    assert wallet.user is not None
    out = StringIO()
    call_command("coins", wallet.user.email, "+1001", "--reason", "a claim", stdout=out)
    proposed = Adjustment.objects.get()
    assert f"Adjustment {proposed.pk} waits" in out.getvalue()
    assert (proposed.proposed_by, balance(wallet)) == ("command", 50)
