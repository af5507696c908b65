"""The API of the catalogue, unlocking, jobs and insights."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponseBase
from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from chats.models import Chat
from chats.views import get_own_chat
from insights import api_examples, unlocking
from insights.models import Category, GenerationJob, Insight, InsightType
from insights.serializers import (
    CategorySerializer,
    ChatInsightsSerializer,
    InsightStateSerializer,
    InsightTypeSerializer,
    JobSerializer,
    QuoteSerializer,
    UnlockedSerializer,
    UnlockSerializer,
)
from relivchats import idempotency
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.openapi import UNCHANGED, example, problems
from relivchats.rest import Pages, body, conditional, person

#: How soon to ask again while a job is open.
POLL_SECONDS = 2


class CataloguePages(Pages):
    ordering = ("display_order", "id")
    page_size = 100


@extend_schema_view(
    get=extend_schema(
        operation_id="list_categories",
        tags=["catalogue"],
        summary="What can be unlocked",
        description="Categories and their insights with their prices in coins. Needs no token.",
        auth=[],
        responses={200: CategorySerializer(many=True), **problems(422)},
        examples=[example("A category", api_examples.CATEGORY)],
    )
)
class Categories(ListAPIView[Category]):
    authentication_classes = []
    permission_classes = [AllowAny]
    serializer_class = CategorySerializer
    pagination_class = CataloguePages

    def get_queryset(self) -> QuerySet[Category]:
        types = InsightType.objects.filter(active=True).defer("definition").order_by("display_order", "id")
        return Category.objects.filter(active=True).prefetch_related(Prefetch("types", types))


@extend_schema_view(
    get=extend_schema(
        operation_id="list_insight_types",
        tags=["catalogue"],
        summary="The insights of a category",
        description="In display order. Needs no token.",
        auth=[],
        responses={200: InsightTypeSerializer(many=True), **problems(422, _404="There is no such category.")},
        examples=[example("An insight", api_examples.INSIGHT_TYPE)],
    )
)
class CategoryInsights(ListAPIView[InsightType]):
    authentication_classes = []
    permission_classes = [AllowAny]
    serializer_class = InsightTypeSerializer
    pagination_class = CataloguePages
    queryset = InsightType.objects.filter(active=True).defer("definition")

    def get_queryset(self) -> QuerySet[InsightType]:
        category = Category.objects.filter(active=True, pk=self.kwargs["category_id"]).first()
        if category is None:
            raise NotFound("There is no such category. GET /api/categories lists them.")
        return super().get_queryset().filter(category=category)


class Quote(APIView):
    @extend_schema(
        operation_id="quote_insights",
        tags=["insights"],
        summary="What an unlock would cost",
        description="Send what you would send to unlock. Tells the price of each insight, which exist already, which do"
        " not fit this chat and why, and whether you have the coins. What failed costs its own part again, by an unlock"
        " or a retry, or less where its type does. Nothing is held. An unlock is priced by the same rules: until the"
        " prices, your chat's insights or your coins change, it costs what was quoted.",
        request=UnlockSerializer,
        responses={
            200: QuoteSerializer,
            **problems(
                400,
                401,
                411,
                413,
                415,
                422,
                _404="There is no such chat of yours, no such category, or no such insight type.",
            ),
        },
        examples=[example("A quote", api_examples.QUOTE), *api_examples.UNLOCK_REQUESTS],
    )
    def post(self, request: Request) -> Response:
        quoted = unlocking.quote(**_asked(request))
        plan, wallet = quoted.plan, quoted.wallet
        answer = {
            "chat_id": plan.eligibility.chat.pk,
            "category_id": plan.category.pk,
            "coins": plan.coins,
            "balance": wallet.balance,
            "spendable": wallet.spendable,
            "deficit": quoted.deficit,
            "can_unlock": quoted.can_unlock,
            "possible": [insight_type.pk for insight_type in plan.parts],
            "insights": [_quoted(plan, insight_type) for insight_type in plan.types],
        }
        return Response(QuoteSerializer(answer).data)


def _asked(request: Request) -> dict[str, Any]:
    """What an unlock or a quote asks for, as the functions of `unlocking` take it."""
    asked = UnlockSerializer(data=body(request))
    asked.is_valid(raise_exception=True)
    values = asked.validated_data
    return {
        "user": person(request),
        "chat": get_own_chat(request, values["chat_id"]),
        "category_id": values.get("category_id"),
        "type_ids": values.get("insight_type_ids", ()),
        "language": values["language"],
    }


def _quoted(plan: unlocking.Plan, insight_type: InsightType) -> dict[str, Any]:
    tried = plan.found.get(insight_type.pk) or plan.failed.get(insight_type.pk)
    if insight_type.pk in plan.found:
        state = "running" if plan.found[insight_type.pk].is_open else "owned"
    elif insight_type not in plan.parts:
        state = "does_not_fit"
    else:
        state = "failed" if tried else "available"
    return {
        "insight_type_id": insight_type.pk,
        "title": insight_type.title,
        "price": plan.price(insight_type),
        "coins": plan.parts.get(insight_type, 0),
        "state": state,
        "insight_id": tried and tried.pk,
        "why_not": plan.eligibility.reason_against(insight_type),
    }


class Unlock(APIView):
    @extend_schema(
        operation_id="unlock_insights",
        tags=["insights"],
        summary="Unlock insights of a chat",
        description="Holds the coins, starts writing and answers at once: 202 when a job was made, 200 when"
        " everything asked for exists or is running, which costs nothing. Only what is delivered is charged; the rest"
        " of the coins return when the job ends. Ask `poll_url` how far it is.",
        parameters=idempotency.PARAMETERS,
        request=UnlockSerializer,
        responses={
            200: UnlockedSerializer,
            202: UnlockedSerializer,
            **problems(
                400,
                401,
                402,
                411,
                413,
                415,
                _404="There is no such chat of yours, no such category, or no such insight type.",
                _409=idempotency.STILL_RUNNING,
                _422="A value is missing or not valid, or the chat has too few messages or too many people for what"
                " was asked: then `too_few_people`, `too_few_messages`, `too_many_people` and `possible` list insight"
                " types. No coin was held.",
            ),
        },
        examples=[
            example("Being written", api_examples.UNLOCKED, status=202),
            example("Unlocked before", {**api_examples.UNLOCKED, **api_examples.UNLOCKED_BEFORE}),
            *api_examples.UNLOCK_REQUESTS,
        ],
    )
    @idempotent(atomic=True)
    def post(self, request: Request) -> Response:
        return _unlocked(unlocking.unlock(**_asked(request)))


class Retry(APIView):
    @extend_schema(
        operation_id="retry_insight",
        tags=["insights"],
        summary="Try a failed insight again",
        description="In a new job, for the part it cost before, or less if its type costs less now. 200 when it has"
        " been unlocked again since.",
        parameters=idempotency.PARAMETERS,
        request=None,
        responses={
            200: UnlockedSerializer,
            202: UnlockedSerializer,
            **problems(
                401,
                402,
                404,
                422,
                _409="The insight has not failed, its chat was deleted, or an earlier sending of this request under the"
                " same Idempotency-Key is still being worked on.",
            ),
        },
        examples=[
            example("Being written", {**api_examples.UNLOCKED, **api_examples.RETRIED}, status=202),
            example("Unlocked since", {**api_examples.UNLOCKED, **api_examples.UNLOCKED_BEFORE}),
        ],
    )
    @idempotent(atomic=True)
    def post(self, request: Request, insight_id: UUID) -> Response:
        insight = Insight.objects.owned_by(request.user).filter(pk=insight_id).select_related("job", "chat").first()
        if insight is None:
            raise NotFound("You have no insight with this id.")
        return _unlocked(unlocking.retry(insight))


def _unlocked(unlocked: unlocking.Unlocked) -> Response:
    poll_url = reverse("job-status", kwargs={"job_id": unlocked.job.pk})
    answer = {
        "success": True,
        "job_id": unlocked.job.pk,
        "status": unlocked.job.status,
        "coins_reserved": unlocked.coins,
        "spendable": unlocked.spendable,
        "total_insights": len(unlocked.insights),
        "insights": InsightStateSerializer(unlocked.insights, many=True).data,
        "poll_url": poll_url,
        "message": _in_words(unlocked),
    }
    headers = {"Location": poll_url}
    if unlocked.job.is_open:
        headers["Retry-After"] = str(POLL_SECONDS)
    return Response(answer, status=202 if unlocked.created else 200, headers=headers)


def _in_words(unlocked: unlocking.Unlocked) -> str:
    if unlocked.created:
        return f"{unlocked.coins} coins are held. Only insights that are delivered will be charged."
    if any(insight.is_open for insight in unlocked.insights):
        return "This is being written already. Nothing was held."
    return "This is unlocked already. Nothing was held."


class JobStatus(APIView):
    @extend_schema(
        operation_id="get_job_status",
        tags=["insights"],
        summary="How far a job is",
        description="With each insight as it completes. While the job is open, Retry-After says in how many seconds to"
        " ask again. Supports ETag and If-None-Match.",
        responses={200: JobSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("Half done", api_examples.JOB)],
    )
    def get(self, request: Request, job_id: UUID) -> HttpResponseBase:
        job = GenerationJob.objects.filter(user=person(request), pk=job_id).first()
        if job is None:
            raise NotFound("You have no job with this id.")
        # After the job: a finished job never shows an insight that is still open.
        insights = list(_shown(Insight.objects.filter(job=job).defer("sealed_document")))
        response = conditional(
            request,
            *(job.pk, job.chat_id, job.status, job.completed_insights, job.failed_insights, job.started_at),
            *_version(insights),
            answer=lambda: Response(JobSerializer(job, context={"insights": insights}).data),
        )
        if job.is_open:
            response["Retry-After"] = str(POLL_SECONDS)
        return response


class InsightsOfChat(APIView):
    @extend_schema(
        operation_id="list_insights_of_chat",
        tags=["insights"],
        summary="All insights of a chat",
        description="Each with its document once it is completed. Of an insight that was tried again, the latest try."
        " Every quoted message stands in the chat under its number. Supports ETag and If-None-Match.",
        responses={200: ChatInsightsSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("One insight", api_examples.INSIGHTS)],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        chat = get_own_chat(request, chat_id)
        insights = _latest(_shown(Insight.objects.filter(chat=chat).defer("sealed_document")))
        return conditional(request, chat.pk, chat.line_count, *_version(insights), answer=lambda: _insights_of(chat))


def _insights_of(chat: Chat) -> Response:
    insights = _latest(_shown(Insight.objects.filter(chat=chat)))
    for insight in insights:
        insight.chat = chat
    return Response(ChatInsightsSerializer({"chat_id": chat.pk, "insights": insights}).data)


def _shown(insights: QuerySet[Insight]) -> QuerySet[Insight]:
    # A definition is a large document that no answer here shows.
    shown = insights.select_related("insight_type").defer("insight_type__definition")
    return shown.order_by("insight_type__display_order", "insight_type", "created_at")


def _latest(insights: Iterable[Insight]) -> list[Insight]:
    """One a type, the last made: a try that failed before it is history."""
    return list({insight.insight_type_id: insight for insight in insights}.values())


def _version(insights: Sequence[Insight]) -> list[object]:
    return [
        (
            *(insight.pk, insight.insight_type.title, insight.insight_type.icon, insight.status, insight.attempt),
            *(insight.error_code, insight.started_at, insight.finished_at),
        )
        for insight in insights
    ]
