"""The API of payments: packages and a person's own orders, and the webhooks of the providers."""

from __future__ import annotations

from typing import ClassVar
from uuid import UUID

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from billing.models import CreditPackage, PaymentOrder
from billing.payments import examples, orders, webhooks
from billing.payments.providers.base import Provider
from billing.payments.serializers import (
    CheckoutSerializer,
    OrderRequestSerializer,
    OrderSerializer,
    PackageSerializer,
    WebhookResponseSerializer,
)
from relivchats import idempotency
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.openapi import example, problems
from relivchats.rest import Pages, RequestTooLarge, authenticated_user, check_length, parse_body
from relivchats.throttling import Limit

#: Events of Stripe and Razorpay are a few kilobytes. The limit bounds the bytes that an unsigned request can make us
#: read.
MAX_WEBHOOK_BYTES = 256 * 1024


class PackagePages(Pages):
    """Pages of packages in display order."""

    ordering = ("display_order", "id")
    page_size = 100


@extend_schema_view(
    get=extend_schema(
        operation_id="list_packages",
        tags=["coins"],
        summary="Packages of coins",
        description="Packages of coins with their price in each currency and the providers that accept it. Needs no"
        " token.",
        auth=[],
        responses={200: PackageSerializer(many=True), **problems(422)},
        examples=[example("A package", examples.PACKAGE)],
    )
)
class PackageListView(ListAPIView[CreditPackage]):
    """The packages for sale."""

    authentication_classes = []
    permission_classes = [AllowAny]
    serializer_class = PackageSerializer
    pagination_class = PackagePages

    def get_queryset(self) -> QuerySet[CreditPackage]:
        """Return the active packages with their prices."""
        return CreditPackage.objects.filter(active=True).prefetch_related("prices")


class OrderCreateView(APIView):
    """Place orders."""

    limits: ClassVar = {"POST": (Limit("orders", "ORDERS_PER_MINUTE"),)}

    @extend_schema(
        operation_id="place_order",
        tags=["payments"],
        summary="Buy a package of coins",
        description="Creates an order at the package's price and returns what your client needs to pay it at the"
        " provider. The coins are granted when the provider reports the payment: `GET /api/payments/orders/{order_id}`."
        " If no answer arrives, send the same request with the same key again: it returns the same order.",
        parameters=idempotency.PARAMETERS,
        request=OrderRequestSerializer,
        responses={
            201: CheckoutSerializer,
            **problems(
                401,
                413,
                415,
                422,
                _404="There is no such package.",
                _409=idempotency.STILL_RUNNING,
                _429="You placed too many orders within a minute. Retry-After says when you may continue.",
                _502="The provider refused the order. You were not charged.",
                _503="The provider, or our database, did not answer in time. Send the same request again.",
            ),
        },
        examples=[examples.ORDER_REQUEST, example("At Stripe", examples.CHECKOUT, status=201)],
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Create an order."""
        query = OrderRequestSerializer(data=parse_body(request))
        query.is_valid(raise_exception=True)
        order, checkout = orders.create(
            user=authenticated_user(request),
            package_id=query.validated_data["package_id"],
            provider=query.validated_data["provider"],
            # Stored with the order too: the response of @idempotent is lost if this process dies in between.
            idempotency_key=request.headers.get(idempotency.HEADER) or query.validated_data.get("idempotency_key", ""),
        )
        path = checkout.checkout_path
        payment_details = {
            "client_secret": checkout.client_secret or None,
            "key_id": checkout.key_id or None,
            "checkout_url": request.build_absolute_uri(path) if path else None,
        }
        return Response({**OrderSerializer(order).data, **payment_details}, status=201)


class OrderDetailView(APIView):
    """One order of the person."""

    @extend_schema(
        operation_id="get_order",
        tags=["payments"],
        summary="The state of an order",
        description="`pending` and `processing`: not paid yet. `completed`: the coins are yours. `failed`: a payment"
        " failed, or nobody paid; a later payment still completes the order. `refunded`: all of the money went back.",
        responses={200: OrderSerializer, **problems(401, 404)},
        examples=[example("Paid", examples.ORDER)],
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        """Return the order."""
        # Filtered by owner: an order of another person gets the same 404 as an unknown id, and is not confirmed.
        order = PaymentOrder.objects.filter(pk=order_id, wallet__user=authenticated_user(request)).first()
        if order is None:
            raise NotFound("There is no such order of yours.")
        return Response(OrderSerializer(order).data)


class WebhookView(APIView):
    """Receive the events of one provider. Only the signature over the raw body is trusted."""

    # The provider has no token. Its signature is checked in `webhooks.receive`.
    authentication_classes = []
    permission_classes = [AllowAny]
    # A provider sends the events of all customers from a few addresses.
    throttle_classes = []
    provider: ClassVar[Provider]

    def post(self, request: Request) -> Response:
        """Store the event and try to apply it."""
        check_length(request)
        # The raw body, before any parser: the signature covers exactly these bytes.
        content = request._request.read(MAX_WEBHOOK_BYTES + 1)
        if len(content) > MAX_WEBHOOK_BYTES:
            raise RequestTooLarge(f"Send at most {MAX_WEBHOOK_BYTES // 1024} KB.", limit_bytes=MAX_WEBHOOK_BYTES)
        new = webhooks.receive(provider=self.provider.name, body=content, headers=request.headers)
        return Response({"received": True, "replay": not new})


def webhook_view(provider: Provider) -> type[WebhookView]:
    """Return the view of one provider's webhook, with its own entry in the API's description."""
    view = type(f"{provider.label}WebhookView", (WebhookView,), {"provider": provider})
    documented: type[WebhookView] = extend_schema_view(
        post=extend_schema(
            operation_id=f"receive_{provider.name}_webhook",
            tags=["payments"],
            summary=f"Events from {provider.label}",
            description=f"{provider.label} calls this with its signature of the body in the header"
            f" `{provider.signature_header}`. An event is stored, acknowledged, and applied once.",
            auth=[],
            request={"application/json": {"type": "object"}},
            responses={
                200: WebhookResponseSerializer,
                **problems(
                    411,
                    413,
                    _429="",
                    _400="The signature is missing, wrong or too old, or the body is not an event. Nothing is stored.",
                ),
            },
            examples=[example("Stored", {"received": True, "replay": False})],
        )
    )(view)
    return documented
