"""The API of coins. A person sees their own wallet and no other."""

from __future__ import annotations

from typing import Any

from django.db.models import QuerySet
from django.http import StreamingHttpResponse
from drf_spectacular.utils import OpenApiExample, extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.pagination import LimitOffsetPagination
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from billing import debts, ledger, statements
from billing.models import CreditTransaction
from billing.serializers import BalanceSerializer, OffsetQuery, StatementQuery, TransactionSerializer
from relivchats import clock
from relivchats.openapi import example, problems
from relivchats.rest import Pages, person

BALANCE = {
    "user_id": "5b0a4c1e-8f4f-4a3e-9a55-0d6f6f0f6f01",
    "balance": 450,
    "reserved": 400,
    "spendable": 50,
    "owed": 0,
    "owed_for": [],
}
OWING = {
    "owed": 400,
    "owed_for": [
        {
            "order_id": "856f8a9e-79ef-434f-bbe3-2174f81f6b1b",
            "coins": 400,
            "refunded_at": "2026-01-05T10:02:40Z",
            "why": "$9.99 for Popular went back to you."
            " It had bought 850 coins, and 400 of them were spent or held by then.",
        }
    ],
}
TRANSACTION = {
    "id": 812,
    "type": "insight_unlock",
    "amount": -350,
    "balance_after": 100,
    "description": "Insights unlocked",
    "reservation_id": "0f6c1c9e-6d0a-4c62-8f3e-2b8f5a7d9e10",
    "order_id": None,
    "created_at": "2026-01-05T09:31:12Z",
}


CSV_EXAMPLE = """id,created_at,type,description,amount,balance_after,reservation_id,order_id
812,2026-01-05T09:31:12+00:00,insight_unlock,Insights unlocked,-350,100,0f6c1c9e-6d0a-4c62-8f3e-2b8f5a7d9e10,
"""


class CSVRenderer(BaseRenderer):
    """For callers that accept nothing but text/csv; the view writes the file itself."""

    media_type, format = "text/csv", "csv"


class OffsetPages(LimitOffsetPagination):
    def get_previous_link(self) -> str | None:
        """The framework leaves `offset` out of the first page's address, which here would mean pages by cursor."""
        link = super().get_previous_link()
        return link and replace_query_param(link, "offset", max(0, (self.offset or 0) - (self.limit or 0)))


class TransactionPages(Pages):
    """Pages by cursor; with `offset` in the address pages by offset, and a `count` of all beside them."""

    ordering = ("-sequence", "-id")
    by_offset: OffsetPages | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        query = OffsetQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        if "offset" not in query.validated_data:
            return super().paginate_queryset(queryset, request, view)
        self.by_offset = OffsetPages()
        self.by_offset.default_limit = self.get_page_size(request)
        return self.by_offset.paginate_queryset(queryset.order_by(*self.ordering), request, view)

    def get_paginated_response(self, data: Any) -> Response:
        return self.by_offset.get_paginated_response(data) if self.by_offset else super().get_paginated_response(data)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        page = super().get_paginated_response_schema(schema)
        count = {"type": "integer", "example": 123, "description": "All of them; only in pages by `offset`."}
        return {**page, "properties": {**page["properties"], "count": count}}


class Balance(APIView):
    @extend_schema(
        operation_id="get_balance",
        tags=["coins"],
        summary="Your coins",
        description="Coins are held while insights are written, taken for those delivered and given back for the rest."
        " Owed are coins that were spent or held when the money for them went back: they are shown, and never taken by"
        " themselves.",
        responses={200: BalanceSerializer, **problems(401)},
        examples=[example("A wallet", BALANCE), example("After a refund", {**BALANCE, **OWING})],
    )
    def get(self, request: Request) -> Response:
        wallet = ledger.open_wallet(user=person(request))
        return Response(BalanceSerializer(wallet, context={"owed": debts.list_refunds_with_debt(wallet)}).data)


@extend_schema_view(
    get=extend_schema(
        operation_id="list_transactions",
        tags=["coins"],
        summary="Every change of your coins, newest first",
        description="Follow `next`, or page with `limit` and `offset`. Coins that are only held are no change.",
        parameters=[OffsetQuery, StatementQuery],
        responses={200: TransactionSerializer(many=True), **problems(401, 422)},
        examples=[example("An unlock", TRANSACTION)],
    )
)
class Transactions(ListAPIView[CreditTransaction]):
    serializer_class = TransactionSerializer
    pagination_class = TransactionPages

    def get_queryset(self) -> QuerySet[CreditTransaction]:
        return statements.with_orders(_asked_for(self.request))


class StatementDownload(APIView):
    renderer_classes = [CSVRenderer]

    @extend_schema(
        operation_id="download_transactions",
        tags=["coins"],
        summary="The same as a file for spreadsheets",
        description="Comma-separated, newest first, with a heading: all that you ask for in one file. Amounts are"
        " numbers; a text that a spreadsheet would take for a formula begins with an apostrophe.",
        parameters=[StatementQuery],
        responses={(200, "text/csv"): str, **problems(401, 422)},
        examples=[OpenApiExample("A file", CSV_EXAMPLE, response_only=True, media_type="text/csv")],
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        lines = statements.lines(_asked_for(request))
        headers = {"Content-Disposition": f'attachment; filename="coins-{clock.now():%Y-%m-%d}.csv"'}
        return StreamingHttpResponse(lines, content_type="text/csv; charset=utf-8", headers=headers)


def _asked_for(request: Request) -> QuerySet[CreditTransaction]:
    """The caller's own transactions, of the type and time that the address names."""
    query = StatementQuery(data=request.query_params)
    query.is_valid(raise_exception=True)
    names = {"type": "type", "from": "created_at__gte", "to": "created_at__lt"}
    chosen = {names[name]: value for name, value in query.validated_data.items()}
    return CreditTransaction.objects.filter(wallet__user=person(request), **chosen)
