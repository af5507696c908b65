"""Refunds take back the coins that are still spendable. The next spendable coins pay the rest."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from billing import debts, ledger
from billing.audit import Horizon, audit
from billing.models import CreditTransaction, PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import money, providers, reconciliation, refund_application, refunds, webhooks
from billing.payments.providers.base import ProviderRefused, ProviderUnavailable
from chats.importing import import_chat
from relivchats import clock
from relivchats.accounts.models import User
from tests import exports
from tests.billing.payments.conftest import Shop, changed

pytestmark = pytest.mark.django_db


def refund_order(order: PaymentOrder, amount: int | None = None) -> PaymentRefund:
    return refunds.start(order_id=order.pk, amount=amount, actor="user 7", reason="bought by mistake")


def spend(shop: Shop, coins: int) -> None:
    wallet = ledger.open_wallet(user=shop.user)
    ledger.adjust(wallet=wallet, amount=-coins, actor="test", reason="spent", idempotency_key=f"spend {coins}")


def reconcile_later(refund: PaymentRefund) -> str:
    """Reconcile the refund as if an hour had passed since the last request."""
    PaymentRefund.objects.filter(pk=refund.pk).update(asked_at=Now() - timedelta(hours=1))
    return reconciliation.reconcile_refund(refund)


def refund_event(shop: Shop, order: PaymentOrder, kind: str, **change: Any) -> bytes:
    """Return an event of the first refund at the provider. Kinds: created, updated, failed."""
    return bytes(shop.fake.refund_event(order, kind, **change))


@pytest.fixture
def use_wrong_key(settings: Any, shop: Shop) -> Callable[[bool], None]:
    """Configure a key that the provider rejects (true), or the right key (false)."""

    def change(wrong: bool) -> None:
        values = shop.fake.wrong_key if wrong else {name: shop.fake.settings()[name] for name in shop.fake.wrong_key}
        for name, value in values.items():
            setattr(settings, name, value)

    return change


@pytest.fixture(autouse=True)
def check_invariants() -> Any:
    yield
    assert audit() == []


def test_a_refund_returns_the_money_and_takes_the_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    refund = refund_order(order)
    assert (refund.status, refund.amount, refund.coins, refund.taken_coins) == ("completed", order.amount, 400, 400)
    assert [refund["amount"] for refund in shop.fake.refunds.values()] == [order.amount]
    order.refresh_from_db()
    assert (order.status, order.refunded_amount, shop.balance) == ("refunded", order.amount, 50)
    line = CreditTransaction.objects.get(type="refund")
    assert (line.amount, line.payment_order, line.actor, line.reason) == (-400, order, "user 7", "bought by mistake")


def test_the_event_of_our_own_refund_changes_nothing(shop: Shop) -> None:
    order = shop.place_paid_order()
    refund_order(order)
    shop.send(refund_event(shop, order, "updated"))
    assert WebhookEvent.objects.latest("pk").status == "ignored"
    assert (PaymentRefund.objects.count(), shop.balance) == (1, 50)


def balance_of(shop: Shop) -> Any:
    return shop.client.get("/api/credits/balance", headers=shop.headers).json()


def descriptions(shop: Shop, query: str = "") -> list[str]:
    """Return the descriptions of the statement's lines, newest first."""
    rows = shop.client.get(f"/api/credits/transactions{query}", headers=shop.headers).json()["results"]
    return [row["description"] for row in rows]


def test_spent_coins_are_owed_and_the_next_purchase_pays_them_first(shop: Shop) -> None:
    order = shop.place_paid_order()
    spend(shop, 300)
    refund = refund_order(order)
    assert (refund.taken_coins, refund.owed_coins, shop.balance) == (150, 250, 0)
    assert list(PaymentOrder.objects.with_debt()) == [order]
    shop.place_paid_order()
    assert (shop.balance, balance_of(shop)["owed"]) == (150, 0)
    assert not PaymentOrder.objects.with_debt()
    assert descriptions(shop)[:3] == [
        "Owed coins of a refunded purchase: Starter",
        "Coins bought: Starter",
        "Purchase refunded: Starter; 250 of its coins were spent or held, and were taken later",
    ]


def test_the_balance_explains_owed_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    spend(shop, 300)
    first = refund_order(order, order.amount // 4)
    refund = refund_order(order)
    assert (first.owed_coins, refund.taken_coins) == (0, 150 - first.taken_coins)
    balance = balance_of(shop)
    [debt] = balance["owed_for"]
    assert (balance["owed"], debt["coins"], debt["order_id"]) == (250, 250, str(order.pk))
    refund.refresh_from_db()
    assert datetime.fromisoformat(debt["refunded_at"]) == refund.moved_at
    price = money.format_amount(refund.amount, order.currency)
    why = (
        f"{price} for Starter went back to you."
        f" It had bought {refund.coins} coins, and 250 of them were spent or held by then."
    )
    assert debt["why"] == why
    assert descriptions(shop)[:2] == [
        "Purchase refunded: Starter; 250 of its coins were spent or held, and are owed",
        "Purchase refunded: Starter",
    ]
    wallet = ledger.open_wallet(user=shop.user)
    ledger.adjust(wallet=wallet, amount=249, actor="test", reason="waived", idempotency_key="waived")
    balance = balance_of(shop)
    [debt] = balance["owed_for"]
    assert (balance["owed"], balance["spendable"], debt["coins"]) == (1, 0, 1)
    assert debt["why"] == f"{why} 249 of these were taken since."
    assert (
        descriptions(shop)[2] == "Purchase refunded: Starter; 250 of its coins were spent or held, and 1 is still owed"
    )
    rows = shop.client.get("/api/credits/transactions", headers=shop.headers).json()["results"]
    assert (rows[0]["type"], rows[0]["amount"], rows[0]["order_id"]) == ("refund", -249, str(order.pk))
    other = Shop(shop.provider, shop.fake, User.objects.create_user("other@example.org"))
    assert balance_of(other)["owed_for"] == []


def test_a_debt_is_shown_during_the_refund_and_once_after_a_failure(shop: Shop) -> None:
    order = shop.place_paid_order()
    spend(shop, 51)
    shop.fake.refund_status = "pending"
    refund = refund_order(order)
    [debt] = debts.list_open_debts(refund.order.wallet)
    assert "is going back to you" in debts.explain(debt)
    assert "1 of them was spent or held by then" in debts.explain(debt)
    shop.send(refund_event(shop, order, "failed", status="failed"), event_id="failed")
    assert debts.list_open_debts(refund.order.wallet) == []
    completed = shop.fake.refund_completed
    shop.send(refund_event(shop, order, "updated", status=completed), event_id="done")
    next(iter(shop.fake.refunds.values()))["status"] = completed
    reconciliation.reconcile(PaymentOrder.objects.get())
    [debt] = debts.list_open_debts(refund.order.wallet)
    assert "went back to you" in debts.explain(debt)
    assert descriptions(shop, "?type=refund") == [
        "Purchase refunded: Starter; 1 of its coins was spent or held, and is owed",
        "Purchase refunded: Starter",
    ]


def test_held_coins_stay_held_and_pay_the_debt_when_they_are_released(shop: Shop, hold: Any) -> None:
    order = shop.place_paid_order()
    held = hold(ledger.open_wallet(user=shop.user), 450)
    refund = refund_order(order)
    assert (refund.taken_coins, refund.owed_coins, shop.balance) == (0, 400, 450)
    assert not CreditTransaction.objects.filter(type="refund").exists()
    ledger.release(reservation=held, reason="the chat was deleted")
    balance = balance_of(shop)
    assert (balance["balance"], balance["spendable"], balance["owed"]) == (50, 50, 0)


def test_refunding_while_coins_are_held_and_deleting_the_chat_frees_no_refunded_coin(stripe_shop: Shop) -> None:
    chat = import_chat(owner=stripe_shop.user, upload=exports.text(300))
    order = stripe_shop.place_paid_order()
    request = {"chat_id": str(chat.pk), "category_id": "romantic"}
    send: Any = {"content_type": "application/json", "headers": stripe_shop.headers}
    assert stripe_shop.client.post("/api/insights/unlock", request, **send).status_code == 202
    assert (refund_order(order).taken_coins, balance_of(stripe_shop)["owed"]) == (50, 350)
    assert stripe_shop.client.delete(f"/api/chats/{chat.pk}", headers=stripe_shop.headers).status_code == 204
    balance = balance_of(stripe_shop)
    assert (balance["balance"], balance["reserved"], balance["spendable"], balance["owed"]) == (50, 0, 50, 0)


def test_a_refund_that_fails_after_its_debt_was_paid_returns_all_its_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    spend(shop, 300)
    shop.fake.refund_status = "pending"
    refund_order(order)
    ledger.adjust(
        wallet=ledger.open_wallet(user=shop.user), amount=100, actor="test", reason="a gift", idempotency_key="gift"
    )
    assert (balance_of(shop)["owed"], shop.balance) == (150, 0)
    shop.send(refund_event(shop, order, "failed", status="failed"))
    assert (balance_of(shop)["owed"], shop.balance) == (0, 250)


def test_partial_refunds_add_up_to_the_whole_despite_rounding(shop: Shop) -> None:
    order = shop.place_paid_order()
    third = order.amount // 3
    parts = [refund_order(order, third), refund_order(order, third), refund_order(order)]
    assert [part.coins for part in parts] == [133, 133, 134]
    order.refresh_from_db()
    assert (order.status, shop.balance) == ("refunded", 50)


def test_a_partial_refund_leaves_the_order_completed(shop: Shop) -> None:
    order = shop.place_paid_order()
    refund_order(order, 1)
    order.refresh_from_db()
    assert (order.status, order.refunded_amount) == ("completed", 1)
    assert shop.balance == 450, "the amount is less than the price of one coin"


def test_refunds_cannot_exceed_the_amount_paid(shop: Shop) -> None:
    order = shop.place_paid_order()
    refund_order(order, order.amount - 100)
    for amount in (101, 0, -5):
        with pytest.raises(refunds.RefundImpossible, match="can be refunded"):
            refund_order(order, amount)
    refund_order(order)
    with pytest.raises(refunds.RefundImpossible, match="All of this order's money"):
        refund_order(order)
    assert sum(refund["amount"] for refund in shop.fake.refunds.values()) == order.amount


def test_an_unpaid_order_cannot_be_refunded(shop: Shop) -> None:
    with pytest.raises(refunds.RefundImpossible, match="nothing was paid"):
        refund_order(shop.place_order())
    assert not PaymentRefund.objects.exists()


@pytest.mark.parametrize("fault", ["hang", 500, 429, "garbage", "lose the answer"])
def test_a_refund_whose_answer_was_lost_is_paid_once_and_completed_later(shop: Shop, fault: Any) -> None:
    order = shop.place_paid_order()
    with shop.fault(fault):
        refund = refund_order(order)
    assert (refund.status, shop.balance) == ("pending", 450)
    shop.fake.forget_idempotency_keys()
    assert reconcile_later(refund) == "completed"
    assert ([refund["amount"] for refund in shop.fake.refunds.values()], shop.balance) == ([order.amount], 50)


def test_a_refund_that_the_provider_refuses_takes_no_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.fake.make_refund(shop.pay_order(order)["id"], order.amount)  # Its event has not arrived.
    with pytest.raises(refunds.RefundFailed):
        refund_order(order)
    assert (PaymentRefund.objects.get().status, shop.balance) == ("failed", 450)


def test_a_rejected_api_key_does_not_fail_a_refund_that_may_exist(
    shop: Shop, use_wrong_key: Callable[[bool], None]
) -> None:
    order = shop.place_paid_order()
    third = order.amount // 3
    shop.fake.faults.append("lose the answer")
    refund = refund_order(order, third)
    use_wrong_key(True)
    with pytest.raises(ProviderUnavailable):
        reconcile_later(refund)
    assert refund_application.refundable_amount(order) == order.amount - third
    use_wrong_key(False)
    assert reconcile_later(refund) == "completed"
    assert (len(shop.fake.refunds), shop.balance) == (1, 450 - 133)


def test_a_repeated_refund_fails_only_if_the_providers_list_lacks_it(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.faults.append(500)
    refund = refund_order(order)
    stripe_shop.fake.make_refund(
        order.provider_order_id, order.amount
    )  # The provider therefore refuses the next request.
    stripe_shop.fake.faults.append(404)  # The request for the list of refunds fails.
    with pytest.raises(ProviderUnavailable):
        reconcile_later(refund)
    with pytest.raises(refunds.RefundFailed):
        reconcile_later(refund)
    refund.refresh_from_db()
    assert refund.status == "failed"


def test_a_refund_whose_answer_was_lost_is_found_among_many(shop: Shop) -> None:
    order = shop.place_paid_order()
    for _ in range(11):
        shop.fake.make_refund(shop.pay_order(order)["id"], 1)
    shop.fake.faults.append("lose the answer")
    refund = refund_order(order, order.amount - 11)
    assert reconcile_later(refund) == "completed"
    assert len(shop.fake.refunds) == 12


def test_a_refusal_after_the_refunds_event_returns_no_coins(shop: Shop, monkeypatch: Any) -> None:
    order = shop.place_paid_order()
    shop.fake.faults.append("lose the answer")
    refund = refund_order(order)
    body = refund_event(shop, order, "created")
    PaymentRefund.objects.update(asked_at=None)
    refund.refresh_from_db()

    def receive_event_and_refuse(*_: Any, **__: Any) -> Any:
        shop.send(body)
        raise ProviderRefused("charge_already_refunded")

    monkeypatch.setattr(type(providers.REGISTRY[shop.provider]), "refund", receive_event_and_refuse)
    assert refunds.push(refund).status == "completed"
    order.refresh_from_db()
    assert (order.status, order.refunded_amount, shop.balance) == ("refunded", order.amount, 50)


@pytest.mark.parametrize("status", ["failed", "completed"])
def test_a_refund_that_is_no_longer_pending_is_not_sent(stripe_shop: Shop, status: str) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.faults.append(500)
    stale = refund_order(order)
    if status == "completed":
        reconcile_later(PaymentRefund.objects.get())
    PaymentRefund.objects.update(status=status, asked_at=Now() - timedelta(hours=1))
    requests_before = len(stripe_shop.fake.requests)
    assert refunds.push(stale).status == status
    assert len(stripe_shop.fake.requests) == requests_before


def test_a_refund_is_sent_by_one_process_at_a_time(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.faults.append(500)
    refund = refund_order(order)
    requests_before = len(stripe_shop.fake.requests)
    assert reconciliation.reconcile_refund(refund) == "pending"
    PaymentRefund.objects.update(asked_at=Now() - timedelta(hours=1))
    no_longer_due = PaymentRefund.objects.none()
    assert reconciliation.reconcile_refund(refund, only_among=no_longer_due) == "pending"
    assert len(stripe_shop.fake.requests) == requests_before


def test_a_refused_refund_that_is_made_later_takes_the_coins(shop: Shop, monkeypatch: Any) -> None:
    order = shop.place_paid_order()
    shop.fake.faults.append("lose the answer")
    refund = refund_order(order)
    PaymentRefund.objects.update(status="failed", failure="refused")
    shop.send(refund_event(shop, order, "created"))
    refund.refresh_from_db()
    assert (refund.status, refund.failure, refund.taken_coins, shop.balance) == ("completed", "", 400, 50)


def test_a_failed_refund_is_revived_by_the_providers_answer_not_by_an_event(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.fake.refund_status = "pending"
    refund = refund_order(order)
    completed = shop.fake.refund_completed
    shop.send(refund_event(shop, order, "failed", status="failed"), event_id="failed")
    shop.send(refund_event(shop, order, "updated", status=completed), event_id="done")
    refund.refresh_from_db()
    assert (refund.status, WebhookEvent.objects.latest("pk").status, shop.balance) == ("failed", "needs_review", 450)
    next(iter(shop.fake.refunds.values()))["status"] = completed
    order.refresh_from_db()
    reconciliation.reconcile(order)
    refund.refresh_from_db()
    assert (refund.status, shop.balance) == ("completed", 50)
    order.refresh_from_db()
    assert (order.review_reason, WebhookEvent.objects.needing_review().count()) == ("", 0), (
        "the answer closes the event under review"
    )


@pytest.mark.parametrize("sequence", ["in order", "failure first", "before the payment"])
def test_a_failed_refund_leaves_the_coins_in_any_sequence_of_events(shop: Shop, sequence: str) -> None:
    order = shop.place_order()
    paid, refunded = shop.order_event(order, "paid"), shop.order_event(order, "refunded")
    refunded = changed(refunded, **{shop.fake.event_time_field: int(time.time()) - 60})
    failed = refund_event(shop, order, "failed", status="failed")
    events = {
        "in order": (paid, refunded, failed),
        "failure first": (paid, failed, refunded),
        "before the payment": (failed, refunded, paid),
    }
    for body in events[sequence]:
        shop.send(body)
    order.refresh_from_db()
    assert (order.status, order.refunded_amount, order.review_reason, shop.balance) == ("completed", 0, "", 450)
    assert PaymentRefund.objects.get().status == "failed"
    assert not WebhookEvent.objects.filter(status__in=["received", "needs_review"]).exists()


def test_a_refund_that_finally_fails_returns_the_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.fake.refund_status = "pending"
    refund = refund_order(order)
    assert (refund.status, shop.balance) == ("processing", 50)
    shop.send(refund_event(shop, order, "failed", status="failed"))
    refund.refresh_from_db()
    order.refresh_from_db()
    assert (refund.status, refund.taken_coins, order.status, order.refunded_amount) == ("failed", 0, "completed", 0)
    assert shop.balance == 450
    shop.fake.refunds.clear()
    assert refund_order(order).status == "processing"
    assert shop.balance == 50


def test_an_incremental_audit_finds_an_older_refund_that_moved_without_its_coins(
    stripe_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.refund_status = "pending"
    refund_order(order)
    since = Horizon(clock.now(), stripe_shop.balance)
    with monkeypatch.context() as patched:
        patched.setattr(ledger, "reverse_refund", lambda **_: None)
        stripe_shop.send(refund_event(stripe_shop, order, "failed", status="failed"))
    assert [finding.invariant.number for finding in audit(since=since)] == ["9"]
    ledger.reverse_refund(refund=PaymentRefund.objects.get(), reason="fixed by hand")


def test_a_refund_made_at_the_provider_takes_the_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    body = shop.order_event(order, "refunded")
    for _ in range(3):
        shop.send(body)
    refund = PaymentRefund.objects.get()
    assert (refund.source, refund.status, refund.taken_coins, shop.balance) == ("provider", "completed", 400, 50)


def test_a_refund_before_its_payment_waits(shop: Shop) -> None:
    order = shop.place_order()
    paid, refunded = shop.order_event(order, "paid"), shop.order_event(order, "refunded")
    shop.send(refunded, event_id="refund")
    assert (WebhookEvent.objects.get().status, shop.balance) == ("received", 50)
    shop.send(paid, event_id="paid")
    order.refresh_from_db()
    assert (order.status, shop.balance) == ("refunded", 50)
    assert not WebhookEvent.objects.waiting().exists()


def test_refunding_more_than_was_paid_needs_review(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.send(shop.order_event(order, "refunded", amount=order.amount + 1))
    order.refresh_from_db()
    assert (order.review_reason, shop.balance) == ("more is refunded than was paid", 450)


def test_charge_refunded_makes_reconciliation_fetch_the_refunds(stripe_shop: Shop) -> None:
    order = stripe_shop.place_paid_order()
    for amount in (100, 150):
        stripe_shop.fake.make_refund(order.provider_order_id, amount)
    charge = {"object": "charge", "payment_intent": order.provider_order_id, "amount_refunded": 250}
    stripe_shop.fake.faults.append(500)
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", charge))
    assert reconciliation.reconcile_due() == 0
    assert (reconciliation.reconcile_due(), len(stripe_shop.fake.faults)) == (0, 0), (
        "there is a pause before the next request"
    )
    PaymentOrder.objects.update(asked_at=Now() - timedelta(minutes=6))
    assert reconciliation.reconcile_due() == 1
    assert sorted(PaymentRefund.objects.values_list("amount", flat=True)) == [100, 150]
    order.refresh_from_db()
    assert (order.refunded_amount, WebhookEvent.objects.latest("pk").status) == (250, "applied")


def test_charge_refunded_needs_review_after_two_days_and_is_still_reconciled(
    stripe_shop: Shop,
) -> None:
    order = stripe_shop.place_paid_order()
    stripe_shop.fake.make_refund(order.provider_order_id, 100)
    stripe_shop.send(stripe_shop.fake.build_event("charge.refunded", {"payment_intent": order.provider_order_id}))
    changed_event = WebhookEvent.objects.filter(kind="refunds_changed")
    changed_event.update(received_at="2020-01-01T00:00Z", next_attempt_at="2020-01-01T00:00Z")
    webhooks.apply_due()
    assert (changed_event.get().status, webhooks.retry(changed_event.get()).status) == ("needs_review", "needs_review")
    reconciliation.reconcile_due()
    order.refresh_from_db()
    assert (order.refunded_amount, order.review_reason, changed_event.get().status) == (100, "", "applied")


def test_a_dispute_is_recorded_and_a_lost_one_takes_the_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    spend(shop, 250)
    shop.send(shop.order_event(order, "disputed"), event_id="opened")
    assert (list(PaymentOrder.objects.disputed()), shop.balance) == ([order], 200)
    shop.send(shop.order_event(order, "lost"), event_id="lost")
    shop.send(shop.order_event(order, "disputed"), event_id="late")
    order.refresh_from_db()
    refund = PaymentRefund.objects.get()
    assert (order.dispute, order.status, refund.source) == ("lost", "refunded", "dispute")
    assert (refund.taken_coins, refund.owed_coins, shop.balance) == (200, 200, 0)


def test_a_won_dispute_takes_no_coins(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.send(shop.order_event(order, "disputed"), event_id="opened")
    shop.send(shop.order_event(order, "won"), event_id="won")
    order.refresh_from_db()
    assert (order.dispute, shop.balance, PaymentRefund.objects.count()) == ("won", 450, 0)


def test_a_lost_dispute_takes_coins_despite_a_pending_refund(shop: Shop) -> None:
    order = shop.place_paid_order()
    shop.fake.faults.append(500)
    pending = refund_order(order)
    shop.send(shop.order_event(order, "lost"))
    order.refresh_from_db()
    assert (order.status, order.refunded_amount, shop.balance) == ("refunded", order.amount, 50)
    assert refund_application.refundable_amount(order) == 0
    assert reconcile_later(pending) == "pending", "the money went back twice, so that a person must review it"
    order.refresh_from_db()
    assert (order.review_reason, shop.balance) == ("more is refunded than was paid", 50)


def test_a_lost_dispute_takes_only_what_was_not_refunded(shop: Shop) -> None:
    order = shop.place_paid_order()
    refund_order(order, order.amount // 2)
    shop.send(shop.order_event(order, "lost"))
    order.refresh_from_db()
    assert (order.status, order.refunded_amount, shop.balance) == ("refunded", order.amount, 50)
