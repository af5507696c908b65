"""Packages, orders, refunds and webhook events. Amounts of money are integers in minor units: paise, cents."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce, Now

from billing.payments.money import currency_choices

#: A payment that has not been credited after this time is critical.
CREDIT_DEADLINE = timedelta(minutes=5)
PROVIDER_MAX_LENGTH = 16


class CreditPackage(models.Model):
    """A number of coins for sale, edited by staff. A change affects only later orders."""

    id = models.SlugField(primary_key=True, max_length=40)
    title = models.CharField(max_length=60)
    coins = models.PositiveIntegerField()
    popular = models.BooleanField(default=False, help_text="Highlighted as the most popular package.")
    active = models.BooleanField(default=True, help_text="Offered for sale.")
    display_order = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "credit_packages"
        ordering = ("display_order", "id")
        constraints = [models.CheckConstraint(condition=Q(coins__gt=0), name="package_has_coins")]

    def __str__(self) -> str:
        return self.id


class PackagePrice(models.Model):
    """The price of a package in one currency."""

    package = models.ForeignKey(CreditPackage, models.CASCADE, related_name="prices")
    currency = models.CharField(max_length=3, choices=currency_choices)
    amount = models.PositiveIntegerField(help_text="In minor units: 39900 is ₹399, 499 is $4.99.")

    class Meta:
        db_table = "package_prices"
        constraints = [
            models.UniqueConstraint(fields=["package", "currency"], name="one_price_per_currency"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="price_above_nothing"),
        ]

    def __str__(self) -> str:
        return f"{self.package_id} {self.currency}"


class OrderQuerySet(models.QuerySet["PaymentOrder"]):
    """Payment orders, selected by what they still need."""

    def lock(self, order_id: uuid.UUID) -> PaymentOrder:
        """Return the order with its row locked until the transaction ends."""
        # FOR NO KEY UPDATE: inserting an event or a transaction that references the order does not wait for it.
        return self.select_for_update(no_key=True).select_related(None).get(pk=order_id)

    def open(self) -> Self:
        """Return orders that are neither paid nor failed."""
        return self.filter(status__in=[PaymentOrder.Status.PENDING, PaymentOrder.Status.PROCESSING])

    def unchecked(self) -> Self:
        """Return open orders that reconciliation should have checked several times and never did."""
        return self.open().filter(asked_at=None, created_at__lt=Now() - PaymentOrder.CHECK_DEADLINE)

    def late(self) -> Self:
        """Return open orders older than paying takes: mostly pages that were closed, sometimes lost webhooks."""
        return self.open().filter(created_at__lt=Now() - PaymentOrder.PAYMENT_WINDOW)

    def needing_review(self) -> Self:
        """Return orders that a person has to look at."""
        return self.exclude(review_reason="")

    def disputed(self) -> Self:
        """Return orders with an open dispute."""
        return self.filter(dispute=PaymentOrder.Dispute.OPEN)

    def with_debt(self) -> Self:
        """Return orders with a refund whose coins are not all taken back yet."""
        # The join repeats an order that has several such refunds.
        return self.filter(refunds__in=PaymentRefund.objects.with_debt()).distinct()


class PaymentOrder(models.Model):
    """One purchase. Price and coins are copied from the package when it is placed. Its owner is the wallet's user."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"
        REFUNDED = "refunded"

    class Dispute(models.TextChoices):
        NONE = ""
        OPEN = "open"
        WON = "won"
        LOST = "lost"

    #: Statuses of an order whose coins were granted.
    PAID = (Status.COMPLETED, Status.REFUNDED)
    PAYMENT_WINDOW = timedelta(minutes=15)
    #: Reconciliation has asked the provider several times by then.
    CHECK_DEADLINE = timedelta(minutes=30)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="orders")
    package = models.ForeignKey(CreditPackage, models.PROTECT, related_name="orders")
    provider = models.CharField(max_length=PROVIDER_MAX_LENGTH)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    coins = models.PositiveIntegerField()
    amount = models.PositiveIntegerField(help_text="In minor units.")
    currency = models.CharField(max_length=3)
    refunded_amount = models.PositiveIntegerField(default=0, help_text="In minor units: money sent back.")
    # NULL until the provider knows the order: unlike an empty string, NULL may repeat in a unique column.
    provider_order_id = models.CharField(max_length=100, null=True)  # noqa: DJ001 - unique where known
    provider_payment_id = models.CharField(max_length=100, blank=True)
    idempotency_key = models.CharField(max_length=100)
    dispute = models.CharField(max_length=8, choices=Dispute, default=Dispute.NONE, blank=True)
    review_reason = models.CharField(max_length=200, blank=True, help_text="Why a person must review it, or empty.")
    failure = models.CharField(max_length=100, blank=True, help_text="Why it failed: the provider's error code.")
    asked_at = models.DateTimeField(null=True, help_text="When the provider was last asked for its state.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    completed_at = models.DateTimeField(null=True, help_text="When the coins were granted.")

    objects = OrderQuerySet.as_manager()

    class Meta:
        db_table = "payment_orders"
        indexes = [
            models.Index(fields=["-created_at"], name="orders_newest"),
            models.Index(fields=["provider_payment_id"], name="orders_by_payment"),
            models.Index(fields=["completed_at"], name="orders_completed", condition=Q(completed_at__isnull=False)),
            models.Index(fields=["created_at"], name="orders_open", condition=Q(status__in=["pending", "processing"])),
            models.Index(fields=["created_at"], name="orders_needing_review", condition=~Q(review_reason="")),
            # Reconciliation asks about failed orders of the last month only; most of them were never paid.
            models.Index(
                fields=["created_at"],
                name="orders_failed",
                condition=Q(status="failed", provider_order_id__isnull=False),
            ),
            # Partial: these are few of a million, and their lists and counts would read all.
            models.Index(fields=["-created_at"], name="orders_refunded", condition=Q(status="refunded")),
            models.Index(fields=["dispute", "-created_at"], name="orders_disputed", condition=~Q(dispute="")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["provider", "provider_order_id"], name="one_order_per_provider_id"),
            models.UniqueConstraint(fields=["wallet", "idempotency_key"], name="one_order_per_key"),
            models.CheckConstraint(condition=Q(coins__gt=0, amount__gt=0), name="order_buys_coins_for_money"),
            models.CheckConstraint(
                condition=Q(refunded_amount__lte=F("amount")), name="order_refunded_at_most_in_full"
            ),
            models.CheckConstraint(
                condition=Q(status__in=["completed", "refunded"], completed_at__isnull=False)
                | Q(status__in=["pending", "processing", "failed"], completed_at__isnull=True, refunded_amount=0),
                name="order_completed_iff_paid",
            ),
            models.CheckConstraint(
                condition=~Q(status="refunded") | Q(refunded_amount=F("amount")), name="order_refunded_iff_in_full"
            ),
            models.CheckConstraint(condition=~Q(idempotency_key=""), name="order_has_a_key"),
        ]

    def __str__(self) -> str:
        return f"order {self.pk}"

    @property
    def is_paid(self) -> bool:
        """Return whether the coins were granted, even if the money was refunded later."""
        return self.status in self.PAID

    def coins_for(self, amount: int) -> int:
        """Return the coins that this amount bought, rounded down. The whole amount bought all coins."""
        # Rounded down: a partial refund takes no coin that its amount did not pay in full.
        return self.coins * amount // self.amount


class RefundQuerySet(models.QuerySet["PaymentRefund"]):
    """Refunds, selected by their state."""

    def open(self) -> Self:
        """Return refunds that the provider does not know yet, or that it is processing."""
        return self.filter(status__in=[PaymentRefund.Status.PENDING, PaymentRefund.Status.PROCESSING])

    def not_failed(self) -> Self:
        """Return refunds that count against the refundable amount: requested, under way or completed."""
        return self.exclude(status=PaymentRefund.Status.FAILED)

    def accepted(self) -> Self:
        """Return refunds that the provider has accepted. Their coins were taken."""
        return self.filter(status__in=PaymentRefund.ACCEPTED)

    def unacknowledged(self) -> Self:
        """Return refunds that were sent to the provider for half an hour without an answer. No money went back yet."""
        return self.filter(status=PaymentRefund.Status.PENDING, created_at__lt=Now() - PaymentOrder.CHECK_DEADLINE)

    def with_debt(self) -> Self:
        """Return refunds whose coins are not all taken back yet."""
        return self.filter(debts__status="open")

    def total_amount(self) -> int:
        """Return the sum of the amounts, in minor units."""
        total: int = self.aggregate(total=Coalesce(Sum("amount"), 0))["total"]
        return total

    def total_coins(self) -> int:
        """Return the sum of the coins that the refunded money bought."""
        total: int = self.aggregate(total=Coalesce(Sum("coins"), 0))["total"]
        return total


class PaymentRefund(models.Model):
    """A refund of an order or a part of it. `coins` is what the money bought.

    `taken_coins` of them were taken at once. The others became a debt.
    """

    class Status(models.TextChoices):
        PENDING = "pending"
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"

    class Source(models.TextChoices):
        STAFF = "staff"
        PROVIDER = "provider"
        DISPUTE = "dispute"

    #: Statuses of a refund that the provider has accepted, so that its coins were taken.
    ACCEPTED = (Status.PROCESSING, Status.COMPLETED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    order = models.ForeignKey(PaymentOrder, models.PROTECT, related_name="refunds")
    source = models.CharField(max_length=16, choices=Source)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    amount = models.PositiveIntegerField(help_text="In minor units.")
    coins = models.PositiveIntegerField(default=0, help_text="Coins that the refunded money bought.")
    taken_coins = models.PositiveIntegerField(default=0, help_text="Those of them that were taken back at once.")
    provider_refund_id = models.CharField(max_length=100, null=True)  # noqa: DJ001 - unique where known
    failure = models.CharField(max_length=100, blank=True, help_text="Why it failed: the provider's error code.")
    actor = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    asked_at = models.DateTimeField(null=True, help_text="When the provider was last asked for it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    moved_at = models.DateTimeField(db_default=Now(), editable=False, help_text="When its status last changed.")
    completed_at = models.DateTimeField(null=True, help_text="When the provider reported it as paid.")

    objects = RefundQuerySet.as_manager()

    class Meta:
        db_table = "payment_refunds"
        indexes = [
            models.Index(fields=["-created_at"], name="refunds_newest"),
            models.Index(fields=["moved_at"], name="refunds_moved"),
            models.Index(fields=["provider_refund_id"], name="refunds_by_provider_id"),
            models.Index(fields=["created_at"], name="refunds_open", condition=Q(status__in=["pending", "processing"])),
        ]
        constraints = [
            models.UniqueConstraint(fields=["order", "provider_refund_id"], name="one_refund_per_provider_id"),
            models.CheckConstraint(condition=Q(amount__gt=0), name="refund_moves_money"),
            models.CheckConstraint(condition=Q(taken_coins__lte=F("coins")), name="refund_takes_at_most_its_coins"),
            models.CheckConstraint(
                condition=Q(status__in=["processing", "completed"]) | Q(taken_coins=0),
                name="refund_takes_only_what_the_provider_has",
            ),
            models.CheckConstraint(
                condition=~Q(source="staff") | (~Q(actor="") & ~Q(reason="")), name="refund_has_actor_and_reason"
            ),
        ]

    def __str__(self) -> str:
        return f"refund {self.pk}"

    @property
    def owed_coins(self) -> int:
        """Return the coins that are not taken back yet. Reads the refund's debts."""
        return sum(debt.unpaid_coins for debt in self.debts.all())


class EventQuerySet(models.QuerySet["WebhookEvent"]):
    """Webhook events, selected by what they still need."""

    def waiting(self) -> Self:
        """Return events that are not applied yet."""
        return self.filter(status=WebhookEvent.Status.RECEIVED)

    def open(self) -> Self:
        """Return events that wait or need review."""
        return self.filter(status__in=[WebhookEvent.Status.RECEIVED, WebhookEvent.Status.NEEDS_REVIEW])

    def make_due(self) -> int:
        """Make these events wait and be due now, whatever their status. Return how many."""
        # `attempts` is kept: an event that fails again waits longer.
        return self.update(status=WebhookEvent.Status.RECEIVED, applied_at=None, next_attempt_at=Now())

    def due(self) -> Self:
        """Return waiting events whose next attempt is due."""
        return self.waiting().filter(next_attempt_at__lte=Now())

    def needing_review(self) -> Self:
        """Return events that a person has to look at."""
        return self.filter(status=WebhookEvent.Status.NEEDS_REVIEW)

    def uncredited(self) -> Self:
        """Return payments that were not credited within CREDIT_DEADLINE."""
        late = self.open().filter(kind=WebhookEvent.Kind.PAID, received_at__lt=Now() - CREDIT_DEADLINE)
        # exclude() keeps events without an order: their payers were not credited either.
        return late.exclude(order__status__in=PaymentOrder.PAID)

    def duplicate_payments(self) -> Self:
        """Return second payments of an order whose coins were granted: their money has to be refunded.

        Contradictory events about the payment that bought the coins, and events without a payment id, do not count.
        """
        rows = self.needing_review().filter(kind=WebhookEvent.Kind.PAID, order__status__in=PaymentOrder.PAID)
        another = rows.exclude(provider_payment_id=F("order__provider_payment_id"))
        return another.exclude(provider_payment_id="").exclude(order__provider_payment_id="")


class WebhookEvent(models.Model):
    """A provider's event, stored once: ids, kind, amount and times. Nothing about the payer or their card is stored."""

    class Kind(models.TextChoices):
        """The meaning of an event, whatever the provider calls it."""

        PROCESSING = "processing"
        PAID = "paid"
        FAILED = "failed"
        REFUND = "refund"
        REFUNDS_CHANGED = "refunds_changed"
        DISPUTE = "dispute"
        UNKNOWN = "unknown"

    class Status(models.TextChoices):
        RECEIVED = "received"
        APPLIED = "applied"
        IGNORED = "ignored"
        NEEDS_REVIEW = "needs_review"
        DISMISSED = "dismissed"

    provider = models.CharField(max_length=PROVIDER_MAX_LENGTH)
    event_id = models.CharField(max_length=100)
    type = models.CharField(max_length=100, help_text="The provider's name of the event.")
    kind = models.CharField(max_length=16, choices=Kind)
    order = models.ForeignKey(PaymentOrder, models.PROTECT, null=True, blank=True, related_name="events")
    order_reference = models.CharField(
        max_length=100, blank=True, help_text="Our order's id in the provider's metadata."
    )
    provider_order_id = models.CharField(max_length=100, blank=True)
    provider_payment_id = models.CharField(max_length=100, blank=True)
    provider_refund_id = models.CharField(max_length=100, blank=True, help_text="Of a refund or a dispute.")
    refund_reference = models.CharField(
        max_length=100, blank=True, help_text="Our refund's id in the provider's metadata."
    )
    amount = models.BigIntegerField(null=True, help_text="In minor units.")
    currency = models.CharField(max_length=3, blank=True)
    state = models.CharField(max_length=40, blank=True, help_text="The refund's or dispute's state, or a failure code.")
    status = models.CharField(max_length=16, choices=Status, default=Status.RECEIVED)
    outcome = models.CharField(max_length=200, blank=True, help_text="The result, or why it needs review.")
    attempts = models.PositiveIntegerField(default=0)
    replays = models.PositiveIntegerField(default=0, help_text="How often the provider sent it again.")
    occurred_at = models.DateTimeField(null=True, help_text="Time of the event by the provider's clock.")
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    next_attempt_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "webhook_events"
        indexes = [
            models.Index(fields=["-received_at"], name="events_newest"),
            models.Index(fields=["next_attempt_at"], name="events_due", condition=Q(status="received")),
            # Health and the overview count them all the time: those that wait, that need review, and are not credited.
            models.Index(
                fields=["received_at"], name="events_open", condition=Q(status__in=["received", "needs_review"])
            ),
            models.Index(
                fields=["order"],
                name="events_changing_refunds",
                condition=Q(kind="refunds_changed", status__in=["received", "needs_review"]),
            ),
            models.Index(fields=["provider_payment_id"], name="events_by_payment"),
            models.Index(fields=["provider_order_id"], name="events_by_provider_order"),
            models.Index(fields=["provider_refund_id"], name="events_by_refund", condition=~Q(provider_refund_id="")),
        ]
        constraints = [
            models.UniqueConstraint(fields=["provider", "event_id"], name="one_event_per_provider_id"),
            models.CheckConstraint(
                condition=Q(status="received", applied_at__isnull=True)
                | (~Q(status="received") & Q(applied_at__isnull=False)),
                name="event_applied_iff_not_waiting",
            ),
        ]

    def __str__(self) -> str:
        return f"event {self.pk}"
