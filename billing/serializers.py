"""The API's representation of coins for their owner."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import debts
from billing.models import CoinDebt, CreditTransaction, Wallet

DESCRIPTIONS = {
    CreditTransaction.Type.SIGNUP_BONUS: "Welcome coins",
    CreditTransaction.Type.PURCHASE: "Coins bought",
    CreditTransaction.Type.INSIGHT_UNLOCK: "Insights unlocked",
    CreditTransaction.Type.REFUND: "Purchase refunded",
    CreditTransaction.Type.ADMIN_ADJUSTMENT: "Corrected by our team",
}
#: Far beyond any history, and within the bigint that Postgres accepts as an OFFSET.
MAX_OFFSET = 1_000_000_000


def describe(row: CreditTransaction) -> str:
    """Return a transaction in plain words, with the package of its order and the coins that a refund left owed."""
    words, order = DESCRIPTIONS[CreditTransaction.Type(row.type)], row.payment_order
    if order is None:
        return words
    description = f"{words}: {order.package.title}"
    if row.debt_id:
        return f"Owed coins of a refunded purchase: {order.package.title}"
    # The key of a refund's transaction contains the refund's id. A refund that failed and was made again has several
    # transactions, and all but the latest are reversed.
    debts = [
        debt
        for refund in order.refunds.all()
        if str(refund.pk) in row.idempotency_key
        for debt in refund.debts.all()
        if debt.status != CoinDebt.Status.CANCELLED
    ]
    if not debts or row.reversed_by.all():
        return description
    coins, unpaid = debts[0].coins, debts[0].unpaid_coins
    were, are = ("was", "is") if coins == 1 else ("were", "are")
    now = f"{are} owed" if unpaid == coins else f"{unpaid} {'is' if unpaid == 1 else 'are'} still owed"
    return f"{description}; {coins} of its coins {were} spent or held, and {now if unpaid else f'{were} taken later'}"


class OwedSerializer(serializers.ModelSerializer[CoinDebt]):
    """Owed coins of one refund."""

    # The person knows their order, not the refund.
    order_id = serializers.UUIDField(source="refund.order_id")
    coins = serializers.IntegerField(source="unpaid_coins", help_text="Still owed for this refund.")
    refunded_at = serializers.DateTimeField(
        source="refund.moved_at", help_text="When the money went back, or since when it is on its way."
    )
    why = serializers.SerializerMethodField(help_text="In plain words.")

    class Meta:
        model = CoinDebt
        fields = ("order_id", "coins", "refunded_at", "why")
        read_only_fields = fields

    @extend_schema_field(str)
    def get_why(self, debt: CoinDebt) -> str:
        """Return the explanation."""
        return debts.explain(debt)


class BalanceSerializer(serializers.ModelSerializer[Wallet]):
    """A wallet. The context has its open debts as `debts`."""

    user_id = serializers.UUIDField()
    balance = serializers.IntegerField(help_text="Coins that you own.")
    reserved = serializers.IntegerField(help_text="Those of them that are held for insights being written.")
    spendable = serializers.IntegerField(help_text="Coins that are free to spend: `balance` − `reserved`.")
    owed = serializers.IntegerField(
        help_text="Coins that were spent or held when their money was refunded. The next coins that would be free to"
        " spend pay them."
    )
    owed_for = serializers.SerializerMethodField(help_text="The refunds that they are owed for, newest first.")

    class Meta:
        model = Wallet
        fields = ("user_id", "balance", "reserved", "spendable", "owed", "owed_for")
        read_only_fields = fields

    @extend_schema_field(OwedSerializer(many=True))
    def get_owed_for(self, wallet: Wallet) -> Any:
        """Return the open debts."""
        return OwedSerializer(self.context["debts"], many=True).data


class TransactionSerializer(serializers.ModelSerializer[CreditTransaction]):
    """A transaction without its actor and reason, which are for staff."""

    amount = serializers.IntegerField(help_text="Coins: positive if added, negative if taken.")
    balance_after = serializers.IntegerField(help_text="Coins owned after it.")
    description = serializers.SerializerMethodField(help_text="The type in plain words, and the package of an order.")
    order_id = serializers.UUIDField(
        source="payment_order_id", allow_null=True, help_text="Of a purchase or a refund; null otherwise."
    )

    class Meta:
        model = CreditTransaction
        fields = ("id", "type", "amount", "balance_after", "description", "reservation_id", "order_id", "created_at")
        read_only_fields = fields
        extra_kwargs = {"reservation_id": {"help_text": "The reservation of an unlock; null otherwise."}}

    @extend_schema_field(str)
    def get_description(self, transaction: CreditTransaction) -> str:
        """Return the description."""
        return describe(transaction)


class StatementQuery(serializers.Serializer[Any]):
    """The filters of a statement."""

    type = serializers.ChoiceField(
        CreditTransaction.Type.choices, required=False, help_text="Only transactions of this type."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Add `from` and `to`. `from` is a keyword of Python, so it cannot be a class attribute."""
        messages: dict[str, Any] = {
            "invalid": "Write an instant, such as 2026-01-31T09:30:00Z, or a day, such as 2026-01-31."
        }
        since = serializers.DateTimeField(
            required=False,
            error_messages=messages,
            help_text="Only from this instant, or from the beginning of this day (UTC).",
        )
        until = serializers.DateTimeField(
            required=False,
            error_messages=messages,
            help_text="Only before this instant, or before the beginning of this day (UTC).",
        )
        return {**super().get_fields(), "from": since, "to": until}


class OffsetQuery(serializers.Serializer[Any]):
    """The offset of a page."""

    offset = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_OFFSET,
        help_text="Instead of `cursor`: how many of the newest to skip. The response then has the `count` of all.",
    )
