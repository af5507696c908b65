"""Coins as the API shows them to their owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing import debts
from billing.models import CreditTransaction, PaymentRefund, Wallet

DESCRIPTIONS = {
    CreditTransaction.Type.SIGNUP_BONUS: "Welcome coins",
    CreditTransaction.Type.PURCHASE: "Coins bought",
    CreditTransaction.Type.INSIGHT_UNLOCK: "Insights unlocked",
    CreditTransaction.Type.REFUND: "Purchase refunded",
    CreditTransaction.Type.ADMIN_ADJUSTMENT: "Corrected by our team",
}
OFFSET_LIMIT = 1_000_000_000


def describe(line: CreditTransaction) -> str:
    """A transaction in plain words, with the package of its order. What a refund could not take back is told too."""
    words, order = DESCRIPTIONS[CreditTransaction.Type(line.type)], line.payment_order
    if order is None:
        return words
    told = f"{words}: {order.package.title}"
    # A refund's line has its refund's id in its key. One that failed and was made again has a line for each time,
    # and all but the latest are reversed.
    owed = sum(refund.owed_coins for refund in order.refunds.all() if str(refund.pk) in line.idempotency_key)
    if not owed or line.reversed_by.all():
        return told
    were, are = ("was", "is") if owed == 1 else ("were", "are")
    return f"{told}; {owed} of its coins {were} spent or held, and {are} owed"


class OwedSerializer(serializers.ModelSerializer[PaymentRefund]):
    order_id = serializers.UUIDField()
    coins = serializers.IntegerField(source="owed_coins", help_text="Owed for this refund.")
    refunded_at = serializers.DateTimeField(
        source="moved_at", help_text="When the money went back; while it is on its way, since when."
    )
    why = serializers.SerializerMethodField(help_text="In plain words.")

    class Meta:
        model = PaymentRefund
        fields = ("order_id", "coins", "refunded_at", "why")
        read_only_fields = fields

    @extend_schema_field(str)
    def get_why(self, refund: PaymentRefund) -> str:
        return debts.explain(refund)


class BalanceSerializer(serializers.ModelSerializer[Wallet]):
    user_id = serializers.UUIDField()
    balance = serializers.IntegerField(help_text="Coins that you own.")
    reserved = serializers.IntegerField(help_text="Those of them that are held for insights being written.")
    spendable = serializers.IntegerField(help_text="Those that are free to spend: `balance` − `reserved`.")
    owed = serializers.SerializerMethodField(
        help_text="Coins that were spent or held when the money for them went back; 0: none. Never taken by itself."
    )
    owed_for = serializers.SerializerMethodField(help_text="Each refund that they are owed for, newest first.")

    class Meta:
        model = Wallet
        fields = ("user_id", "balance", "reserved", "spendable", "owed", "owed_for")
        read_only_fields = fields

    @extend_schema_field(int)
    def get_owed(self, wallet: Wallet) -> int:
        return sum(refund.owed_coins for refund in self._refunds())

    @extend_schema_field(OwedSerializer(many=True))
    def get_owed_for(self, wallet: Wallet) -> Any:
        return OwedSerializer(self._refunds(), many=True).data

    def _refunds(self) -> Sequence[PaymentRefund]:
        owed: Sequence[PaymentRefund] = self.context["owed"]
        return owed


class TransactionSerializer(serializers.ModelSerializer[CreditTransaction]):
    amount = serializers.IntegerField(help_text="Coins: above zero came in, below zero went out.")
    balance_after = serializers.IntegerField(help_text="Coins owned right after it.")
    description = serializers.SerializerMethodField(help_text="In plain words: the type, and the package of an order.")
    order_id = serializers.UUIDField(
        source="payment_order_id", allow_null=True, help_text="Of a purchase or a refund; null otherwise."
    )

    class Meta:
        model = CreditTransaction
        fields = ("id", "type", "amount", "balance_after", "description", "reservation_id", "order_id", "created_at")
        read_only_fields = fields
        extra_kwargs = {"reservation_id": {"help_text": "The held coins that an unlock was paid from; null otherwise."}}

    @extend_schema_field(str)
    def get_description(self, transaction: CreditTransaction) -> str:
        return describe(transaction)


class StatementQuery(serializers.Serializer[Any]):
    type = serializers.ChoiceField(
        CreditTransaction.Type.choices, required=False, help_text="Only transactions of this type."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is a word of the language, so these two cannot be written as attributes."""
        wrong: dict[str, Any] = {
            "invalid": "Write an instant, such as 2026-01-31T09:30:00Z, or a day, such as 2026-01-31."
        }
        since = serializers.DateTimeField(
            required=False,
            error_messages=wrong,
            help_text="Only from this instant on, or from the beginning of this day (UTC).",
        )
        until = serializers.DateTimeField(
            required=False,
            error_messages=wrong,
            help_text="Only before this instant, or before the beginning of this day (UTC).",
        )
        return {**super().get_fields(), "from": since, "to": until}


class OffsetQuery(serializers.Serializer[Any]):
    offset = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=OFFSET_LIMIT,
        help_text="Instead of `cursor`: how many of the newest to skip. The answer then also has the `count` of all.",
    )
