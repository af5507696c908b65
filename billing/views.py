"""The API of coins: a person's own balance, transactions and statement."""

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
from relivchats.rest import Pages, authenticated_user

BALANCE = {
    "user_id": "5b0a4c1e-8f4f-4a3e-9a55-0d6f6f0f6f01",
    "balance": 450,
    "reserved": 400,
    "spendable": 50,
    "owed": 0,
    "owed_for": [],
}
OWING = {
    "balance": 400,
    "spendable": 0,
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
    """Accept requests for text/csv. It renders nothing: the view streams the file itself."""

    media_type, format = "text/csv", "csv"


class OffsetPages(LimitOffsetPagination):
    """Pages by `limit` and `offset`."""

    def get_previous_link(self) -> str | None:
        """Return the previous page's URL, always with `offset`.

        DRF omits `offset` from the first page's URL. Here that would select pagination by cursor.
        """
        link = super().get_previous_link()
        return link and replace_query_param(link, "offset", max(0, (self.offset or 0) - (self.limit or 0)))


class TransactionPages(Pages):
    """Pages by cursor, or by offset with a `count` if the URL has `offset`."""

    ordering = ("-sequence", "-id")
    by_offset: OffsetPages | None = None

    def paginate_queryset(self, queryset: Any, request: Request, view: APIView | None = None) -> list[Any] | None:
        """Return one page, by cursor or by offset."""
        query = OffsetQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        # The cursor is the default: it stays correct while new transactions arrive, and needs no COUNT.
        if "offset" not in query.validated_data:
            return super().paginate_queryset(queryset, request, view)
        self.by_offset = OffsetPages()
        self.by_offset.default_limit = self.get_page_size(request)
        return self.by_offset.paginate_queryset(queryset.order_by(*self.ordering), request, view)

    def get_paginated_response(self, data: Any) -> Response:
        """Return the page's response, with `count` if it is by offset."""
        return self.by_offset.get_paginated_response(data) if self.by_offset else super().get_paginated_response(data)

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema of a page, with `count`."""
        page = super().get_paginated_response_schema(schema)
        count = {
            "type": "integer",
            "example": 123,
            "description": "The number of all transactions; only in pages by `offset`.",
        }
        return {**page, "properties": {**page["properties"], "count": count}}


class Balance(APIView):
    """The balance of the person's wallet."""

    @extend_schema(
        operation_id="get_balance",
        tags=["coins"],
        summary="Your coins",
        description="Coins are held while insights are written, taken for those delivered and released for the rest."
        " Owed coins were spent or held when their money was refunded. Coins that you get, or that are released, pay"
        " them first, and each payment is a transaction of type `refund`.",
        responses={200: BalanceSerializer, **problems(401)},
        examples=[example("A wallet", BALANCE), example("After a refund", {**BALANCE, **OWING})],
    )
    def get(self, request: Request) -> Response:
        """Return the balance. Open the wallet if there is none."""
        wallet = ledger.open_wallet(user=authenticated_user(request))
        return Response(BalanceSerializer(wallet, context={"debts": debts.list_open_debts(wallet)}).data)


@extend_schema_view(
    get=extend_schema(
        operation_id="list_transactions",
        tags=["coins"],
        summary="Every change of your coins, newest first",
        description="Follow `next`, or page with `limit` and `offset`. Holding coins is not a transaction.",
        parameters=[OffsetQuery, StatementQuery],
        responses={200: TransactionSerializer(many=True), **problems(401, 422)},
        examples=[example("An unlock", TRANSACTION)],
    )
)
class Transactions(ListAPIView[CreditTransaction]):
    """The person's transactions."""

    serializer_class = TransactionSerializer
    pagination_class = TransactionPages

    def get_queryset(self) -> QuerySet[CreditTransaction]:
        """Return the transactions that the query selects."""
        return statements.with_orders(_filter_transactions(self.request))


class StatementDownload(APIView):
    """The person's transactions as a CSV file."""

    renderer_classes = [CSVRenderer]

    @extend_schema(
        operation_id="download_transactions",
        tags=["coins"],
        summary="The same as a CSV file",
        description="Comma-separated, newest first, with a header row, all in one file. Amounts are numbers; a text"
        " that a spreadsheet would run as a formula gets an apostrophe in front.",
        parameters=[StatementQuery],
        responses={(200, "text/csv"): str, **problems(401, 422)},
        examples=[OpenApiExample("A file", CSV_EXAMPLE, response_only=True, media_type="text/csv")],
    )
    def get(self, request: Request) -> StreamingHttpResponse:
        """Stream the file."""
        # Streamed from a server-side cursor: a long history never has to fit into memory.
        rows = statements.stream_csv(_filter_transactions(request))
        headers = {"Content-Disposition": f'attachment; filename="coins-{clock.now():%Y-%m-%d}.csv"'}
        return StreamingHttpResponse(rows, content_type="text/csv; charset=utf-8", headers=headers)


def _filter_transactions(request: Request) -> QuerySet[CreditTransaction]:
    """Return the person's own transactions of the type and time in the URL's query."""
    query = StatementQuery(data=request.query_params)
    query.is_valid(raise_exception=True)
    # The end is exclusive: consecutive statements neither repeat nor omit a transaction.
    lookups = {"type": "type", "from": "created_at__gte", "to": "created_at__lt"}
    filters = {lookups[name]: value for name, value in query.validated_data.items()}
    return CreditTransaction.objects.filter(wallet__user=authenticated_user(request), **filters)
