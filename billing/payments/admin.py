"""Payments for staff: packages to edit; orders, refunds and events to read. Nothing of a card is here to show."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import TabularInline

from billing.models import (
    CreditPackage,
    CreditTransaction,
    PackagePrice,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from billing.payments import money
from billing.payments.models import EventQuerySet, OrderQuerySet, RefundQuerySet
from relivchats.accounts.models import User
from relivchats.staff.admin import EditedAdmin, StaffAdmin, label, link

_COLOURS = {
    "applied": "success",
    "completed": "success",
    "failed": "danger",
    "needs_review": "danger",
    "ignored": "info",
    "pending": "info",
    "processing": "info",
    "received": "warning",
    "refunded": "warning",
}


class PriceInline(TabularInline):  # type: ignore[misc]
    model = PackagePrice
    fields = ("currency", "amount")
    extra = 0
    min_num = 1
    max_num = 2


@admin.register(CreditPackage)
class CreditPackageAdmin(EditedAdmin):
    list_display = ("id", "title", "coins", "costs", "popular", "active", "display_order")
    ordering = ("display_order", "id")
    fields = (("id", "title"), "coins", ("popular", "active"), "display_order")
    inlines = (PriceInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        return super().get_queryset(request).prefetch_related("prices")

    def get_readonly_fields(self, request: HttpRequest, obj: CreditPackage | None = None) -> tuple[str, ...]:
        return ("id",) if obj else ()

    @admin.display(description="price")
    def costs(self, package: CreditPackage) -> str:
        return " · ".join(money.format_amount(price.amount, price.currency) for price in package.prices.all()) or "–"


@admin.register(PackagePrice)
class PackagePriceAdmin(StaffAdmin):
    """To read; a price is changed on its package's page."""

    list_display = ("id", "package_link", "price")
    ordering = ("package", "currency")
    fields = ("package_link", "price")
    readonly_fields = ("package_link", "price")

    @admin.display(description="package")
    def package_link(self, price: PackagePrice) -> SafeString | str:
        return link(CreditPackage, price.package_id)

    @admin.display(description="price")
    def price(self, price: PackagePrice) -> str:
        return money.format_amount(price.amount, price.currency)


class OrderStandingFilter(admin.SimpleListFilter):
    title = "what it needs"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "a look"), ("late", "late"), ("disputed", "disputed"), ("owed", "coins owed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not isinstance(queryset, OrderQuerySet):
            return queryset
        chosen = {
            "yes": queryset.needing_review,
            "late": queryset.late,
            "disputed": queryset.disputed,
            "owed": queryset.with_debt,
        }
        return chosen[self.value() or ""]() if self.value() in chosen else queryset


@admin.register(PaymentOrder)
class PaymentOrderAdmin(StaffAdmin):
    list_display = ("id", "state", "paid", "coins", "refunded", "provider", "user_link", "review_reason", "age")
    list_filter = (OrderStandingFilter, "status", "provider", "dispute")
    list_select_related = ("wallet",)
    ordering = ("-created_at",)
    search_ids = ("pk", "provider_order_id", "provider_payment_id", "wallet_id")
    search_owner = "wallet__user"
    search_help_text = "An e-mail address, or an id in full: of the order, the person, or of the provider"
    fields = (
        ("id", "user_link", "wallet_link"),
        ("state", "review_reason"),
        ("package_link", "coins", "paid"),
        ("refunded", "owed", "dispute"),
        ("provider", "provider_order_id", "provider_payment_id"),
        ("failure", "idempotency_key"),
        ("created_at", "completed_at", "asked_at"),
        "transactions",
    )
    readonly_fields = ("id", "user_link", "wallet_link", "package_link", "created_at", "state", "paid")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return (*self.readonly_fields, "refunded", "owed", "transactions")

    @label("status", colours=_COLOURS)
    def state(self, order: PaymentOrder) -> str:
        return order.status

    @admin.display(description="price")
    def paid(self, order: PaymentOrder) -> str:
        return money.format_amount(order.amount, order.currency)

    @admin.display(description="refunded")
    def refunded(self, order: PaymentOrder) -> str:
        return money.format_amount(order.refunded_amount, order.currency) if order.refunded_amount else "–"

    @admin.display(description="coins owed")
    def owed(self, order: PaymentOrder) -> int:
        return sum(refund.owed_coins for refund in order.refunds.all())

    @admin.display(description="person")
    def user_link(self, order: PaymentOrder) -> SafeString | str:
        return link(User, order.wallet.user_id)

    @admin.display(description="wallet")
    def wallet_link(self, order: PaymentOrder) -> SafeString | str:
        return link(Wallet, order.wallet_id)

    @admin.display(description="package")
    def package_link(self, order: PaymentOrder) -> SafeString | str:
        return link(CreditPackage, order.package_id)

    @admin.display(description="transactions")
    def transactions(self, order: PaymentOrder) -> str:
        rows = CreditTransaction.objects.filter(payment_order=order).order_by("sequence")
        return ", ".join(f"{row.pk}: {row.type} {row.amount:+}" for row in rows) or "–"


class OfOrderAdmin(StaffAdmin):
    search_owner = "order__wallet__user"
    search_help_text = "An e-mail address, or an id in full: of the row, its order, the person, or of the provider"

    @admin.display(description="order")
    def order_link(self, row: Any) -> SafeString | str:
        return link(PaymentOrder, row.order_id)


class RefundStandingFilter(admin.SimpleListFilter):
    title = "coins"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "owed")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes" and isinstance(queryset, RefundQuerySet):
            return queryset.with_debt()
        return queryset


@admin.register(PaymentRefund)
class PaymentRefundAdmin(OfOrderAdmin):
    list_display = ("id", "state", "money_back", "coins", "taken_coins", "owed", "source", "order_link", "age")
    list_filter = (RefundStandingFilter, "status", "source")
    list_select_related = ("order",)
    ordering = ("-created_at",)
    search_ids = (
        *("pk", "order_id", "provider_refund_id"),
        *("order__provider_order_id", "order__provider_payment_id"),
    )
    fields = (
        ("id", "order_link"),
        ("state", "source"),
        ("money_back", "coins", "taken_coins", "owed"),
        ("provider_refund_id", "failure"),
        ("actor", "reason"),
        ("created_at", "asked_at", "moved_at", "completed_at"),
    )
    readonly_fields = ("id", "order_link", "state", "money_back", "owed", "created_at", "moved_at")

    @label("status", colours=_COLOURS)
    def state(self, refund: PaymentRefund) -> str:
        return refund.status

    @admin.display(description="money back")
    def money_back(self, refund: PaymentRefund) -> str:
        return money.format_amount(refund.amount, refund.order.currency)

    @admin.display(description="coins owed")
    def owed(self, refund: PaymentRefund) -> int:
        return refund.owed_coins


class EventStandingFilter(admin.SimpleListFilter):
    title = "what it needs"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [
            ("yes", "a look"),
            ("uncredited", "coins: somebody paid"),
            ("again", "money back: paid a second time"),
            ("waiting", "to be applied"),
        ]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if not isinstance(queryset, EventQuerySet):
            return queryset
        chosen = {
            "yes": queryset.needing_review,
            "uncredited": queryset.uncredited,
            "again": queryset.duplicate_payments,
            "waiting": queryset.waiting,
        }
        return chosen[self.value() or ""]() if self.value() in chosen else queryset


@admin.register(WebhookEvent)
class WebhookEventAdmin(OfOrderAdmin):
    list_display = ("id", "state", "kind", "type", "sum", "outcome", "provider", "replays", "order_link", "age")
    list_filter = (EventStandingFilter, "status", "kind", "provider")
    ordering = ("-received_at",)
    age_of = "received_at"
    search_ids = ("pk", "event_id", "order_id", "provider_order_id", "provider_payment_id", "provider_refund_id")
    fields = (
        ("id", "order_link"),
        ("provider", "event_id", "type"),
        ("kind", "sum", "reported"),
        ("state", "outcome"),
        ("order_reference", "provider_order_id", "provider_payment_id"),
        ("refund_reference", "provider_refund_id"),
        ("attempts", "replays"),
        ("occurred_at", "received_at", "next_attempt_at", "applied_at"),
    )
    readonly_fields = ("id", "order_link", "sum", "reported", "received_at")

    @label("status", colours=_COLOURS)
    def state(self, event: WebhookEvent) -> str:
        return event.status

    @admin.display(description="amount")
    def sum(self, event: WebhookEvent) -> str:
        return "–" if event.amount is None else money.format_amount(event.amount, event.currency)

    @admin.display(description="provider's state")
    def reported(self, event: WebhookEvent) -> str:
        return event.state or "–"
