"""The only writer of wallets, reservations, debts and transactions.

Every function is atomic and idempotent: the same key (or the same reservation) with the same request returns the first
answer; with another request it raises. Two requests are the same if they move the same coins in the same way, for the
same order, or hold them for the same purpose. `actor`, the reason of a movement and `expires_at` may differ: those of
the first request are stored. A refund and a reservation are keys themselves.

Coins that become spendable pay what the wallet owes first (`_save`).

Lock order, everywhere: job, reservation, wallet. Every function refreshes the instances that it is given, so
`wallet.balance` is current after the call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Q, QuerySet, Sum
from django.db.models.functions import Now

from billing.models import Bonus, CoinDebt, CoinReservation, CreditTransaction, PaymentOrder, PaymentRefund, Wallet
from relivchats.accounts.models import User
from relivchats.errors import Conflict, DomainError

#: Per movement. The sums of all movements then stay far within a bigint.
MAX_COINS = 1_000_000_000
MAX_REASON_LENGTH = 200
GRANTED_TYPES = (CreditTransaction.Type.SIGNUP_BONUS, CreditTransaction.Type.PURCHASE)


class InsufficientCoins(DomainError):
    """The wallet has too few spendable coins (402)."""

    code, status, title = "ERR_3000", 402, "Not enough coins"

    def __init__(self, detail: str = "", *, required: int, available: int, owed: int = 0) -> None:
        # New coins pay what is owed first.
        deficit = required - available + owed
        also = f"You owe {owed} coins of a refunded purchase, which are paid first. " if owed else ""
        super().__init__(
            detail
            or f"This costs {required} coins and {available} are free to spend. {also}"
            f"Get {deficit} more, or choose something smaller.",
            required=required,
            available=available,
            deficit=deficit,
        )


class InvalidMovement(DomainError):
    """The request is not a possible movement of coins (422)."""

    code, status, title = "ERR_1001", 422, "Not a movement of coins"


class IdempotencyMismatch(DomainError):
    """The idempotency key belongs to another request (422)."""

    code, status, title = "ERR_1001", 422, "Key already used for another request"

    def __init__(self) -> None:
        super().__init__("This idempotency key belongs to an earlier, different request. Use a new key.")


class WalletBroken(DomainError):
    """The wallet does not match its transactions, reservations and debts: somebody wrote to it with SQL (503)."""

    # 503: what was refused can be repeated with the same key when the wallet is repaired.
    code, status, title = "ERR_2002", 503, "The coins do not add up"

    def __init__(self, wallet: Wallet) -> None:
        super().__init__(
            f"The coins of wallet {wallet.pk} do not add up, so nothing was moved. Try again when staff have repaired"
            " it."
        )


class ReservationResolved(Conflict):
    """The reservation was already captured or released in another way (409)."""

    title = "Reservation already resolved"

    def __init__(self, reservation: CoinReservation) -> None:
        coins = f" with {reservation.captured_coins} coins" if reservation.captured_coins else ""
        super().__init__(f"This reservation is already {reservation.status}{coins}. Nothing was changed.")


@transaction.atomic
def open_wallet(*, user: User) -> Wallet:
    """Return the user's wallet. Create it with the signup bonus if there is none."""
    # Of concurrent calls, the unique constraint on the user lets one create the wallet; only that one grants the bonus.
    wallet, created = Wallet.objects.get_or_create(user=user)
    coins = Bonus.objects.filter(event=Bonus.Event.SIGNUP).values_list("coins", flat=True).first() if created else 0
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
    """Add coins to a wallet as a signup bonus, or as the purchase of `payment_order`.

    Raise InvalidMovement or IdempotencyMismatch.
    """
    if type not in GRANTED_TYPES:
        raise InvalidMovement(f"Coins are granted as {' or '.join(GRANTED_TYPES)}, not as {type}.")
    _check_positive(coins)
    if type == CreditTransaction.Type.PURCHASE:
        _check_purchase(payment_order, wallet=wallet, coins=coins)
    _lock(wallet)
    # Under the lock: of two concurrent requests with one key, the second finds the first one's transaction.
    if earlier := _find_earlier(wallet, idempotency_key=idempotency_key, type=type, amount=coins, order=payment_order):
        return earlier
    granted = _append(
        wallet,
        type=type,
        amount=coins,
        idempotency_key=idempotency_key,
        actor=actor,
        reason=reason,
        payment_order=payment_order,
    )
    _save(wallet)
    return granted


@transaction.atomic
def reserve(
    *, wallet: Wallet, coins: int, idempotency_key: str, expires_at: datetime, reason: str = ""
) -> CoinReservation:
    """Reserve coins, or return the reservation that this key already made.

    Raise InsufficientCoins, InvalidMovement or IdempotencyMismatch.
    """
    _check_positive(coins)
    # The lock serializes all reservations of a wallet: two concurrent ones cannot spend the same coins.
    _lock(wallet)
    if earlier := wallet.reservations.filter(idempotency_key=idempotency_key).first():
        if (earlier.coins, earlier.reason) != (coins, reason):
            raise IdempotencyMismatch
        return earlier
    if coins > wallet.spendable:
        raise InsufficientCoins(required=coins, available=wallet.spendable, owed=wallet.owed)
    wallet.reserved += coins
    _save(wallet)
    return wallet.reservations.create(
        coins=coins, idempotency_key=idempotency_key, expires_at=expires_at, reason=reason
    )


@transaction.atomic
def capture(*, reservation: CoinReservation, coins: int) -> CreditTransaction:
    """Take `coins` of a reservation and release the rest. To take none, call `release`.

    Raise InvalidMovement or ReservationResolved.
    """
    # The reservation before its wallet (`_resolve` locks that): the order in which settlement locks them.
    _lock(reservation)
    if reservation.status == CoinReservation.Status.CAPTURED and reservation.captured_coins == coins:
        return reservation.transactions.get(type=CreditTransaction.Type.INSIGHT_UNLOCK)
    if not reservation.is_active:
        raise ReservationResolved(reservation)
    if not 0 < coins <= reservation.coins:
        raise InvalidMovement(f"Of {reservation.coins} held coins, 1 to {reservation.coins} can be captured.")
    wallet = _resolve(reservation, status=CoinReservation.Status.CAPTURED, captured_coins=coins)
    captured = _append(
        wallet,
        type=CreditTransaction.Type.INSIGHT_UNLOCK,
        amount=-coins,
        idempotency_key=f"capture {reservation.pk}",
        reason=reservation.reason,
        reservation=reservation,
    )
    _save(wallet)
    return captured


@transaction.atomic
def release(*, reservation: CoinReservation, reason: str) -> CoinReservation:
    """Release all coins of a reservation. They never left the wallet, so only debts that they pay are transactions.

    Raise InvalidMovement or ReservationResolved.
    """
    reason = _check_reason(reason)
    # Settlement, recovery and staff may resolve one reservation concurrently. The lock lets the first one win.
    _lock(reservation)
    if reservation.status == CoinReservation.Status.RELEASED:
        return reservation
    if not reservation.is_active:
        raise ReservationResolved(reservation)
    _save(_resolve(reservation, status=CoinReservation.Status.RELEASED, release_reason=reason))
    return reservation


@transaction.atomic
def adjust(*, wallet: Wallet, amount: int, actor: str, reason: str, idempotency_key: str) -> CreditTransaction:
    """Add a positive or take a negative amount of coins. Held coins cannot be taken.

    Raise InsufficientCoins, InvalidMovement or IdempotencyMismatch.
    """
    reason = check_adjustment(amount=amount, actor=actor, reason=reason)
    _lock(wallet)
    type = CreditTransaction.Type.ADMIN_ADJUSTMENT
    if earlier := _find_earlier(wallet, idempotency_key=idempotency_key, type=type, amount=amount):
        return earlier
    # After the lock: a concurrent unlock cannot reserve these coins between the check and the movement.
    check_spendable(wallet, -amount)
    made = _append(wallet, type=type, amount=amount, idempotency_key=idempotency_key, actor=actor, reason=reason)
    _save(wallet)
    return made


@transaction.atomic
def refund(*, refund: PaymentRefund, coins: int, actor: str = "", reason: str = "") -> int:
    """Take back the coins of a refund: those that are spendable now. The others become a debt. Held coins stay held.

    Return how many were taken now. A refund that was reversed can take its coins again. Raise InvalidMovement or
    IdempotencyMismatch.
    """
    _check_positive(coins)
    wallet = refund.order.wallet
    _lock(wallet)
    # The instance may have cached the debts from before the lock.
    debt = CoinDebt.objects.not_cancelled().filter(refund=refund).first()
    line = _lines_of(refund).filter(debt=None, reversed_by=None).first()
    if line or debt:
        taken = -line.amount if line else 0
        if taken + (debt.coins if debt else 0) != coins:
            raise IdempotencyMismatch
        return taken
    taken = min(coins, wallet.spendable)
    if taken < coins:
        wallet.debts.create(refund=refund, coins=coins - taken)
        wallet.owed += coins - taken
    # No transaction for zero coins: the database rejects one.
    if taken:
        # A refund that failed after it took coins, and is made later, takes them again under a new key.
        key, earlier_lines = _key_of(refund), _lines_of(refund).count()
        _append(
            wallet,
            type=CreditTransaction.Type.REFUND,
            amount=-taken,
            idempotency_key=f"{key} {earlier_lines + 1}" if earlier_lines else key,
            actor=actor,
            reason=reason,
            payment_order=refund.order,
        )
    _save(wallet)
    return taken


@transaction.atomic
def reverse_refund(*, refund: PaymentRefund, reason: str) -> None:
    """Cancel the debt of a refund that failed, and return all coins that it took. Raise InvalidMovement."""
    reason = _check_reason(reason)
    wallet = refund.order.wallet
    # Of two reports of one failure, the second finds the debt cancelled and each transaction reversed.
    _lock(wallet)
    if debt := CoinDebt.objects.not_cancelled().filter(refund=refund).first():
        wallet.owed -= debt.unpaid_coins
        CoinDebt.objects.filter(pk=debt.pk).update(status=CoinDebt.Status.CANCELLED, resolved_at=Now())
    for line in _lines_of(refund).filter(reversed_by=None).order_by("sequence"):
        _append(
            wallet,
            type=CreditTransaction.Type.ADMIN_ADJUSTMENT,
            amount=-line.amount,
            idempotency_key=f"reverse {line.pk}",
            actor="provider",
            reason=reason,
            reverses=line,
        )
    _save(wallet)


@dataclass(frozen=True)
class Sums:
    """What a wallet has to contain, by its transactions, active reservations and open debts, in coins."""

    balance: int
    reserved: int
    owed: int

    def describe(self) -> str:
        """Return the sums as text."""
        return f"balance {self.balance}, reserved {self.reserved}, owed {self.owed}"


def sum_up(wallet: Wallet) -> Sums:
    """Return the sums of the rows of a wallet. Raise Conflict if they cannot be right either.

    The transactions are the truth if each follows from the one before, which triggers guarantee. Otherwise somebody has
    changed the history despite them, and nothing here can know what it was.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT count(*) FROM (
                SELECT sequence, amount, balance_after, lag(sequence, 1, 0::bigint) OVER in_order AS previous,
                    lag(balance_after, 1, 0::bigint) OVER in_order AS balance
                FROM credit_transactions WHERE wallet_id = %s WINDOW in_order AS (ORDER BY sequence)
            ) AS lines
            WHERE sequence <> previous + 1 OR balance_after <> balance + amount OR balance_after < 0
            """,
            [wallet.pk],
        )
        (broken,) = cursor.fetchone()
    sums = Sums(
        balance=wallet.transactions.aggregate(coins=Sum("amount", default=0))["coins"],
        reserved=wallet.reservations.active().aggregate(coins=Sum("coins", default=0))["coins"],
        owed=wallet.debts.open().aggregate(coins=Sum(F("coins") - F("paid_coins"), default=0))["coins"],
    )
    if broken or sums.reserved > sums.balance:
        raise Conflict(
            f"The transactions of wallet {wallet.pk} were changed, so its coins cannot be computed from them."
            " Restore them from a backup: docs/ledger.md, invariant 3."
        )
    return sums


@transaction.atomic
def repair(*, wallet: Wallet) -> Sums:
    """Set a wallet to the sums of its rows, and return them. What it owes is paid from spendable coins at once.

    Raise Conflict if there is nothing to repair, or no way to.
    """
    # Nothing that moves coins runs meanwhile: all of it locks the wallet first.
    _lock(wallet)
    sums = sum_up(wallet)
    if sums == Sums(wallet.balance, wallet.reserved, wallet.owed):
        raise Conflict(f"Wallet {wallet.pk} is right: it matches its transactions, reservations and debts.")
    wallet.balance, wallet.reserved, wallet.owed = sums.balance, sums.reserved, sums.owed
    _save(wallet)
    return sums


def check_adjustment(*, amount: int, actor: str, reason: str) -> str:
    """Return the reason, stripped. Raise InvalidMovement if an adjustment cannot be made of these values."""
    reason = _check_reason(reason)
    if not actor.strip():
        raise InvalidMovement("An adjustment needs an actor: say who makes it.")
    _check_positive(abs(amount))
    return reason


def check_spendable(wallet: Wallet, coins: int) -> None:
    """Raise InsufficientCoins if the wallet, which the caller has locked, has fewer spendable coins."""
    if coins > wallet.spendable:
        held = f"; {wallet.reserved} more are held for running insights" if wallet.reserved else ""
        detail = f"Only {wallet.spendable} coins are free to take{held}."
        raise InsufficientCoins(detail, required=coins, available=wallet.spendable)


def _lock(row: Wallet | CoinReservation) -> None:
    """Lock the row until the transaction ends, and refresh the instance from it."""
    # FOR NO KEY UPDATE: inserting a row that references the wallet does not wait for it.
    rows: QuerySet[Any] = row.__class__._base_manager.select_for_update(no_key=True)
    row.refresh_from_db(from_queryset=rows)


def _find_earlier(
    wallet: Wallet, *, idempotency_key: str, type: str, amount: int, order: PaymentOrder | None = None
) -> CreditTransaction | None:
    """Return the transaction of this key, or None. Raise IdempotencyMismatch if it is of another request."""
    earlier = wallet.transactions.filter(idempotency_key=idempotency_key).first()
    if earlier and (earlier.type, earlier.amount, earlier.payment_order) != (type, amount, order):
        raise IdempotencyMismatch
    return earlier


def _append(wallet: Wallet, *, type: str, amount: int, idempotency_key: str, **columns: Any) -> CreditTransaction:
    """Write the next transaction of a locked wallet, and change the balance of the instance, which `_save` writes."""
    # Without the lock, two transactions could get the same sequence number or start from the same balance.
    last, balance = wallet.transactions.order_by("-sequence").values_list("sequence", "balance_after").first() or (0, 0)
    # A trigger rejects the row as well, without a sentence that a person can act on.
    if wallet.balance != balance:
        raise WalletBroken(wallet)
    wallet.balance += amount
    return wallet.transactions.create(
        sequence=last + 1,
        type=type,
        amount=amount,
        balance_after=wallet.balance,
        idempotency_key=idempotency_key,
        **columns,
    )


def _save(wallet: Wallet) -> None:
    """Pay the debts of a locked wallet, oldest first, as far as its coins are spendable, and write the wallet.

    Every change of a wallet ends with this. One UPDATE writes all of it, since the database rejects a wallet that has
    both debts and spendable coins.
    """
    if wallet.owed and wallet.spendable:
        for debt in wallet.debts.open().select_related("refund__order").order_by("pk"):
            coins = min(debt.unpaid_coins, wallet.spendable)
            if not coins:
                break
            paid = debt.paid_coins + coins
            wallet.owed -= coins
            _append(
                wallet,
                type=CreditTransaction.Type.REFUND,
                amount=-coins,
                idempotency_key=f"debt {debt.pk} {paid}",
                reason=f"owed since refund {debt.refund_id}",
                payment_order=debt.refund.order,
                debt=debt,
            )
            is_paid = {"status": CoinDebt.Status.PAID, "resolved_at": Now()} if paid == debt.coins else {}
            CoinDebt.objects.filter(pk=debt.pk).update(paid_coins=paid, **is_paid)
    if not 0 <= wallet.reserved <= wallet.balance or (wallet.owed and wallet.spendable):
        raise WalletBroken(wallet)
    wallet.save(update_fields=["balance", "reserved", "owed"])


def _lines_of(refund: PaymentRefund) -> QuerySet[CreditTransaction]:
    """Return the transactions in which a refund took coins: at once, and later those that were owed."""
    of_refund = Q(idempotency_key__startswith=_key_of(refund)) | Q(debt__refund=refund)
    return refund.order.wallet.transactions.filter(of_refund, type=CreditTransaction.Type.REFUND)


def _key_of(refund: PaymentRefund) -> str:
    return f"refund {refund.pk}"


def _resolve(reservation: CoinReservation, *, status: str, captured_coins: int = 0, release_reason: str = "") -> Wallet:
    """End a locked reservation and free its coins. Return its wallet, locked and not yet saved."""
    wallet = reservation.wallet
    _lock(wallet)
    # resolved_at comes from the database's clock, so save() cannot set it.
    CoinReservation.objects.filter(pk=reservation.pk).update(
        status=status, captured_coins=captured_coins, release_reason=release_reason, resolved_at=Now()
    )
    reservation.refresh_from_db()
    # All held coins are freed, also captured ones: `_append` takes those from the balance in the same transaction.
    wallet.reserved -= reservation.coins
    return wallet


def _check_positive(coins: int) -> None:
    if not 0 < coins <= MAX_COINS:
        raise InvalidMovement(f"Coins move in whole numbers from 1 to {MAX_COINS}.")


def _check_purchase(order: PaymentOrder | None, *, wallet: Wallet, coins: int) -> None:
    if order is None or (order.wallet_id, order.coins) != (wallet.pk, coins):
        raise InvalidMovement("A purchase grants the coins of an order to the wallet that ordered them.")


def _check_reason(reason: str) -> str:
    reason = reason.strip()
    if not 0 < len(reason) <= MAX_REASON_LENGTH:
        raise InvalidMovement(f"Say why, in 1 to {MAX_REASON_LENGTH} characters.")
    return reason
