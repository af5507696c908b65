from __future__ import annotations

from io import StringIO

import pytest
from django.core.management import CommandError, call_command

from billing import ledger, operations
from billing.audit import audit
from billing.models import Adjustment, Wallet
from relivchats.accounts.models import User
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.commands import EXIT_REFUSED
from relivchats.staff.reports import Level
from tests.billing.conftest import Buy, Hold, MakeRefund

pytestmark = pytest.mark.django_db

EMAIL = "ann@example.org"


@pytest.fixture
def wallet() -> Wallet:
    wallet: Wallet = User.objects.create_user(EMAIL).wallet
    return wallet


def coins(*arguments: str) -> str:
    out = StringIO()
    call_command("coins", *arguments, stdout=out)
    return out.getvalue().strip()


@pytest.mark.parametrize(("amount", "balance"), [("+400", 450), ("400", 450), ("-50", 0), ("-1", 49)])
def test_the_command_adds_or_takes_coins_and_prints_the_balance(wallet: Wallet, amount: str, balance: int) -> None:
    assert coins(EMAIL, amount, "--reason", "a gift") == f"Balance: {balance} coins, 0 of them held."
    wallet.refresh_from_db()
    assert wallet.balance == balance
    assert audit() == []


def test_the_transaction_names_the_command_and_the_reason(wallet: Wallet) -> None:
    coins(EMAIL, "-50", "--reason", "a mistake")
    line = wallet.transactions.get(type="admin_adjustment")
    assert (line.amount, line.actor, line.reason) == (-50, "command", "a mistake")


def test_coins_that_pay_a_debt_are_named(wallet: Wallet, buy: Buy, make_refund: MakeRefund) -> None:
    order = buy(wallet, coins=150).payment_order
    coins(EMAIL, "-100", "--reason", "a mistake")
    assert order is not None
    assert ledger.refund(refund=make_refund(order), coins=200) == 100
    assert coins(EMAIL, "+40", "--reason", "a gift") == (
        "40 paid a debt; 60 coins are still owed. Balance: 0 coins, 0 of them held."
    )
    # A large adjustment, which a second person approves, and the page of the wallet say the same.
    context = ActionContext(actor="user 1", reason="a gift")
    made = operations.adjust_wallet(wallet, amount=59, idempotency_key="page", context=context)
    assert made.outcome == "+59 coins. 59 paid a debt; 1 coin is still owed. The balance is 0."
    proposed = wallet.adjustments.create(amount=9, proposed_by="command", reason="a gift", idempotency_key="large")
    [approved] = operations.approve_adjustments(Adjustment.objects.filter(pk=proposed.pk), context=context).listed
    assert approved.outcome == "+9 coins. 1 paid a debt; no coins are still owed. The balance is 8."
    # The next coins pay nothing any more.
    assert coins(EMAIL, "+2", "--reason", "a gift") == "Balance: 10 coins, 0 of them held."


def test_a_repeated_form_names_the_debt_that_its_own_coins_paid(
    wallet: Wallet, buy: Buy, hold: Hold, make_refund: MakeRefund
) -> None:
    order = buy(wallet, coins=150).payment_order
    held = hold(wallet, 100)
    assert order is not None
    assert ledger.refund(refund=make_refund(order), coins=200) == 100
    context = ActionContext(actor="user 1", reason="a gift")
    made = operations.adjust_wallet(wallet, amount=40, idempotency_key="page", context=context)
    assert made.outcome == "+40 coins. 40 paid a debt; 60 coins are still owed. The balance is 100."
    ledger.release(reservation=held, reason="nothing was delivered")
    assert wallet.transactions.filter(debt__isnull=False).count() == 2, "the released coins paid the rest"
    repeated = operations.adjust_wallet(wallet, amount=40, idempotency_key="page", context=context)
    assert repeated.outcome == "+40 coins. 40 paid a debt; no coins are still owed. The balance is 40."


def test_each_run_is_a_separate_request(wallet: Wallet) -> None:
    coins(EMAIL, "+10", "--reason", "a gift")
    assert coins(EMAIL, "+10", "--reason", "a gift") == "Balance: 70 coins, 0 of them held."


def test_the_address_is_not_case_sensitive(wallet: Wallet) -> None:
    assert coins(EMAIL.upper(), "+1", "--reason", "a gift") == "Balance: 51 coins, 0 of them held."


def test_held_coins_are_printed_and_not_taken(wallet: Wallet, hold: Hold) -> None:
    hold(wallet, 40)
    assert coins(EMAIL, "-10", "--reason", "a mistake") == "Balance: 40 coins, 40 of them held."
    with pytest.raises(CommandError, match=r"^Only 0 coins are free to take; 40 more are held for running insights.$"):
        coins(EMAIL, "-1", "--reason", "a mistake")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ben@example.org", "+5", "--reason", "x"), "^There is no user with the address ben@example.org"),
        ((EMAIL, "abc", "--reason", "x"), "^abc is not a number of coins. Write it like \\+400 or -50.$"),
        ((EMAIL, "1.5", "--reason", "x"), "^1.5 is not a number of coins"),
        ((EMAIL, "-1.5", "--reason", "x"), "^-1.5 is not a number of coins"),
        ((EMAIL, "٤", "--reason", "x"), "is not a number of coins"),
        ((EMAIL, "9" * 30, "--reason", "x"), "^Coins move in whole numbers from 1 to"),
        ((EMAIL, "9" * 5000, "--reason", "x"), "is not a number of coins"),
        ((EMAIL, "0", "--reason", "x"), "^Coins move in whole numbers from 1 to"),
        ((EMAIL, "9" * 12, "--reason", "x"), "^Coins move in whole numbers from 1 to"),
        ((EMAIL, "-51", "--reason", "x"), "^Only 50 coins are free to take.$"),
        ((EMAIL, "+5", "--reason", "  "), "^Say why"),
    ],
)
def test_a_refusal_is_one_sentence_and_exits_with_64(wallet: Wallet, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(CommandError, match=message) as refusal:
        coins(*arguments)
    assert refusal.value.returncode == EXIT_REFUSED
    assert "\n" not in str(refusal.value)
    wallet.refresh_from_db()
    assert wallet.balance == 50


def test_a_reason_is_required(wallet: Wallet) -> None:
    with pytest.raises(CommandError, match="--reason"):
        coins(EMAIL, "+5")


@pytest.mark.parametrize("amount", ["-5", "+5"])
@pytest.mark.parametrize("balance", [0, 7, 1000])
def test_a_wallet_that_was_changed_by_sql_is_refused_with_the_command_that_repairs_it(
    wallet: Wallet, amount: str, balance: int
) -> None:
    Wallet.objects.filter(pk=wallet.pk).update(balance=balance)
    expected = "Only 0 coins" if (balance, amount) == (0, "-5") else rf"ledger --repair {wallet.pk}$"
    with pytest.raises(CommandError, match=expected) as refusal:
        coins(EMAIL, amount, "--reason", "a gift")
    # A wallet that does not add up is our fault, too few coins are not.
    assert refusal.value.returncode == (EXIT_REFUSED if expected.startswith("Only") else Level.CRITICAL.exit_status)
    assert wallet.transactions.count() == 1
