"""The accounts of the demo: a customer with a token and coins, and a superuser."""

from __future__ import annotations

import secrets
import uuid

from django.db import transaction
from django.db.models.functions import Now

from billing import ledger
from relivchats.accounts import tokens
from relivchats.accounts.models import User

DEMO_EMAIL = "demo@relivchats.local"
STAFF_EMAIL = "staff@relivchats.local"


@transaction.atomic
def issue_demo_token(*, min_coins: int) -> str:
    """Return a new token of the demo customer, and revoke earlier ones. Add coins up to `min_coins` spendable."""
    user = User.objects.filter(email=DEMO_EMAIL).first() or User.objects.create_user(DEMO_EMAIL)
    user.access_tokens.filter(revoked_at=None).update(revoked_at=Now())
    wallet = ledger.open_wallet(user=user)
    if (missing := min_coins - wallet.spendable) > 0:
        key = f"demo {uuid.uuid4()}"
        ledger.adjust(wallet=wallet, amount=missing, actor="demo", reason="coins for the demo", idempotency_key=key)
    return tokens.issue(user)


@transaction.atomic
def reset_staff_password() -> str:
    """Return a new password of the demo's superuser, who is created if missing."""
    password = secrets.token_urlsafe(12)
    staff = User.objects.filter(email=STAFF_EMAIL).first()
    if staff is None:
        User.objects.create_superuser(STAFF_EMAIL, password)
        return password
    staff.is_active = staff.is_staff = staff.is_superuser = True
    staff.set_password(password)
    staff.save()
    return password
