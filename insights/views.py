"""The API of the catalogue, unlocking, jobs and insights."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponseBase
from django.urls import reverse
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from chats.views import get_own_chat
from insights import api_examples, requested_language, unlocking
from insights.models import Category, GenerationJob, Insight, InsightType
from insights.requested_language import get_requested_language, vary_by_language
from insights.serializers import (
    CategorySerializer,
    ChatInsightsSerializer,
    DisclosureQuery,
    DisclosureSerializer,
    InsightStateSerializer,
    InsightTypeSerializer,
    JobSerializer,
    QuoteSerializer,
    UnlockedSerializer,
    UnlockSerializer,
)
from insights.translation import Language, get_language
from relivchats import idempotency
from relivchats.errors import NotFound
from relivchats.idempotency import idempotent
from relivchats.openapi import UNCHANGED, example, problems
from relivchats.rest import Pages, authenticated_user, conditional_response, parse_body, represent
from relivchats.throttling import Limit

#: The Retry-After of an open job, in seconds.
POLL_SECONDS = 2

_UNAVAILABLE = (
    "Insights cannot be unlocked now (`unlocks-unavailable`, with a `reason`, such as `paused`, or `busy` if they would"
    " not start in time), or the database did not answer. No coins were reserved; Retry-After says when to try again."
)
_TOO_MANY = (
    "Too many requests, or too many of your insights are not finished yet (`too-many-open-insights`). No coins were"
    " reserved; Retry-After says when to try again."
)


class CataloguePages(Pages):
    """Pages of the catalogue, in display order."""

    ordering = ("display_order", "id")
    page_size = 100


class CatalogueView(GenericAPIView[Any]):
    """A view whose titles and descriptions are in the language that the client asks for."""

    def get_serializer_context(self) -> dict[str, Any]:
        """Return the context with the language. Raise ValidationError."""
        return {**super().get_serializer_context(), "wording": get_requested_language(self.request)}

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """Return the response with the header Vary."""
        response = super().finalize_response(request, response, *args, **kwargs)
        vary_by_language(response)
        return response


@extend_schema_view(
    get=extend_schema(
        operation_id="list_categories",
        tags=["catalogue"],
        summary="What can be unlocked",
        description="Categories and their insights with their prices in coins. Needs no token.",
        auth=[],
        parameters=[requested_language.PARAMETER],
        responses={200: CategorySerializer(many=True), **problems(422)},
        examples=[example("A category", api_examples.CATEGORY)],
    )
)
class CategoryListView(CatalogueView, ListAPIView[Category]):
    """GET /api/categories: the categories on sale."""

    authentication_classes = []
    permission_classes = [AllowAny]
    serializer_class = CategorySerializer
    pagination_class = CataloguePages

    def get_queryset(self) -> QuerySet[Category]:
        """Return the active categories with their active types prefetched."""
        types = InsightType.objects.filter(active=True).defer("definition").order_by("display_order", "id")
        return Category.objects.filter(active=True).prefetch_related(Prefetch("types", types))


@extend_schema_view(
    get=extend_schema(
        operation_id="list_insight_types",
        tags=["catalogue"],
        summary="The insights of a category",
        description="In display order. Needs no token.",
        auth=[],
        parameters=[requested_language.PARAMETER],
        responses={200: InsightTypeSerializer(many=True), **problems(422, _404="There is no such category.")},
        examples=[example("An insight", api_examples.INSIGHT_TYPE)],
    )
)
class CategoryInsightsView(CatalogueView, ListAPIView[InsightType]):
    """GET /api/categories/{id}/insights: the insight types of a category that are on sale."""

    authentication_classes = []
    permission_classes = [AllowAny]
    serializer_class = InsightTypeSerializer
    pagination_class = CataloguePages
    queryset = InsightType.objects.filter(active=True).defer("definition")

    def get_queryset(self) -> QuerySet[InsightType]:
        """Return the active types of the category. Raise NotFound."""
        category = Category.objects.filter(active=True, pk=self.kwargs["category_id"]).first()
        if category is None:
            raise NotFound("There is no such category. GET /api/categories lists them.")
        return super().get_queryset().filter(category=category)


class DisclosureView(APIView):
    """GET /api/chats/{id}/disclosure: what an unlock would send to a language model."""

    @extend_schema(
        operation_id="disclose_chat",
        tags=["insights"],
        summary="What an unlock would send to a language model",
        description="The exact texts of the chat that an unlock would send now, before you pay: to whom, with which"
        " instructions, and about how many tokens. With an engine that sends nothing, `sends` is false. This request"
        " itself sends and reserves nothing.",
        parameters=[DisclosureQuery],
        responses={200: DisclosureSerializer, **problems(401, 404, 410, 422)},
        examples=[example("A chat that was not read yet", api_examples.DISCLOSURE)],
    )
    def get(self, request: Request, chat_id: UUID) -> Response:
        """Return a page of the disclosure with the URLs of the pages before and after it."""
        # Imports the pydantic models, which takes 0.35 s that no other page needs.
        from insights import disclosure

        chat = get_own_chat(request, chat_id)
        query = DisclosureQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        after, limit = query.validated_data["after"], query.validated_data["limit"]
        found = disclosure.disclose(chat, after=after, limit=limit)

        def page_url(start: int) -> str:
            url = replace_query_param(request.build_absolute_uri(), "after", start)
            return replace_query_param(url, "limit", limit)

        next_url = page_url(after + limit) if after + limit < (found.texts or 0) else None
        previous_url = page_url(max(0, after - limit)) if after else None
        values = {field.name: getattr(found, field.name) for field in fields(found)}
        answer = DisclosureSerializer({**values, "next": next_url, "previous": previous_url}).data
        return Response(answer)


class QuoteView(APIView):
    """POST /api/insights/quote: the price of an unlock."""

    @extend_schema(
        operation_id="quote_insights",
        tags=["insights"],
        summary="What an unlock would cost",
        description="Takes the same body as an unlock. Returns the price of each insight, which of them exist already,"
        " which do not fit this chat and why, and whether you have enough coins. A failed insight costs its own part"
        " again, or the price of its type if that is lower. No coins are reserved. An unlock is priced by the same"
        " rules: it costs what was quoted until the prices, the chat's insights or your coins change.",
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
        """Return the quote."""
        arguments = _unlock_arguments(request)
        quoted = unlocking.quote(**arguments)
        wording = get_language(arguments["language"])
        plan, wallet = quoted.plan, quoted.wallet
        answer = {
            "chat_id": plan.eligibility.chat.pk,
            "category_id": plan.category.pk,
            "coins": plan.coins,
            "balance": wallet.balance,
            "spendable": wallet.spendable,
            "deficit": quoted.deficit,
            "can_unlock": quoted.can_unlock,
            "unavailable": quoted.unavailability,
            "possible": [insight_type.pk for insight_type in plan.price_by_type],
            "insights": [_quote_insight(plan, insight_type, wording) for insight_type in plan.types],
        }
        return Response(QuoteSerializer(answer).data)


def _unlock_arguments(request: Request) -> dict[str, Any]:
    """Return the arguments of `unlocking.quote` and `unlocking.unlock`. Raise NotFound or a ValidationError."""
    serializer = UnlockSerializer(data=parse_body(request))
    serializer.is_valid(raise_exception=True)
    values = serializer.validated_data
    return {
        "user": authenticated_user(request),
        "chat": get_own_chat(request, values["chat_id"]),
        "category_id": values.get("category_id"),
        "type_ids": values.get("insight_type_ids", ()),
        "language": values["language"],
    }


def _quote_insight(plan: unlocking.Plan, insight_type: InsightType, wording: Language) -> dict[str, Any]:
    existing = plan.existing.get(insight_type.pk)
    insight = existing or plan.failed.get(insight_type.pk)
    return {
        "insight_type_id": insight_type.pk,
        "title": wording.translate(insight_type.title),
        "price": plan.single_price(insight_type),
        "coins": plan.price_by_type.get(insight_type, 0),
        "state": plan.state_of(insight_type),
        "insight_id": insight and insight.pk,
        # A failed insight is written in the language of the next unlock.
        "language": existing and existing.language,
        "why_not": plan.eligibility.reason_against(insight_type),
    }


_UNLOCK_LIMITS = {"POST": (Limit("unlocks", "UNLOCKS_PER_MINUTE"), Limit("unlocks", "UNLOCKS_PER_HOUR", 3600))}


class UnlockView(APIView):
    """POST /api/insights/unlock."""

    limits: ClassVar = _UNLOCK_LIMITS

    @extend_schema(
        operation_id="unlock_insights",
        tags=["insights"],
        summary="Unlock insights of a chat",
        description="Reserves the coins, starts a job and answers at once: 202 if a job was created, 200 if every"
        " requested insight exists or is running, which costs nothing. Only delivered insights are charged; the other"
        " coins are released when the job ends. `poll_url` returns the progress.",
        parameters=idempotency.PARAMETERS,
        request=UnlockSerializer,
        responses={
            200: UnlockedSerializer,
            202: UnlockedSerializer,
            **problems(
                400,
                401,
                402,
                410,
                411,
                413,
                415,
                _404="There is no such chat of yours, no such category, or no such insight type.",
                _409=idempotency.STILL_RUNNING,
                _422="A value is missing or not valid, or the chat does not fit the requested insights: then"
                " `too_few_people`, `too_few_messages`, `too_many_people` and `possible` list insight types. No coins"
                " were reserved.",
                _429=_TOO_MANY,
                _503=_UNAVAILABLE,
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
        """Unlock, and return the job."""
        arguments = _unlock_arguments(request)
        with unlocking.record_refusal():
            unlocked = unlocking.unlock(**arguments)
        return _unlock_response(unlocked, language=arguments["language"])


class RetryView(APIView):
    """POST /api/insights/{id}/retry."""

    limits: ClassVar = _UNLOCK_LIMITS

    @extend_schema(
        operation_id="retry_insight",
        tags=["insights"],
        summary="Retry a failed insight",
        description="Creates a new job. The price is what the insight cost before, or the price of its type if that is"
        " lower now. Answers 200 if the insight was unlocked again since.",
        parameters=idempotency.PARAMETERS,
        request=None,
        responses={
            200: UnlockedSerializer,
            202: UnlockedSerializer,
            **problems(
                401,
                402,
                404,
                410,
                422,
                _409="The insight has not failed, its chat was deleted, or an earlier request with the same"
                " Idempotency-Key is still being processed.",
                _429=_TOO_MANY,
                _503=_UNAVAILABLE,
            ),
        },
        examples=[
            example("Being written", {**api_examples.UNLOCKED, **api_examples.RETRIED}, status=202),
            example("Unlocked since", {**api_examples.UNLOCKED, **api_examples.UNLOCKED_BEFORE}),
        ],
    )
    @idempotent(atomic=True)
    def post(self, request: Request, insight_id: UUID) -> Response:
        """Retry, and return the job."""
        insight = Insight.objects.owned_by(request.user).filter(pk=insight_id).select_related("job", "chat").first()
        if insight is None:
            raise NotFound("You have no insight with this id.")
        with unlocking.record_refusal():
            unlocked = unlocking.retry(insight)
        return _unlock_response(unlocked, language=insight.language)


def _unlock_response(unlocked: unlocking.UnlockResult, *, language: str) -> Response:
    if unlocked.created:
        message = f"{unlocked.coins} coins are held. Only insights that are delivered will be charged."
    elif any(insight.is_open for insight in unlocked.insights):
        message = "This is being written already. Nothing was held."
    else:
        message = "This is unlocked already. Nothing was held."
    others = dict.fromkeys(each.language for each in unlocked.insights if each.language != language)
    if others:
        names = " and ".join(f"{get_language(code).name} ({code})" for code in others)
        message += f" It is in {names}, and stays in the language that it was unlocked in."
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
        "message": message,
    }
    headers = {"Location": poll_url}
    if unlocked.job.is_open:
        headers["Retry-After"] = str(POLL_SECONDS)
    return Response(answer, status=202 if unlocked.created else 200, headers=headers)


class JobStatusView(APIView):
    """GET /api/insights/jobs/{id}/status."""

    @extend_schema(
        operation_id="get_job_status",
        tags=["insights"],
        summary="The progress of a job",
        description="Includes the state of each insight. While the job is open, poll again after the seconds in"
        " Retry-After. Supports ETag and If-None-Match.",
        responses={200: JobSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("Half done", api_examples.JOB)],
    )
    def get(self, request: Request, job_id: UUID) -> HttpResponseBase:
        """Return the job, or 304 if nothing changed."""
        # Insights are read after the job. The other way round, a job that finishes in between would show open insights.
        insights = Prefetch("insights", _in_display_order(Insight.objects.defer("sealed_document")))
        jobs = GenerationJob.objects.filter(user=authenticated_user(request), pk=job_id).order_by()
        job = next(iter(jobs.prefetch_related(insights)), None)
        if job is None:
            raise NotFound("You have no job with this id.")
        version = (job.pk, job.chat_id, job.status, job.completed_insights, job.failed_insights, job.started_at)
        response = conditional_response(
            request,
            *version,
            *_versions(job.insights.all()),
            answer=lambda: Response(represent(JobSerializer, job)),
        )
        if job.is_open:
            response["Retry-After"] = str(POLL_SECONDS)
        return response


class ChatInsightsView(APIView):
    """GET /api/insights/chats/{id}."""

    @extend_schema(
        operation_id="list_insights_of_chat",
        tags=["insights"],
        summary="All insights of a chat",
        description="Completed insights include their document. If an insight was retried, only the latest attempt is"
        " listed. Every quoted message is in the chat under its number. Supports ETag and If-None-Match.",
        responses={200: ChatInsightsSerializer, **UNCHANGED, **problems(401, 404)},
        examples=[example("One insight", api_examples.INSIGHTS)],
    )
    def get(self, request: Request, chat_id: UUID) -> HttpResponseBase:
        """Return the insights, or 304 if nothing changed."""
        chat = get_own_chat(request, chat_id)

        def answer() -> Response:
            insights = _latest_by_type(_in_display_order(Insight.objects.filter(chat=chat)))
            for insight in insights:
                # The chat that is loaded already holds the key; each insight would load and unwrap it again.
                insight.chat = chat
            return Response(ChatInsightsSerializer({"chat_id": chat.pk, "insights": insights}).data)

        # The ETag comes from columns alone. Documents are read and decrypted only if the client's copy is outdated.
        insights = _latest_by_type(_in_display_order(Insight.objects.filter(chat=chat).defer("sealed_document")))
        return conditional_response(request, chat.pk, chat.line_count, *_versions(insights), answer=answer)


def _in_display_order(insights: QuerySet[Insight]) -> QuerySet[Insight]:
    # A definition is a large document that no response contains.
    with_types = insights.select_related("insight_type").defer("insight_type__definition")
    return with_types.order_by("insight_type__display_order", "insight_type", "created_at")


def _latest_by_type(insights: Iterable[Insight]) -> list[Insight]:
    # Ordered by creation within a type: a later insight replaces the failed ones before it.
    return list({insight.insight_type_id: insight for insight in insights}.values())


def _versions(insights: Iterable[Insight]) -> list[object]:
    """Return everything that a response shows of the insights and that can change, for the ETag."""
    return [
        (
            insight.pk,
            insight.insight_type.title,
            insight.insight_type.icon,
            insight.status,
            insight.attempt,
            insight.error_code,
            insight.started_at,
            insight.finished_at,
        )
        for insight in insights
    ]
