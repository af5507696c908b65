"""What staff do to the other rooms' rows, and operations' own tables to read."""

from __future__ import annotations

import json
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.utils.safestring import SafeString
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

from billing.admin import AdjustmentAdmin, ReservationAdmin, WalletAdmin
from billing.models import Adjustment, CoinReservation, PaymentOrder, Wallet, WebhookEvent
from billing.payments.admin import PaymentOrderAdmin, WebhookEventAdmin
from chats.admin import ChatAdmin
from chats.models import Chat
from insights.admin import GenerationJobAdmin, InsightAdmin
from insights.models import GenerationJob, Insight
from ops import adjustments, failures, indexing, jobs, payments, refunds, reservations
from ops.actions import on_list, on_page
from ops.models import AuditEntry, Heartbeat, LedgerAudit
from relivchats import spans
from relivchats.accounts.models import User
from relivchats.admin import StaffAdmin, label, link

admin.site.index_template = "ops/dashboard.html"
admin.site.index_title = "Overview"

for _replaced in (
    Adjustment,
    Wallet,
    Chat,
    CoinReservation,
    GenerationJob,
    Insight,
    TaskResult,
    GroupResult,
    PaymentOrder,
    WebhookEvent,
):
    admin.site.unregister(_replaced)

_REINDEX: Any = {
    "name": "reindex",
    "title": "Reindex",
    "consequence": "Workers read these chats again. Until then new insights of them wait.",
}
_RECOVER: Any = {
    "name": "recover",
    "title": "Recover",
    "consequence": "Dead leases are freed. A job past its deadline ends: what it delivered is paid, the rest is free.",
}
_RELEASE: Any = {
    "name": "release",
    "title": "Release, if past its time",
    "consequence": "A job past its deadline ends; what it delivered is paid, all other coins go back to the wallet.",
}
_RETRY: Any = {
    "name": "retry",
    "title": "Try again",
    "consequence": "Each failed insight starts again in a new job, and its own part is held from its owner's wallet.",
}
_APPROVE: Any = {
    "name": "approve",
    "title": "Approve",
    "consequence": "The coins move at once. Whoever proposed an adjustment cannot approve it.",
}
_REFUSE: Any = {"name": "refuse", "title": "Refuse", "consequence": "Nothing moves, and the proposal is closed."}


@admin.register(Chat)
class OperatedChatAdmin(ChatAdmin):
    actions = (on_list(indexing.reindex_some, **_REINDEX),)
    actions_detail = ("reindex_this",)
    reindex_this = on_page(indexing.reindex_some, **_REINDEX)


@admin.register(GenerationJob)
class OperatedJobAdmin(GenerationJobAdmin):
    actions = (on_list(jobs.recover_some, **_RECOVER),)
    actions_detail = ("recover_this",)
    recover_this = on_page(jobs.recover_some, **_RECOVER)


@admin.register(CoinReservation)
class OperatedReservationAdmin(ReservationAdmin):
    actions = (on_list(reservations.release_some, **_RELEASE),)
    actions_detail = ("release_this",)
    release_this = on_page(reservations.release_some, **_RELEASE)


@admin.register(Adjustment)
class OperatedAdjustmentAdmin(AdjustmentAdmin):
    actions = (on_list(adjustments.approve_some, **_APPROVE), on_list(adjustments.refuse_some, **_REFUSE))
    actions_detail = ("approve_this", "refuse_this")
    approve_this = on_page(adjustments.approve_some, **_APPROVE)
    refuse_this = on_page(adjustments.refuse_some, **_REFUSE)


@admin.register(Insight)
class OperatedInsightAdmin(InsightAdmin):
    actions = (on_list(failures.retry_some, **_RETRY),)
    actions_detail = ("retry_this",)
    retry_this = on_page(failures.retry_some, **_RETRY)


_RECONCILE: Any = {
    "name": "reconcile",
    "title": "Ask the provider",
    "consequence": "The provider says how these orders stand, and they are brought there: paid ones get their coins.",
}
_RECONCILE_WALLET: Any = {
    "name": "reconcile",
    "title": "Ask the provider",
    "consequence": "The provider says how these wallets' open refunds stand, and their orders that are unpaid (given up"
    " or not), need a look or had refunds, and they are brought there: paid orders get their coins. What is left after"
    f" {payments.PAGE_SECONDS:.0f} seconds is counted: ask again for it.",
}
_ORDERS_ASIDE: Any = {
    "name": "set_aside",
    "title": "Looked at: set aside",
    "consequence": "You have dealt with what was held of these orders. No coin and no money moves.",
}
_EVENTS_ASIDE: Any = {**_ORDERS_ASIDE, "consequence": "You have dealt with these events. No coin and no money moves."}
_APPLY: Any = {
    "name": "apply",
    "title": "Apply again",
    "consequence": "What held these events is mended: they are applied as if they came now.",
}


@admin.register(Wallet)
class OperatedWalletAdmin(WalletAdmin):
    actions = (on_list(payments.reconcile_wallets, **_RECONCILE_WALLET),)
    actions_detail = ("adjust_this", "reconcile_this")
    adjust_this = adjustments.page
    reconcile_this = on_page(payments.reconcile_wallets, **_RECONCILE_WALLET)


@admin.register(PaymentOrder)
class OperatedOrderAdmin(PaymentOrderAdmin):
    actions = (on_list(payments.reconcile_some, **_RECONCILE), on_list(payments.set_orders_aside, **_ORDERS_ASIDE))
    actions_detail = ("refund_this", "reconcile_this", "set_this_aside")
    refund_this = refunds.page
    reconcile_this = on_page(payments.reconcile_some, **_RECONCILE)
    set_this_aside = on_page(payments.set_orders_aside, **_ORDERS_ASIDE)


@admin.register(WebhookEvent)
class OperatedEventAdmin(WebhookEventAdmin):
    actions = (on_list(payments.apply_some, **_APPLY), on_list(payments.set_events_aside, **_EVENTS_ASIDE))
    actions_detail = ("apply_this", "set_this_aside")
    apply_this = on_page(payments.apply_some, **_APPLY)
    set_this_aside = on_page(payments.set_events_aside, **_EVENTS_ASIDE)


@admin.register(Heartbeat)
class HeartbeatAdmin(StaffAdmin):
    list_display = ("name", "kind", "pid", "marked_as_worker", "last_beat", "age")
    list_filter = ("kind",)
    ordering = ("kind", "name")
    age_of = "started_at"
    fields = ("name", ("kind", "pid", "marked_as_worker"), ("started_at", "beat_at"))

    @admin.display(description="last beat")
    def last_beat(self, row: Any) -> str:
        return f"{spans.short(row.looked_at - row.beat_at)} ago"


@admin.register(AuditEntry)
class AuditEntryAdmin(StaffAdmin):
    list_display = ("id", "action", "object_id", "done", "outcome", "actor", "reason", "age")
    list_filter = ("done",)
    ordering = ("-created_at",)
    search_ids = ("object_id",)
    fields = (("id", "created_at"), ("action", "object_id"), ("done", "outcome"), ("actor", "reason"))
    readonly_fields = ("id", "created_at")


@admin.register(LedgerAudit)
class LedgerAuditAdmin(StaffAdmin):
    list_display = ("id", "clean", "complete", "broken", "milliseconds", "settled_at", "age")
    list_filter = ("complete",)
    ordering = ("-ended_at",)
    age_of = "ended_at"
    fields = (("id", "complete"), ("ended_at", "milliseconds"), "broken", ("marked_at", "settled_at", "settled_coins"))
    readonly_fields = ("id", "ended_at")

    @admin.display(boolean=True)
    def clean(self, audit: LedgerAudit) -> bool:
        return not audit.broken


@admin.register(LogEntry)
class LogEntryAdmin(StaffAdmin):
    list_display = ("id", "user_link", "action_flag", "object_repr", "change_message", "age")
    list_filter = ("action_flag",)
    ordering = ("-action_time",)
    age_of = "action_time"
    search_ids = ("object_id", "user_id")
    fields = (("id", "user_link", "action_time"), ("content_type", "object_id"), ("action_flag", "change_message"))
    readonly_fields = ("id", "user_link", "action_time")

    @admin.display(description="who")
    def user_link(self, entry: LogEntry) -> SafeString | str:
        return link(User, entry.user_id)


@admin.register(TaskResult)
class TaskResultAdmin(StaffAdmin):
    """What a task returned or quoted when it failed stays out: it may hold a person's words. Its kind is enough."""

    list_display = ("task_id", "task_name", "state", "failure", "worker", "task_args", "age")
    list_filter = ("status",)
    ordering = ("-date_done",)
    age_of = "date_done"
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
        return str(task.status)

    @admin.display(description="failed with")
    def failure(self, task: TaskResult) -> str:
        if task.status != "FAILURE":
            return ""
        try:
            return str(json.loads(task.result)["exc_type"])
        except (TypeError, ValueError, KeyError):
            return "an error of unknown kind"


@admin.register(GroupResult)
class GroupResultAdmin(StaffAdmin):
    list_display = ("group_id", "date_done")
    ordering = ("-date_done",)
    search_ids = ("group_id",)
    fields = ("group_id", ("date_created", "date_done"))
    readonly_fields = ("date_created", "date_done")


@admin.register(ChordCounter)
class ChordCounterAdmin(StaffAdmin):
    list_display = ("group_id", "count")
    ordering = ("-id",)
    search_ids = ("group_id",)
    fields = ("group_id", "count")
