"""The database rejects what must never be in the tables of payments, even in SQL."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from billing.models import WebhookEvent
from relivchats import clock
from tests.billing.conftest import MakeOrder, MakeWallet

pytestmark = pytest.mark.django_db

TABLES = ("credit_packages", "package_prices", "payment_orders", "payment_refunds", "webhook_events")

REJECTED = [
    ("package_has_coins", "UPDATE credit_packages SET coins = 0"),
    ("one_price_per_currency", "UPDATE package_prices SET currency = 'USD'"),
    ("price_above_nothing", "UPDATE package_prices SET amount = 0"),
    ("one_order_per_provider_id", "UPDATE payment_orders SET provider_order_id = 'the same'"),
    ("one_order_per_key", "UPDATE payment_orders SET idempotency_key = 'the same'"),
    ("order_buys_coins_for_money", "UPDATE payment_orders SET coins = 0"),
    ("order_buys_coins_for_money", "UPDATE payment_orders SET amount = 0 WHERE status = 'pending'"),
    (
        "order_refunded_at_most_in_full",
        "UPDATE payment_orders SET refunded_amount = amount + 1 WHERE completed_at IS NOT NULL",
    ),
    ("order_completed_iff_paid", "UPDATE payment_orders SET status = 'completed', completed_at = NULL"),
    ("order_completed_iff_paid", "UPDATE payment_orders SET status = 'failed' WHERE completed_at IS NOT NULL"),
    ("order_completed_iff_paid", "UPDATE payment_orders SET refunded_amount = 1 WHERE status = 'pending'"),
    ("order_refunded_iff_in_full", "UPDATE payment_orders SET status = 'refunded' WHERE completed_at IS NOT NULL"),
    ("order_has_a_key", "UPDATE payment_orders SET idempotency_key = '' WHERE status = 'pending'"),
    ("one_refund_per_provider_id", "UPDATE payment_refunds SET provider_refund_id = 'the same'"),
    ("refund_moves_money", "UPDATE payment_refunds SET amount = 0"),
    ("refund_takes_at_most_its_coins", "UPDATE payment_refunds SET taken_coins = coins + 1"),
    ("refund_takes_only_what_the_provider_has", "UPDATE payment_refunds SET status = 'failed', taken_coins = 1"),
    ("refund_has_actor_and_reason", "UPDATE payment_refunds SET source = 'staff', reason = ''"),
    ("one_event_per_provider_id", "UPDATE webhook_events SET event_id = 'the same'"),
    ("event_applied_iff_not_waiting", "UPDATE webhook_events SET status = 'applied'"),
    ("event_applied_iff_not_waiting", "UPDATE webhook_events SET applied_at = now()"),
]


@pytest.fixture(autouse=True)
def rows(make_wallet: MakeWallet, make_order: MakeOrder) -> None:
    wallet = make_wallet(coins=50)
    make_order(wallet)
    paid = make_order(wallet, status="completed", completed_at=clock.now(), refunded_amount=100)
    for number in range(2):
        paid.refunds.create(source="provider", status="completed", amount=50, coins=40)
        WebhookEvent.objects.create(provider="stripe", event_id=f"evt_{number}", type="x", kind="paid")


@pytest.mark.parametrize(("rule", "sql"), REJECTED)
def test_the_database_rejects_the_statement_and_names_the_rule(rule: str, sql: str) -> None:
    with pytest.raises(IntegrityError, match=rule), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


def test_every_constraint_of_payments_is_tested() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conname FROM pg_constraint WHERE conrelid::regclass::text = ANY(%s) AND contype IN ('c', 'u')"
            " AND conname NOT LIKE '%%\\_check' AND conname NOT LIKE '%%\\_key'",
            [list(TABLES)],
        )
        named = {name for (name,) in cursor.fetchall()}
    assert named - {rule for rule, _ in REJECTED} == set()
