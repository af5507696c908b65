"""Admin pages of jobs, insights and their attempts. They never show the text of an insight."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from billing.models import CoinReservation
from chats.models import Chat
from insights import operations, stuck
from insights.admin.prompts import link_prompts
from insights.models import (
    GenerationJob,
    Insight,
    InsightAttempt,
    InsightTypeVersion,
)
from relivchats.accounts.models import User
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import StaffAdmin, label, link
from relivchats.staff.filters import SelectionFilter, StateFilter


class StuckJobFilter(SelectionFilter):
    """Show only open or stuck jobs. The dashboard links to the choices by value."""

    title = "open or stuck"
    parameter_name = "stuck"
    selections = {
        "yes": ("stuck", lambda jobs: jobs.filter(pk__in=stuck.stuck_jobs().values("pk"))),
        "open": ("open", lambda jobs: jobs.filter(status__in=GenerationJob.OPEN)),
    }


class StuckInsightFilter(SelectionFilter):
    """Show only open, stuck or failed insights. The dashboard links to the choices by value."""

    title = "open or stuck"
    parameter_name = "stuck"
    selections = {
        "yes": ("stuck in generating", lambda rows: rows.filter(pk__in=stuck.stuck_insights().values("pk"))),
        "failed": ("failed, not retried", stuck.failed_insights),
        "open": ("open", lambda rows: rows.filter(status__in=Insight.OPEN)),
    }


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
            applies=lambda job: job.status in GenerationJob.OPEN,
            is_final=True,
            # Beat recovers jobs too, every 15 s.
            needs_reason=False,
        ),
    )
    timeline_page = "console:job"
    export_columns = (
        *("job_id", "chat_id", "user_id", "reservation_id", "category_id", "status"),
        *("total_insights", "completed_insights", "failed_insights"),
        *("created_at", "started_at", "deadline_at", "finished_at"),
    )
    list_display = ("job_id", "state", "progress", "waiting_for", "category_id", "chat_link", "age")
    list_filter = (StuckJobFilter, ("status", StateFilter), "category")
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
            applies=lambda insight: insight.status == Insight.Status.FAILED and insight.chat_id is not None,
        ),
    )
    export_columns = (
        *("id", "job_id", "chat_id", "insight_type_id", "status", "price", "language", "attempt", "error_code"),
        *("created_at", "started_at", "finished_at"),
    )
    list_display = ("id", "insight_type_id", "state", "waiting_for", "attempt", "cause", "job_link", "age")
    list_filter = (StuckInsightFilter, ("status", StateFilter), "insight_type")
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

    export_columns = (
        *("id", "insight_id", "number", "outcome", "error_code", "engine", "model"),
        *("tokens_in", "tokens_out", "milliseconds", "created_at"),
    )
    list_display = ("id", "insight_link", "number", "result", "error_code", "engine", "model", "milliseconds", "age")
    list_filter = (("outcome", StateFilter),)
    ordering = ("-created_at",)
    search_ids = ("pk", "insight_id")
    fields = (
        ("id", "insight_link", "number"),
        ("result", "error_code"),
        ("engine", "model", "prompts_link"),
        ("tokens_in", "tokens_out", "milliseconds"),
        "created_at",
    )
    readonly_fields = ("id", "insight_link", "result", "prompts_link", "created_at")

    @label("outcome", colours={"completed": "success", "failed": "danger", "retry": "warning"})
    def result(self, attempt: InsightAttempt) -> str:
        """Return the outcome."""
        return attempt.outcome

    @admin.display(description="insight")
    def insight_link(self, attempt: InsightAttempt) -> SafeString | str:
        """Return a link to the insight that was attempted."""
        return link(Insight, attempt.insight_id)

    @admin.display(description="prompts")
    def prompts_link(self, attempt: InsightAttempt) -> SafeString | str:
        """Return a link to the prompts that it was written with, or a dash if no model was called."""
        return link_prompts(attempt.prompt_version)
