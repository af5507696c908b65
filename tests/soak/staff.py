"""What staff does to customers: create, erase, adjust, refund, withdraw types. Repeated until it is certain."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, connections

from billing import ledger
from billing.models import PaymentOrder, PaymentRefund, Wallet
from billing.payments import refunds
from insights.models import InsightType
from relivchats.accounts import tokens
from relivchats.accounts.erasure import erase as erase_account
from relivchats.accounts.models import User
from tests.soak.accounts import Person
from tests.soak.client import PATIENCE_SECONDS, wait_until

T = TypeVar("T")
_WAIT_SECONDS = 0.5


def repeat(do: Callable[[], T]) -> T:
    """Return the result of a function that uses the database, and call it again after each database error.

    Raise the error after PATIENCE_SECONDS.
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return do()
        except DatabaseError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_WAIT_SECONDS)
        finally:
            connections.close_all()


def create_person(number: int) -> Person:
    """Create a user with a token, as an identity provider and the admin do."""
    user_id = uuid.uuid4()

    def create() -> Person:
        # A commit whose answer was lost is found again.
        user = User.objects.filter(pk=user_id).first()
        if user is None:
            user = User.objects.create_user(f"{user_id.hex}@example.org", id=user_id)
        return Person(number, str(user_id), user.wallet.pk, tokens.issue(user))

    return repeat(create)


def erase_person(person: Person) -> None:
    """Delete the account with its chats."""

    def erase() -> None:
        if user := User.objects.filter(pk=person.user_id).first():
            erase_account(user)

    repeat(erase)


def adjust(person: Person, amount: int) -> bool:
    """Correct a balance. Return False if the person cannot spend so many coins."""
    key = f"soak:{uuid.uuid4()}"

    def make() -> bool:
        wallet = Wallet.objects.get(pk=person.wallet_id)
        try:
            ledger.adjust(wallet=wallet, amount=amount, actor="soak", reason="soak test", idempotency_key=key)
        except ledger.InsufficientCoins:
            return False
        return True

    return repeat(make)


def refund(order_id: str) -> None:
    """Refund all of an order, and wait until that is certain."""

    def request() -> bool:
        order = PaymentOrder.objects.get(pk=order_id)
        if order.status != PaymentOrder.Status.REFUNDED:
            try:
                refunds.start(order_id=order.pk, amount=None, actor="soak", reason="soak test")
            except refunds.RefundImpossible:
                # The answer of an attempt before was lost. It may be sent again after a minute.
                refunds.push(PaymentRefund.objects.get(order=order))
            order.refresh_from_db()
        return order.status == PaymentOrder.Status.REFUNDED

    wait_until(lambda: repeat(request), every_seconds=5, awaited=f"refund of order {order_id}")


def set_active(type_id: str, *, active: bool) -> None:
    """Put a type on sale, or take it off."""
    repeat(lambda: InsightType.objects.filter(pk=type_id).update(active=active))
