"""Lists of coins and of money show the sums of what their filters select, or say why not."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.db.models import Model
from django.db.models.functions import Now
from django.test import Client
from django.test.utils import CaptureQueriesContext

from billing import ledger
from billing.models import (
    CoinDebt,
    CoinReservation,
    CreditPackage,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    Wallet,
)
from relivchats.accounts.models import User
from relivchats.staff import lists
from tests.admin import everything
from tests.ops import rows

pytestmark = pytest.mark.django_db


def listed(client: Client, model: type[Model], **query: str) -> Any:
    answer = client.get(everything.list_address(model), query)
    assert answer.status_code == 200
    return answer.context["cl"]


def sums(client: Client, model: type[Model], **query: str) -> list[str]:
    found = listed(client, model, **query)
    page = client.get(everything.list_address(model), query).content.decode()
    assert all(sentence in page for sentence in found.sums)
    return list(found.sums)


def place_order(
    user: User, *, amount: int, currency: str, status: str = "completed", refunded: int = 0
) -> PaymentOrder:
    CreditPackage.objects.get_or_create(id="package", defaults={"title": "Another", "coins": 100})
    number = PaymentOrder.objects.count()
    return PaymentOrder.objects.create(
        wallet=user.wallet,
        package_id="package",
        provider="stripe",
        status=status,
        coins=100,
        amount=amount,
        currency=currency,
        refunded_amount=refunded,
        provider_order_id=f"pi_{number}",
        idempotency_key=f"key-{number}",
        completed_at=Now() if status == "completed" else None,
    )


def test_money_is_summed_for_each_currency(desk: Client) -> None:
    user = rows.person()
    place_order(user, amount=499, currency="USD", refunded=100)
    place_order(user, amount=499, currency="USD", status="pending")
    place_order(user, amount=39900, currency="INR")
    assert sums(desk, PaymentOrder) == [
        "Sum: ordered ₹399, paid ₹399, refunded ₹0",
        "Sum: ordered $9.98, paid $4.99, refunded $1",
    ]
    assert sums(desk, PaymentOrder, status__exact="pending") == ["Sum: ordered $4.99, paid $0, refunded $0"]


def test_refunds_are_summed_in_the_currency_of_their_orders(desk: Client) -> None:
    user = rows.person()
    for currency, status in (("USD", "completed"), ("USD", "pending"), ("INR", "completed")):
        order = place_order(user, amount=900, currency=currency)
        PaymentRefund.objects.create(order=order, source="provider", status=status, amount=300)
    assert sums(desk, PaymentRefund) == ["Sum: requested ₹3, paid back ₹3", "Sum: requested $6, paid back $3"]


def test_coins_in_and_out_are_summed_for_the_current_filters(desk: Client, staff: User) -> None:
    user = rows.person(coins=100)
    before = sum(CreditTransaction.objects.exclude(wallet=user.wallet).values_list("amount", flat=True))
    ledger.adjust(wallet=user.wallet, amount=-30, reason="test", actor="command", idempotency_key="a")
    own = sum(CreditTransaction.objects.filter(wallet=user.wallet).values_list("amount", flat=True))
    coming = own + 30
    assert sums(desk, CreditTransaction, q=str(user.pk)) == [
        f"Sum: in {coming} coins, out −30 coins, together {own} coins"
    ]
    assert sums(desk, CreditTransaction)[0].endswith(f"together {before + own} coins")
    assert sums(desk, CreditTransaction, to="2001-01-01") == []


def test_reservations_tell_what_is_still_held(desk: Client) -> None:
    reservation = rows.job().reservation
    (sentence,) = sums(desk, CoinReservation)
    coins = reservation.coins
    assert sentence == f"Sum: reserved {coins} coins, still held {coins} coins, captured 0 coins"


def test_equal_amounts_of_different_rows_are_all_summed(desk: Client) -> None:
    """A filter that removes repeated rows must not remove equal amounts."""
    user = rows.person()
    for _ in range(2):
        order = place_order(user, amount=500, currency="USD")
        refund = PaymentRefund.objects.create(order=order, source="provider", status="completed", amount=10, coins=2)
        CoinDebt.objects.create(wallet=user.wallet, refund=refund, coins=2)
    assert sums(desk, PaymentOrder, stuck="owed") == ["Sum: ordered $10, paid $10, refunded $0"]


def test_too_many_rows_have_no_sum_and_the_list_says_so(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists, "MAX_SUMMED", 2)
    user = rows.person()
    for _ in range(2):
        place_order(user, amount=500, currency="USD")
    assert sums(desk, PaymentOrder) == ["Sum: ordered $10, paid $10, refunded $0"]
    place_order(user, amount=500, currency="INR")
    (sentence,) = sums(desk, PaymentOrder)
    assert sentence.startswith("No sums: more than 2 rows match.")


def test_a_sum_reads_no_more_rows_than_its_limit_by_one_query(desk: Client) -> None:
    everything.one_of_each(1)
    for model in (CreditTransaction, CoinReservation, Wallet, PaymentOrder, PaymentRefund):
        with CaptureQueriesContext(connection) as captured:
            desk.get(everything.list_address(model))
        (sql,) = (query["sql"] for query in captured if "AS summed" in query["sql"])
        assert f"LIMIT {lists.MAX_SUMMED + 1}" in sql
        assert sql.count("ORDER BY") == 1, "only the order of the units"


def test_a_sum_that_takes_too_long_is_left_out(desk: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    place_order(rows.person(), amount=500, currency="USD")

    def sleep(*arguments: Any, **options: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(30)")

    monkeypatch.setattr(lists, "sum_each", sleep)
    monkeypatch.setattr(lists, "COUNT_MILLISECONDS", 20)
    assert sums(desk, PaymentOrder) == ["No sums: they take too long. Filter the list further."]


def test_the_filters_that_apply_are_shown_with_a_link_to_remove_each(desk: Client) -> None:
    order = place_order(rows.person(), amount=500, currency="USD")
    PaymentOrder.objects.filter(pk=order.pk).update(created_at=Now() - timedelta(days=2))
    active = listed(desk, PaymentOrder, status__exact="completed", when="7d").active_filters
    assert [(each.title, each.text) for each in active] == [("status", "completed"), ("created at", "last 7 days")]
    assert [each.address for each in active] == ["?when=7d", "?status__exact=completed"]
    (days,) = listed(desk, PaymentOrder, **{"from": "2026-01-01", "to": "2026-02-01"}).active_filters
    assert days.text == "from 2026-01-01 to 2026-02-01 (UTC)"
    page = desk.get(everything.list_address(PaymentOrder), {"status__exact": "completed"}).content.decode()
    assert "Status: completed" in page
    assert listed(desk, PaymentOrder).active_filters == []
