"""What happened to one person, one payment or one job, from all tables, in one list.

The pages of the admin and `manage.py person` show the same. It has the entries of the models that the reader may view.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from django.contrib.admin.models import LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db.models import F, Model, Q
from django.db.models.functions import Now

from billing.models import (
    Adjustment,
    CoinDebt,
    CoinReservation,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from chats.models import Chat, ChatUpload
from insights.models import GenerationJob, Insight, InsightAttempt
from insights.question_models import ChatQuestion
from ops import errors, timeline_sources
from ops.monitoring_models import ErrorEvent
from ops.timeline_sources import MAX_ENTRIES, Entry
from relivchats.accounts.models import AccessToken, User
from relivchats.staff.bounded import within
from relivchats.staff.models import AuditEntry

#: Says whether the reader may view the rows of a model.
MayView = Callable[[type[Model]], bool]
Source = tuple[type[Model], Iterable[Entry]]
ERRORS_OF = timedelta(days=35)
#: Tables without an index for these conditions. Their rows are left out if finding them takes longer.
_UNINDEXED = (ErrorEvent, LogEntry)
QUERY_MILLISECONDS = 1000


@dataclass(frozen=True)
class Timeline:
    """The newest MAX_ENTRIES entries, and the models whose rows were not found in QUERY_MILLISECONDS."""

    entries: list[Entry]
    left_out: tuple[type[Model], ...] = ()

    @property
    def note(self) -> str:
        """Return what is left out, as a sentence; an empty string if nothing is."""
        names = " and ".join(str(model._meta.verbose_name_plural) for model in self.left_out)
        return f"Not all {names} are shown: finding them took too long. The rest is complete." if names else ""


def anyone_may(model: type[Model]) -> bool:
    """Return True: operators with a shell see all models."""
    return True


def of_person(user: User, *, may_view: MayView) -> Timeline:
    """Return the timeline of a person: uploads, work, coins, payments, errors, and what staff did."""
    chats = list(
        Chat.objects.filter(owner=user).only("pk", "vector_status", "created_at").order_by("-created_at")[:MAX_ENTRIES]
    )
    aged = GenerationJob.objects.filter(user=user).annotate(age=Now() - F("created_at"))
    jobs = list(aged.order_by("-created_at")[:MAX_ENTRIES])
    # A job's insights are created with it, so those of the newest jobs are the newest.
    newest = Insight.objects.filter(job__in=jobs).defer("sealed_document").order_by("-created_at")
    insights = list(newest[:MAX_ENTRIES])
    questions = ChatQuestion.objects.filter(chat__owner=user)
    # What is older than so many jobs is not among the newest entries, if these are shown.
    is_full = len(jobs) == MAX_ENTRIES and may_view(GenerationJob)
    since = min(ERRORS_OF, vars(jobs[-1])["age"]) if is_full else ERRORS_OF
    events = errors.select(since=since, user=str(user.pk), refusals=True)
    own_events = errors.select(since=since, refusals=True).filter(user_id=user.pk)
    content_type = ContentType.objects.get_for_model(User)
    sources: list[Source] = [
        (User, timeline_sources.account(user)),
        (ChatUpload, timeline_sources.uploads(ChatUpload.objects.filter(owner=user))),
        (Chat, timeline_sources.chats(chats)),
        (GenerationJob, timeline_sources.jobs(jobs)),
        (Insight, timeline_sources.insights(insights, with_claims=False)),
        (ChatQuestion, timeline_sources.questions(questions)),
        # Their own are found by one index; those of thousands of jobs and insights may take too long.
        (ErrorEvent, timeline_sources.errors(own_events)),
        (ErrorEvent, timeline_sources.errors(events.exclude(user_id=user.pk))),
        (AccessToken, timeline_sources.tokens(AccessToken.objects.filter(user=user))),
        (
            LogEntry,
            timeline_sources.changes(LogEntry.objects.filter(content_type=content_type, object_id=str(user.pk))),
        ),
    ]
    ids = [user.pk, *(row.pk for rows in (chats, jobs, insights) for row in rows)]
    audited = Q(object_id__in=[str(pk) for pk in ids])
    if wallet := Wallet.objects.filter(user=user).first():
        orders = list(wallet.orders.order_by("-created_at")[:MAX_ENTRIES])
        sources += _of_wallet(wallet, orders)
        # The id of a wallet is a number, which is also that of rows of other kinds.
        audited |= Q(action__endswith=" wallet", object_id=str(wallet.pk))
        audited |= Q(object_id__in=[str(order.pk) for order in orders])
    sources.append((AuditEntry, timeline_sources.audits(AuditEntry.objects.filter(audited))))
    return _merge(sources, may_view)


def _of_wallet(wallet: Wallet, orders: list[PaymentOrder]) -> list[Source]:
    refunds = PaymentRefund.objects.filter(order__wallet=wallet)
    reservations = wallet.reservations.order_by("-created_at")[:MAX_ENTRIES]
    return [
        (CreditTransaction, timeline_sources.transactions(wallet.transactions.order_by("-sequence"))),
        (CoinReservation, timeline_sources.reservations(reservations)),
        (PaymentOrder, timeline_sources.orders(orders)),
        (PaymentRefund, timeline_sources.refunds(refunds)),
        (WebhookEvent, timeline_sources.events(WebhookEvent.objects.filter(order__wallet=wallet))),
        (CoinDebt, timeline_sources.debts(CoinDebt.objects.filter(wallet=wallet))),
        (Adjustment, timeline_sources.adjustments(wallet.adjustments.all())),
    ]


def of_payment(order: PaymentOrder, *, may_view: MayView) -> Timeline:
    """Return the timeline of an order: its events, transactions, refunds, debts and what staff did."""
    refunds = list(order.refunds.order_by("-created_at")[:MAX_ENTRIES])
    return _merge(
        [
            (PaymentOrder, timeline_sources.orders([order])),
            (WebhookEvent, timeline_sources.events(WebhookEvent.objects.filter(order=order))),
            (CreditTransaction, timeline_sources.transactions(order.transactions.order_by("-pk"))),
            (PaymentRefund, timeline_sources.refunds(order.refunds.all())),
            (CoinDebt, timeline_sources.debts(CoinDebt.objects.filter(refund__in=refunds))),
            _audits_of(order.pk, *(refund.pk for refund in refunds)),
        ],
        may_view,
    )


def of_job(job: GenerationJob, *, may_view: MayView) -> Timeline:
    """Return the timeline of a job: its insights, their attempts, its reservation, errors and what staff did."""
    insights = list(job.insights.defer("sealed_document").order_by("created_at")[:MAX_ENTRIES])
    return _merge(
        [
            (GenerationJob, timeline_sources.jobs([job])),
            (Insight, timeline_sources.insights(insights, with_claims=True)),
            (InsightAttempt, timeline_sources.attempts(InsightAttempt.objects.filter(insight__in=insights))),
            (CoinReservation, timeline_sources.reservations([job.reservation])),
            (ErrorEvent, timeline_sources.errors(ErrorEvent.objects.filter(job_id=job.pk))),
            _audits_of(job.pk, job.reservation_id, *(insight.pk for insight in insights)),
        ],
        may_view,
    )


def _audits_of(*ids: UUID) -> tuple[type[Model], Iterable[Entry]]:
    rows = AuditEntry.objects.filter(object_id__in=[str(pk) for pk in ids])
    return (AuditEntry, timeline_sources.audits(rows))


def _merge(sources: Iterable[Source], may_view: MayView) -> Timeline:
    merged: list[Entry] = []
    left_out = []
    for model, entries in sources:
        if not may_view(model):
            continue
        found: list[Entry] | None
        if model in _UNINDEXED:
            # The entries are read from the database as they are listed.
            found = within(lambda entries=entries: list(entries), milliseconds=QUERY_MILLISECONDS)  # type: ignore[misc]
        else:
            found = list(entries)
        if found is None:
            left_out.append(model)
        merged += found or []
    merged.sort(key=lambda entry: entry.at, reverse=True)
    return Timeline(merged[:MAX_ENTRIES], tuple(dict.fromkeys(left_out)))
