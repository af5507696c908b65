"""The index page of the admin, and its sidebar."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

from billing.models import (
    Adjustment,
    Bonus,
    CoinDebt,
    CoinReservation,
    CreditPackage,
    CreditTransaction,
    PackagePrice,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from insights import stuck
from insights.models import (
    Category,
    DispatchPause,
    GenerationJob,
    Insight,
    InsightAttempt,
    InsightType,
    InsightTypeVersion,
    PromptSet,
    PromptVersion,
    UnlockPause,
)
from ops import health
from ops.models import CheckState, Heartbeat, LedgerAudit, ScheduleEntry
from ops.monitoring_models import ErrorEvent, RequestCount, RequestTotal, Sample
from relivchats.accounts.models import AccessToken, IdempotencyKey, User
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level, count, format_count

_COLOURS = {Level.FINE: "success", Level.WARNING: "warning", Level.UNKNOWN: "warning", Level.CRITICAL: "danger"}

#: The groups of the sidebar: for each page its title, its icon (Material Symbols) and its model.
_GROUPS: dict[str, tuple[tuple[str, str, type[Model]], ...]] = {
    "Work": (
        ("Jobs", "work", GenerationJob),
        ("Insights", "lightbulb", Insight),
        ("Attempts", "replay", InsightAttempt),
        ("Chats", "forum", Chat),
        ("Uploads", "upload_file", ChatUpload),
        ("Pauses of unlocks", "pause_circle", UnlockPause),
        ("Pauses of insights", "pause", DispatchPause),
    ),
    "Coins": (
        ("Wallets", "account_balance_wallet", Wallet),
        ("Reservations", "lock_clock", CoinReservation),
        ("Debts", "money_off", CoinDebt),
        ("Transactions", "receipt_long", CreditTransaction),
        ("Adjustments", "balance", Adjustment),
        ("Bonuses", "redeem", Bonus),
    ),
    "Payments": (
        ("Orders", "shopping_cart", PaymentOrder),
        ("Refunds", "undo", PaymentRefund),
        ("Webhook events", "webhook", WebhookEvent),
        ("Packages", "sell", CreditPackage),
        ("Prices", "payments", PackagePrice),
    ),
    "Catalogue": (
        ("Categories", "category", Category),
        ("Insight types", "article", InsightType),
        ("Versions", "history", InsightTypeVersion),
        ("Prompts", "description", PromptVersion),
        ("Sets of prompts", "stacks", PromptSet),
    ),
    "People": (
        ("Users", "person", User),
        ("Groups", "group", Group),
        ("Access tokens", "key", AccessToken),
    ),
    "Operations": (
        ("Processes", "favorite", Heartbeat),
        ("Schedule", "schedule", ScheduleEntry),
        ("Errors", "error", ErrorEvent),
        ("Health history", "monitor_heart", CheckState),
        ("Requests", "swap_vert", RequestCount),
        ("Ledger audits", "fact_check", LedgerAudit),
        ("Audit entries", "gavel", AuditEntry),
        ("Admin log", "manage_history", LogEntry),
        ("Task results", "task", TaskResult),
    ),
    "Internals": (
        ("Transcript blocks", "inventory_2", TranscriptBlock),
        ("Chunks", "segment", Chunk),
        ("Vectors", "grid_on", VectorMatrix),
        ("Idempotency keys", "sync_lock", IdempotencyKey),
        ("Request totals", "functions", RequestTotal),
        ("Samples", "monitoring", Sample),
        ("Task groups", "dataset", GroupResult),
        ("Task chords", "hub", ChordCounter),
    ),
}


@dataclass(frozen=True)
class Alert:
    """A count that is zero when all is well, and the address of the filtered list that it counts."""

    title: str
    count: str
    colour: str
    link: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return Django's context of the index page with the health report and the alerts that this user may see."""
    # Cached for ten seconds, so that reloading the page does not run the checks each time.
    report = health.latest()
    failing = [line for line in report.lines if line.level is not Level.FINE]
    # Title, rows, and the filter of the list that shows the same rows.
    candidates: tuple[tuple[str, QuerySet[Any], str], ...] = (
        ("Stuck jobs", stuck.stuck_jobs(), "stuck=yes"),
        ("Stuck insights", stuck.stuck_insights(), "stuck=yes"),
        ("Failed insights, not retried", stuck.failed_insights(), "stuck=failed"),
        ("Paid, no coins", WebhookEvent.objects.uncredited(), "stuck=uncredited"),
        ("Paid twice", WebhookEvent.objects.duplicate_payments(), "stuck=again"),
        ("Events held for review", WebhookEvent.objects.needing_review(), "stuck=yes"),
        ("Adjustments to approve", Adjustment.objects.pending(), "status__exact=pending"),
        ("Overdue reservations", CoinReservation.objects.overdue(), "stuck=yes"),
        ("Unlocks paused", UnlockPause.objects.active(), "resumed_at__isempty=1"),
        ("Insights paused", DispatchPause.objects.filter(resumed_at=None), "resumed_at__isempty=1"),
        ("Failed indexing", Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED), "indexing=failed"),
    )
    alerts = []
    for title, rows, query in candidates:
        # The permission first: a count of rows that the user may not see would disclose something, and takes time.
        if _may_view(request, rows.model):
            number = count(rows)
            colour = "danger" if number else "success"
            alerts.append(Alert(title, format_count(number), colour, f"{_list_address(rows.model)}?{query}"))
    return {
        **context,
        "health_level": report.level,
        "health_colour": _COLOURS[report.level],
        "health_lines": [{**line.as_json(), "colour": _COLOURS[line.level]} for line in failing],
        "alerts": alerts,
    }


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the theme's sidebar: the groups of pages that this user may see."""
    grouped = {model for pages in _GROUPS.values() for _, _, model in pages}
    # A new page needs no entry here: it is listed under Internals until somebody chooses a group for it.
    others = [
        (capfirst(str(model._meta.verbose_name_plural)), "table", model)
        for model in admin.site._registry
        if model not in grouped
    ]
    overview = {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index")}
    groups: list[dict[str, Any]] = [{"title": "", "items": [overview]}]
    for title, pages in _GROUPS.items():
        items = [
            {"title": name, "icon": icon, "link": _list_address(model)}
            for name, icon, model in (*pages, *(others if title == "Internals" else ()))
            if _may_view(request, model)
        ]
        if items:
            groups.append({"title": title, "separator": True, "collapsible": title == "Internals", "items": items})
    return groups


def _list_address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _may_view(request: HttpRequest, model: type[Model]) -> bool:
    label, name = model._meta.app_label, model._meta.model_name
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")
