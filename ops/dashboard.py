"""The admin's front page and its sidebar: how things stand, and where to go."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django_celery_results.models import ChordCounter, GroupResult, TaskResult

from billing.models import (
    Adjustment,
    Bonus,
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
from insights import standing
from insights.models import Category, GenerationJob, Insight, InsightAttempt, InsightType, InsightTypeVersion
from ops import health
from ops.checks.work import count, words
from ops.models import Heartbeat, LedgerAudit
from relivchats.accounts.models import AccessToken, IdempotencyKey, User
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level, Line

_COLOURS = {Level.FINE: "success", Level.WARNING: "warning", Level.UNKNOWN: "warning", Level.CRITICAL: "danger"}

#: Material Symbols icons of the theme, by the pages they lead to.
_GROUPS: Sequence[tuple[str, Sequence[tuple[str, str, type[Model]]]]] = (
    (
        "Work",
        (
            ("Jobs", "work", GenerationJob),
            ("Insights", "lightbulb", Insight),
            ("Attempts", "replay", InsightAttempt),
            ("Chats", "forum", Chat),
            ("Uploads", "upload_file", ChatUpload),
        ),
    ),
    (
        "Coins",
        (
            ("Wallets", "account_balance_wallet", Wallet),
            ("Reservations", "lock_clock", CoinReservation),
            ("Transactions", "receipt_long", CreditTransaction),
            ("Adjustments", "balance", Adjustment),
            ("Bonuses", "redeem", Bonus),
        ),
    ),
    (
        "Payments",
        (
            ("Orders", "shopping_cart", PaymentOrder),
            ("Refunds", "undo", PaymentRefund),
            ("Webhook events", "webhook", WebhookEvent),
            ("Packages", "sell", CreditPackage),
            ("Prices", "payments", PackagePrice),
        ),
    ),
    (
        "Catalogue",
        (
            ("Categories", "category", Category),
            ("Insight types", "article", InsightType),
            ("Versions", "history", InsightTypeVersion),
        ),
    ),
    ("People", (("People", "person", User), ("Groups", "group", Group), ("Access tokens", "key", AccessToken))),
    (
        "Operations",
        (
            ("Processes", "favorite", Heartbeat),
            ("Ledger audits", "fact_check", LedgerAudit),
            ("Audit entries", "gavel", AuditEntry),
            ("Admin log", "manage_history", LogEntry),
            ("Task results", "task", TaskResult),
        ),
    ),
    (
        "Under the bonnet",
        (
            ("Transcript blocks", "inventory_2", TranscriptBlock),
            ("Chunks", "segment", Chunk),
            ("Vectors", "grid_on", VectorMatrix),
            ("Idempotency keys", "sync_lock", IdempotencyKey),
            ("Task groups", "dataset", GroupResult),
            ("Task chords", "hub", ChordCounter),
        ),
    ),
)


@dataclass(frozen=True)
class Trouble:
    """A count that should be nought, and the filtered list behind it."""

    title: str
    count: str
    colour: str
    link: str


def context(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The banner and the trouble lists, of what this member of staff may see."""
    report = health.latest()
    return {
        **context,
        "health_level": report.level,
        "health_colour": _COLOURS[report.level],
        "health_lines": [_banner_line(line) for line in report.lines if line.level is not Level.FINE],
        "troubles": _troubles(request),
    }


def _banner_line(line: Line) -> dict[str, str]:
    return {
        "name": line.name,
        "text": line.text,
        "remedy": line.remedy,
        "level": line.level,
        "colour": _COLOURS[line.level],
    }


def _troubles(request: HttpRequest) -> list[Trouble]:
    asked: tuple[tuple[str, QuerySet[Any], str], ...] = (
        ("Stuck jobs", standing.stuck_jobs(), "stuck=yes"),
        ("Stuck insights", standing.stuck_insights(), "stuck=yes"),
        ("Failed insights, not tried again", standing.failed_insights(), "stuck=failed"),
        ("Paid, no coins", WebhookEvent.objects.uncredited(), "stuck=uncredited"),
        ("Paid a second time", WebhookEvent.objects.paid_again(), "stuck=again"),
        ("Events to look at", WebhookEvent.objects.held(), "stuck=yes"),
        ("Adjustments to approve", Adjustment.objects.pending(), "status__exact=pending"),
        ("Overdue reservations", CoinReservation.objects.overdue(), "stuck=yes"),
        ("Failed indexing", Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED), "indexing=failed"),
    )
    return [_trouble(title, rows, query) for title, rows, query in asked if _may_see(request, rows.model)]


def _trouble(title: str, rows: QuerySet[Any], query: str) -> Trouble:
    number = count(rows)
    return Trouble(title, words(number), "danger" if number else "success", f"{_address(rows.model)}?{query}")


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    groups = []
    for title, items in _GROUPS:
        shown = [_item(*item) for item in items if _may_see(request, item[2])]
        if shown:
            groups.append(
                {"title": title, "separator": True, "collapsible": title == "Under the bonnet", "items": shown}
            )
    front = {"title": "Overview", "icon": "dashboard", "link": reverse("admin:index")}
    return [{"title": "", "items": [front]}, *groups]


def _item(title: str, icon: str, model: type[Model]) -> dict[str, Any]:
    return {"title": title, "icon": icon, "link": _address(model)}


def _address(model: type[Model]) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def _may_see(request: HttpRequest, model: type[Model]) -> bool:
    label, name = model._meta.app_label, model._meta.model_name
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")
