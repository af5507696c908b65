"""The API's representation of packages and orders."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from billing.models import CreditPackage, PackagePrice, PaymentOrder
from billing.payments import money, providers
from relivchats.rest import ClosedSerializer, SlugTextField


class PriceSerializer(serializers.ModelSerializer[PackagePrice]):
    """A price with the providers that can charge it here."""

    amount = serializers.IntegerField(help_text="In minor units, paise or cents.")
    shown = serializers.SerializerMethodField(help_text="The amount as text.")
    providers = serializers.SerializerMethodField(help_text="Providers that accept this currency here; may be empty.")

    class Meta:
        model = PackagePrice
        fields = ("currency", "amount", "shown", "providers")
        read_only_fields = fields

    @extend_schema_field(str)
    def get_shown(self, price: PackagePrice) -> str:
        """Return the amount as text."""
        return money.format_amount(price.amount, price.currency)

    @extend_schema_field({"type": "array", "items": {"type": "string"}})
    def get_providers(self, price: PackagePrice) -> list[str]:
        """Return the names of the configured providers of this currency."""
        return [provider.name for provider in providers.configured() if provider.currency == price.currency]


class PackageSerializer(serializers.ModelSerializer[CreditPackage]):
    """A package with its prices."""

    prices = PriceSerializer(many=True)
    popular = serializers.BooleanField(help_text="The most popular package.")

    class Meta:
        model = CreditPackage
        fields = ("id", "title", "coins", "popular", "prices")
        read_only_fields = fields


class OrderRequestSerializer(ClosedSerializer):
    """The body of a new order."""

    package_id = SlugTextField(max_length=40, help_text="Of `GET /api/credits/packages`.")
    provider = serializers.CharField(max_length=16, help_text="One of the price's `providers`.")
    idempotency_key = serializers.CharField(
        max_length=255, required=False, help_text="The same as the header Idempotency-Key, which takes precedence."
    )

    def validate_provider(self, name: str) -> str:
        """Return the name. Raise ValidationError if this provider is not configured."""
        # Checked on each request: a provider can be configured or removed without changing the API's description.
        names = [provider.name for provider in providers.configured()]
        if name not in names:
            choose = f"Choose one of: {', '.join(names)}." if names else "Nothing can be bought here yet."
            raise serializers.ValidationError(f"This provider is not offered here. {choose}", code="not_offered")
        return name


class OrderSerializer(serializers.ModelSerializer[PaymentOrder]):
    """An order as its owner sees it."""

    order_id = serializers.UUIDField(source="id")
    amount = serializers.IntegerField(help_text="In minor units, paise or cents.")
    refunded_amount = serializers.IntegerField(help_text="How much of the amount was refunded.")
    provider = serializers.ChoiceField(
        [(provider.name, provider.label) for provider in providers.REGISTRY.values()], read_only=True
    )
    completed_at = serializers.DateTimeField(help_text="When the coins were granted; null until then.", allow_null=True)

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


class CheckoutSerializer(OrderSerializer):
    """A new order with what the client needs to pay it."""

    client_secret = serializers.CharField(
        allow_null=True, help_text="Stripe: pays this order in its Elements. Returned to you alone, never stored."
    )
    key_id = serializers.CharField(allow_null=True, help_text="The provider's public key, for its own form.")
    checkout_url = serializers.CharField(allow_null=True, help_text="Sandbox: the page on which to pay.")

    class Meta(OrderSerializer.Meta):
        fields = (*OrderSerializer.Meta.fields, "client_secret", "key_id", "checkout_url")
        read_only_fields = fields


class WebhookResponseSerializer(serializers.Serializer[Any]):
    """The answer to a webhook."""

    received = serializers.BooleanField()
    replay = serializers.BooleanField(help_text="It was already stored.")
