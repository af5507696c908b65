"""The catalogue, jobs and insights as the API shows them. Nothing here is logged."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from insights.document_field import DocumentField
from insights.models import Category, GenerationJob, Insight, InsightType
from relivchats.rest import ClosedSerializer, IdField

TYPES_LIMIT = 50


class InsightTypeSerializer(serializers.ModelSerializer[InsightType]):
    description = serializers.CharField(source="purpose", read_only=True)

    class Meta:
        model = InsightType
        fields = ("id", "category_id", "title", "icon", "description", "price", "groups", "min_messages")
        read_only_fields = fields
        extra_kwargs = {"groups": {"help_text": "Fits chats of more than two people."}}


class CategorySerializer(serializers.ModelSerializer[Category]):
    insight_types = serializers.SerializerMethodField(help_text="What it holds, in display order.")

    class Meta:
        model = Category
        fields = ("id", "title", "description", "icon", "price", "insight_types")
        read_only_fields = fields

    @extend_schema_field(InsightTypeSerializer(many=True))
    def get_insight_types(self, category: Category) -> Any:
        return InsightTypeSerializer(category.types.all(), many=True).data


class UnlockSerializer(ClosedSerializer):
    """What to unlock, for which chat."""

    chat_id = IdField()
    category_id = serializers.SlugField(
        required=False, max_length=64, help_text="All insights of this category, or the home of the types you name."
    )
    insight_type_ids = serializers.ListField(
        child=serializers.SlugField(max_length=64),
        required=False,
        max_length=TYPES_LIMIT,
        help_text="Only these insights. They are of one category.",
    )
    language = serializers.RegexField(
        r"^[a-z]{2,3}(-[A-Z]{2})?$",
        default="en",
        max_length=6,
        help_text="Wanted for the findings; the document's `language` says what they became.",
    )


class InsightStateSerializer(serializers.ModelSerializer[Insight]):
    """An insight on its way, without what it says."""

    insight_type_id = serializers.CharField(read_only=True)
    title = serializers.CharField(source="insight_type.title", read_only=True)

    class Meta:
        model = Insight
        fields: tuple[str, ...] = (
            "id",
            "insight_type_id",
            "title",
            "status",
            "price",
            "attempt",
            "error_code",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "price": {"help_text": "Its part of the coins: charged when it is completed, given back when it failed."},
            "error_code": {"help_text": "Why it failed, or why it is being tried again."},
        }


class QuotedInsightSerializer(serializers.Serializer[Any]):
    insight_type_id = serializers.CharField()
    title = serializers.CharField()
    price = serializers.IntegerField(help_text="What it costs alone. If it failed, what trying it again costs.")
    coins = serializers.IntegerField(help_text="Its part of the quote: 0 when it exists or does not fit.")
    state = serializers.ChoiceField(
        ("available", "failed", "running", "owned", "does_not_fit"),
        help_text="`running` and `owned` cost nothing; `failed` was given back and can be tried again;"
        " `does_not_fit` cannot be unlocked for this chat.",
    )
    insight_id = serializers.UUIDField(
        allow_null=True,
        help_text="Of the insight that exists, or of the try that failed, for `POST /api/insights/{id}/retry`.",
    )
    why_not = serializers.CharField(help_text="Why it does not fit; empty when it does.")


class QuoteSerializer(serializers.Serializer[Any]):
    chat_id = serializers.UUIDField()
    category_id = serializers.CharField()
    coins = serializers.IntegerField(help_text="What would be held for everything that is missing and fits.")
    balance = serializers.IntegerField(help_text="Coins that you own.")
    spendable = serializers.IntegerField(help_text="Those of them that are free to spend.")
    deficit = serializers.IntegerField(help_text="How many more you need; 0 when you have enough.")
    can_unlock = serializers.BooleanField(help_text="Whether an unlock of exactly this would be accepted now.")
    possible = serializers.ListField(
        child=serializers.CharField(), help_text="Ask for these `insight_type_ids` and `coins` is what they cost."
    )
    insights = QuotedInsightSerializer(many=True)


class UnlockedSerializer(serializers.Serializer[Any]):
    success = serializers.BooleanField()
    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(GenerationJob.Status.choices)
    coins_reserved = serializers.IntegerField(help_text="Held by this request: 0 when everything exists or is running.")
    spendable = serializers.IntegerField(help_text="Coins that are left to spend.")
    total_insights = serializers.IntegerField()
    insights = InsightStateSerializer(many=True)
    poll_url = serializers.CharField(help_text="Ask here how the job is doing.")
    message = serializers.CharField()


class JobSerializer(serializers.ModelSerializer[GenerationJob]):
    chat_id = serializers.UUIDField(read_only=True, allow_null=True, help_text="Null when the chat was deleted.")
    category_id = serializers.CharField(read_only=True)
    progress_percentage = serializers.SerializerMethodField(help_text="Insights that are finished, well or not.")
    insights = serializers.SerializerMethodField(help_text="In display order.")

    class Meta:
        model = GenerationJob
        fields = (
            "job_id",
            "chat_id",
            "category_id",
            "status",
            "progress_percentage",
            "total_insights",
            "completed_insights",
            "failed_insights",
            "created_at",
            "started_at",
            "deadline_at",
            "finished_at",
            "insights",
        )
        read_only_fields = fields
        extra_kwargs = {"deadline_at": {"help_text": "What is not finished by then fails, and its coins return."}}

    def get_progress_percentage(self, job: GenerationJob) -> int:
        finished = sum(not insight.is_open for insight in self._insights())
        return 100 * finished // job.total_insights

    @extend_schema_field(InsightStateSerializer(many=True))
    def get_insights(self, job: GenerationJob) -> Any:
        return InsightStateSerializer(self._insights(), many=True).data

    def _insights(self) -> Sequence[Insight]:
        found: Sequence[Insight] = self.context["insights"]
        return found


class InsightSerializer(InsightStateSerializer):
    job_id = serializers.UUIDField(read_only=True)
    category_id = serializers.CharField(source="insight_type.category_id", read_only=True)
    icon = serializers.CharField(source="insight_type.icon", read_only=True)
    is_outdated = serializers.BooleanField(
        read_only=True, help_text="Messages were added to the chat after this was written; it knows nothing of them."
    )
    document = DocumentField(help_text="The insight itself; null until it is completed.")

    class Meta(InsightStateSerializer.Meta):
        fields = (
            "id",
            "job_id",
            "category_id",
            "insight_type_id",
            "title",
            "icon",
            "status",
            "price",
            "attempt",
            "error_code",
            "language",
            "created_at",
            "started_at",
            "finished_at",
            "up_to_message",
            "is_outdated",
            "document",
        )
        read_only_fields = fields
        extra_kwargs = {
            **InsightStateSerializer.Meta.extra_kwargs,
            "up_to_message": {"help_text": "The last message number that it knows; null until it is completed."},
        }


class ChatInsightsSerializer(serializers.Serializer[Any]):
    chat_id = serializers.UUIDField()
    insights = InsightSerializer(many=True)
