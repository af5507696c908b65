"""What people buy and what became of it. Amounts of money are whole minor units: paise, cents."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Self

from django.db import models
from django.db.models import F, Q, Sum
from django.db.models.functions import Coalesce, Now

#: A payment that is not answered by coins within this time needs somebody at once.
CREDIT_WITHIN = timedelta(minutes=5)


class Provider(models.TextChoices):
    RAZORPAY = "razorpay"
    STRIPE = "stripe"
    SANDBOX = "sandbox"


class CreditPackage(models.Model):
    """Coins sold together, edited by staff. A change counts for later orders only."""

    id = models.SlugField(primary_key=True, max_length=40)
    title = models.CharField(max_length=60)
    coins = models.PositiveIntegerField()
    popular = models.BooleanField(default=False, help_text="Shown as the one that most choose.")
    active = models.BooleanField(default=True, help_text="Offered now.")
    display_order = models.PositiveIntegerField(default=0)

    class Meta:
        db_table = "credit_packages"
        ordering = ("display_order", "id")
        constraints = [models.CheckConstraint(condition=Q(coins__gt=0), name="package_has_coins")]

    def __str__(self) -> str:
        return self.id


class PackagePrice(models.Model):
    """What a package costs in one currency."""

    package = models.ForeignKey(CreditPackage, models.CASCADE, related_name="prices")
    currency = models.CharField(max_length=3, choices=[("INR", "INR"), ("USD", "USD")])
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
    def open(self) -> Self:
        return self.filter(status__in=[PaymentOrder.Status.PENDING, PaymentOrder.Status.PROCESSING])

    def unasked(self) -> Self:
        """Open, and their provider was not asked about them in the time of many rounds: none of them comes so far."""
        return self.open().filter(asked_at=None, created_at__lt=Now() - PaymentOrder.ASKED_WITHIN)

    def late(self) -> Self:
        """Unpaid for longer than paying takes: somebody closed the page, or word of the payment was lost."""
        return self.open().filter(created_at__lt=Now() - PaymentOrder.PAYING_TAKES)

    def needing_a_look(self) -> Self:
        return self.exclude(attention="")

    def disputed(self) -> Self:
        return self.filter(dispute=PaymentOrder.Dispute.OPEN)

    def owed(self) -> Self:
        """Money went back, but the coins were spent."""
        return self.filter(refunds__in=PaymentRefund.objects.owed()).distinct()


class PaymentOrder(models.Model):
    """One purchase: its price and coins are those of the package at the time. Its owner is the wallet's."""

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

    #: Statuses of an order whose coins were given.
    PAID = (Status.COMPLETED, Status.REFUNDED)
    PAYING_TAKES = timedelta(minutes=15)
    ASKED_WITHIN = timedelta(minutes=30)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    wallet = models.ForeignKey("billing.Wallet", models.PROTECT, related_name="orders")
    package = models.ForeignKey(CreditPackage, models.PROTECT, related_name="orders")
    provider = models.CharField(max_length=16, choices=Provider)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    coins = models.PositiveIntegerField()
    amount = models.PositiveIntegerField(help_text="In minor units.")
    currency = models.CharField(max_length=3)
    refunded_amount = models.PositiveIntegerField(default=0, help_text="In minor units: money that went back.")
    provider_order_id = models.CharField(max_length=100, null=True)  # noqa: DJ001 - unique where known
    provider_payment_id = models.CharField(max_length=100, blank=True)
    idempotency_key = models.CharField(max_length=100)
    dispute = models.CharField(max_length=8, choices=Dispute, default=Dispute.NONE, blank=True)
    attention = models.CharField(max_length=200, blank=True, help_text="Why a person should look; empty: nothing.")
    failure = models.CharField(max_length=100, blank=True, help_text="Why it failed, in the provider's code.")
    asked_at = models.DateTimeField(null=True, help_text="When the provider was last asked about it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    completed_at = models.DateTimeField(null=True, help_text="When the coins were given.")

    objects = OrderQuerySet.as_manager()

    class Meta:
        db_table = "payment_orders"
        indexes = [
            models.Index(fields=["-created_at"], name="orders_newest"),
            models.Index(fields=["provider_payment_id"], name="orders_by_payment"),
            models.Index(fields=["completed_at"], name="orders_completed", condition=Q(completed_at__isnull=False)),
            models.Index(fields=["created_at"], name="orders_open", condition=Q(status__in=["pending", "processing"])),
            models.Index(fields=["created_at"], name="orders_needing_a_look", condition=~Q(attention="")),
            # Most failed ones are of people who never paid: only the last month's are asked about.
            models.Index(
                fields=["created_at"],
                name="orders_failed",
                condition=Q(status="failed", provider_order_id__isnull=False),
            ),
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
        return self.status in self.PAID

    def coins_for(self, amount: int) -> int:
        """The coins that this much of its money bought, rounded down; all of the money bought all of the coins."""
        return self.coins * amount // self.amount


class RefundQuerySet(models.QuerySet["PaymentRefund"]):
    def standing(self) -> Self:
        """Those that count: asked for, under way or done."""
        return self.exclude(status=PaymentRefund.Status.FAILED)

    def with_the_provider(self) -> Self:
        """Those that the provider knows: their coins were taken."""
        return self.filter(status__in=PaymentRefund.TAKEN)

    def not_taken(self) -> Self:
        """Asked for again and again, and in half an hour no provider answered: none of the money goes back so far."""
        long = Now() - PaymentOrder.ASKED_WITHIN
        return self.filter(status=PaymentRefund.Status.PENDING, created_at__lt=long)

    def owed(self) -> Self:
        return self.with_the_provider().filter(taken_coins__lt=F("coins"))

    def total_amount(self) -> int:
        total: int = self.aggregate(total=Coalesce(Sum("amount"), 0))["total"]
        return total

    def total_coins(self) -> int:
        total: int = self.aggregate(total=Coalesce(Sum("coins"), 0))["total"]
        return total


class PaymentRefund(models.Model):
    """Money back for an order or a part of it. `coins` is what it bought, `taken_coins` what was still there."""

    class Status(models.TextChoices):
        PENDING = "pending"
        PROCESSING = "processing"
        COMPLETED = "completed"
        FAILED = "failed"

    class Source(models.TextChoices):
        STAFF = "staff"
        PROVIDER = "provider"
        DISPUTE = "dispute"

    #: Statuses in which the provider has the refund, so its coins were taken.
    TAKEN = (Status.PROCESSING, Status.COMPLETED)

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    order = models.ForeignKey(PaymentOrder, models.PROTECT, related_name="refunds")
    source = models.CharField(max_length=16, choices=Source)
    status = models.CharField(max_length=16, choices=Status, default=Status.PENDING)
    amount = models.PositiveIntegerField(help_text="In minor units.")
    coins = models.PositiveIntegerField(default=0, help_text="What this much money bought.")
    taken_coins = models.PositiveIntegerField(default=0, help_text="Those of them that were still there.")
    provider_refund_id = models.CharField(max_length=100, null=True)  # noqa: DJ001 - unique where known
    failure = models.CharField(max_length=100, blank=True, help_text="Why it failed, in the provider's code.")
    actor = models.CharField(max_length=150, blank=True)
    reason = models.CharField(max_length=200, blank=True)
    asked_at = models.DateTimeField(null=True, help_text="When the provider was last asked for it.")
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    moved_at = models.DateTimeField(db_default=Now(), editable=False, help_text="When it came to its status.")
    completed_at = models.DateTimeField(null=True, help_text="When the provider said that the money is back.")

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
        return self.coins - self.taken_coins if self.status in self.TAKEN else 0


class EventQuerySet(models.QuerySet["WebhookEvent"]):
    def waiting(self) -> Self:
        return self.filter(status=WebhookEvent.Status.RECEIVED)

    def open(self) -> Self:
        """Waiting, or held for a person."""
        return self.filter(status__in=[WebhookEvent.Status.RECEIVED, WebhookEvent.Status.HELD])

    def wake(self) -> int:
        """Make them due now, however they stand. Returns how many."""
        return self.update(status=WebhookEvent.Status.RECEIVED, applied_at=None, next_attempt_at=Now())

    def due(self) -> Self:
        return self.waiting().filter(next_attempt_at__lte=Now())

    def held(self) -> Self:
        return self.filter(status=WebhookEvent.Status.HELD)

    def uncredited(self) -> Self:
        """Somebody paid, and has had no coins for it for five minutes."""
        late = self.open().filter(kind=WebhookEvent.Kind.PAID, received_at__lt=Now() - CREDIT_WITHIN)
        return late.exclude(order__status__in=PaymentOrder.PAID)

    def paid_again(self) -> Self:
        """Somebody paid once more for an order whose coins they have: that payment has to go back.

        Never what is told otherwise of the payment that the coins were given for, or of one that nobody can name.
        """
        rows = self.held().filter(kind=WebhookEvent.Kind.PAID, order__status__in=PaymentOrder.PAID)
        another = rows.exclude(provider_payment_id=F("order__provider_payment_id"))
        return another.exclude(provider_payment_id="").exclude(order__provider_payment_id="")


class WebhookEvent(models.Model):
    """What a provider reported, once an event: ids, kind, amount and times; nothing of the payer or their card."""

    class Kind(models.TextChoices):
        """What it means to us, whatever the provider calls it."""

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
        HELD = "held"
        SET_ASIDE = "set_aside"

    provider = models.CharField(max_length=16, choices=Provider)
    event_id = models.CharField(max_length=100)
    type = models.CharField(max_length=100, help_text="The provider's name for it.")
    kind = models.CharField(max_length=16, choices=Kind)
    order = models.ForeignKey(PaymentOrder, models.PROTECT, null=True, blank=True, related_name="events")
    order_reference = models.CharField(max_length=100, blank=True, help_text="Our order's id, as the provider has it.")
    provider_order_id = models.CharField(max_length=100, blank=True)
    provider_payment_id = models.CharField(max_length=100, blank=True)
    provider_refund_id = models.CharField(max_length=100, blank=True, help_text="Of a refund or a dispute.")
    refund_reference = models.CharField(max_length=100, blank=True, help_text="Our refund's id, as they have it.")
    amount = models.BigIntegerField(null=True, help_text="In minor units.")
    currency = models.CharField(max_length=3, blank=True)
    state = models.CharField(max_length=40, blank=True, help_text="The refund's or dispute's state, or a failure code.")
    status = models.CharField(max_length=16, choices=Status, default=Status.RECEIVED)
    outcome = models.CharField(max_length=200, blank=True, help_text="What became of it, or why it is held.")
    attempts = models.PositiveIntegerField(default=0)
    replays = models.PositiveIntegerField(default=0, help_text="How often the provider sent it again.")
    occurred_at = models.DateTimeField(null=True, help_text="By the provider's clock.")
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    next_attempt_at = models.DateTimeField(db_default=Now())
    applied_at = models.DateTimeField(null=True)

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "webhook_events"
        indexes = [
            models.Index(fields=["-received_at"], name="events_newest"),
            models.Index(fields=["next_attempt_at"], name="events_due", condition=Q(status="received")),
            models.Index(fields=["received_at"], name="events_held", condition=Q(status="held")),
            models.Index(
                fields=["order"],
                name="events_to_ask_about",
                condition=Q(kind="refunds_changed", status__in=["received", "held"]),
            ),
            models.Index(fields=["provider_payment_id"], name="events_by_payment"),
            models.Index(fields=["provider_order_id"], name="events_by_provider_order"),
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
