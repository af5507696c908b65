"""Admin pages of jobs, insights and the catalogue. They never show the text of an insight."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import ValidationError
from django.db.models import Aggregate, Count, F, OuterRef, QuerySet, Subquery, Sum
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing.models import CoinReservation
from chats.models import Chat
from insights import operations, pauses, stuck
from insights.models import (
    Category,
    ChatReading,
    GenerationJob,
    Insight,
    InsightAttempt,
    InsightType,
    InsightTypeVersion,
    ReadWindow,
    UnlockPause,
)
from insights.prompt_admin import link_prompts
from insights.question_models import ChatQuestion
from relivchats.accounts.models import User
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import EditedAdmin, StaffAdmin, label, link
from relivchats.staff.bulk_actions import ActionContext


class StuckJobFilter(admin.SimpleListFilter):
    """Show only open or stuck jobs."""

    title = "open or stuck"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices; the dashboard links to them by value."""
        return [("yes", "stuck"), ("open", "open")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[GenerationJob]) -> QuerySet[GenerationJob]:
        """Return the jobs of the chosen kind."""
        if self.value() == "yes":
            return queryset.filter(pk__in=stuck.stuck_jobs().values("pk"))
        if self.value() == "open":
            return queryset.filter(status__in=GenerationJob.OPEN)
        return queryset


class StuckInsightFilter(admin.SimpleListFilter):
    """Show only open, stuck or failed insights."""

    title = "open or stuck"
    parameter_name = "stuck"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the choices; the dashboard links to them by value."""
        return [("yes", "stuck in generating"), ("failed", "failed, not retried"), ("open", "open")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Insight]) -> QuerySet[Insight]:
        """Return the insights of the chosen kind."""
        if self.value() == "yes":
            return queryset.filter(pk__in=stuck.stuck_insights().values("pk"))
        if self.value() == "failed":
            return queryset.filter(pk__in=stuck.failed_insights().values("pk"))
        if self.value() == "open":
            return queryset.filter(status__in=Insight.OPEN)
        return queryset


@admin.register(GenerationJob)
class GenerationJobAdmin(StaffAdmin):
    """Jobs: their progress and what they wait for, with an action that recovers them."""

    bulk_actions = (
        BulkAction(
            name="recover",
            title="Recover",
            consequence="Expired leases are freed. A job past its deadline ends: the coins of its completed insights"
            " are captured, the rest is released.",
            run=operations.recover_jobs,
        ),
    )
    list_display = ("job_id", "state", "progress", "waiting_for", "category_id", "chat_link", "age")
    list_filter = (StuckJobFilter, "status", "category")
    ordering = ("-created_at",)
    search_ids = ("pk", "chat_id", "user_id", "reservation_id")
    fields = (
        ("job_id", "category_id"),
        ("state", "waiting_for"),
        ("progress", "completed_insights", "failed_insights"),
        ("chat_link", "user_link", "reservation_link"),
        ("created_at", "started_at", "deadline_at", "finished_at"),
    )
    readonly_fields = (
        "job_id",
        "category_id",
        "state",
        "waiting_for",
        "progress",
        "chat_link",
        "user_link",
        "reservation_link",
        "created_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[GenerationJob]:
        """Return the jobs, annotated for the column `waiting_for`."""
        return stuck.annotate_jobs(super().get_queryset(request))

    @label("status")
    def state(self, job: GenerationJob) -> str:
        """Return the status, shown as a coloured label."""
        return job.status

    @admin.display(description="done")
    def progress(self, job: GenerationJob) -> str:
        """Return the finished insights, such as `2 of 6`."""
        return f"{job.completed_insights + job.failed_insights} of {job.total_insights}"

    @admin.display(description="waiting for")
    def waiting_for(self, job: GenerationJob) -> str:
        """Return what the job is waiting for; empty if it is finished."""
        return stuck.describe_job(job)

    @admin.display(description="chat")
    def chat_link(self, job: GenerationJob) -> SafeString | str:
        """Return a link to the chat, or a dash if it was deleted."""
        return link(Chat, job.chat_id)

    @admin.display(description="user")
    def user_link(self, job: GenerationJob) -> SafeString | str:
        """Return a link to the user, or a dash if the account was erased."""
        return link(User, job.user_id)

    @admin.display(description="reservation")
    def reservation_link(self, job: GenerationJob) -> SafeString | str:
        """Return a link to the reservation that pays for the job."""
        return link(CoinReservation, job.reservation_id)


@admin.register(Insight)
class InsightAdmin(StaffAdmin):
    """Insights: their state and cause of failure, with an action that retries failed ones."""

    bulk_actions = (
        BulkAction(
            name="retry",
            title="Retry",
            consequence="Each failed insight starts again in a new job, and its own price is reserved in its owner's"
            " wallet.",
            run=operations.retry_insights,
        ),
    )
    list_display = ("id", "insight_type_id", "state", "waiting_for", "attempt", "cause", "job_link", "age")
    list_filter = (StuckInsightFilter, "status", "insight_type")
    ordering = ("-created_at",)
    search_ids = ("pk", "job_id", "chat_id")
    fields = (
        ("id", "insight_type_id", "language"),
        ("state", "waiting_for"),
        ("job_link", "chat_link"),
        ("price", "attempt"),
        ("type_version_link", "prompts_link"),
        ("created_at", "started_at", "finished_at"),
        ("next_attempt_at", "dispatched_at", "lease_expires_at"),
        ("error_code", "error_message"),
    )
    readonly_fields = (
        "type_version_link",
        "prompts_link",
        "id",
        "insight_type_id",
        "state",
        "waiting_for",
        "job_link",
        "chat_link",
        "created_at",
        "started_at",
        "finished_at",
        "dispatched_at",
        "lease_expires_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Insight]:
        """Return the insights, annotated for the column `waiting_for`."""
        return stuck.annotate_insights(super().get_queryset(request))

    @label("status")
    def state(self, insight: Insight) -> str:
        """Return the status, shown as a coloured label."""
        return insight.status

    @admin.display(description="waiting for")
    def waiting_for(self, insight: Insight) -> str:
        """Return what the insight is waiting for; empty if it is finished."""
        return stuck.describe_insight(insight)

    @admin.display(description="cause")
    def cause(self, insight: Insight) -> str:
        """Return the error code of the failure or of the last attempt."""
        return insight.error_code

    @admin.display(description="job")
    def job_link(self, insight: Insight) -> SafeString | str:
        """Return a link to the job that the insight belongs to."""
        return link(GenerationJob, insight.job_id)

    @admin.display(description="chat")
    def chat_link(self, insight: Insight) -> SafeString | str:
        """Return a link to the chat, or a dash if it was deleted."""
        return link(Chat, insight.chat_id)

    @admin.display(description="definition")
    def type_version_link(self, insight: Insight) -> SafeString | str:
        """Return a link to the version of the definition that it is generated with."""
        return link(InsightTypeVersion, insight.type_version_id)

    @admin.display(description="prompts")
    def prompts_link(self, insight: Insight) -> SafeString | str:
        """Return a link to the prompts of the last attempt, or a dash if no model was called."""
        versions = insight.attempts.order_by("-number", "-pk").values_list("prompt_version", flat=True)
        return link_prompts(versions.first() or "")


@admin.register(InsightAttempt)
class InsightAttemptAdmin(StaffAdmin):
    """The attempts at generating insights: engine, cost and outcome."""

    list_display = ("id", "insight_link", "number", "outcome", "error_code", "engine", "model", "milliseconds", "age")
    list_filter = ("outcome",)
    ordering = ("-created_at",)
    search_ids = ("pk", "insight_id")
    fields = (
        ("id", "insight_link", "number"),
        ("outcome", "error_code"),
        ("engine", "model", "prompts_link"),
        ("tokens_in", "tokens_out", "milliseconds"),
        "created_at",
    )
    readonly_fields = ("id", "insight_link", "prompts_link", "created_at")

    @admin.display(description="insight")
    def insight_link(self, attempt: InsightAttempt) -> SafeString | str:
        """Return a link to the insight that was attempted."""
        return link(Insight, attempt.insight_id)

    @admin.display(description="prompts")
    def prompts_link(self, attempt: InsightAttempt) -> SafeString | str:
        """Return a link to the prompts that it was written with, or a dash if no model was called."""
        return link_prompts(attempt.prompt_version)


@admin.register(ChatReading)
class ChatReadingAdmin(StaffAdmin):
    """The readings of chats: their state and cost, with an action that reads a chat again. They show no text."""

    bulk_actions = (
        BulkAction(
            name="read_again",
            title="Read again",
            consequence="What was read is deleted. The chat is read again from the start, at the provider's price, as"
            " soon as an insight waits for it.",
            run=operations.read_again,
        ),
    )
    list_display = ("id", "chat_link", "state", "progress", "failed_windows", "tokens", "attempt", "error_code", "age")
    list_filter = ("status", "engine")
    ordering = ("-created_at",)
    search_ids = ("pk", "chat_id")
    fields = (
        ("id", "chat_link", "state"),
        ("engine", "model", "version"),
        ("progress", "failed_windows", "tokens"),
        ("up_to_message", "attempt", "error_code"),
        ("created_at", "started_at", "finished_at"),
        ("next_attempt_at", "dispatched_at", "lease_expires_at"),
    )
    readonly_fields = (
        "id",
        "chat_link",
        "state",
        "progress",
        "failed_windows",
        "tokens",
        "up_to_message",
        "created_at",
        "started_at",
        "finished_at",
        "dispatched_at",
        "lease_expires_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[ChatReading]:
        """Return the readings with the counts of their windows."""

        def windows(expression: Aggregate, **conditions: Any) -> Coalesce:
            rows = ReadWindow.objects.filter(reading=OuterRef("pk"), **conditions).order_by().values("reading")
            return Coalesce(Subquery(rows.annotate(value=expression).values("value")), 0)

        readings: QuerySet[ChatReading] = super().get_queryset(request)
        return readings.annotate(
            n_windows=windows(Count("pk")),
            n_read=windows(Count("pk"), status=ReadWindow.Status.READ),
            n_failed=windows(Count("pk"), status=ReadWindow.Status.FAILED),
            n_tokens=windows(Sum(F("tokens_in") + F("tokens_out"))),
        ).defer("sealed_totals", "sealed_summary")

    @label("status")
    def state(self, reading: ChatReading) -> str:
        """Return the status, shown as a coloured label."""
        return reading.status

    @admin.display(description="windows read")
    def progress(self, reading: ChatReading) -> str:
        """Return the windows that were read, such as `12 of 40`."""
        return f"{vars(reading)['n_read']} of {vars(reading)['n_windows']}"

    @admin.display(description="failed")
    def failed_windows(self, reading: ChatReading) -> int:
        """Return the number of windows that could not be read."""
        number: int = vars(reading)["n_failed"]
        return number

    @admin.display(description="tokens")
    def tokens(self, reading: ChatReading) -> str:
        """Return the tokens that the provider counted, in and out."""
        return f"{vars(reading)['n_tokens']:,}"

    @admin.display(description="chat")
    def chat_link(self, reading: ChatReading) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, reading.chat_id)


@admin.register(ReadWindow)
class ReadWindowAdmin(StaffAdmin):
    """The windows of readings: numbers only."""

    list_display = (
        "id",
        "reading_link",
        "first_number",
        "last_number",
        "state",
        "message_count",
        "dropped_count",
        "tokens_in",
        "tokens_out",
        "milliseconds",
        "error_code",
    )
    list_filter = ("status",)
    ordering = ("-pk",)
    search_ids = ("pk", "reading_id")
    fields = (
        ("id", "reading_link", "state"),
        ("first_number", "last_number", "spans"),
        ("message_count", "token_count", "dropped_count"),
        ("model", "tokens_in", "tokens_out", "milliseconds"),
        "error_code",
    )
    readonly_fields = ("id", "reading_link", "state", "spans")

    @label("status")
    def state(self, window: ReadWindow) -> str:
        """Return the status, shown as a coloured label."""
        return window.status

    @admin.display(description="reading")
    def reading_link(self, window: ReadWindow) -> SafeString | str:
        """Return a link to the reading that the window is part of."""
        return link(ChatReading, window.reading_id)


@admin.register(Category)
class CategoryAdmin(EditedAdmin):
    """The categories that are sold. Staff edit prices and texts here."""

    list_display = ("id", "title", "current_price", "display_order", "active")
    list_filter = ("active",)
    fields = ("id", ("title", "icon"), "description", ("price", "engine_prices", "display_order"), "active")

    def get_readonly_fields(self, request: HttpRequest, obj: Category | None = None) -> tuple[str, ...]:
        """Return the id for an existing row: other rows refer to it."""
        return ("id",) if obj else ()


class InsightTypeForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form of an insight type. It rejects a definition that is not valid."""

    class Meta:
        model = InsightType
        fields = (
            "id",
            "category",
            "title",
            "icon",
            "purpose",
            "price",
            "engine_prices",
            "groups",
            "min_messages",
            "display_order",
            "active",
            "definition",
        )

    def clean_definition(self) -> Any:
        """Return the definition. Raise a ValidationError that lists every error with its location."""
        # Importing the pydantic models takes 0.35 s, and of all pages only this form needs them.
        from insights.definition import Definition
        from insights.validation import InvalidData

        definition = self.cleaned_data["definition"]
        try:
            Definition.parse(definition)
        except InvalidData as error:
            raise ValidationError(["This definition is not valid.", *error.errors]) from None
        return definition


@admin.register(InsightType)
class InsightTypeAdmin(EditedAdmin):
    """The insight types that are sold. A changed definition becomes a new version."""

    form = InsightTypeForm
    list_display = ("id", "category_id", "title", "current_price", "min_messages", "groups", "version", "active")
    list_filter = ("active", "category")
    fields = (
        "id",
        ("category", "active"),
        ("title", "icon"),
        "purpose",
        ("price", "engine_prices"),
        ("min_messages", "groups", "display_order"),
        "definition",
    )

    def get_readonly_fields(self, request: HttpRequest, obj: InsightType | None = None) -> tuple[str, ...]:
        """Return the id for an existing row: other rows refer to it."""
        return ("id",) if obj else ()

    def save_model(self, request: HttpRequest, obj: InsightType, form: Any, change: bool) -> None:
        """Save the type, and a new version if its definition changed."""
        from insights import catalogue

        catalogue.save_type(obj)


@admin.register(InsightTypeVersion)
class InsightTypeVersionAdmin(StaffAdmin):
    """All versions of the definitions, read-only."""

    list_display = ("id", "insight_type_id", "version", "age")
    list_filter = ("insight_type",)
    ordering = ("-id",)
    fields = (("id", "insight_type_id", "version"), "created_at", "definition")
    readonly_fields = ("id", "insight_type_id", "created_at")


class UnlockPauseForm(forms.ModelForm):  # type: ignore[type-arg]
    """The form that pauses unlocks."""

    class Meta:
        model = UnlockPause
        fields = ("reason",)

    def clean(self) -> dict[str, Any]:
        """Reject a second pause. Two at the same moment are decided by the database."""
        if UnlockPause.objects.active().exists():
            raise ValidationError("Unlocks are paused already.")
        return super().clean() or {}


@admin.register(UnlockPause)
class UnlockPauseAdmin(StaffAdmin):
    """The switch for unlocks: adding a row pauses them, the action on it resumes them."""

    form = UnlockPauseForm
    bulk_actions = (
        BulkAction(
            name="resume",
            title="Resume unlocks",
            consequence="Unlocks and retries are accepted again.",
            run=pauses.resume,
        ),
    )
    list_display = ("id", "state", "reason", "paused_by", "paused_at", "resumed_by", "resumed_at")
    list_filter = (("resumed_at", admin.EmptyFieldListFilter),)
    ordering = ("-paused_at",)
    fields = (("id", "state"), "reason", ("paused_by", "paused_at"), ("resumed_by", "resumed_at"))
    readonly_fields = ("id", "state", "paused_by", "paused_at", "resumed_by", "resumed_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may pause unlocks: this takes the "add" permission."""
        return request.user.has_perm("insights.add_unlockpause")

    def get_fields(self, request: HttpRequest, obj: UnlockPause | None = None) -> list[Any]:
        """Return only the reason for a new pause."""
        return super().get_fields(request, obj) if obj else ["reason"]

    def save_model(self, request: HttpRequest, obj: UnlockPause, form: Any, change: bool) -> None:
        """Pause unlocks. Raise Conflict if somebody else just did."""
        context = ActionContext(actor=f"user {request.user.pk}", reason=obj.reason)
        obj.pk = pauses.pause(context=context).pk

    @label("status", colours={"paused": "warning", "resumed": "success"})
    def state(self, pause: UnlockPause) -> str:
        """Return whether the pause lasts."""
        return "resumed" if pause.resumed_at else "paused"


@admin.register(ChatQuestion)
class ChatQuestionAdmin(StaffAdmin):
    """The questions about chats: status, cost and outcome, without their texts."""

    list_display = ("id", "state", "outcome", "error_code", "engine", "messages_read", "milliseconds", "age")
    list_filter = ("status", "outcome", "engine")
    ordering = ("-created_at",)
    search_ids = ("pk", "chat_id", "reservation_id")
    fields = (
        ("id", "state", "step"),
        ("chat_link", "reservation_link", "price"),
        ("outcome", "error_code", "language"),
        ("engine", "model", "prompts_link"),
        ("rounds", "messages_read", "claims"),
        ("tokens_in", "tokens_out", "milliseconds"),
        ("created_at", "finished_at", "deadline_at"),
        ("dispatched_at", "lease_expires_at"),
    )
    readonly_fields = (
        *("id", "state", "chat_link", "reservation_link", "prompts_link"),
        *("created_at", "finished_at", "dispatched_at", "lease_expires_at"),
    )

    @label("status")
    def state(self, question: ChatQuestion) -> str:
        """Return the status, shown as a coloured label."""
        return question.status

    @admin.display(description="chat")
    def chat_link(self, question: ChatQuestion) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, question.chat_id)

    @admin.display(description="reservation")
    def reservation_link(self, question: ChatQuestion) -> SafeString | str:
        """Return a link to the reservation that pays for the answer, or a dash if it is free."""
        return link(CoinReservation, question.reservation_id)

    @admin.display(description="prompts")
    def prompts_link(self, question: ChatQuestion) -> SafeString | str:
        """Return a link to the prompts of the answer, or a dash if no model was called."""
        return link_prompts(question.prompt_version)
