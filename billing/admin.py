"""The admin pages of wallets, reservations, transactions, adjustments and bonuses."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib import admin, messages
from django.db.models import Case, F, When
from django.db.models.functions import Greatest, Least
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from unfold.decorators import action

from billing import adjustments, debts, operations, reservations, timeline
from billing.forms import AdjustForm
from billing.models import (
    Adjustment,
    Bonus,
    CoinDebt,
    CoinReservation,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    ReservationQuerySet,
    Wallet,
)
from billing.payments import admin as payments_admin
from billing.payments import operations as payment_operations
from relivchats import durations
from relivchats.accounts.models import User
from relivchats.staff.actions import BulkAction, get_row_or_404, log_results
from relivchats.staff.admin import EditedAdmin, StaffAdmin, actor_column, label, link
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.filters import SelectionFilter, StateFilter

# Django's autodiscovery imports only this module; importing the other one registers its pages.
__all__ = ["payments_admin"]


class OverdueFilter(SelectionFilter):
    """Show only overdue reservations."""

    title = "overdue"
    parameter_name = "stuck"
    selections = {"yes": ("overdue", ReservationQuerySet.overdue)}


class TooOldFilter(SelectionFilter):
    """Show only proposals that can no longer be approved."""

    title = "too old"
    parameter_name = "stuck"
    selections = {"yes": ("too old to approve", adjustments.too_old)}


class WalletRowAdmin(StaffAdmin):
    """The base of pages of rows that belong to a wallet."""

    list_select_related = ("wallet",)
    search_owner = "wallet__user"
    search_help_text = "An e-mail address, or an id in full: of the row, its wallet or the wallet's owner"

    @admin.display(description="user")
    def user_link(self, row: Any) -> SafeString | str:
        """Return a link to the wallet's owner."""
        return link(User, row.wallet.user_id)

    @admin.display(description="wallet")
    def wallet_link(self, row: Any) -> SafeString | str:
        """Return a link to the wallet."""
        return link(Wallet, row.wallet_id)


@admin.register(Wallet)
class WalletAdmin(StaffAdmin):
    """Wallets with their timeline; staff adjust one, or reconcile its payments."""

    export_columns = ("id", "user_id", "balance", "reserved", "owed", "created_at")
    list_display = ("id", "user_link", "balance", "reserved", "spendable", "owed", "age")
    sums = {"balance": F("balance"), "reserved": F("reserved"), "owed": F("owed")}
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
    fields = (("id", "user_link"), ("balance", "reserved", "spendable", "owed_for", "created_at"), "timeline")
    readonly_fields = ("owed_for", "id", "user_link", "spendable", "created_at", "timeline")
    bulk_actions = (
        BulkAction(
            name="reconcile",
            title="Ask the provider",
            heading="Ask the provider about the payments of {rows}",
            consequence="The providers are asked for the state of these wallets' open refunds, and of their orders that"
            " are unpaid, need review or had refunds. Paid orders get their coins. What is left after"
            f" {payment_operations.PAGE_SECONDS:.0f} seconds is counted: repeat the action for it.",
            run=payment_operations.reconcile_wallets,
        ),
    )
    actions_detail = ("adjust_this",)

    @action(description="Adjust", permissions=["operate"], url_path="adjust")  # type: ignore[untyped-decorator]
    def adjust_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the adjustment form, and adjust the wallet on POST."""
        wallet: Wallet = get_row_or_404(self, request, object_id)
        # The form carries the idempotency key, so reloading the page after POST adjusts nothing again.
        form = AdjustForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            amount, reason = form.cleaned_data["amount"], form.cleaned_data["reason"]
            context = ActionContext(actor=f"user {request.user.pk}", reason=reason)
            result = operations.adjust_wallet(
                wallet, amount=amount, idempotency_key=form.cleaned_data["key"], context=context
            )
            log_results(Wallet, request, [result], title=f"Adjust by {amount:+}", reason=reason)
            self.message_user(request, result.outcome, messages.SUCCESS if result.done else messages.ERROR)
            return redirect(reverse("admin:billing_wallet_change", args=[wallet.pk]))
        template_context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Adjust wallet {wallet.pk}",
            "wallet": wallet,
            "owner": link(User, wallet.user_id),
            "limit": settings.ADJUSTMENT_APPROVAL_COINS,
            "form": form,
            "media": self.media,
        }
        return TemplateResponse(request, "billing/adjust.html", template_context)

    @admin.display(description="user")
    def user_link(self, wallet: Wallet) -> SafeString | str:
        """Return a link to the owner."""
        return link(User, wallet.user_id)

    @admin.display(description="coins owed")
    def owed_for(self, wallet: Wallet) -> SafeString | str:
        """Return the number of owed coins with links to their refunds."""
        open_debts = debts.list_open_debts(wallet)
        if not open_debts:
            return "none"
        rows = ((debt.unpaid_coins, link(PaymentRefund, debt.refund_id)) for debt in open_debts)
        return format_html(
            "{} coins: {}. They were spent or held when their money was refunded; the next spendable coins pay them.",
            wallet.owed,
            format_html_join(", ", "{} of refund {}", rows),
        )

    @admin.display(description="timeline, newest first")
    def timeline(self, wallet: Wallet) -> SafeString:
        """Return the timeline as a table."""
        entries = timeline.list_entries(wallet)
        return render_to_string("billing/timeline.html", {"entries": entries, "limit": timeline.MAX_ENTRIES})


@admin.register(Adjustment)
class AdjustmentAdmin(WalletRowAdmin):
    """Large adjustments, which a second person approves or refuses."""

    export_columns = (
        *("id", "wallet_id", "kind", "amount", "status"),
        *("proposed_by", "decided_by", "transaction_id", "created_at", "decided_at"),
    )
    list_display = (
        "id",
        "moves",
        "wallet_link",
        "user_link",
        "state",
        "proposed_by_link",
        "reason",
        "decided_by_link",
        "age",
    )
    # A repair moves no coins.
    sums = {
        "moved": Case(When(status=Adjustment.Status.APPROVED, kind=Adjustment.Kind.COINS, then="amount"), default=0)
    }
    list_filter = (TooOldFilter, ("status", StateFilter))
    ordering = ("-created_at",)
    search_ids = ("pk", "wallet_id")
    fields = (
        ("id", "wallet_link", "user_link"),
        ("moves", "state"),
        ("proposed_by_link", "reason"),
        ("decided_by_link", "decision"),
        ("created_at", "decided_at"),
        "transaction_link",
    )
    readonly_fields = (
        *("id", "wallet_link", "user_link", "moves", "state", "created_at", "transaction_link"),
        *("proposed_by_link", "decided_by_link"),
    )
    proposed_by_link, decided_by_link = actor_column("proposed_by"), actor_column("decided_by")
    bulk_actions = (
        BulkAction(
            name="approve",
            title="Approve",
            consequence="The coins move at once. A repair sets the wallet to the sums of its transactions,"
            " reservations and debts. The person who proposed an adjustment cannot approve it.",
            run=operations.approve_adjustments,
            applies=lambda adjustment: adjustment.status == Adjustment.Status.PENDING,
            is_final=True,
        ),
        BulkAction(
            name="refuse",
            title="Refuse",
            consequence="No coins move, and the proposal is closed.",
            run=operations.refuse_adjustments,
            applies=lambda adjustment: adjustment.status == Adjustment.Status.PENDING,
        ),
    )

    @admin.display(description="amount")
    def moves(self, adjustment: Adjustment) -> str:
        """Return the signed number of coins; of a repair, by how much the balance was wrong."""
        if adjustment.kind == Adjustment.Kind.REPAIR:
            return f"repair, balance {adjustment.amount:+,}"
        return f"{adjustment.amount:+,} coins"

    @label("status", colours={"approved": "success", "pending": "warning", "refused": "danger"})
    def state(self, adjustment: Adjustment) -> str:
        """Return the status."""
        return adjustment.status

    @admin.display(description="transaction")
    def transaction_link(self, adjustment: Adjustment) -> SafeString | str:
        """Return a link to the transaction of an approved adjustment."""
        return link(CreditTransaction, adjustment.transaction_id)


@admin.register(CoinReservation)
class ReservationAdmin(WalletRowAdmin):
    """Reservations; staff release overdue ones."""

    export_columns = (
        *("id", "wallet_id", "wallet__user_id", "status", "coins", "captured_coins"),
        *("created_at", "expires_at", "resolved_at"),
    )
    list_display = ("id", "state", "expiry", "wallet_link", "user_link", "coins", "captured_coins", "age")
    list_filter = (OverdueFilter, ("status", StateFilter))
    sums = {
        "reserved": F("coins"),
        "still held": Case(When(status=CoinReservation.Status.ACTIVE, then=F("coins")), default=0),
        "captured": F("captured_coins"),
    }
    ordering = ("-created_at",)
    search_ids = ("pk", "wallet_id")
    fields = (
        ("id", "wallet_link", "user_link"),
        ("state", "expiry"),
        ("coins", "captured_coins"),
        ("created_at", "expires_at", "resolved_at"),
        ("idempotency_key", "reason"),
    )
    readonly_fields = ("id", "wallet_link", "user_link", "state", "expiry", "created_at")
    bulk_actions = (
        BulkAction(
            name="release",
            title="Release if overdue",
            heading="Release {rows} if overdue",
            consequence="A job past its deadline ends: the coins of its completed insights are captured, all others are"
            " released.",
            run=reservations.release_overdue,
            applies=lambda reservation: reservation.is_active and reservation.expires_at < reservation.looked_at,
            is_final=True,
        ),
    )

    @label("status")
    def state(self, reservation: CoinReservation) -> str:
        """Return the status."""
        return reservation.status

    @admin.display(description="expiry")
    def expiry(self, reservation: Any) -> str:
        """Return how long an active reservation is overdue, or can still hold its coins."""
        if reservation.status != CoinReservation.Status.ACTIVE:
            return ""
        # Both times are the database's: the clock of this machine may differ.
        left = reservation.expires_at - reservation.looked_at
        if left.total_seconds() < 0:
            return f"overdue for {durations.format_short(-left)}"
        return f"expires in {durations.format_short(left)}"


@admin.register(CoinDebt)
class DebtAdmin(WalletRowAdmin):
    """Debts of refunds. Coins that become spendable pay them; a positive adjustment waives one."""

    export_columns = (
        *("id", "wallet_id", "wallet__user_id", "refund_id", "status", "coins", "paid_coins"),
        *("created_at", "resolved_at"),
    )
    list_display = ("id", "state", "coins", "paid_coins", "wallet_link", "user_link", "refund_link", "age")
    sums = {"owed at first": F("coins"), "paid": F("paid_coins")}
    list_filter = (("status", StateFilter),)
    ordering = ("-created_at",)
    search_ids = ("pk", "wallet_id", "refund_id", "refund__order_id")
    fields = (
        ("id", "wallet_link", "user_link", "refund_link"),
        ("state", "coins", "paid_coins"),
        ("created_at", "resolved_at"),
    )
    readonly_fields = ("id", "wallet_link", "user_link", "refund_link", "state", "created_at")

    @label("status", colours={"open": "warning", "paid": "success"})
    def state(self, debt: CoinDebt) -> str:
        """Return the status."""
        return debt.status

    @admin.display(description="refund")
    def refund_link(self, debt: CoinDebt) -> SafeString | str:
        """Return a link to the refund whose coins are owed."""
        return link(PaymentRefund, debt.refund_id)


@admin.register(CreditTransaction)
class TransactionAdmin(WalletRowAdmin):
    """Transactions. They are never changed: an adjustment corrects a mistake."""

    export_columns = (
        *("id", "wallet_id", "wallet__user_id", "sequence", "type", "amount", "balance_after"),
        *("reservation_id", "payment_order_id", "reverses_id", "debt_id", "actor", "created_at"),
    )
    list_display = (
        "id",
        "wallet_link",
        "user_link",
        "sequence",
        "kind",
        "amount",
        "balance_after",
        "actor_link",
        "age",
    )
    list_filter = (("type", StateFilter),)
    sums = {"in": Greatest(F("amount"), 0), "out": Least(F("amount"), 0), "together": F("amount")}
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
        ("kind", "amount", "balance_after"),
        ("reservation_link", "order_link", "reverses_link", "debt_link"),
        ("actor_link", "reason"),
        ("idempotency_key", "created_at"),
    )
    actor_link = actor_column("actor")
    readonly_fields = (
        *("kind", "actor_link"),
        *("id", "wallet_link", "user_link", "reservation_link", "order_link", "reverses_link"),
        *("debt_link", "created_at"),
    )

    @label(
        "type",
        colours={
            **dict.fromkeys(("purchase", "signup_bonus"), "success"),
            **dict.fromkeys(("refund", "admin_adjustment"), "warning"),
            "insight_unlock": "info",
        },
    )
    def kind(self, row: CreditTransaction) -> str:
        """Return the type."""
        return row.type

    @admin.display(description="order")
    def order_link(self, row: CreditTransaction) -> SafeString | str:
        """Return a link to the order of a purchase or refund."""
        return link(PaymentOrder, row.payment_order_id)

    @admin.display(description="reservation")
    def reservation_link(self, row: CreditTransaction) -> SafeString | str:
        """Return a link to the reservation of an unlock."""
        return link(CoinReservation, row.reservation_id)

    @admin.display(description="reverses")
    def reverses_link(self, row: CreditTransaction) -> SafeString | str:
        """Return a link to the refund that this transaction reverses."""
        return link(CreditTransaction, row.reverses_id)

    @admin.display(description="debt")
    def debt_link(self, row: CreditTransaction) -> SafeString | str:
        """Return a link to the debt that this transaction paid."""
        return link(CoinDebt, row.debt_id)


@admin.register(Bonus)
class BonusAdmin(EditedAdmin):
    """Bonuses, edited by staff."""

    list_display = ("event", "coins")
    fields = ("event", "coins")
    search_fields = ()

    def get_readonly_fields(self, request: HttpRequest, obj: Bonus | None = None) -> tuple[str, ...]:
        """Return the event of an existing row: it is its primary key."""
        return ("event",) if obj else ()
