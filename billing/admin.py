"""Coins for staff: wallets, reservations and transactions to read; bonuses to edit. A mend is a new transaction."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from billing import debts, timeline
from billing.models import (
    Adjustment,
    Bonus,
    CoinReservation,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    ReservationQuerySet,
    Wallet,
)
from billing.payments import admin as payments_admin
from relivchats import durations
from relivchats.accounts.models import User
from relivchats.staff.admin import EditedAdmin, StaffAdmin, label, link

__all__ = ["payments_admin"]


class OverdueFilter(admin.SimpleListFilter):
    title = "past their time"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "overdue")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "yes" and isinstance(queryset, ReservationQuerySet):
            return queryset.overdue()
        return queryset


class OfWalletAdmin(StaffAdmin):
    list_select_related = ("wallet",)
    search_owner = "wallet__user"
    search_help_text = "An e-mail address, or an id in full: of the row, its wallet or the wallet's owner"

    @admin.display(description="person")
    def user_link(self, row: Any) -> SafeString | str:
        return link(User, row.wallet.user_id)

    @admin.display(description="wallet")
    def wallet_link(self, row: Any) -> SafeString | str:
        return link(Wallet, row.wallet_id)


@admin.register(Wallet)
class WalletAdmin(StaffAdmin):
    list_display = ("id", "user_link", "balance", "reserved", "spendable", "age")
    ordering = ("-id",)
    search_ids = (
        "pk",
        "orders__pk",
        "orders__provider_order_id",
        "orders__provider_payment_id",
        "orders__refunds__pk",
        "orders__refunds__provider_refund_id",
    )
    search_owner = "user"
    search_help_text = (
        "An e-mail address, or an id in full: of the wallet or its owner, of an order or a refund, or of the provider"
    )
    fields = ("owed", ("id", "user_link"), ("balance", "reserved", "spendable"), "created_at", "timeline")
    readonly_fields = ("owed", "id", "user_link", "spendable", "created_at", "timeline")

    @admin.display(description="person")
    def user_link(self, wallet: Wallet) -> SafeString | str:
        return link(User, wallet.user_id)

    @admin.display(description="coins owed: spent or held when their money went back")
    def owed(self, wallet: Wallet) -> SafeString | str:
        refunds = debts.list_refunds_with_debt(wallet)
        rows = ((refund.owed_coins, link(PaymentRefund, refund.pk)) for refund in refunds)
        total = sum(refund.owed_coins for refund in refunds)
        return (
            format_html("{} coins: {}", total, format_html_join(", ", "{} of refund {}", rows)) if refunds else "none"
        )

    @admin.display(description="statement, newest first")
    def timeline(self, wallet: Wallet) -> SafeString:
        return render_to_string("billing/timeline.html", {"happened": timeline.of(wallet), "most": timeline.MOST})


@admin.register(Adjustment)
class AdjustmentAdmin(OfWalletAdmin):
    list_display = ("id", "moves", "wallet_link", "user_link", "state", "proposed_by", "reason", "decided_by", "age")
    list_filter = ("status",)
    ordering = ("-created_at",)
    search_ids = ("pk", "wallet_id")
    fields = (
        ("id", "wallet_link", "user_link"),
        ("moves", "state"),
        ("proposed_by", "reason"),
        ("decided_by", "decision"),
        ("created_at", "decided_at"),
        "transaction_link",
    )
    readonly_fields = ("id", "wallet_link", "user_link", "moves", "state", "created_at", "transaction_link")

    @admin.display(description="amount")
    def moves(self, adjustment: Adjustment) -> str:
        return f"{adjustment.amount:+,} coins"

    @label("status", colours={"approved": "success", "pending": "warning", "refused": "danger"})
    def state(self, adjustment: Adjustment) -> str:
        return adjustment.status

    @admin.display(description="transaction")
    def transaction_link(self, adjustment: Adjustment) -> SafeString | str:
        return link(CreditTransaction, adjustment.transaction_id)


@admin.register(CoinReservation)
class ReservationAdmin(OfWalletAdmin):
    list_display = ("id", "state", "standing", "wallet_link", "user_link", "coins", "captured_coins", "age")
    list_filter = (OverdueFilter, "status")
    ordering = ("-created_at",)
    search_ids = ("pk", "wallet_id")
    fields = (
        ("id", "wallet_link", "user_link"),
        ("state", "standing"),
        ("coins", "captured_coins"),
        ("created_at", "expires_at", "resolved_at"),
        ("idempotency_key", "reason"),
    )
    readonly_fields = ("id", "wallet_link", "user_link", "state", "standing", "created_at")

    @label("status")
    def state(self, reservation: CoinReservation) -> str:
        return reservation.status

    @admin.display(description="what holds it up")
    def standing(self, reservation: Any) -> str:
        if reservation.status != CoinReservation.Status.ACTIVE:
            return ""
        left = reservation.expires_at - reservation.looked_at
        if left.total_seconds() < 0:
            return f"overdue for {durations.format_short(-left)}"
        return f"held for its job, at most {durations.format_short(left)} more"


@admin.register(CreditTransaction)
class TransactionAdmin(OfWalletAdmin):
    list_display = ("id", "wallet_link", "user_link", "sequence", "type", "amount", "balance_after", "actor", "age")
    list_filter = ("type",)
    ordering = ("-created_at", "-id")
    search_ids = (
        *("pk", "wallet_id", "reservation_id", "payment_order_id"),
        *("payment_order__provider_order_id", "payment_order__provider_payment_id"),
        *("payment_order__refunds__pk", "payment_order__refunds__provider_refund_id"),
    )
    search_help_text = (
        "An e-mail address, or an id in full: of the row, its wallet or owner, an order or a refund, or of the provider"
    )
    fields = (
        ("id", "wallet_link", "user_link", "sequence"),
        ("type", "amount", "balance_after"),
        ("reservation_link", "order_link", "reverses_link"),
        ("actor", "reason"),
        ("idempotency_key", "created_at"),
    )
    readonly_fields = (
        *("id", "wallet_link", "user_link", "reservation_link", "order_link", "reverses_link", "created_at"),
    )

    @admin.display(description="order")
    def order_link(self, row: CreditTransaction) -> SafeString | str:
        return link(PaymentOrder, row.payment_order_id)

    @admin.display(description="reservation")
    def reservation_link(self, row: CreditTransaction) -> SafeString | str:
        return link(CoinReservation, row.reservation_id)

    @admin.display(description="reverses")
    def reverses_link(self, row: CreditTransaction) -> SafeString | str:
        return link(CreditTransaction, row.reverses_id)


@admin.register(Bonus)
class BonusAdmin(EditedAdmin):
    list_display = ("event", "coins")
    fields = ("event", "coins")
    search_fields = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Bonus | None = None) -> tuple[str, ...]:
        return ("event",) if obj else ()
