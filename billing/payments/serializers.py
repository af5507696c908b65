"""Packages and orders as the API shows them."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.models import CreditPackage, PackagePrice, PaymentOrder
from billing.payments import money, providers
from relivchats.rest import ClosedSerializer, WordField


class PriceSerializer(serializers.ModelSerializer[PackagePrice]):
    amount = serializers.IntegerField(help_text="In minor units, paise or cents.")
    shown = serializers.SerializerMethodField(help_text="The amount as people read it.")
    providers = serializers.SerializerMethodField(help_text="Who takes this currency here; may be nobody.")

    class Meta:
        model = PackagePrice
        fields = ("currency", "amount", "shown", "providers")
        read_only_fields = fields

    @extend_schema_field(str)
    def get_shown(self, price: PackagePrice) -> str:
        return money.shown(price.amount, price.currency)

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_providers(self, price: PackagePrice) -> list[str]:
        return [provider.name for provider in providers.offered() if provider.currency == price.currency]


class PackageSerializer(serializers.ModelSerializer[CreditPackage]):
    prices = PriceSerializer(many=True)
    popular = serializers.BooleanField(help_text="The one that most choose.")

    class Meta:
        model = CreditPackage
        fields = ("id", "title", "coins", "popular", "prices")
        read_only_fields = fields


class PlaceSerializer(ClosedSerializer):
    package_id = WordField(max_length=40, help_text="Of `GET /api/credits/packages`.")
    provider = serializers.CharField(max_length=16, help_text="One of the price's `providers`.")
    idempotency_key = serializers.CharField(
        max_length=255, required=False, help_text="The same as the header Idempotency-Key, which comes first."
    )

    def validate_provider(self, name: str) -> str:
        offered = [provider.name for provider in providers.offered()]
        if name not in offered:
            choose = f"Choose one of: {', '.join(offered)}." if offered else "Nothing can be bought here yet."
            raise serializers.ValidationError(f"This provider is not offered here. {choose}", code="not_offered")
        return name


class OrderSerializer(serializers.ModelSerializer[PaymentOrder]):
    order_id = serializers.UUIDField(source="id")
    amount = serializers.IntegerField(help_text="In minor units, paise or cents.")
    refunded_amount = serializers.IntegerField(help_text="What of it went back.")
    completed_at = serializers.DateTimeField(help_text="When the coins were given; null: not yet.", allow_null=True)

    class Meta:
        model = PaymentOrder
        fields: tuple[str, ...] = (
            "order_id",
            "status",
            "package_id",
            "coins",
            "amount",
            "currency",
            "refunded_amount",
            "provider",
            "provider_order_id",
            "created_at",
            "completed_at",
        )
        read_only_fields = fields


class PlacedSerializer(OrderSerializer):
    client_secret = serializers.CharField(
        allow_null=True, help_text="Stripe: pays this order in its Elements. Shown to you alone, kept nowhere."
    )
    key_id = serializers.CharField(allow_null=True, help_text="The provider's public key, for its own form.")
    checkout_url = serializers.CharField(allow_null=True, help_text="Sandbox: the page on which to pay.")

    class Meta(OrderSerializer.Meta):
        fields = (*OrderSerializer.Meta.fields, "client_secret", "key_id", "checkout_url")
        read_only_fields = fields


class ReceivedSerializer(serializers.Serializer[Any]):
    received = serializers.BooleanField()
    replay = serializers.BooleanField(help_text="It was here before.")
