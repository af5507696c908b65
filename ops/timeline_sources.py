"""The entries of timelines, from the rows of each table. Ids, states, times and codes; no text of a chat.

Each function yields the entries of the newest MAX_ENTRIES of the rows that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.admin.models import LogEntry
from django.db.models import F, Model, QuerySet
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from billing.models import (
    Adjustment,
    CoinDebt,
    CoinReservation,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    WebhookEvent,
)
from billing.payments import money
from chats.models import Chat, ChatUpload
from chats.upload_log import refusal_title
from insights.models import GenerationJob, Insight, InsightAttempt
from insights.question_models import ChatQuestion
from ops.errors import REFUSAL_LEVEL
from ops.monitoring_models import ErrorEvent
from relivchats.accounts.models import AccessToken, User
from relivchats.staff.markup import link
from relivchats.staff.models import AuditEntry
from relivchats.terminal import plural

#: The newest so many rows of each source are read, and the newest so many entries are returned.
MAX_ENTRIES = 200


@dataclass(frozen=True)
class Entry:
    """One thing that happened to the row `pk` of `model`. The colour is success, info, warning, danger or none."""

    at: datetime
    kind: str
    what: str
    model: type[Model]
    pk: Any
    details: str = ""
    colour: str = ""

    @property
    def link(self) -> SafeString | str:
        """Return what happened as a link to the row."""
        return link(self.model, self.pk, text=capfirst(self.what))


def account(user: User) -> Iterator[Entry]:
    """Yield the creation of an account, and its last login as staff."""
    yield Entry(user.created_at, "account", "account created", User, user.pk, colour="info")
    if user.last_login:
        yield Entry(user.last_login, "account", "last login to the staff pages", User, user.pk)


def uploads(rows: QuerySet[ChatUpload]) -> Iterator[Entry]:
    """Yield uploads with their outcomes."""
    colours = {"accepted": "success", "refused": "warning", "failed": "danger"}
    for row in rows.order_by("-created_at")[:MAX_ENTRIES]:
        messages = plural(row.message_count, "message") if row.message_count else ""
        why = refusal_title(row.reason) if row.reason else row.error_code
        chat = f"chat {row.chat_id}" if row.chat_id else ""
        details = _join(row.platform, row.dialect, messages, f"{row.size_bytes // 1024} kB", why, chat)
        colour = colours.get(row.outcome, "")
        yield Entry(row.created_at, "upload", f"upload {row.outcome}", ChatUpload, row.pk, details, colour)


def chats(rows: Iterable[Chat]) -> Iterator[Entry]:
    """Yield when chats were stored."""
    for row in rows:
        yield Entry(row.created_at, "chat", "chat stored", Chat, row.pk, f"indexing {row.vector_status}")


def jobs(rows: Iterable[GenerationJob]) -> Iterator[Entry]:
    """Yield unlocks, and how their jobs ended."""
    colours = {"completed": "success", "partial_failure": "warning", "failed": "danger"}
    for row in rows:
        details = f"{row.category_id}, {row.total_insights} insight{'' if row.total_insights == 1 else 's'}"
        yield Entry(row.created_at, "unlock", "unlock", GenerationJob, row.pk, details, "info")
        if row.finished_at:
            done = f"{row.completed_insights} completed, {row.failed_insights} failed"
            what, colour = f"job {_words(row.status)}", colours.get(row.status, "")
            yield Entry(row.finished_at, "job", what, GenerationJob, row.pk, done, colour)


def insights(rows: Iterable[Insight], *, with_claims: bool) -> Iterator[Entry]:
    """Yield how insights ended or what they wait for and, with claims, when a worker took them first."""
    for row in rows:
        if with_claims and row.started_at:
            yield Entry(row.started_at, "insight", "insight first claimed", Insight, row.pk, str(row.insight_type_id))
        if row.finished_at or (row.error_code and not with_claims):
            details = _join(str(row.insight_type_id), f"attempt {row.attempt}" if row.attempt else "", row.error_code)
            colour = {"completed": "success", "failed": "danger"}.get(row.status, "")
            at = row.finished_at or row.created_at
            yield Entry(at, "insight", f"insight {row.status}", Insight, row.pk, details, colour)


def attempts(rows: QuerySet[InsightAttempt]) -> Iterator[Entry]:
    """Yield attempts with their time, tokens and error."""
    for row in rows.select_related("insight").order_by("-created_at")[:MAX_ENTRIES]:
        cost = f"{row.milliseconds / 1000:.1f} s, {row.tokens_in or 0} + {row.tokens_out or 0} tokens"
        details = _join(f"{row.engine} {row.model}", cost, row.error_code)
        what = f"attempt {row.number} at {row.insight.insight_type_id}: {row.outcome}"
        colour = "" if row.outcome == "completed" else "warning"
        yield Entry(row.created_at, "attempt", what, InsightAttempt, row.pk, details, colour)


def questions(rows: QuerySet[ChatQuestion]) -> Iterator[Entry]:
    """Yield questions about chats, without their texts."""
    for row in rows.defer("sealed_question", "sealed_answer").order_by("-created_at")[:MAX_ENTRIES]:
        details, colour = _join(row.outcome, row.error_code), {"failed": "danger"}.get(row.status, "")
        yield Entry(row.created_at, "question", f"question {row.status}", ChatQuestion, row.pk, details, colour)


def errors(rows: QuerySet[ErrorEvent]) -> Iterator[Entry]:
    """Yield warnings, errors and refusals."""
    for row in rows.order_by("-at")[:MAX_ENTRIES]:
        request = f"request {row.request_id}" if row.request_id else ""
        details = _join(row.error, row.code, row.route, row.location, request)
        colour = {"ERROR": "danger", "CRITICAL": "danger", "WARNING": "warning"}.get(row.level, "")
        # What a person can correct is no error.
        is_refusal = row.level == REFUSAL_LEVEL
        kind, what = ("refusal", row.event) if is_refusal else ("error", f"{row.level.lower()}: {row.event}")
        yield Entry(row.at, kind, what, ErrorEvent, row.pk, details, colour)


def tokens(rows: QuerySet[AccessToken]) -> Iterator[Entry]:
    """Yield when access tokens were issued and revoked."""
    for row in rows.order_by("-pk")[:MAX_ENTRIES]:
        yield Entry(row.created_at, "token", "access token issued", AccessToken, row.pk)
        if row.revoked_at:
            yield Entry(row.revoked_at, "token", "access token revoked", AccessToken, row.pk)


def transactions(rows: QuerySet[CreditTransaction]) -> Iterator[Entry]:
    """Yield transactions with the balance after them; the rows are ordered, by an index of what they belong to."""
    for row in rows[:MAX_ENTRIES]:
        details = _join(f"balance {row.balance_after:,}", row.actor, row.reason)
        what, colour = (
            f"{_words(row.type)} {row.amount:+,} coins".replace("-", "−"),
            "success" if row.amount > 0 else "",
        )
        yield Entry(row.created_at, "coins", what, CreditTransaction, row.pk, details, colour)


def reservations(rows: Iterable[CoinReservation]) -> Iterator[Entry]:
    """Yield when coins were reserved, and captured or released."""
    for row in rows:
        details = _join(f"{row.coins} coins", row.reason)
        yield Entry(row.created_at, "coins", "coins reserved", CoinReservation, row.pk, details, "info")
        if row.resolved_at:
            captured = f"{row.captured_coins} of {row.coins} coins captured"
            what, details = f"reservation {row.status}", _join(captured, row.release_reason)
            yield Entry(row.resolved_at, "coins", what, CoinReservation, row.pk, details, "success")


def orders(rows: Iterable[PaymentOrder]) -> Iterator[Entry]:
    """Yield orders: created, paid, and in need of a review."""
    for row in rows:
        price = money.format_amount(row.amount, row.currency)
        details = f"{row.coins} coins for {price}, {row.provider}"
        yield Entry(row.created_at, "payment", "order created", PaymentOrder, row.pk, details, "info")
        if row.completed_at:
            paid = f"{row.coins} coins given"
            yield Entry(row.completed_at, "payment", "order paid", PaymentOrder, row.pk, paid, "success")
        if row.review_reason:
            at, what = row.completed_at or row.created_at, "order needs a review"
            yield Entry(at, "payment", what, PaymentOrder, row.pk, row.review_reason, "warning")


def refunds(rows: QuerySet[PaymentRefund]) -> Iterator[Entry]:
    """Yield refunds with their price and coins."""
    for row in rows.select_related("order").order_by("-created_at")[:MAX_ENTRIES]:
        price = money.format_amount(row.amount, row.order.currency)
        details = _join(f"{price}, {row.coins} coins", row.actor, row.reason, row.failure)
        colour = "danger" if row.status == "failed" else "warning"
        yield Entry(row.created_at, "payment", f"refund {row.status}", PaymentRefund, row.pk, details, colour)


def events(rows: QuerySet[WebhookEvent]) -> Iterator[Entry]:
    """Yield events of payment providers."""
    colours = {"applied": "success", "needs_review": "danger", "received": "warning"}
    for row in rows.order_by("-received_at")[:MAX_ENTRIES]:
        details, colour = _join(row.status, row.outcome, row.event_id), colours.get(row.status, "")
        yield Entry(row.received_at, "payment", f"event {row.type}", WebhookEvent, row.pk, details, colour)


def debts(rows: QuerySet[CoinDebt]) -> Iterator[Entry]:
    """Yield debts with what is paid of them."""
    for row in rows.order_by("-pk")[:MAX_ENTRIES]:
        details = f"{row.paid_coins} of {row.coins} coins paid"
        yield Entry(row.created_at, "coins", f"debt {row.status}", CoinDebt, row.pk, details, "warning")


def adjustments(rows: QuerySet[Adjustment]) -> Iterator[Entry]:
    """Yield proposed adjustments and repairs, with who decided what."""
    for row in rows.order_by("-created_at")[:MAX_ENTRIES]:
        kind = "repair" if row.kind == Adjustment.Kind.REPAIR else f"adjustment of {row.amount:+}"
        decided = f"; {row.decided_by}: {row.decision}" if row.decided_by else ""
        details = f"{row.proposed_by}: {row.reason}{decided}"
        yield Entry(row.created_at, "coins", f"{kind}, {row.status}", Adjustment, row.pk, details)


def audits(rows: QuerySet[AuditEntry]) -> Iterator[Entry]:
    """Yield what staff and operators did."""
    # Not an order by the index of times, which Postgres would read to its end if few rows match.
    for row in rows.order_by(F("created_at").desc(nulls_last=True))[:MAX_ENTRIES]:
        details = _join(row.actor, row.reason, row.outcome)
        what, colour = f"staff: {row.action}{'' if row.done else ', refused'}", "" if row.done else "warning"
        yield Entry(row.created_at, "staff", what, AuditEntry, row.pk, details, colour)


def changes(rows: QuerySet[LogEntry]) -> Iterator[Entry]:
    """Yield changes of an account by staff."""
    for row in rows.order_by("-action_time")[:MAX_ENTRIES]:
        yield Entry(row.action_time, "staff", "staff: account changed", LogEntry, row.pk, f"user {row.user_id}")


def _join(*parts: str) -> str:
    return ", ".join(part for part in parts if part)


def _words(status: str) -> str:
    return status.replace("_", " ")
