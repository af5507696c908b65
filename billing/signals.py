"""What happens to coins when something else happens: a wallet for each new person, the bonus row after migrating."""

from __future__ import annotations

from typing import Any

from django.apps import apps as installed_apps
from django.apps.registry import Apps

from billing import ledger
from relivchats.accounts.models import User

SIGNUP_BONUS_COINS = 50


def open_wallet_with_user(*, instance: User, created: bool, raw: bool, **_: Any) -> None:
    if created and not raw:
        ledger.open_wallet(user=instance)


def make_bonus_row(*, using: str, apps: Apps = installed_apps, **_: Any) -> None:
    """Make the row that staff edit, and leave theirs alone."""
    try:
        bonus = apps.get_model("billing", "Bonus")
    except LookupError:  # migrated back to before the table
        return
    bonus.objects.using(using).get_or_create(event="signup", defaults={"coins": SIGNUP_BONUS_COINS})
