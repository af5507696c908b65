"""There are three packages after the first migration. Later migrations keep the changes of staff."""

from __future__ import annotations

import pytest
from django.core.management import call_command

from billing.models import CreditPackage, PackagePrice
from billing.payments import money

pytestmark = pytest.mark.django_db


def test_three_packages_exist_after_the_first_migration() -> None:
    sold = [
        (package.title, package.coins, package.popular, dict(package.prices.values_list("currency", "amount")))
        for package in CreditPackage.objects.all()
    ]
    assert sold == [
        ("Starter", 400, False, {"INR": 39_900, "USD": 499}),
        ("Popular", 850, True, {"INR": 79_900, "USD": 999}),
        ("Pro", 1600, False, {"INR": 149_900, "USD": 1799}),
    ]


def test_migrating_again_keeps_changes_by_staff() -> None:
    CreditPackage.objects.filter(id="pro").delete()
    PackagePrice.objects.filter(package="starter", currency="USD").update(amount=599)
    call_command("migrate", verbosity=0)
    assert list(CreditPackage.objects.values_list("id", flat=True)) == ["starter", "popular"]
    assert PackagePrice.objects.get(package="starter", currency="USD").amount == 599


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        (149_900, "INR", "₹1,499"),
        (499, "USD", "$4.99"),
        (1005, "USD", "$10.05"),
        (5, "INR", "₹0.05"),
        (-499, "USD", "−$4.99"),
        (-5, "XYZ", "−0.05 XYZ"),
        (1, "XYZ", "0.01 XYZ"),
    ],
)
def test_amounts_are_formatted_with_their_currency(amount: int, currency: str, shown: str) -> None:
    assert money.format_amount(amount, currency) == shown


def test_amounts_of_a_column_have_their_minor_units() -> None:
    shown = [money.format_amount(amount, "USD", in_column=True) for amount in (499, 100, -150_000)]
    assert shown == ["$4.99", "$1.00", "−$1,500.00"]
