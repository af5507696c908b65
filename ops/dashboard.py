"""The index page of the admin, and its sidebar."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models import Model
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
from chats.access_models import ContentAccess, ContentRead
from chats.key_models import KeyDestruction, KeyStoreIdentity
from chats.models import Chat, ChatUpload, Chunk, TranscriptBlock, VectorMatrix
from insights.models import (
    Category,
    ChatReading,
    DispatchPause,
    GenerationJob,
    Insight,
    InsightAttempt,
    InsightType,
    InsightTypeVersion,
    PromptSet,
    PromptVersion,
    ReadWindow,
    UnlockPause,
)
from insights.question_models import ChatQuestion
from ops.console import attention, live, overview
from ops.models import CheckState, Heartbeat, LedgerAudit, ScheduleEntry
from ops.monitoring_models import ErrorEvent, RequestCount, RequestTotal, Sample
from relivchats.accounts.models import AccessToken, IdempotencyKey, User
from relivchats.staff.models import AuditEntry

#: The groups of the sidebar: for each page its title, its icon (Material Symbols) and its model.
_GROUPS: dict[str, tuple[tuple[str, str, type[Model]], ...]] = {
    "Work": (
        ("Jobs", "work", GenerationJob),
        ("Insights", "lightbulb", Insight),
        ("Attempts", "replay", InsightAttempt),
        ("Chats", "forum", Chat),
        ("Uploads", "upload_file", ChatUpload),
        ("Readings", "auto_stories", ChatReading),
        ("Questions", "help", ChatQuestion),
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
        ("Content accesses", "visibility", ContentAccess),
        ("Admin log", "manage_history", LogEntry),
        ("Task results", "task", TaskResult),
    ),
    "Internals": (
        ("Transcript blocks", "inventory_2", TranscriptBlock),
        ("Chunks", "segment", Chunk),
        ("Vectors", "grid_on", VectorMatrix),
        ("Read windows", "view_week", ReadWindow),
        ("Opened pages", "find_in_page", ContentRead),
        ("Key store", "key", KeyStoreIdentity),
        ("Key destructions", "key_off", KeyDestruction),
        ("Idempotency keys", "sync_lock", IdempotencyKey),
        ("Request totals", "functions", RequestTotal),
        ("Samples", "monitoring", Sample),
        ("Task groups", "dataset", GroupResult),
        ("Task chords", "hub", ChordCounter),
    ),
}


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Return Django's context of the index page with that of the overview."""
    return {**context, **overview.context(request)}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the theme's sidebar: the groups of pages that this user may see."""
    grouped = {model for pages in _GROUPS.values() for _, _, model in pages}
    # A new page needs no entry here: it is listed under Internals until somebody chooses a group for it.
    others = [
        (capfirst(str(model._meta.verbose_name_plural)), "table", model)
        for model in admin.site._registry
        if model not in grouped
    ]
    start = [
        {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index")},
        {"title": "Search", "icon": "search", "link": reverse("console:find")},
    ]
    start += [
        {"title": page.title, "icon": page.icon, "link": reverse("console:live", args=[name])}
        for name, page in live.PAGES.items()
        if attention.may_view(request, page.model)
    ]
    groups: list[dict[str, Any]] = [{"title": "", "items": start}]
    waiting = attention.items(request)
    for title, pages in _GROUPS.items():
        items = [
            {"title": name, "icon": icon, "link": attention.list_address(model), **_badge(waiting, model)}
            for name, icon, model in (*pages, *(others if title == "Internals" else ()))
            if attention.may_view(request, model)
        ]
        if items:
            groups.append({"title": title, "separator": True, "collapsible": title == "Internals", "items": items})
    return groups


def _badge(waiting: Sequence[attention.Item], model: type[Model]) -> dict[str, Any]:
    """Return the badge of a page: how many of its rows wait for a person."""
    items = [item for item in waiting if item.model is model and item.number]
    if not items:
        return {}
    colour = "danger" if any(item.colour == "danger" for item in items) else "warning"
    # Two kinds can count the same row, so their sum would be too high.
    most = max(items, key=lambda item: item.number or 0)
    return {"badge": most.count.replace("more than ", ">"), "badge_variant": colour}
