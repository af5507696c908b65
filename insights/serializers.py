"""Serializers of the catalogue, quotes, unlocks, jobs and insights. Nothing here is logged."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from insights.document_field import DocumentField
from insights.models import Category, GenerationJob, Insight, InsightType
from insights.requested_language import WrittenLanguageField
from insights.translation import Language, get_language
from relivchats.rest import ClosedSerializer, IdField, represent

TYPES_LIMIT = 50
_PRICE_HELP = "Coins, with the engine of this server."


class InsightTypeSerializer(serializers.ModelSerializer[InsightType]):
    """An insight type of the catalogue, with its price in coins."""

    title = serializers.SerializerMethodField()
    description = serializers.SerializerMethodField()
    price = serializers.IntegerField(source="current_price", read_only=True, help_text=_PRICE_HELP)

    class Meta:
        model = InsightType
        fields = ("id", "category_id", "title", "icon", "description", "price", "groups", "min_messages")
        read_only_fields = fields
        extra_kwargs = {"groups": {"help_text": "Available for chats of more than two people."}}

    def get_title(self, insight_type: InsightType) -> str:
        """Return the title in the language of the response."""
        return _get_wording(self).translate(insight_type.title)

    def get_description(self, insight_type: InsightType) -> str:
        """Return the purpose in the language of the response."""
        return _get_wording(self).translate(insight_type.purpose)


class CategorySerializer(serializers.ModelSerializer[Category]):
    """A category of the catalogue and its insight types."""

    title = serializers.SerializerMethodField()
    description = serializers.SerializerMethodField()
    price = serializers.IntegerField(source="current_price", read_only=True, help_text=_PRICE_HELP)
    insight_types = serializers.SerializerMethodField(help_text="The insight types of the category, in display order.")

    class Meta:
        model = Category
        fields = ("id", "title", "description", "icon", "price", "insight_types")
        read_only_fields = fields

    def get_title(self, category: Category) -> str:
        """Return the title in the language of the response."""
        return _get_wording(self).translate(category.title)

    def get_description(self, category: Category) -> str:
        """Return the description in the language of the response."""
        return _get_wording(self).translate(category.description)

    @extend_schema_field(InsightTypeSerializer(many=True))
    def get_insight_types(self, category: Category) -> Any:
        """Return the serialized insight types, which the view has prefetched."""
        return InsightTypeSerializer(category.types.all(), many=True, context=self.context).data


def _get_wording(serializer: serializers.BaseSerializer[Any]) -> Language:
    """Return the language that the view put into the context."""
    wording: Language = serializer.context["wording"]
    return wording


class UnlockSerializer(ClosedSerializer):
    """What to unlock, and for which chat."""

    chat_id = IdField()
    category_id = serializers.SlugField(
        required=False,
        max_length=64,
        help_text="All insights of this category; or, with `insight_type_ids`, the category that they belong to.",
    )
    insight_type_ids = serializers.ListField(
        child=serializers.SlugField(max_length=64),
        required=False,
        max_length=TYPES_LIMIT,
        help_text="Only these insights. They must belong to one category.",
    )
    language = WrittenLanguageField(
        help_text="The language of the documents: `en`, `hi`, `es`, `pt` or `de`; `pt-BR` is `pt`. What was unlocked"
        " before stays in its language."
    )


class InsightStateSerializer(serializers.ModelSerializer[Insight]):
    """An insight's progress, without its document."""

    insight_type_id = serializers.CharField(read_only=True)
    title = serializers.SerializerMethodField(help_text="In the language of the insight.")

    class Meta:
        model = Insight
        fields: tuple[str, ...] = (
            "id",
            "insight_type_id",
            "title",
            "language",
            "status",
            "price",
            "voided",
            "attempt",
            "error_code",
            "started_at",
            "finished_at",
        )
        read_only_fields = fields
        extra_kwargs = {
            "language": {"help_text": "The language of its unlock, in which it stays."},
            "price": {
                "help_text": "Its part of the coins: charged when it is completed, released if it fails or is voided."
            },
            "voided": {
                "help_text": "Whether it was not charged: it has no rating, or withholds ratings next to a danger."
            },
            "error_code": {"help_text": "Why it failed, or why it is being retried."},
        }

    def get_title(self, insight: Insight) -> str:
        """Return the title of the type in the insight's language."""
        return get_language(insight.language).translate(insight.insight_type.title)


class QuotedInsightSerializer(serializers.Serializer[Any]):
    """The price and state of one insight type for one chat."""

    insight_type_id = serializers.CharField()
    title = serializers.CharField()
    price = serializers.IntegerField(help_text="Its price alone, in coins. If it failed, the price of a retry.")
    coins = serializers.IntegerField(help_text="Its part of the quote: 0 if it exists or does not fit this chat.")
    state = serializers.ChoiceField(
        ("available", "failed", "running", "owned", "does_not_fit"),
        help_text="`running` and `owned` cost nothing; the coins of `failed` were released, and it can be retried;"
        " `does_not_fit` cannot be unlocked for this chat.",
    )
    insight_id = serializers.UUIDField(
        allow_null=True,
        help_text="The id of the existing or failed insight, for `POST /api/insights/{id}/retry`.",
    )
    language = serializers.CharField(
        allow_null=True,
        help_text="The language that the existing insight is in, whatever you ask for; null if none exists.",
    )
    why_not = serializers.CharField(help_text="Why it does not fit this chat; empty if it does.")


class UnavailabilitySerializer(serializers.Serializer[Any]):
    """Why insights cannot be unlocked now."""

    reason = serializers.CharField(
        help_text="`paused`; `busy` or `not_started` if an insight would not start in time; `too_many_open` if too many"
        " of yours are not finished; or the error code of the engine, such as `quota_exhausted`."
    )
    detail = serializers.CharField(help_text="A sentence to show.")
    retry_after_seconds = serializers.IntegerField()


class QuoteSerializer(serializers.Serializer[Any]):
    """What an unlock would cost, in coins."""

    chat_id = serializers.UUIDField()
    category_id = serializers.CharField()
    coins = serializers.IntegerField(help_text="Coins that an unlock of `possible` reserves.")
    balance = serializers.IntegerField(help_text="Coins that you own.")
    spendable = serializers.IntegerField(help_text="Your coins that are not reserved.")
    deficit = serializers.IntegerField(help_text="Coins that you lack; 0 if you have enough.")
    can_unlock = serializers.BooleanField(help_text="Whether an unlock of exactly this request would be accepted now.")
    possible = serializers.ListField(
        child=serializers.CharField(), help_text="The `insight_type_ids` that can be unlocked for `coins`."
    )
    unavailable = UnavailabilitySerializer(
        allow_null=True,
        help_text="Why no unlock is accepted now; null if it is. Then an unlock is a 503, or a 429 if the reason is"
        " `too_many_open`.",
    )
    insights = QuotedInsightSerializer(many=True)


class UnlockedSerializer(serializers.Serializer[Any]):
    """The job that an unlock or retry created, or the one that exists."""

    success = serializers.BooleanField()
    job_id = serializers.UUIDField()
    status = serializers.ChoiceField(GenerationJob.Status.choices)
    coins_reserved = serializers.IntegerField(
        help_text="Coins reserved by this request: 0 if everything exists or is running."
    )
    spendable = serializers.IntegerField(help_text="Your remaining coins that are not reserved.")
    total_insights = serializers.IntegerField()
    insights = InsightStateSerializer(many=True)
    poll_url = serializers.CharField(help_text="The address of the job's status.")
    message = serializers.CharField()


class JobSerializer(serializers.ModelSerializer[GenerationJob]):
    """A job's progress and its insights, which the view prefetches in display order and without their documents."""

    chat_id = serializers.UUIDField(read_only=True, allow_null=True, help_text="Null if the chat was deleted.")
    category_id = serializers.CharField(read_only=True)
    progress_percentage = serializers.SerializerMethodField(
        help_text="The percentage of insights that are completed or failed."
    )
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
        extra_kwargs = {
            "deadline_at": {
                "help_text": "Insights that are not finished by then fail, and their coins are released. It moves once"
                " work on the job starts, so that waiting takes no time from it."
            }
        }

    def get_progress_percentage(self, job: GenerationJob) -> int:
        """Return the percentage of insights that are completed or failed, from 0 to 100."""
        finished = sum(not insight.is_open for insight in job.insights.all())
        return 100 * finished // job.total_insights

    @extend_schema_field(InsightStateSerializer(many=True))
    def get_insights(self, job: GenerationJob) -> Any:
        """Return the serialized insights, without documents."""
        return [represent(InsightStateSerializer, insight) for insight in job.insights.all()]


class InsightSerializer(InsightStateSerializer):
    """An insight with its document."""

    job_id = serializers.UUIDField(read_only=True)
    category_id = serializers.CharField(source="insight_type.category_id", read_only=True)
    icon = serializers.CharField(source="insight_type.icon", read_only=True)
    is_outdated = serializers.BooleanField(
        read_only=True,
        help_text="Whether messages were added to the chat after this was generated. They are not part of it.",
    )
    document = DocumentField(help_text="The insight's content; null until it is completed.")

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
            "voided",
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
            "up_to_message": {
                "help_text": "The chat's last message number when it was generated; null until it is completed."
            },
        }


class ChatInsightsSerializer(serializers.Serializer[Any]):
    """The insights of one chat."""

    chat_id = serializers.UUIDField()
    insights = InsightSerializer(many=True)


class DisclosureQuery(ClosedSerializer):
    """The query parameters of a page of a disclosure."""

    after = serializers.IntegerField(
        default=0, min_value=0, max_value=1_000_000, help_text="The page starts after the text with this number."
    )
    limit = serializers.IntegerField(default=5, min_value=1, max_value=20, help_text="The number of texts per page.")


class DisclosedTextSerializer(serializers.Serializer[Any]):
    """A text that would be sent, exactly as it would be sent."""

    number = serializers.IntegerField(help_text="Its place among all texts, from 1.")
    first_message = serializers.IntegerField()
    last_message = serializers.IntegerField()
    messages = serializers.IntegerField(help_text="The messages in it: those with text.")
    tokens = serializers.IntegerField(help_text="An estimate, with the instructions.")
    text = serializers.CharField()


class DisclosureSerializer(serializers.Serializer[Any]):
    """What an unlock would send to a language model, with a page of the texts."""

    engine = serializers.CharField()
    sends = serializers.BooleanField(help_text="Whether anything leaves this server.")
    host = serializers.CharField(help_text="Where it is sent; empty if nothing is.")
    reading_model = serializers.CharField()
    writing_model = serializers.CharField()
    pseudonyms = serializers.BooleanField(help_text="Whether names and contact details are replaced.")
    texts = serializers.IntegerField(allow_null=True, help_text="The number of texts; null if it is not known yet.")
    tokens = serializers.IntegerField(help_text="An estimate of all texts, without the insights themselves.")
    note = serializers.CharField(help_text="What else is sent, and when.")
    instructions = serializers.CharField(help_text="What is sent before each text.")
    next = serializers.URLField(allow_null=True)
    previous = serializers.URLField(allow_null=True)
    results = DisclosedTextSerializer(many=True, source="page")
