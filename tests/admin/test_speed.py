"""The pages of the admin run a small, constant number of queries, however many rows there are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.contrib.admin.models import LogEntry
from django.db import connection, models
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from billing.models import (
    Adjustment,
    CoinDebt,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from chats.models import Chat, ChatUpload
from insights import stuck
from insights.models import GenerationJob, Insight, InsightAttempt
from ops.monitoring_models import ErrorEvent
from relivchats.accounts.models import AccessToken, User
from tests.admin import everything
from tests.ops import rows

#: The session, the user, the row, the content type of its history, debts, and a query for each kind of entry.
MAX_WALLET_QUERIES = 12
#: The session, the user, the five of a query with a time limit, and one that finds whose id the term is.
MAX_SEARCH_QUERIES = 10


def run_queries(desk: Client, address: str) -> list[str]:
    with CaptureQueriesContext(connection) as captured:
        assert desk.get(address).status_code == 200, address
        return [query["sql"] for query in captured]


@pytest.mark.django_db
def test_the_page_of_a_row_runs_no_query_again_for_each_of_its_fields(desk: Client) -> None:
    everything.one_of_each(1)
    # The badges of the sidebar are counted, and cached.
    desk.get("/admin/")
    repeated = {}
    for model in everything.all_models():
        for address in everything.row_addresses(model._default_manager.order_by("-pk")[0]):
            sql, times = Counter(run_queries(desk, address)).most_common(1)[0]
            # The row itself: for the page, and for the actions that apply to it.
            if times > 2:
                repeated[address] = (times, sql)
    assert repeated == {}


def add_history(user: User, *, number: int) -> PaymentOrder:
    """Create so many orders, jobs and errors of the user, and so many refunds of the first order. Return this order."""
    for each in range(number):
        everything.payments(1000 * number + each, user=user)
        InsightAttempt.objects.create(
            insight=Insight.objects.filter(job=rows.failed_job(owner=user))[0],
            number=1,
            engine="local",
            model="rules",
            milliseconds=5,
            outcome="failed",
        )
    order = PaymentOrder.objects.filter(wallet=user.wallet).earliest("created_at")
    for _ in range(number):
        refund = PaymentRefund.objects.create(order=order, source="provider", status="completed", amount=1, coins=1)
        CoinDebt.objects.create(wallet=user.wallet, refund=refund, coins=1)
    return order


@pytest.mark.django_db
def test_a_page_with_a_history_runs_the_same_number_of_queries_for_two_entries_and_for_twenty(desk: Client) -> None:
    counts = []
    for number in (2, 20):
        user = rows.person(coins=10_000)
        order = add_history(user, number=number)
        job = user.jobs.latest("created_at")
        addresses = {
            "wallet": next(everything.row_addresses(user.wallet)),
            "user": next(everything.row_addresses(user)),
            "order": next(everything.row_addresses(order)),
            "payment": reverse("console:payment", args=[order.pk]),
            "person": reverse("console:person", args=[user.pk]),
            "job": reverse("console:job", args=[job.pk]),
            "search": reverse("console:find") + f"?q={user.pk}",
        }
        desk.get("/admin/")
        counts.append({name: len(run_queries(desk, address)) for name, address in addresses.items()})
    assert counts[0] == counts[1]
    assert counts[0]["wallet"] <= MAX_WALLET_QUERIES
    assert counts[0]["search"] <= MAX_SEARCH_QUERIES


@pytest.mark.owner
@pytest.mark.django_db
@pytest.mark.parametrize(
    ("index", "select"),
    [
        ("events_open", WebhookEvent.objects.uncredited),
        ("orders_disputed", PaymentOrder.objects.disputed),
        ("orders_refunded", lambda: PaymentOrder.objects.filter(status="refunded")),
        ("transactions_of_refunds", lambda: CreditTransaction.objects.filter(type="refund")),
        ("insights_failed_newest", lambda: stuck.failed_insights().order_by("-created_at")[:200]),
        ("insights_finished", lambda: Insight.objects.filter(finished_at__gte=Now()).values("status", "price")),
        ("chats_last_indexed", lambda: Chat.objects.filter(indexed_at__gte=Now())),
        ("users_newest", lambda: User.objects.order_by("-created_at")[:50]),
        ("error_events_of_job", lambda: ErrorEvent.objects.filter(job_id__in=GenerationJob.objects.values("pk"))),
        ("error_events_of_insight", lambda: ErrorEvent.objects.filter(insight_id=UUID(int=1))),
        ("error_events_of_chat", lambda: ErrorEvent.objects.filter(chat_id=UUID(int=1))),
        ("insights_open_newest", lambda: Insight.objects.filter(status__in=["pending", "generating"])),
        ("chat_uploads_of_request", lambda: ChatUpload.objects.filter(request_id="a" * 32)),
        ("adjustments_pending", Adjustment.objects.pending),
        ("events_by_refund", lambda: WebhookEvent.objects.filter(provider_refund_id="re_1")),
        ("wallets_newest", lambda: Wallet.objects.filter(created_at__gte=Now())),
        ("access_tokens_newest", lambda: AccessToken.objects.filter(created_at__gte=Now())),
        ("admin_log_newest", lambda: LogEntry.objects.filter(action_time__gte=Now())),
        ("admin_log_of_object", lambda: LogEntry.objects.order_by().filter(object_id="1")),
    ],
)
def test_what_would_read_a_large_table_has_an_index(index: str, select: Callable[[], models.QuerySet[Any]]) -> None:
    found = select()
    table = found.model._meta.db_table
    with connection.cursor() as cursor:
        # Postgres reads any index of a table that it knows to be empty. Of a truncated table it knows nothing.
        for append_only in ("credit_transactions", "coin_debts", "content_accesses", "content_reads"):
            cursor.execute(f"ALTER TABLE {append_only} DISABLE TRIGGER USER")
        cursor.execute(f"TRUNCATE {table} CASCADE")
        cursor.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_sort = off; SET LOCAL enable_bitmapscan = off")
    assert index in found.explain()
