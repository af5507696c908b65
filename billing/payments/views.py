"""The API of payments. A person sees their own orders; the providers send what happened to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
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
from billing.payments.providers.base import Placed
from billing.payments.serializers import (
    OrderSerializer,
    PackageSerializer,
    PlacedSerializer,
    PlaceSerializer,
    ReceivedSerializer,
)
from relivchats import idempotency, throttling
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.openapi import example, problems
from relivchats.rest import Pages, RequestTooLarge, body, check_length, person
from relivchats.throttling import limited

Method = TypeVar("Method", bound=Callable[..., Response])

WEBHOOK_LIMIT_BYTES = 256 * 1024


class PackagePages(Pages):
    ordering = ("display_order", "id")
    page_size = 100


@extend_schema_view(
    get=extend_schema(
        operation_id="list_packages",
        tags=["coins"],
        summary="What coins cost",
        description="Packages of coins with their prices by currency, and who takes that currency. Needs no token.",
        auth=[],
        responses={200: PackageSerializer(many=True), **problems(422)},
        examples=[example("A package", examples.PACKAGE)],
    )
)
class Packages(ListAPIView[CreditPackage]):
    authentication_classes = []
    permission_classes = [AllowAny]
    serializer_class = PackageSerializer
    pagination_class = PackagePages

    def get_queryset(self) -> QuerySet[CreditPackage]:
        return CreditPackage.objects.filter(active=True).prefetch_related("prices")


class Orders(APIView):
    @extend_schema(
        operation_id="place_order",
        tags=["payments"],
        summary="Buy a package of coins",
        description="Makes an order at the package's price and answers with what your client needs to pay it at the"
        " provider. The coins come when the provider tells us that it is paid: `GET /api/payments/orders/{order_id}`."
        " Send the same request again under the same key when no answer came: you get the same order.",
        parameters=[*idempotency.PARAMETERS, *throttling.PARAMETERS],
        request=PlaceSerializer,
        responses={
            201: PlacedSerializer,
            **problems(
                401,
                413,
                415,
                422,
                _404="There is no such package.",
                _409=idempotency.STILL_RUNNING,
                _429="You placed too many orders within a minute. Retry-After says when you may go on.",
                _502="The provider refused the order. You were not charged.",
                _503="The provider, or our database, did not answer in time. Send the same request again.",
            ),
        },
        examples=[examples.PLACE, example("At Stripe", examples.PLACED, status=201)],
    )
    @limited("orders", setting="ORDERS_PER_MINUTE")
    @idempotent()
    def post(self, request: Request) -> Response:
        asked = PlaceSerializer(data=body(request))
        asked.is_valid(raise_exception=True)
        order, placed = orders.place(
            user=person(request),
            package_id=asked.validated_data["package_id"],
            provider=asked.validated_data["provider"],
            idempotency_key=request.headers.get(idempotency.HEADER) or asked.validated_data.get("idempotency_key", ""),
        )
        return Response({**OrderSerializer(order).data, **_to_pay(request, placed)}, status=201)


def _to_pay(request: Request, placed: Placed) -> dict[str, Any]:
    return {
        "client_secret": placed.client_secret or None,
        "key_id": placed.key_id or None,
        "checkout_url": request.build_absolute_uri(placed.checkout_path) if placed.checkout_path else None,
    }


class Order(APIView):
    @extend_schema(
        operation_id="get_order",
        tags=["payments"],
        summary="How an order stands",
        description="`pending` and `processing`: not paid yet. `completed`: the coins are yours. `failed`: a payment"
        " failed or nobody paid; if it is paid all the same, it completes. `refunded`: all of the money went back.",
        responses={200: OrderSerializer, **problems(401, 404)},
        examples=[example("Paid", examples.ORDER)],
    )
    def get(self, request: Request, order_id: UUID) -> Response:
        order = PaymentOrder.objects.filter(pk=order_id, wallet__user=person(request)).first()
        if order is None:
            raise NotFound("There is no such order of yours.")
        return Response(OrderSerializer(order).data)


class Webhook(APIView):
    """What a provider sends. The signature over the body is the only thing that is believed."""

    authentication_classes = []
    permission_classes = [AllowAny]
    provider: str

    def receive(self, request: Request) -> Response:
        check_length(request)
        content = request._request.read(WEBHOOK_LIMIT_BYTES + 1)
        if len(content) > WEBHOOK_LIMIT_BYTES:
            raise RequestTooLarge(f"Send at most {WEBHOOK_LIMIT_BYTES // 1024} KB.", limit_bytes=WEBHOOK_LIMIT_BYTES)
        new = webhooks.receive(provider=self.provider, body=content, headers=request.headers)
        return Response({"received": True, "replay": not new})


def _webhook(name: str, header: str) -> Callable[[Method], Method]:
    decorate: Callable[[Method], Method] = extend_schema(
        operation_id=f"receive_{name.lower()}_webhook",
        tags=["payments"],
        summary=f"For {name}: what happened to a payment",
        description=f"{name} calls this, with its signature of the body in the header `{header}`. An event is stored,"
        " answered, and applied once.",
        auth=[],
        request={"application/json": {"type": "object"}},
        responses={
            200: ReceivedSerializer,
            **problems(
                411, 413, _400="The signature is missing, wrong or too old, or the body is no event. Nothing is kept."
            ),
        },
        examples=[example("Kept", {"received": True, "replay": False})],
    )
    return decorate


class RazorpayWebhook(Webhook):
    provider = "razorpay"

    @_webhook("Razorpay", "X-Razorpay-Signature")
    def post(self, request: Request) -> Response:
        return self.receive(request)


class StripeWebhook(Webhook):
    provider = "stripe"

    @_webhook("Stripe", "Stripe-Signature")
    def post(self, request: Request) -> Response:
        return self.receive(request)
