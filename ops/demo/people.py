"""Who takes part in a demo: a person with a token and coins, and staff with a log-in."""

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
def demo_token(*, coins: int) -> str:
    """A fresh token of the demo person, who has at least so many coins to spend. Tokens of earlier demos end."""
    user = User.objects.filter(email=DEMO_EMAIL).first() or User.objects.create_user(DEMO_EMAIL)
    user.access_tokens.filter(revoked_at=None).update(revoked_at=Now())
    wallet = ledger.open_wallet(user=user)
    if (missing := coins - wallet.spendable) > 0:
        ledger.adjust(
            wallet=wallet, amount=missing, actor="demo", reason="coins to try", idempotency_key=f"demo {uuid.uuid4()}"
        )
    return tokens.issue(user)


@transaction.atomic
def staff_password() -> str:
    """A fresh password of the demo's superuser."""
    password = secrets.token_urlsafe(12)
    staff = User.objects.filter(email=STAFF_EMAIL).first()
    if staff is None:
        User.objects.create_superuser(STAFF_EMAIL, password)
        return password
    staff.is_active = staff.is_staff = staff.is_superuser = True
    staff.set_password(password)
    staff.save()
    return password
