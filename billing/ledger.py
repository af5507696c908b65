"""The only writer of wallets, reservations and transactions.

Every function is atomic and safe to call twice: the same idempotency key (or the
same reservation) with the same request gives the same answer, another request
is refused. Two requests are the same when they move the same coins in the same
way, for the same order, or hold them for the same thing; `actor`, the reason of
a movement and `expires_at` are notes of whoever came first.

Rows are locked in one order everywhere: job, reservation, wallet. Instances
handed in are brought up to date, so `wallet.balance` is right after the call.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from billing.models import Bonus, CoinReservation, CreditTransaction, PaymentOrder, Wallet
from relivchats.accounts.models import User
from relivchats.errors import Conflict, DomainError

MOST_COINS = 1_000_000_000
MOST_CHARACTERS = 200
GRANTED_TYPES = (CreditTransaction.Type.SIGNUP_BONUS, CreditTransaction.Type.PURCHASE)


class InsufficientCoins(DomainError):
    code, status, title = "ERR_3000", 402, "Not enough coins"

    def __init__(self, detail: str = "", *, required: int, available: int) -> None:
        deficit = required - available
        super().__init__(
            detail
            or f"This costs {required} coins and {available} are free to spend. "
            f"Get {deficit} more, or choose something smaller.",
            required=required,
            available=available,
            deficit=deficit,
        )


class InvalidMovement(DomainError):
    code, status, title = "ERR_1001", 422, "Not a movement of coins"


class IdempotencyMismatch(DomainError):
    code, status, title = "ERR_1001", 422, "Key already used for another request"

    def __init__(self) -> None:
        super().__init__("This idempotency key belongs to an earlier, different request. Use a new key.")


class ReservationResolved(Conflict):
    """The reservation was already captured or released, and not in the way asked for now."""

    title = "Reservation already resolved"

    def __init__(self, reservation: CoinReservation) -> None:
        taken = f" with {reservation.captured_coins} coins" if reservation.captured_coins else ""
        super().__init__(f"This reservation is already {reservation.status}{taken}. Nothing was changed.")


@transaction.atomic
def open_wallet(*, user: User) -> Wallet:
    """This person's wallet; made, with the signup bonus, when they have none."""
    wallet, made = Wallet.objects.get_or_create(user=user)
    coins = Bonus.objects.filter(event=Bonus.Event.SIGNUP).values_list("coins", flat=True).first() if made else 0
    if coins:
        grant(wallet=wallet, type=CreditTransaction.Type.SIGNUP_BONUS, coins=coins, idempotency_key="signup")
    return wallet


@transaction.atomic
def grant(
    *,
    wallet: Wallet,
    type: str,
    coins: int,
    idempotency_key: str,
    actor: str = "",
    reason: str = "",
    payment_order: PaymentOrder | None = None,
) -> CreditTransaction:
    """Add coins to a wallet: a signup bonus, or a purchase that names the order it was paid by."""
    if type not in GRANTED_TYPES:
        raise InvalidMovement(f"Coins are granted as {' or '.join(GRANTED_TYPES)}, not as {type}.")
    _check_positive(coins)
    if type == CreditTransaction.Type.PURCHASE:
        _check_bought(payment_order, wallet=wallet, coins=coins)
    _lock(wallet)
    if earlier := _earlier(wallet, idempotency_key=idempotency_key, type=type, amount=coins, order=payment_order):
        return earlier
    return _append(
        wallet,
        type=type,
        amount=coins,
        idempotency_key=idempotency_key,
        actor=actor,
        reason=reason,
        payment_order=payment_order,
    )


@transaction.atomic
def reserve(
    *, wallet: Wallet, coins: int, idempotency_key: str, expires_at: datetime, reason: str = ""
) -> CoinReservation:
    """Hold coins, or return the hold that this key already made. Raises InsufficientCoins."""
    _check_positive(coins)
    _lock(wallet)
    if earlier := wallet.reservations.filter(idempotency_key=idempotency_key).first():
        if (earlier.coins, earlier.reason) != (coins, reason):
            raise IdempotencyMismatch
        return earlier
    if coins > wallet.spendable:
        raise InsufficientCoins(required=coins, available=wallet.spendable)
    wallet.reserved += coins
    wallet.save(update_fields=["reserved"])
    return wallet.reservations.create(
        coins=coins, idempotency_key=idempotency_key, expires_at=expires_at, reason=reason
    )


@transaction.atomic
def capture(*, reservation: CoinReservation, coins: int) -> CreditTransaction:
    """Take `coins` of the held ones for good and give the rest back. To take none, release."""
    _lock(reservation)
    if reservation.status == CoinReservation.Status.CAPTURED and reservation.captured_coins == coins:
        return reservation.transactions.get(type=CreditTransaction.Type.INSIGHT_UNLOCK)
    if not reservation.is_active:
        raise ReservationResolved(reservation)
    if not 0 < coins <= reservation.coins:
        raise InvalidMovement(f"Of {reservation.coins} held coins, 1 to {reservation.coins} can be captured.")
    wallet = _resolve(reservation, status=CoinReservation.Status.CAPTURED, captured_coins=coins)
    return _append(
        wallet,
        type=CreditTransaction.Type.INSIGHT_UNLOCK,
        amount=-coins,
        idempotency_key=f"capture {reservation.pk}",
        reason=reservation.reason,
        reservation=reservation,
    )


@transaction.atomic
def release(*, reservation: CoinReservation, reason: str) -> CoinReservation:
    """Give all held coins back. They never left the wallet, so no transaction is written."""
    reason = _explained(reason)
    _lock(reservation)
    if reservation.status == CoinReservation.Status.RELEASED:
        return reservation
    if not reservation.is_active:
        raise ReservationResolved(reservation)
    _resolve(reservation, status=CoinReservation.Status.RELEASED, release_reason=reason)
    return reservation


@transaction.atomic
def adjust(*, wallet: Wallet, amount: int, actor: str, reason: str, idempotency_key: str) -> CreditTransaction:
    """Add or take coins by hand. Held coins are out of reach. Raises InsufficientCoins."""
    reason = check_adjustment(amount=amount, actor=actor, reason=reason)
    _lock(wallet)
    type = CreditTransaction.Type.ADMIN_ADJUSTMENT
    if earlier := _earlier(wallet, idempotency_key=idempotency_key, type=type, amount=amount):
        return earlier
    check_takes(wallet, -amount)
    return _append(wallet, type=type, amount=amount, idempotency_key=idempotency_key, actor=actor, reason=reason)


@transaction.atomic
def refund(
    *, payment_order: PaymentOrder, coins: int, idempotency_key: str, actor: str = "", reason: str = ""
) -> CreditTransaction | None:
    """Take back up to `coins` that the order bought, since its money went back: as many as are free to spend.

    The transaction says how many were taken; None: not one was there. Held coins stay held.
    """
    _check_positive(coins)
    wallet = payment_order.wallet
    _lock(wallet)
    if earlier := wallet.transactions.filter(idempotency_key=idempotency_key).first():
        if earlier.type != CreditTransaction.Type.REFUND or earlier.payment_order_id != payment_order.pk:
            raise IdempotencyMismatch
        return earlier
    if not wallet.spendable:
        return None
    return _append(
        wallet,
        type=CreditTransaction.Type.REFUND,
        amount=-min(coins, wallet.spendable),
        idempotency_key=idempotency_key,
        actor=actor,
        reason=reason,
        payment_order=payment_order,
    )


@transaction.atomic
def reverse_refund(*, refund: CreditTransaction, reason: str) -> CreditTransaction:
    """Give back what a refund took: its money never reached the person."""
    reason = _explained(reason)
    if refund.type != CreditTransaction.Type.REFUND:
        raise InvalidMovement(f"Only a refund is reversed, not a transaction of type {refund.type}.")
    wallet = refund.wallet
    _lock(wallet)
    type, key = CreditTransaction.Type.ADMIN_ADJUSTMENT, f"reverse {refund.pk}"
    if earlier := _earlier(wallet, idempotency_key=key, type=type, amount=-refund.amount):
        return earlier
    return _append(
        wallet,
        type=type,
        amount=-refund.amount,
        idempotency_key=key,
        actor="provider",
        reason=reason,
        reverses=refund,
    )


def check_adjustment(*, amount: int, actor: str, reason: str) -> str:
    """Raises InvalidMovement unless an adjustment could be made of this. Returns the reason as it is written."""
    reason = _explained(reason)
    if not actor.strip():
        raise InvalidMovement("An adjustment needs an actor: say who makes it.")
    _check_positive(abs(amount))
    return reason


def check_takes(wallet: Wallet, coins: int) -> None:
    """Raises InsufficientCoins if so many are not free to take. The wallet is locked."""
    if coins > wallet.spendable:
        raise InsufficientCoins(_at_most(wallet), required=coins, available=wallet.spendable)


def _lock(row: Wallet | CoinReservation) -> None:
    """Hold the row until the transaction ends, and bring the instance up to date."""
    rows: QuerySet[Any] = row.__class__._base_manager.select_for_update(no_key=True)
    row.refresh_from_db(from_queryset=rows)


def _earlier(
    wallet: Wallet, *, idempotency_key: str, type: str, amount: int, order: PaymentOrder | None = None
) -> CreditTransaction | None:
    """What this key already wrote. Raises IdempotencyMismatch when that was something else."""
    earlier = wallet.transactions.filter(idempotency_key=idempotency_key).first()
    if earlier and (earlier.type, earlier.amount, earlier.payment_order) != (type, amount, order):
        raise IdempotencyMismatch
    return earlier


def _append(
    wallet: Wallet,
    *,
    type: str,
    amount: int,
    idempotency_key: str,
    actor: str = "",
    reason: str = "",
    reservation: CoinReservation | None = None,
    payment_order: PaymentOrder | None = None,
    reverses: CreditTransaction | None = None,
) -> CreditTransaction:
    """Write the wallet's next transaction and move its balance with it. The wallet is locked."""
    last = wallet.transactions.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    wallet.balance += amount
    wallet.save(update_fields=["balance"])
    return wallet.transactions.create(
        sequence=last + 1,
        type=type,
        amount=amount,
        balance_after=wallet.balance,
        idempotency_key=idempotency_key,
        actor=actor,
        reason=reason,
        reservation=reservation,
        payment_order=payment_order,
        reverses=reverses,
    )


def _resolve(reservation: CoinReservation, *, status: str, captured_coins: int = 0, release_reason: str = "") -> Wallet:
    """End the hold: its coins are free again in the wallet, which stays locked. The reservation is locked."""
    wallet = reservation.wallet
    _lock(wallet)
    CoinReservation.objects.filter(pk=reservation.pk).update(
        status=status, captured_coins=captured_coins, release_reason=release_reason, resolved_at=Now()
    )
    reservation.refresh_from_db()
    wallet.reserved -= reservation.coins
    wallet.save(update_fields=["reserved"])
    return wallet


def _check_positive(coins: int) -> None:
    if not 0 < coins <= MOST_COINS:
        raise InvalidMovement(f"Coins move in whole numbers from 1 to {MOST_COINS}.")


def _check_bought(order: PaymentOrder | None, *, wallet: Wallet, coins: int) -> None:
    if order is None or (order.wallet_id, order.coins) != (wallet.pk, coins):
        raise InvalidMovement("A purchase gives the coins of an order to the wallet that ordered them.")


def _explained(reason: str) -> str:
    reason = reason.strip()
    if not 0 < len(reason) <= MOST_CHARACTERS:
        raise InvalidMovement(f"Say why, in 1 to {MOST_CHARACTERS} characters.")
    return reason


def _at_most(wallet: Wallet) -> str:
    held = f"; {wallet.reserved} more are held for running insights" if wallet.reserved else ""
    return f"Only {wallet.spendable} coins are free to take{held}."
