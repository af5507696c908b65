"""Admin pages of operations, of the admin log, and of Celery's results."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

from chats.models import Chat
from insights.models import GenerationJob, Insight
from ops import schedule, workers
from ops.console import processes
from ops.models import CheckState, Heartbeat, LedgerAudit, ScheduleEntry
from ops.monitoring_models import ErrorEvent, RequestCount, RequestTotal, Sample, Snapshot
from relivchats.accounts.models import User
from relivchats.staff.actions import BulkAction
from relivchats.staff.admin import StaffAdmin, label, link
from relivchats.staff.filters import SelectionFilter, StateFilter
from relivchats.staff.lookups import is_valid
from relivchats.staff.reports import Level

admin.site.index_template = "ops/dashboard.html"
admin.site.index_title = "Overview"
admin.site.empty_value_display = "–"


class LevelFilter(StateFilter):
    """Checks by their level."""

    values = tuple(Level)


class SeverityFilter(StateFilter):
    """Errors by the level of their log record."""

    values = ("INFO", "WARNING", "ERROR", "CRITICAL")


class ResultFilter(SelectionFilter):
    """Ledger audits by whether they found a broken invariant."""

    title = "result"
    parameter_name = "result"
    selections = {
        "broken": ("broken", lambda audits: audits.exclude(broken=[])),
        "clean": ("clean", lambda audits: audits.filter(broken=[])),
    }


@admin.register(Heartbeat)
class HeartbeatAdmin(StaffAdmin):
    """The processes that are alive, or were killed within the last hour."""

    list_display = ("name", "kind", "state", "pid", "last_beat", "age")
    list_filter = (("kind", StateFilter),)
    ordering = ("kind", "name")
    time_field = "started_at"
    fields = (
        ("name", "state"),
        ("version", "kind"),
        ("pid", "port"),
        ("marked_as_worker", "started_at", "beat_at"),
        ("memory_bytes", "threads", "leases"),
        "activity",
        "key_ids",
    )
    readonly_fields = ("state",)

    @label("state", colours=processes.COLOURS)
    def state(self, row: Any) -> str:
        """Return whether the process is alive, or why it is not; of a task, which is none, nothing."""
        return workers.from_row(row).state if row.kind in workers.KINDS else ""

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Add the silence of each process, by which it is judged."""
        return workers.with_silence(super().get_queryset(request))

    @admin.display(description="last beat")
    def last_beat(self, row: Any) -> str:
        """Return the time since the latest heartbeat, such as `3 s ago`."""
        return f"{self.format_age(row, row.beat_at)} ago"


@admin.register(ScheduleEntry)
class ScheduleEntryAdmin(StaffAdmin):
    """The tasks that beat sends, with their last and next runs."""

    bulk_actions = (
        BulkAction(
            name="run_now",
            title="Run now",
            heading="Run {rows} now",
            consequence="The task is sent to a worker at once, in addition to the runs of the schedule.",
            run=schedule.run_now,
            applies=lambda entry: schedule.is_known(entry.name),
        ),
    )
    list_display = ("name", "schedule", "last_run_at", "next_run_at", "runs")
    ordering = ("name",)
    time_field = "written_at"
    fields = (("name", "task"), ("schedule", "runs"), ("last_run_at", "next_run_at"), "written_at")


@admin.register(CheckState)
class CheckStateAdmin(StaffAdmin):
    """When each health check reached which level."""

    export_columns = ("id", "name", "level", "since")
    list_display = ("name", "state", "text", "age")
    list_filter = (("name", StateFilter), ("level", LevelFilter))
    ordering = ("-since", "-id")
    time_field = "since"
    fields = (("name", "state", "since"), "text")
    readonly_fields = ("state", "since")

    @label("level", colours={"fine": "success", "warning": "warning", "unknown": "warning", "critical": "danger"})
    def state(self, row: CheckState) -> str:
        """Return the level."""
        return row.level


@admin.register(LedgerAudit)
class LedgerAuditAdmin(StaffAdmin):
    """The results of the ledger audits of the last 30 days."""

    export_columns = ("id", "complete", "milliseconds", "ended_at", "settled_at", "settled_coins")
    list_display = ("id", "result", "complete", "broken", "milliseconds", "settled_at", "age")
    list_filter = (ResultFilter, ("complete", StateFilter))
    ordering = ("-ended_at",)
    time_field = "ended_at"
    fields = (("id", "complete"), ("ended_at", "milliseconds"), "broken", ("marked_at", "settled_at", "settled_coins"))
    readonly_fields = ("id", "ended_at")

    @label("result", colours={"clean": "success", "broken": "danger"})
    def result(self, audit: LedgerAudit) -> str:
        """Return whether an invariant was broken."""
        return "broken" if audit.broken else "clean"


@admin.register(RequestCount)
class RequestCountAdmin(StaffAdmin):
    """Requests by minute, route and status."""

    export_columns = ("id", "at", "method", "route", "status", "requests", "milliseconds")
    list_display = ("at", "method", "route", "status", "requests", "milliseconds")
    list_filter = (("status", StateFilter),)
    ordering = ("-at", "route", "method", "status")
    time_field = "at"
    fields = (("at", "route"), ("method", "status"), ("requests", "milliseconds"), "buckets")


@admin.register(RequestTotal)
class RequestTotalAdmin(StaffAdmin):
    """Requests by route and status since the installation."""

    export_columns = ("id", "method", "route", "status", "requests", "milliseconds")
    list_display = ("route", "method", "status", "requests", "milliseconds")
    list_filter = (("status", StateFilter),)
    ordering = ("route", "method", "status")
    fields = (("route", "method"), ("status", "requests"), "milliseconds", "buckets")


@admin.register(ErrorEvent)
class ErrorEventAdmin(StaffAdmin):
    """Warnings and errors of all processes."""

    export_columns = (
        *("id", "at", "level", "role", "logger", "error", "code", "location", "route", "status", "times"),
        *("user_id", "job_id", "insight_id", "chat_id", "fingerprint"),
    )
    list_display = ("at", "severity", "role", "event", "cause", "location", "route", "times")
    list_filter = (("level", SeverityFilter), ("role", StateFilter))
    ordering = ("-at",)
    time_field = "at"
    search_ids = ("request_id", "fingerprint", "user_id", "job_id", "insight_id", "chat_id")
    search_help_text = "An id or a fingerprint: the id of a request, user, job, insight or chat"
    fields = (
        ("at", "severity"),
        ("event", "code"),
        ("error", "location"),
        ("route", "status"),
        ("role", "logger"),
        ("host", "pid"),
        ("request_id", "user_link"),
        ("job_link", "insight_link"),
        ("chat_link", "fingerprint"),
        "times",
    )
    readonly_fields = ("severity", "user_link", "job_link", "insight_link", "chat_link")

    @admin.display(description="user")
    def user_link(self, event: ErrorEvent) -> SafeString | str:
        """Return a link to the user of the request."""
        return link(User, event.user_id)

    @admin.display(description="job")
    def job_link(self, event: ErrorEvent) -> SafeString | str:
        """Return a link to the job."""
        return link(GenerationJob, event.job_id)

    @admin.display(description="insight")
    def insight_link(self, event: ErrorEvent) -> SafeString | str:
        """Return a link to the insight."""
        return link(Insight, event.insight_id)

    @admin.display(description="chat")
    def chat_link(self, event: ErrorEvent) -> SafeString | str:
        """Return a link to the chat."""
        return link(Chat, event.chat_id)

    @admin.display(description="error and code")
    def cause(self, event: ErrorEvent) -> str:
        """Return the type of the exception and the error code, as far as there are any."""
        return ", ".join(filter(None, (event.error, event.code)))

    @label("level", colours={"WARNING": "warning", "ERROR": "danger", "CRITICAL": "danger"})
    def severity(self, event: ErrorEvent) -> str:
        """Return the level of the log record."""
        return event.level


@admin.register(Sample)
class SampleAdmin(StaffAdmin):
    """Values of every minute."""

    export_columns = ("id", "at", "name", "value")
    list_display = ("at", "name", "value")
    list_filter = (("name", StateFilter),)
    ordering = ("-at", "name")
    time_field = "at"
    fields = (("at", "name"), "value")


@admin.register(Snapshot)
class SnapshotAdmin(StaffAdmin):
    """What beat computed last for the overview."""

    list_display = ("name", "version", "age")
    ordering = ("name",)
    time_field = "taken_at"
    search_ids = ()
    search_fields = ()
    fields = (("name", "version"), "taken_at")


@admin.register(LogEntry)
class LogEntryAdmin(StaffAdmin):
    """Django's log of what staff changed."""

    export_columns = ("id", "action_time", "user_id", "content_type__model", "object_id", "action_flag")
    list_display = ("id", "user_link", "action_flag", "row_link", "change_message", "age")
    list_select_related = ("content_type",)
    list_filter = (("action_flag", StateFilter),)
    # Not by their time, for which Django creates no index: it sorted all rows.
    ordering = ("-id",)
    time_field = "action_time"
    search_ids = ("object_id", "user_id")
    fields = (("id", "user_link", "action_time"), ("content_type", "row_link"), ("action_flag", "change_message"))
    readonly_fields = ("id", "user_link", "row_link", "action_time")

    @admin.display(description="user")
    def user_link(self, entry: LogEntry) -> SafeString | str:
        """Return a link to the member of staff."""
        return link(User, entry.user_id)

    @admin.display(description="row")
    def row_link(self, entry: LogEntry) -> SafeString | str:
        """Return a link to the row that was changed; it may be deleted since."""
        model = entry.content_type.model_class() if entry.content_type else None
        if model not in admin.site._registry or not entry.object_id or not is_valid(model._meta.pk, entry.object_id):
            return entry.object_repr
        return link(model, model._meta.pk.to_python(entry.object_id))


# django_celery_results registers pages that show each task's result and traceback, which can contain text of a chat.
# Django documents no other way to replace the page of a third-party app.
admin.site.unregister([TaskResult, GroupResult])


@admin.register(TaskResult)
class TaskResultAdmin(StaffAdmin):
    """Task results without the return value and the message of an exception: both can contain text of a chat."""

    export_columns = ("id", "task_id", "task_name", "status", "date_created", "date_started", "date_done")
    list_display = ("task_id", "task_name", "state", "failure", "worker", "task_args", "age")
    list_filter = (("status", StateFilter),)
    ordering = ("-date_done",)
    time_field = "date_done"
    search_ids = ("task_id",)
    fields = (
        ("task_id", "task_name"),
        ("state", "failure"),
        ("task_args", "task_kwargs"),
        "worker",
        ("date_created", "date_started", "date_done"),
    )
    readonly_fields = ("state", "failure", "date_created", "date_started", "date_done")

    @label("status", colours={"SUCCESS": "success", "FAILURE": "danger", "RETRY": "warning"})
    def state(self, task: TaskResult) -> str:
        """Return Celery's state of the task."""
        return str(task.status)

    @admin.display(description="failed with")
    def failure(self, task: TaskResult) -> str:
        """Return the class name of the exception of a failed task, or an empty string."""
        if task.status != "FAILURE":
            return ""
        try:
            return str(json.loads(task.result)["exc_type"])
        except (TypeError, ValueError, KeyError):
            return "an unknown error"


@admin.register(GroupResult)
class GroupResultAdmin(StaffAdmin):
    """Groups of tasks. The service creates none."""

    list_display = ("group_id", "date_done")
    time_field = "date_done"
    ordering = ("-date_done",)
    search_ids = ("group_id",)
    fields = ("group_id", ("date_created", "date_done"))
    readonly_fields = ("date_created", "date_done")


@admin.register(ChordCounter)
class ChordCounterAdmin(StaffAdmin):
    """Chords of tasks. The service creates none."""

    list_display = ("group_id", "count")
    ordering = ("-id",)
    search_ids = ("group_id",)
    fields = ("group_id", "count")
