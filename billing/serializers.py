"""Coins as the API shows them to their owner."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.models import CreditTransaction, Wallet

DESCRIPTIONS = {
    CreditTransaction.Type.SIGNUP_BONUS: "Welcome coins",
    CreditTransaction.Type.PURCHASE: "Coins bought",
    CreditTransaction.Type.INSIGHT_UNLOCK: "Insights unlocked",
    CreditTransaction.Type.REFUND: "Purchase refunded",
    CreditTransaction.Type.ADMIN_ADJUSTMENT: "Corrected by our team",
}
OFFSET_LIMIT = 1_000_000_000


class BalanceSerializer(serializers.ModelSerializer[Wallet]):
    user_id = serializers.UUIDField()
    balance = serializers.IntegerField(help_text="Coins that you own.")
    reserved = serializers.IntegerField(help_text="Those of them that are held for insights being written.")
    spendable = serializers.IntegerField(help_text="Those that are free to spend: `balance` − `reserved`.")

    class Meta:
        model = Wallet
        fields = ("user_id", "balance", "reserved", "spendable")
        read_only_fields = fields


class TransactionSerializer(serializers.ModelSerializer[CreditTransaction]):
    amount = serializers.IntegerField(help_text="Coins: above zero came in, below zero went out.")
    balance_after = serializers.IntegerField(help_text="Coins owned right after it.")
    description = serializers.SerializerMethodField(help_text="The type in plain words.")

    class Meta:
        model = CreditTransaction
        fields = ("id", "type", "amount", "balance_after", "description", "reservation_id", "created_at")
        read_only_fields = fields
        extra_kwargs = {"reservation_id": {"help_text": "The held coins that an unlock was paid from; null otherwise."}}

    @extend_schema_field(str)
    def get_description(self, transaction: CreditTransaction) -> str:
        return DESCRIPTIONS[CreditTransaction.Type(transaction.type)]


class StatementQuery(serializers.Serializer[Any]):
    type = serializers.ChoiceField(
        CreditTransaction.Type.choices, required=False, help_text="Only transactions of this type."
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is a word of the language, so these two cannot be written as attributes."""
        since = serializers.DateTimeField(
            required=False, help_text="Only from this instant on, or from the beginning of this day (UTC)."
        )
        until = serializers.DateTimeField(
            required=False, help_text="Only before this instant, or before the beginning of this day (UTC)."
        )
        return {**super().get_fields(), "from": since, "to": until}


class OffsetQuery(serializers.Serializer[Any]):
    offset = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=OFFSET_LIMIT,
        help_text="Instead of `cursor`: how many of the newest to skip. The answer then also has the `count` of all.",
    )
