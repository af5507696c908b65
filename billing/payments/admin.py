"""The admin pages of packages, orders, refunds and webhook events. Nothing about a card is stored or shown."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib import admin, messages
from django.db.models import Case, F, QuerySet, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import action

from billing.forms import RefundForm
from billing.models import (
    CreditPackage,
    CreditTransaction,
    PackagePrice,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from billing.payments import money, operations, providers
from billing.payments.models import EventQuerySet, OrderQuerySet, RefundQuerySet
from billing.payments.refund_application import refundable_amount
from relivchats.accounts.models import User
from relivchats.staff.actions import BulkAction, get_row_or_404, log_results
from relivchats.staff.admin import EditedAdmin, StaffAdmin, actor_column, label, link
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.filters import SelectionFilter, StateFilter

_STATUS_COLOURS = {
    "applied": "success",
    "completed": "success",
    "failed": "danger",
    "ignored": "info",
    "needs_review": "danger",
    "pending": "info",
    "processing": "info",
    "received": "warning",
    "refunded": "warning",
}
_OPEN_EVENTS = (WebhookEvent.Status.RECEIVED, WebhookEvent.Status.NEEDS_REVIEW)
_DISMISS = "You have dealt with them. No coins and no money move."


class PriceInline(TabularInline):  # type: ignore[misc]
    """The prices of a package, one for each currency."""

    model = PackagePrice
    fields = ("currency", "amount")
    extra = 0
    min_num = 1
    max_num = len(money.CURRENCIES)


@admin.register(CreditPackage)
class CreditPackageAdmin(EditedAdmin):
    """Packages with their prices, edited by staff."""

    list_display = ("id", "title", "coins", "costs", "popular", "active", "display_order")
    list_filter = (("active", StateFilter),)
    ordering = ("display_order", "id")
    fields = (("id", "title"), "coins", ("popular", "active"), "display_order")
    inlines = (PriceInline,)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the packages with their prices."""
        return super().get_queryset(request).prefetch_related("prices")

    def get_readonly_fields(self, request: HttpRequest, obj: CreditPackage | None = None) -> tuple[str, ...]:
        """Return the id of an existing package: orders refer to it."""
        return ("id",) if obj else ()

    @admin.display(description="price")
    def costs(self, package: CreditPackage) -> str:
        """Return the price in each currency."""
        prices = package.prices.all()
        return " · ".join(money.format_amount(price.amount, price.currency) for price in prices) or "–"


@admin.register(PackagePrice)
class PackagePriceAdmin(StaffAdmin):
    """Prices, read-only. They are changed on the page of their package."""

    list_display = ("id", "package_link", "price")
    ordering = ("package", "currency")
    fields = ("package_link", "price")
    readonly_fields = ("package_link", "price")

    @admin.display(description="package")
    def package_link(self, price: PackagePrice) -> SafeString | str:
        """Return a link to the package."""
        return link(CreditPackage, price.package_id)

    @admin.display(description="price")
    def price(self, price: PackagePrice) -> str:
        """Return the amount with its currency."""
        return money.format_amount(price.amount, price.currency, in_column=True)


class OrderNeedsFilter(SelectionFilter):
    """Show orders that need attention."""

    title = "needs"
    parameter_name = "stuck"
    selections = {
        "yes": ("review", OrderQuerySet.needing_review),
        "late": ("payment: late", OrderQuerySet.late),
        "disputed": ("an answer to a dispute", OrderQuerySet.disputed),
        "owed": ("coins owed", OrderQuerySet.with_debt),
    }


class RefundNeedsFilter(SelectionFilter):
    """Show refunds whose coins are owed."""

    title = "coins"
    parameter_name = "stuck"
    selections = {"yes": ("owed", RefundQuerySet.with_debt)}


class EventNeedsFilter(SelectionFilter):
    """Show events that need attention."""

    title = "needs"
    parameter_name = "stuck"
    selections = {
        "yes": ("review", EventQuerySet.needing_review),
        "uncredited": ("coins for a payment", EventQuerySet.uncredited),
        "again": ("refund of a second payment", EventQuerySet.duplicate_payments),
        "waiting": ("to be applied", EventQuerySet.waiting),
    }


class ProviderFilter(StateFilter):
    """Show rows of one provider."""

    values = tuple(providers.REGISTRY)


class MoneyAdmin(StaffAdmin):
    """The base of pages whose sums are amounts of money."""

    def format_sum(self, total: int, unit: str) -> str:
        """Return an amount with its currency."""
        return money.format_amount(total, unit)


@admin.register(PaymentOrder)
class PaymentOrderAdmin(MoneyAdmin):
    """Orders; staff reconcile, dismiss or refund them."""

    unit_of_sums = F("currency")
    sums = {
        "ordered": F("amount"),
        "paid": Case(When(status__in=PaymentOrder.PAID, then=F("amount")), default=0),
        "refunded": F("refunded_amount"),
    }

    timeline_page = "console:payment"
    export_columns = (
        *("id", "wallet_id", "wallet__user_id", "package_id", "status", "dispute", "coins"),
        *("amount", "refunded_amount", "currency", "provider", "provider_order_id", "provider_payment_id", "failure"),
        *("created_at", "completed_at"),
    )
    export_headings = {"amount": "amount_in_minor_units", "refunded_amount": "refunded_in_minor_units"}
    list_display = ("id", "state", "paid", "coins", "refunded", "provider", "user_link", "review_reason", "age")
    list_filter = (OrderNeedsFilter, ("status", StateFilter), ("provider", ProviderFilter), ("dispute", StateFilter))
    list_select_related = ("wallet",)
    ordering = ("-created_at",)
    search_ids = ("pk", "provider_order_id", "provider_payment_id", "wallet_id")
    search_owner = "wallet__user"
    search_help_text = "An e-mail address, or an id in full: of the order, the person, or of the provider"
    fields = (
        ("id", "user_link", "wallet_link"),
        ("state", "review_reason"),
        ("package_link", "coins", "paid"),
        ("refunded", "owed", "dispute_state"),
        ("provider", "provider_order_id", "provider_payment_id"),
        ("failure", "idempotency_key"),
        ("created_at", "completed_at", "asked_at"),
        "transactions",
    )
    readonly_fields = ("id", "user_link", "wallet_link", "package_link", "created_at", "state", "paid", "dispute_state")
    bulk_actions = (
        BulkAction(
            name="reconcile",
            title="Ask the provider",
            heading="Ask the provider about {rows}",
            consequence="The provider is asked for the state of these orders. Paid ones get their coins.",
            run=operations.reconcile_orders,
        ),
        BulkAction(
            name="set_aside",
            title="Dismiss",
            heading="Dismiss the review of {rows}",
            consequence=_DISMISS,
            run=operations.dismiss_orders,
            applies=lambda order: bool(order.review_reason),
        ),
    )
    actions_detail = ("refund_this",)
    page_actions_apply = {"refund_this": lambda order: order.is_paid and refundable_amount(order) > 0}

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Return the computed fields of the page too: they need queries, so the list does not have them."""
        return (*self.readonly_fields, "refunded", "owed", "transactions")

    @action(description="Refund", permissions=["operate"], url_path="refund")  # type: ignore[untyped-decorator]
    def refund_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the refund form, and refund the order on POST."""
        order: PaymentOrder = get_row_or_404(self, request, object_id)
        refundable = refundable_amount(order)
        if request.method != "POST" and not (order.is_paid and refundable):
            reason = "It was refunded in full." if order.is_paid else "It is not paid."
            self.message_user(request, f"Nothing of this order can be refunded. {reason}", messages.WARNING)
            return redirect(reverse("admin:billing_paymentorder_change", args=[order.pk]))
        # The form returns the amount that staff saw. If another refund changed it meanwhile, nothing is refunded.
        initial = {"amount": Decimal(refundable) / money.MINOR_UNITS, "expected_refundable": refundable}
        form = RefundForm(request.POST or None, initial=initial, currency=order.currency)
        if request.method == "POST" and form.is_valid():
            reason = form.cleaned_data["reason"]
            batch = operations.refund_orders(
                PaymentOrder.objects.filter(pk=order.pk),
                context=ActionContext(actor=f"user {request.user.pk}", reason=reason),
                amount=form.cleaned_data["amount"],
                expected_refundable=form.cleaned_data["expected_refundable"],
            )
            log_results(PaymentOrder, request, batch.listed, title="Refund", reason=reason)
            for result in batch.listed:
                self.message_user(request, result.outcome, messages.SUCCESS if result.done else messages.ERROR)
            return redirect(reverse("admin:billing_paymentorder_change", args=[order.pk]))
        template_context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Refund order {order.pk}",
            "order": order,
            "owner": link(User, order.wallet.user_id),
            "price": money.format_amount(order.amount, order.currency),
            "provider": providers.REGISTRY[order.provider].label,
            "refundable": money.format_amount(refundable, order.currency),
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "billing/refund.html", template_context)

    @label("status", colours=_STATUS_COLOURS)
    def state(self, order: PaymentOrder) -> str:
        """Return the status."""
        return order.status

    @label("dispute", colours={"open": "danger", "won": "success", "lost": "warning"})
    def dispute_state(self, order: PaymentOrder) -> str:
        """Return the state of the dispute, if there is one."""
        return order.dispute

    @admin.display(description="price")
    def paid(self, order: PaymentOrder) -> str:
        """Return the price with its currency."""
        return money.format_amount(order.amount, order.currency, in_column=True)

    @admin.display(description="refunded")
    def refunded(self, order: PaymentOrder) -> str:
        """Return the refunded amount with its currency."""
        if not order.refunded_amount:
            return "–"
        return money.format_amount(order.refunded_amount, order.currency, in_column=True)

    @admin.display(description="coins owed")
    def owed(self, order: PaymentOrder) -> int:
        """Return the coins that the order's refunds have not taken back yet."""
        return sum(refund.owed_coins for refund in order.refunds.prefetch_related("debts"))

    @admin.display(description="user")
    def user_link(self, order: PaymentOrder) -> SafeString | str:
        """Return a link to the wallet's owner."""
        return link(User, order.wallet.user_id)

    @admin.display(description="wallet")
    def wallet_link(self, order: PaymentOrder) -> SafeString | str:
        """Return a link to the wallet."""
        return link(Wallet, order.wallet_id)

    @admin.display(description="package")
    def package_link(self, order: PaymentOrder) -> SafeString | str:
        """Return a link to the package."""
        return link(CreditPackage, order.package_id)

    @admin.display(description="transactions")
    def transactions(self, order: PaymentOrder) -> SafeString | str:
        """Return links to the order's transactions, with their types and amounts."""
        rows = CreditTransaction.objects.filter(payment_order=order).order_by("sequence")
        texts = ((link(CreditTransaction, row.pk), row.type.replace("_", " "), f"{row.amount:+,}") for row in rows)
        return format_html_join(", ", "{} ({} {} coins)", texts) or "–"


class OrderRowAdmin(StaffAdmin):
    """The base of pages of rows that belong to an order."""

    search_owner = "order__wallet__user"
    search_help_text = "An e-mail address, or an id in full: of the row, its order, the person, or of the provider"

    @admin.display(description="order")
    def order_link(self, row: Any) -> SafeString | str:
        """Return a link to the order."""
        return link(PaymentOrder, row.order_id)


@admin.register(PaymentRefund)
class PaymentRefundAdmin(OrderRowAdmin, MoneyAdmin):
    """Refunds, with the coins that they took."""

    unit_of_sums = F("order__currency")
    sums = {
        "requested": F("amount"),
        "paid back": Case(When(status=PaymentRefund.Status.COMPLETED, then=F("amount")), default=0),
    }

    export_columns = (
        *("id", "order_id", "provider_refund_id", "source", "status", "amount", "order__currency"),
        *("coins", "taken_coins", "failure", "actor", "created_at", "moved_at", "completed_at"),
    )
    export_headings = {"amount": "amount_in_minor_units", "order__currency": "currency"}
    list_display = ("id", "state", "money_back", "coins", "taken_coins", "owed", "source", "order_link", "age")
    list_filter = (RefundNeedsFilter, ("status", StateFilter), ("source", StateFilter))
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
        ("actor_link", "reason"),
        ("created_at", "asked_at", "moved_at", "completed_at"),
    )
    readonly_fields = ("id", "order_link", "state", "money_back", "owed", "created_at", "moved_at", "actor_link")
    actor_link = actor_column("actor")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Return the refunds with their debts, in one more query."""
        return super().get_queryset(request).prefetch_related("debts")

    @label("status", colours=_STATUS_COLOURS)
    def state(self, refund: PaymentRefund) -> str:
        """Return the status."""
        return refund.status

    @admin.display(description="amount")
    def money_back(self, refund: PaymentRefund) -> str:
        """Return the amount with its currency."""
        return money.format_amount(refund.amount, refund.order.currency, in_column=True)

    @admin.display(description="coins owed")
    def owed(self, refund: PaymentRefund) -> int:
        """Return the coins that are not taken back yet."""
        return refund.owed_coins


@admin.register(WebhookEvent)
class WebhookEventAdmin(OrderRowAdmin):
    """Webhook events; staff retry or dismiss those under review."""

    export_columns = (
        *("id", "provider", "event_id", "type", "kind", "order_id", "status", "state"),
        *(
            "provider_order_id",
            "provider_payment_id",
            "provider_refund_id",
            "amount",
            "currency",
            "attempts",
            "replays",
        ),
        *("occurred_at", "received_at", "applied_at"),
    )
    export_headings = {"amount": "amount_in_minor_units"}
    list_display = ("id", "progress", "kind", "type", "sum", "outcome", "provider", "replays", "order_link", "age")
    list_filter = (EventNeedsFilter, ("status", StateFilter), ("kind", StateFilter), ("provider", ProviderFilter))
    ordering = ("-received_at",)
    time_field = "received_at"
    search_ids = ("pk", "event_id", "order_id", "provider_order_id", "provider_payment_id", "provider_refund_id")
    fields = (
        ("id", "order_link"),
        ("provider", "event_id", "type"),
        ("kind", "sum", "reported"),
        ("progress", "outcome"),
        ("order_reference", "provider_order_id", "provider_payment_id"),
        ("refund_reference", "provider_refund_id"),
        ("attempts", "replays"),
        ("occurred_at", "received_at", "next_attempt_at", "applied_at"),
    )
    readonly_fields = ("id", "progress", "order_link", "sum", "reported", "received_at")
    bulk_actions = (
        BulkAction(
            name="apply",
            title="Retry",
            consequence="The events are applied as if they arrived now. Do this after you fixed their cause.",
            run=operations.retry_events,
            applies=lambda event: event.status in _OPEN_EVENTS,
        ),
        BulkAction(
            name="set_aside",
            title="Dismiss",
            heading="Dismiss the review of {rows}",
            consequence=_DISMISS,
            run=operations.dismiss_events,
            applies=lambda event: event.status == WebhookEvent.Status.NEEDS_REVIEW,
        ),
    )

    @label("status", colours=_STATUS_COLOURS)
    def progress(self, event: WebhookEvent) -> str:
        """Return the status. The model has a field `state`, which Django would show under that name."""
        return event.status

    @admin.display(description="amount")
    def sum(self, event: WebhookEvent) -> str:
        """Return the amount with its currency."""
        return "–" if event.amount is None else money.format_amount(event.amount, event.currency, in_column=True)

    @admin.display(description="provider's state")
    def reported(self, event: WebhookEvent) -> str:
        """Return the state of the refund or dispute, or the failure code."""
        return event.state or "–"
