"""What happened to one person, one payment or one job, from all tables, in one list. Ids, states and times; no text.

Each source gives its newest rows only, and only to users who may see its model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.utils.safestring import SafeString

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
from ops.console.attention import may_view
from ops.monitoring_models import ErrorEvent
from relivchats.accounts.models import AccessToken, User
from relivchats.staff.markup import link
from relivchats.staff.models import AuditEntry

#: The newest rows of one source, and of the whole list.
MAX_ROWS = 50
MAX_ENTRIES = 200


@dataclass(frozen=True)
class Entry:
    """One event. The colour is success, info, warning, danger or none."""

    at: datetime
    what: str
    row: SafeString | str
    details: str = ""
    colour: str = ""


def of_person(request: HttpRequest, user: User) -> list[Entry]:
    """Return the newest events of a person: uploads, unlocks, coins, payments, errors, tokens and what staff did."""
    wallet = getattr(user, "wallet", None)
    sources: list[tuple[type[Model], Iterable[Entry]]] = [
        (User, _account(user)),
        (ChatUpload, _uploads(ChatUpload.objects.filter(owner=user))),
        (Chat, _chats(user)),
        (GenerationJob, _jobs(GenerationJob.objects.filter(user=user))),
        (ErrorEvent, _errors(ErrorEvent.objects.filter(user_id=user.pk))),
        (AccessToken, _tokens(user)),
    ]
    ids = [str(user.pk)]
    if wallet is not None:
        ids.append(str(wallet.pk))
        sources += [
            (CreditTransaction, _transactions(wallet.transactions.order_by("-sequence"))),
            (PaymentOrder, _orders(wallet.orders.order_by("-created_at"))),
            (PaymentRefund, _refunds(PaymentRefund.objects.filter(order__wallet=wallet))),
            (Adjustment, _adjustments(wallet.adjustments.order_by("-created_at"))),
        ]
    sources.append((AuditEntry, _audits(ids)))
    return _merge(request, sources)


def of_payment(request: HttpRequest, order: PaymentOrder) -> list[Entry]:
    """Return the events of an order: its webhook events, transactions, refunds, debts and what staff did."""
    refunds = list(order.refunds.order_by("-created_at")[:MAX_ROWS])
    return _merge(
        request,
        [
            (PaymentOrder, _orders([order])),
            (WebhookEvent, _events(WebhookEvent.objects.filter(order=order).order_by("-received_at"))),
            (CreditTransaction, _transactions(CreditTransaction.objects.filter(payment_order=order).order_by("-pk"))),
            (PaymentRefund, _refunds(order.refunds.all())),
            (CoinDebt, _debts(CoinDebt.objects.filter(refund__in=refunds).order_by("-pk"))),
            (AuditEntry, _audits([str(order.pk), *(str(refund.pk) for refund in refunds)])),
        ],
    )


def of_job(request: HttpRequest, job: GenerationJob) -> list[Entry]:
    """Return the events of a job: its insights, their attempts, its reservation, errors and what staff did."""
    insights = list(job.insights.order_by("created_at")[:MAX_ROWS])
    ids = [str(job.pk), str(job.reservation_id), *(str(insight.pk) for insight in insights)]
    attempts = InsightAttempt.objects.filter(insight__in=insights).select_related("insight").order_by("-created_at")
    return _merge(
        request,
        [
            (GenerationJob, _jobs([job])),
            (Insight, _insights(insights)),
            (InsightAttempt, _attempts(attempts)),
            (CoinReservation, _reservation(job)),
            (ErrorEvent, _errors(ErrorEvent.objects.filter(job_id=job.pk))),
            (AuditEntry, _audits(ids)),
        ],
    )


def _merge(request: HttpRequest, sources: Iterable[tuple[type[Model], Iterable[Entry]]]) -> list[Entry]:
    found = [entry for model, entries in sources if may_view(request, model) for entry in entries]
    return sorted(found, key=lambda entry: entry.at, reverse=True)[:MAX_ENTRIES]


def _account(user: User) -> Iterator[Entry]:
    yield Entry(user.created_at, "account created", link(User, user.pk), colour="info")
    if user.last_login:
        yield Entry(user.last_login, "last login to the staff pages", "")


def _uploads(rows: Any) -> Iterator[Entry]:
    colours = {"accepted": "success", "refused": "warning", "failed": "danger"}
    for upload in rows.order_by("-created_at")[:MAX_ROWS]:
        shown = [upload.platform, f"{upload.message_count} messages" if upload.message_count else ""]
        why = refusal_title(upload.reason) if upload.reason else ""
        details = ", ".join(filter(None, (*shown, f"{upload.size_bytes // 1024} kB", why)))
        colour = colours.get(upload.outcome, "")
        yield Entry(upload.created_at, f"upload {upload.outcome}", link(ChatUpload, upload.pk), details, colour)


def _chats(user: User) -> Iterator[Entry]:
    for chat in (
        Chat.objects.filter(owner=user).only("pk", "created_at", "vector_status").order_by("-created_at")[:MAX_ROWS]
    ):
        yield Entry(chat.created_at, "chat stored", link(Chat, chat.pk), f"indexing {chat.vector_status}")


def _jobs(rows: Any) -> Iterator[Entry]:
    colours = {"completed": "success", "partial_failure": "warning", "failed": "danger"}
    for job in rows if isinstance(rows, list) else rows.order_by("-created_at")[:MAX_ROWS]:
        to = link(GenerationJob, job.pk)
        yield Entry(job.created_at, "unlock", to, f"{job.category_id}, {job.total_insights} insights", "info")
        if job.finished_at:
            done = f"{job.completed_insights} completed, {job.failed_insights} failed"
            yield Entry(job.finished_at, f"job {job.status.replace('_', ' ')}", to, done, colours.get(job.status, ""))


def _insights(rows: Iterable[Insight]) -> Iterator[Entry]:
    for insight in rows:
        to = link(Insight, insight.pk)
        if insight.started_at:
            yield Entry(insight.started_at, "insight first claimed", to, str(insight.insight_type_id))
        if insight.finished_at:
            details = ": ".join(filter(None, (str(insight.insight_type_id), insight.error_code)))
            colour = "success" if insight.status == Insight.Status.COMPLETED else "danger"
            yield Entry(insight.finished_at, f"insight {insight.status}", to, details, colour)


def _attempts(rows: Any) -> Iterator[Entry]:
    for attempt in rows[:MAX_ENTRIES]:
        cost = f"{attempt.milliseconds / 1000:.1f} s, {attempt.tokens_in or 0} + {attempt.tokens_out or 0} tokens"
        details = ", ".join(filter(None, (f"{attempt.engine} {attempt.model}", cost, attempt.error_code)))
        what = f"attempt {attempt.number} at {attempt.insight.insight_type_id}: {attempt.outcome}"
        colour = "" if attempt.outcome == "completed" else "warning"
        yield Entry(attempt.created_at, what, link(InsightAttempt, attempt.pk), details, colour)


def _reservation(job: GenerationJob) -> Iterator[Entry]:
    reservation = job.reservation
    to = link(CoinReservation, reservation.pk)
    yield Entry(reservation.created_at, "coins reserved", to, f"{reservation.coins} coins", "info")
    if reservation.resolved_at:
        details = f"{reservation.captured_coins} of {reservation.coins} coins captured"
        yield Entry(reservation.resolved_at, f"reservation {reservation.status}", to, details, "success")


def _errors(rows: Any) -> Iterator[Entry]:
    for event in rows.order_by("-at")[:MAX_ROWS]:
        details = ", ".join(filter(None, (event.error, event.code, event.route, event.location)))
        colour = "warning" if event.level == "WARNING" else "danger"
        yield Entry(event.at, f"{event.level.lower()}: {event.event}", link(ErrorEvent, event.pk), details, colour)


def _tokens(user: User) -> Iterator[Entry]:
    for token in AccessToken.objects.filter(user=user).order_by("-pk")[:MAX_ROWS]:
        yield Entry(token.created_at, "access token issued", link(AccessToken, token.pk))
        if token.revoked_at:
            yield Entry(token.revoked_at, "access token revoked", link(AccessToken, token.pk))


def _transactions(rows: Any) -> Iterator[Entry]:
    for row in rows[:MAX_ROWS]:
        details = ", ".join(filter(None, (f"balance {row.balance_after}", row.actor, row.reason)))
        colour = "success" if row.amount > 0 else ""
        yield Entry(
            row.created_at,
            f"{row.type.replace('_', ' ')} {row.amount:+} coins",
            link(CreditTransaction, row.pk),
            details,
            colour,
        )


def _orders(rows: Any) -> Iterator[Entry]:
    for order in rows if isinstance(rows, list) else rows[:MAX_ROWS]:
        price, to = money.format_amount(order.amount, order.currency), link(PaymentOrder, order.pk)
        yield Entry(order.created_at, "order created", to, f"{order.coins} coins for {price}, {order.provider}", "info")
        if order.completed_at:
            yield Entry(order.completed_at, "order paid", to, f"{order.coins} coins given", "success")
        if order.review_reason:
            yield Entry(
                order.completed_at or order.created_at, "order needs a review", to, order.review_reason, "warning"
            )


def _refunds(rows: Any) -> Iterator[Entry]:
    for refund in rows.select_related("order").order_by("-created_at")[:MAX_ROWS]:
        price = money.format_amount(refund.amount, refund.order.currency)
        details = ", ".join(
            filter(None, (f"{price}, {refund.coins} coins", refund.actor, refund.reason, refund.failure))
        )
        colour = "danger" if refund.status == "failed" else "warning"
        yield Entry(refund.created_at, f"refund {refund.status}", link(PaymentRefund, refund.pk), details, colour)


def _events(rows: Any) -> Iterator[Entry]:
    colours = {"applied": "success", "needs_review": "danger", "received": "warning"}
    for event in rows[:MAX_ROWS]:
        details = ", ".join(filter(None, (event.status, event.outcome, event.event_id)))
        to = link(WebhookEvent, event.pk)
        yield Entry(event.received_at, f"event {event.type}", to, details, colours.get(event.status, ""))


def _debts(rows: Any) -> Iterator[Entry]:
    for debt in rows[:MAX_ROWS]:
        details = f"{debt.paid_coins} of {debt.coins} coins paid"
        yield Entry(debt.created_at, f"debt {debt.status}", link(CoinDebt, debt.pk), details, "warning")


def _adjustments(rows: Any) -> Iterator[Entry]:
    for row in rows[:MAX_ROWS]:
        details = f"{row.proposed_by}: {row.reason}"
        yield Entry(row.created_at, f"adjustment of {row.amount:+}, {row.status}", link(Adjustment, row.pk), details)


def _audits(ids: list[str]) -> Iterator[Entry]:
    for entry in AuditEntry.objects.filter(object_id__in=ids).order_by("-created_at")[:MAX_ROWS]:
        details = ", ".join(filter(None, (entry.actor, entry.reason, entry.outcome)))
        colour = "" if entry.done else "warning"
        yield Entry(entry.created_at, f"staff: {entry.action}", link(AuditEntry, entry.pk), details, colour)
