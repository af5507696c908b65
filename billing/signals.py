"""Signal receivers: open a wallet for each new user, and create the rows that staff edit after a migration."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps
from django.db import transaction

from billing import ledger
from relivchats.accounts.models import User

SIGNUP_BONUS_COINS = 50

#: The first packages: (id, title, coins, popular, {currency: minor units}).
PACKAGES: tuple[tuple[str, str, int, bool, dict[str, int]], ...] = (
    ("starter", "Starter", 400, False, {"INR": 39_900, "USD": 499}),
    ("popular", "Popular", 850, True, {"INR": 79_900, "USD": 999}),
    ("pro", "Pro", 1600, False, {"INR": 149_900, "USD": 1799}),
)


def open_wallet_with_user(*, instance: User, created: bool, raw: bool, **_: Any) -> None:
    """Open the wallet of a new user in the same transaction. A fixture (`raw`) brings its own wallets."""
    if created and not raw:
        ledger.open_wallet(user=instance)


def create_bonus_row(*, using: str, apps: Apps = installed_apps, **_: Any) -> None:
    """Create the signup bonus if there is none."""
    try:
        bonus = apps.get_model("billing", "Bonus")
    except LookupError:  # migrated back to before the table existed
        return
    # Runs after every migration, and must not overwrite the number that staff set.
    bonus.objects.using(using).get_or_create(event="signup", defaults={"coins": SIGNUP_BONUS_COINS})


def create_packages(*, using: str, apps: Apps = installed_apps, **_: Any) -> None:
    """Create the first packages if there are none at all."""
    try:
        packages, prices = apps.get_model("billing", "CreditPackage"), apps.get_model("billing", "PackagePrice")
    except LookupError:  # migrated back to before the tables existed
        return
    with transaction.atomic(using=using):
        # Only into an empty table: a package that staff deleted does not return with the next migration.
        if packages.objects.using(using).exists():
            return
        for order, (slug, title, coins, popular, amounts) in enumerate(PACKAGES):
            package = packages.objects.using(using).create(
                id=slug, title=title, coins=coins, popular=popular, display_order=order
            )
            for currency, amount in amounts.items():
                prices.objects.using(using).create(package=package, currency=currency, amount=amount)
