"""Staff see a wallet's history on one page and adjust it with a reason; large adjustments need two of them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission
from django.db import models
from django.test import Client
from django.urls import reverse

from billing import audit, ledger
from billing.models import (
    Adjustment,
    CoinReservation,
    CreditTransaction,
    PaymentOrder,
    PaymentRefund,
    Wallet,
    WebhookEvent,
)
from relivchats.accounts.models import User
from relivchats.staff.models import AuditEntry
from tests.admin import everything
from tests.ops import rows

pytestmark = pytest.mark.django_db


def page(wallet: Wallet) -> str:
    return reverse("admin:billing_wallet_change", args=[wallet.pk])


def adjust(client: Client, wallet: Wallet, **form: Any) -> Any:
    address = page(wallet).replace("/change/", "/adjust/")
    values = {"reason": "a claim", "key": "form 1", **form}
    return client.post(address, values, follow=True)


def test_a_wallet_page_shows_everything_in_one_timeline(desk: Client) -> None:
    person = rows.person()
    rows.failed_job(owner=person)
    captured = rows.job(owner=person).reservation
    ledger.capture(reservation=captured, coins=50)
    Adjustment.objects.create(
        wallet=person.wallet, amount=5000, reason="a claim", proposed_by="command", idempotency_key="a"
    )
    shown = desk.get(page(person.wallet)).content.decode()
    for text in (
        "signup bonus",
        "admin adjustment",
        "coins held",
        "released",
        "captured",
        "-50",
        "adjustment of +5000",
    ):
        assert text in shown, text
    assert str(captured.pk) in shown


@pytest.fixture
def bought(person: User) -> PaymentOrder:
    """An order that was refunded after its coins were spent."""
    everything.payments(1, user=person)
    return PaymentOrder.objects.get()


@pytest.fixture
def person(db: None) -> User:
    return rows.person(email="ann@example.org")


def found(desk: Client, model: type[models.Model], term: object) -> list[models.Model]:
    return list(desk.get(everything.list_address(model), {"q": str(term)}).context["cl"].result_list)


def test_a_wallet_is_found_by_its_owner_and_by_every_id_of_its_payments(
    desk: Client, person: User, bought: PaymentOrder
) -> None:
    PaymentOrder.objects.update(provider_payment_id="pay_1")
    PaymentRefund.objects.update(provider_refund_id="re_1")
    refund = bought.refunds.get()
    for term in ("Ann@Example.org ", person.pk, person.wallet.pk, bought.pk, "pi_1", "pay_1", refund.pk, "re_1"):
        assert found(desk, Wallet, term) == [person.wallet], term
    assert [found(desk, PaymentRefund, term) for term in ("pi_1", "pay_1", "re_1")] == [[refund]] * 3
    line = ledger.grant(
        wallet=person.wallet,
        type=CreditTransaction.Type.PURCHASE,
        coins=bought.coins,
        idempotency_key="bought",
        payment_order=bought,
    )
    for term in (bought.pk, "pi_1", "pay_1", refund.pk, "re_1"):
        assert found(desk, CreditTransaction, term) == [line], term
    for term in ("ben@example.org", "pi_2", uuid.uuid4()):
        assert found(desk, Wallet, term) == []


def test_every_billing_list_can_be_searched_by_owner(desk: Client, person: User, bought: PaymentOrder) -> None:
    rows.adjustment(wallet=person.wallet)
    rows.job(owner=person)
    rows.job()
    for model in (Adjustment, CoinReservation, CreditTransaction, PaymentOrder, PaymentRefund, WebhookEvent):
        for term in ("ANN@example.org", person.pk):
            theirs = found(desk, model, term)
            assert theirs, (model, term)
            path = "order__wallet" if hasattr(model, "order") else "wallet"
            assert model._default_manager.filter(**{path: person.wallet}).count() == len(theirs)
        assert found(desk, model, "ben@example.org") == []


def test_a_wallet_page_begins_with_owed_coins(desk: Client, person: User, bought: PaymentOrder) -> None:
    shown = desk.get(page(person.wallet)).content.decode()
    refund = reverse("admin:billing_paymentrefund_change", args=[bought.refunds.get().pk])
    assert (
        shown.index("10 of refund <")
        < shown.index(f'href="{refund}"')
        < shown.index("spent or held when their money")
        < shown.index("rc-table")
    )


def test_approving_an_adjustment_shows_amount_owner_author_and_reason(desk: Client, person: User) -> None:
    proposed = rows.adjustment(wallet=person.wallet)
    address = reverse("admin:billing_adjustment_change", args=[proposed.pk])
    asked = desk.get(address.replace("/change/", "/approve/")).content.decode()
    for text in ("+5,000 coins", str(person.pk), page(person.wallet), "command", "a claim"):
        assert text in asked, text


def test_an_adjustment_form_sent_twice_is_made_once_and_logged(desk: Client, staff: User) -> None:
    wallet = rows.person().wallet
    before = wallet.balance
    assert "Adjust wallet" in desk.get(page(wallet).replace("/change/", "/adjust/")).content.decode()
    for _ in range(2):
        adjust(desk, wallet, amount="-30")
    line = CreditTransaction.objects.get(wallet=wallet, idempotency_key="form 1")
    assert (line.amount, line.actor, line.reason) == (-30, f"user {staff.pk}", "a claim")
    assert Wallet.objects.get(pk=wallet.pk).balance == before - 30
    assert AuditEntry.objects.filter(action="adjust wallet", actor=f"user {staff.pk}").count() == 2
    assert "a claim" in LogEntry.objects.filter(object_id=str(wallet.pk))[0].change_message
    assert audit.audit() == []


@pytest.mark.parametrize("form", [{"amount": "5", "reason": " "}, {"amount": "much"}, {"amount": ""}])
def test_an_adjustment_requires_a_number_and_a_reason(desk: Client, form: dict[str, str]) -> None:
    wallet = rows.person().wallet
    assert not adjust(desk, wallet, **form).redirect_chain
    assert wallet.transactions.count() == 2


def test_taking_more_than_the_spendable_coins_is_rejected(desk: Client) -> None:
    wallet = rows.person(coins=10).wallet
    assert "free to take" in adjust(desk, wallet, amount="-1000").content.decode()
    assert Wallet.objects.get(pk=wallet.pk).balance == wallet.balance


def test_a_large_adjustment_needs_another_member_of_staff(desk: Client, staff: User) -> None:
    wallet = rows.person().wallet
    before = wallet.balance
    assert "a second person" in adjust(desk, wallet, amount="5000").content.decode()
    proposed = Adjustment.objects.get()
    choose(desk, proposed, "approve")
    assert Wallet.objects.get(pk=wallet.pk).balance == before
    assert AuditEntry.objects.filter(action="approve adjustment", done=False).count() == 1
    other = User.objects.create_superuser("other@example.org", "a long pass phrase")
    client = Client()
    client.force_login(other)
    choose(client, proposed, "approve")
    assert Wallet.objects.get(pk=wallet.pk).balance == before + 5000
    assert "checked" in LogEntry.objects.filter(user=other)[0].change_message
    choose(client, proposed, "refuse")
    proposed.refresh_from_db()
    assert (proposed.status, proposed.decided_by) == ("approved", f"user {other.pk}")
    assert audit.audit() == []


def choose(client: Client, row: Adjustment, name: str) -> None:
    chosen = {"action": name, "_selected_action": [str(row.pk)], "reason": "checked"}
    assert client.post(everything.list_address(Adjustment), chosen, follow=True).status_code == 200


def test_a_view_only_user_cannot_adjust() -> None:
    wallet = rows.person().wallet
    viewer = rows.person(email="viewer@example.org")
    viewer.is_staff = True
    viewer.save()
    viewer.user_permissions.add(Permission.objects.get(codename="view_wallet"))
    client = Client()
    client.force_login(viewer)
    assert client.get(page(wallet)).status_code == 200
    assert adjust(client, wallet, amount="5").status_code == 403
    assert wallet.transactions.count() == 2
