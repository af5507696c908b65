from __future__ import annotations

import pytest
from django.core.management import call_command

from billing import ledger
from billing.audit import audit
from billing.models import Bonus, CreditTransaction, Wallet
from relivchats.accounts.models import User
from relivchats.errors import DomainError

pytestmark = pytest.mark.django_db


def test_a_new_person_gets_a_wallet_with_the_bonus() -> None:
    wallet = User.objects.create_user("ann@example.org").wallet
    line = wallet.transactions.get()
    assert (line.type, line.amount, line.sequence, wallet.balance) == ("signup_bonus", 50, 1, 50)
    assert audit() == []


def test_the_bonus_is_granted_once_per_person() -> None:
    user = User.objects.create_user("ann@example.org")
    user.save()
    assert ledger.open_wallet(user=user) == ledger.open_wallet(user=user) == user.wallet
    assert CreditTransaction.objects.filter(type="signup_bonus").count() == 1


def test_migrating_keeps_the_bonus_that_staff_set() -> None:
    Bonus.objects.filter(event="signup").update(coins=70)
    call_command("migrate", verbosity=0)
    assert User.objects.create_user("ann@example.org").wallet.balance == 70


def test_migrating_creates_a_missing_bonus_row() -> None:
    Bonus.objects.all().delete()
    call_command("migrate", verbosity=0)
    assert Bonus.objects.get().coins == 50


def test_a_bonus_of_zero_leaves_the_wallet_empty() -> None:
    Bonus.objects.filter(event="signup").update(coins=0)
    wallet = User.objects.create_user("ann@example.org").wallet
    assert (wallet.balance, wallet.transactions.count()) == (0, 0)


def test_without_a_bonus_row_the_wallet_is_empty() -> None:
    Bonus.objects.all().delete()
    assert User.objects.create_user("ann@example.org").wallet.balance == 0


def test_a_changed_bonus_is_not_granted_again() -> None:
    user = User.objects.create_user("ann@example.org")
    Bonus.objects.filter(event="signup").update(coins=70)
    assert ledger.open_wallet(user=user).balance == 50


@pytest.mark.django_db(transaction=True)
def test_a_person_is_never_stored_without_a_wallet() -> None:
    Bonus.objects.filter(event="signup").update(coins=ledger.MAX_COINS + 1)
    with pytest.raises(DomainError):
        User.objects.create_user("ann@example.org")
    with pytest.raises(DomainError):
        User.objects.create(email="ben@example.org")
    assert not User.objects.exists()
    assert not Wallet.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_wallet_is_never_opened_without_its_bonus() -> None:
    (user,) = User.objects.bulk_create([User(email="ann@example.org")])
    Bonus.objects.filter(event="signup").update(coins=ledger.MAX_COINS + 1)
    with pytest.raises(DomainError):
        ledger.open_wallet(user=user)
    assert not Wallet.objects.exists()


def test_loading_a_fixture_creates_no_second_wallet() -> None:
    User(email="ann@example.org").save_base(raw=True)
    assert not Wallet.objects.exists()
