"""Wallets, reservations, debts, transactions, adjustments and bonuses. Only `billing.ledger` writes the first four."""

from __future__ import annotations

import uuid
from typing import Self

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.payments.models import CreditPackage, PackagePrice, PaymentOrder, PaymentRefund, WebhookEvent

__all__ = [
    "Adjustment",
    "Bonus",
    "CoinDebt",
    "CoinReservation",
    "CreditPackage",
    "CreditTransaction",
    "PackagePrice",
    "PaymentOrder",
    "PaymentRefund",
    "Wallet",
    "WebhookEvent",
]


class Wallet(models.Model):
    """The coins of one person: `balance` are owned, `reserved` of them are held for running jobs."""

    # Erasing a person keeps the wallet and its history, without the person.
    user = models.OneToOneField(settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="wallet")
    balance = models.BigIntegerField(default=0)
    reserved = models.BigIntegerField(default=0)
    owed = models.BigIntegerField(default=0, db_default=0, help_text="Coins of refunds that could not be taken yet.")
    # db_default: all times come from the database's clock, since those of web and worker machines may differ.
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "wallets"
        indexes = [models.Index(fields=["-created_at"], name="wallets_newest")]
        constraints = [
            models.CheckConstraint(condition=Q(reserved__gte=0), name="wallet_reserved_not_negative"),
            models.CheckConstraint(condition=Q(reserved__lte=F("balance")), name="wallet_reserved_within_balance"),
            models.CheckConstraint(condition=Q(owed__gte=0), name="wallet_owed_not_negative"),
            # Coins that become spendable pay what is owed first, in the same UPDATE.
            models.CheckConstraint(
                condition=Q(owed=0) | Q(balance=F("reserved")), name="wallet_owes_only_without_spendable_coins"
            ),
        ]

    def __str__(self) -> str:
        return f"wallet {self.pk}"

    @property
    def spendable(self) -> int:
        """Return the coins that are free to spend."""
        return self.balance - self.reserved


class ReservationQuerySet(models.QuerySet["CoinReservation"]):
    """Reservations, selected by their state."""

    def active(self) -> Self:
        """Return reservations that still hold coins."""
        return self.filter(status=CoinReservation.Status.ACTIVE)

    def overdue(self) -> Self:
        """Return active reservations past expires_at by the database's clock; expected to be empty."""
        return self.active().filter(expires_at__lt=Now())


class CoinReservation(models.Model):
    """Coins held for one job until settlement: captured for delivered insights, released otherwise."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        CAPTURED = "captured"
        RELEASED = "released"

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="reservations")
    coins = models.BigIntegerField()
    captured_coins = models.BigIntegerField(default=0)
    status = models.CharField(max_length=16, choices=Status, default=Status.ACTIVE)
    expires_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    idempotency_key = models.CharField(max_length=100)
    reason = models.CharField(max_length=200, blank=True, help_text="What the coins are reserved for.")
    release_reason = models.CharField(max_length=200, blank=True, help_text="Why the coins were released.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = ReservationQuerySet.as_manager()

    class Meta:
        db_table = "coin_reservations"
        indexes = [
            # Partial: almost all reservations are resolved, and only active ones are searched.
            models.Index(fields=["expires_at"], name="reservations_active_expiry", condition=Q(status="active")),
            models.Index(fields=["wallet"], name="reservations_active_of_wallet", condition=Q(status="active")),
            models.Index(fields=["-created_at"], name="reservations_newest"),
            models.Index(fields=["-resolved_at"], name="reservations_last_resolved"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["wallet", "idempotency_key"], name="one_reservation_per_key"),
            models.CheckConstraint(condition=Q(coins__gt=0), name="reservation_holds_coins"),
            models.CheckConstraint(
                condition=Q(captured_coins__gte=0, captured_coins__lte=F("coins")), name="reservation_captures_within"
            ),
            models.CheckConstraint(
                condition=Q(status="active", resolved_at__isnull=True)
                | Q(status__in=["captured", "released"], resolved_at__isnull=False),
                name="reservation_resolved_iff_not_active",
            ),
            models.CheckConstraint(
                condition=Q(status="captured", captured_coins__gt=0)
                | Q(status__in=["active", "released"], captured_coins=0),
                name="reservation_captured_iff_coins_taken",
            ),
            models.CheckConstraint(condition=~Q(idempotency_key=""), name="reservation_has_a_key"),
        ]

    def __str__(self) -> str:
        return f"reservation {self.pk}"

    @property
    def is_active(self) -> bool:
        """Return whether the reservation still holds its coins."""
        return self.status == self.Status.ACTIVE


class DebtQuerySet(models.QuerySet["CoinDebt"]):
    """Debts, selected by their state."""

    def open(self) -> Self:
        """Return debts that are not paid in full."""
        return self.filter(status=CoinDebt.Status.OPEN)

    def not_cancelled(self) -> Self:
        """Return debts of refunds that did not fail, paid or not."""
        return self.exclude(status=CoinDebt.Status.CANCELLED)


class CoinDebt(models.Model):
    """Coins that a refund could not take, since they were spent or held. The next spendable coins pay them."""

    class Status(models.TextChoices):
        OPEN = "open"
        PAID = "paid"
        CANCELLED = "cancelled"

    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="debts")
    refund = models.ForeignKey(PaymentRefund, models.PROTECT, related_name="debts")
    coins = models.BigIntegerField()
    paid_coins = models.BigIntegerField(default=0)
    status = models.CharField(max_length=16, choices=Status, default=Status.OPEN)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    resolved_at = models.DateTimeField(null=True)

    objects = DebtQuerySet.as_manager()

    class Meta:
        db_table = "coin_debts"
        indexes = [
            models.Index(fields=["wallet"], name="debts_open_of_wallet", condition=Q(status="open")),
            models.Index(fields=["-created_at"], name="debts_newest"),
            models.Index(fields=["-resolved_at"], name="debts_last_resolved"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["refund"], condition=~Q(status="cancelled"), name="one_debt_per_refund"),
            models.CheckConstraint(condition=Q(coins__gt=0), name="debt_owes_coins"),
            models.CheckConstraint(
                condition=Q(paid_coins__gte=0, paid_coins__lte=F("coins")), name="debt_paid_at_most_in_full"
            ),
            models.CheckConstraint(
                condition=Q(status="open", paid_coins__lt=F("coins"))
                | Q(status="paid", paid_coins=F("coins"))
                | Q(status="cancelled"),
                name="debt_paid_iff_in_full",
            ),
            models.CheckConstraint(
                condition=Q(status="open", resolved_at__isnull=True)
                | Q(status__in=["paid", "cancelled"], resolved_at__isnull=False),
                name="debt_resolved_iff_not_open",
            ),
        ]

    def __str__(self) -> str:
        return f"debt {self.pk}"

    @property
    def unpaid_coins(self) -> int:
        """Return the coins that are still owed."""
        return self.coins - self.paid_coins if self.status == self.Status.OPEN else 0


class CreditTransaction(models.Model):
    """One change of a wallet's balance. Append-only: a trigger rejects UPDATE, DELETE and TRUNCATE."""

    class Type(models.TextChoices):
        SIGNUP_BONUS = "signup_bonus"
        PURCHASE = "purchase"
        INSIGHT_UNLOCK = "insight_unlock"
        REFUND = "refund"
        ADMIN_ADJUSTMENT = "admin_adjustment"

    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="transactions")
    sequence = models.PositiveBigIntegerField()
    type = models.CharField(max_length=20, choices=Type)
    amount = models.BigIntegerField(help_text="Coins, signed.")
    # Stored, so that a statement and the audit need not sum the history. A trigger checks it on each INSERT.
    balance_after = models.BigIntegerField()
    reservation = models.ForeignKey(CoinReservation, models.PROTECT, null=True, blank=True, related_name="transactions")
    payment_order = models.ForeignKey(PaymentOrder, models.PROTECT, null=True, blank=True, related_name="transactions")
    reverses = models.ForeignKey("self", models.PROTECT, null=True, blank=True, related_name="reversed_by")
    # Almost no transaction pays a debt, so its index is partial.
    debt = models.ForeignKey(
        CoinDebt, models.PROTECT, null=True, blank=True, related_name="transactions", db_index=False
    )
    idempotency_key = models.CharField(max_length=100)
    actor = models.CharField(max_length=150, blank=True, help_text="Who did it: `user ID` or `command`.")
    reason = models.CharField(max_length=200, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        db_table = "credit_transactions"
        indexes = [
            models.Index(fields=["-created_at", "-id"], name="transactions_newest"),
            models.Index(fields=["debt"], name="transactions_of_debts", condition=Q(debt__isnull=False)),
            # Refunds are few of ten million; the other types occur everywhere, so that a list of them reads few rows.
            models.Index(fields=["-created_at", "-id"], name="transactions_of_refunds", condition=Q(type="refund")),
        ]
        constraints = [
            # Covers the audit of a wallet's history (invariant 3), which then needs no access to the table itself.
            models.UniqueConstraint(
                fields=["wallet", "sequence"],
                include=["amount", "balance_after", "id"],
                name="one_transaction_per_sequence",
            ),
            models.UniqueConstraint(fields=["wallet", "idempotency_key"], name="one_transaction_per_key"),
            # These make a double capture, purchase or bonus impossible even if the ledger has a bug.
            models.UniqueConstraint(
                fields=["reservation"], condition=Q(type="insight_unlock"), name="one_capture_per_reservation"
            ),
            models.UniqueConstraint(
                fields=["payment_order"], condition=Q(type="purchase"), name="one_purchase_per_paid_order"
            ),
            models.UniqueConstraint(
                fields=["wallet"], condition=Q(type="signup_bonus"), name="one_signup_bonus_per_wallet"
            ),
            models.UniqueConstraint(
                fields=["reverses"], condition=Q(reverses__isnull=False), name="one_reversal_per_refund"
            ),
            models.CheckConstraint(condition=~Q(amount=0), name="transaction_moves_coins"),
            models.CheckConstraint(condition=Q(balance_after__gte=0), name="transaction_balance_not_negative"),
            models.CheckConstraint(condition=Q(sequence__gte=1), name="transaction_sequence_from_one"),
            models.CheckConstraint(
                condition=Q(type__in=["signup_bonus", "purchase"], amount__gt=0)
                | Q(type__in=["insight_unlock", "refund"], amount__lt=0)
                | Q(type="admin_adjustment"),
                name="transaction_sign_fits_type",
            ),
            models.CheckConstraint(
                condition=Q(type="insight_unlock", reservation__isnull=False)
                | (~Q(type="insight_unlock") & Q(reservation__isnull=True)),
                name="reservation_named_iff_unlock",
            ),
            models.CheckConstraint(
                condition=Q(payment_order__isnull=True) | Q(type__in=["purchase", "refund"]),
                name="payment_order_named_for_payments_only",
            ),
            models.CheckConstraint(
                condition=~Q(type="refund") | Q(payment_order__isnull=False),
                name="transaction_without_order_is_no_refund",
            ),
            models.CheckConstraint(
                condition=~Q(type="purchase") | Q(payment_order__isnull=False),
                name="transaction_without_order_is_no_purchase",
            ),
            models.CheckConstraint(
                condition=Q(debt__isnull=True) | Q(type="refund"), name="debt_named_for_refunds_only"
            ),
            models.CheckConstraint(condition=~Q(idempotency_key=""), name="transaction_has_a_key"),
            models.CheckConstraint(
                condition=~Q(type="admin_adjustment") | (~Q(actor="") & ~Q(reason="")),
                name="adjustment_has_actor_and_reason",
            ),
        ]

    def __str__(self) -> str:
        return f"transaction {self.pk}"


class AdjustmentQuerySet(models.QuerySet["Adjustment"]):
    """Adjustments, selected by their state."""

    def pending(self) -> Self:
        """Return adjustments that wait for a second person."""
        return self.filter(status=Adjustment.Status.PENDING)


class Adjustment(models.Model):
    """A large adjustment that one person proposes and another approves or refuses. Coins move on approval.

    A repair sets a wallet to the sums of its rows: no coins move, so it has no transaction.
    """

    class Kind(models.TextChoices):
        COINS = "coins"
        REPAIR = "repair"

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REFUSED = "refused"

    wallet = models.ForeignKey(Wallet, models.PROTECT, related_name="adjustments")
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.COINS, db_default=Kind.COINS)
    amount = models.BigIntegerField(
        help_text="Coins, signed. Of a repair: by how much the balance was wrong when it was proposed."
    )
    reason = models.CharField(max_length=200)
    idempotency_key = models.CharField(max_length=100)
    proposed_by = models.CharField(max_length=150, help_text="`user ID` or `command`.")
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    decided_by = models.CharField(max_length=150, blank=True)
    decision = models.CharField(max_length=200, blank=True, help_text="Why it was approved or refused.")
    decided_at = models.DateTimeField(null=True)
    transaction = models.OneToOneField(CreditTransaction, models.PROTECT, null=True, related_name="adjustment")
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = AdjustmentQuerySet.as_manager()

    class Meta:
        db_table = "coin_adjustments"
        indexes = [
            models.Index(fields=["-created_at"], name="adjustments_newest"),
            models.Index(fields=["created_at"], name="adjustments_pending", condition=Q(status="pending")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["wallet", "idempotency_key"], name="one_adjustment_per_key"),
            models.CheckConstraint(condition=~Q(amount=0) | Q(kind="repair"), name="adjustment_moves_coins"),
            models.CheckConstraint(condition=~Q(proposed_by="") & ~Q(reason=""), name="adjustment_says_who_and_why"),
            models.CheckConstraint(
                condition=Q(status="pending", decided_at__isnull=True, decided_by="")
                | (Q(status__in=["approved", "refused"], decided_at__isnull=False) & ~Q(decided_by="")),
                name="adjustment_decided_iff_not_pending",
            ),
            models.CheckConstraint(
                condition=Q(status="approved", kind="coins", transaction__isnull=False)
                | (~Q(status="approved", kind="coins") & Q(transaction__isnull=True)),
                name="adjustment_made_iff_approved",
            ),
            models.UniqueConstraint(
                fields=["wallet"], condition=Q(kind="repair", status="pending"), name="one_pending_repair_per_wallet"
            ),
            # The four-eyes rule, also for code that forgets to check it.
            models.CheckConstraint(
                condition=~Q(status="approved") | ~Q(decided_by=F("proposed_by")), name="adjustment_approved_by_another"
            ),
        ]

    def __str__(self) -> str:
        return f"adjustment {self.pk}"


class Bonus(models.Model):
    """Coins granted at an event, edited by staff."""

    class Event(models.TextChoices):
        SIGNUP = "signup"

    event = models.CharField(max_length=16, choices=Event, primary_key=True)
    coins = models.PositiveIntegerField()

    class Meta:
        db_table = "bonuses"
        verbose_name_plural = "bonuses"

    def __str__(self) -> str:
        return f"{self.event} bonus"
