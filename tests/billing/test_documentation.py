from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import call_command

from billing import audit, ledger
from billing.models import Wallet
from relivchats.accounts.models import User
from tests.billing.conftest import Buy, Hold

pytestmark = pytest.mark.django_db

PAGE = Path(settings.BASE_DIR) / "docs" / "ledger.md"


def rows(heading: str) -> list[list[str]]:
    """Return the cells of the first table under this heading of the page, without the header row."""
    section = PAGE.read_text().partition(f"## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def as_row(wallet: Wallet, *, lines_before: int) -> list[str]:
    wallet.refresh_from_db()
    new = wallet.transactions.filter(sequence__gt=lines_before).order_by("sequence")
    rows_added = [f"{line.sequence} {line.type} {line.amount:+} → {line.balance_after}" for line in new]
    return [str(wallet.balance), str(wallet.reserved), str(wallet.spendable), "; ".join(rows_added)]


def test_the_worked_example_is_true(hold: Hold, buy: Buy) -> None:
    wallet: Wallet = User.objects.create_user("ann@example.org").wallet
    states = [as_row(wallet, lines_before=0)]

    def step(call: object) -> None:
        states.append(as_row(wallet, lines_before=len([row for row in states if row[3]])))

    step(buy(wallet, 400))
    unlock = hold(wallet, 400, key="unlock")
    step(unlock)
    step(ledger.capture(reservation=unlock, coins=330))
    retried = hold(wallet, 70, key="retry")
    step(retried)
    step(ledger.release(reservation=retried, reason="nothing was delivered"))
    step(call_command("coins", "ann@example.org", "+30", "--reason", "two failures"))
    assert states == [row[1:] for row in rows("An example")]


def test_every_invariant_is_explained() -> None:
    explained = {number.strip() for row in rows("Invariants") for number in row[0].split(",")}
    assert {invariant.number.rstrip("abc") for invariant in audit.registered()} == explained
