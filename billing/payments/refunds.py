"""Money back: asked for by staff, made at the provider, or lost in a dispute.

Once the provider has a refund, the coins that its money bought are taken back as
far as they are free to spend; the rest is written down as owed, and shown. It is
never taken from a later purchase. A refund that fails in the end gives them back.
"""

from __future__ import annotations

import uuid
from datetime import timedelta

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from billing import ledger
from billing.models import CreditTransaction, PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments import money, providers, webhooks
from billing.payments.providers.base import Kind, ProviderRefused, ProviderUnavailable, Report
from billing.payments.settling import Outcome, lock
from relivchats.errors import Conflict, DomainError

Status = PaymentRefund.Status
Event = WebhookEvent.Status
_TAKEN = PaymentRefund.TAKEN

#: An asking that was not answered within this time will not be: both of its calls have their time-outs.
ASKING_TAKES = timedelta(minutes=1)


class RefundImpossible(Conflict):
    code, title = "ERR_3008", "This cannot be refunded"


class RefundFailed(DomainError):
    code, status, title = "ERR_3008", 502, "The provider refused the refund"


def start(
    *, order_id: uuid.UUID, amount: int | None, actor: str, reason: str, left_before: int | None = None
) -> PaymentRefund:
    """Send back `amount` minor units of an order, or all that is left. The row stands before the provider is asked.

    `left_before` is what was left when the refund was decided: if less or more is left by
    now, nothing is done. A provider that does not answer leaves the refund pending:
    reconciling goes on with it. Raises NotSetUp, RefundFailed, RefundImpossible.
    """
    refund = _written_down(order_id, amount, actor=actor, reason=reason, left_before=left_before)
    try:
        return push(refund)
    except ProviderUnavailable:
        refund.refresh_from_db()
        return refund


@transaction.atomic
def _written_down(
    order_id: uuid.UUID, amount: int | None, *, actor: str, reason: str, left_before: int | None
) -> PaymentRefund:
    order = lock(order_id)
    if not order.is_paid:
        raise RefundImpossible(f"This order is {order.status}: nothing was paid that could go back.")
    providers.to_ask(order.provider)
    left = left_of(order)
    if left_before not in (None, left):
        raise RefundImpossible("Something was refunded since you opened the form. Look at the order's refunds first.")
    amount = left if amount is None else amount
    if not 0 < amount <= left:
        raise RefundImpossible(
            f"{money.shown(left, order.currency)} of this order can be refunded."
            f" Choose an amount from 1 to {left}, in minor units."
            if left
            else "All of this order's money is refunded, or on its way back."
        )
    return order.refunds.create(source=PaymentRefund.Source.STAFF, amount=amount, actor=actor, reason=reason[:200])


def push(refund: PaymentRefund) -> PaymentRefund:
    """Ask the provider for a pending refund; asked twice, it pays once. Raises ProviderUnavailable, RefundFailed.

    One that is no longer pending, or is being asked for at this moment, is left alone.
    """
    claimed, asked_before = _claimed(refund)
    order = refund.order
    provider = providers.to_ask(order.provider)
    if not claimed:
        return refund
    try:
        report = provider.refund(refund, asked_before=asked_before)
    except ProviderRefused as refusal:
        if _refused(refund, refusal.reason):
            raise RefundFailed(f"The provider refused: {refusal.reason}. No coin was taken.") from None
        return refund
    webhooks.hear(order.pk, report)
    refund.refresh_from_db()
    return refund


@transaction.atomic
def _claimed(refund: PaymentRefund) -> tuple[bool, bool]:
    """Whether this asking is the caller's, and whether there was one before. The row says so, not what we read."""
    lock(refund.order_id)
    refund.refresh_from_db()
    asked_before = refund.asked_at is not None
    free = Q(asked_at=None) | Q(asked_at__lt=Now() - ASKING_TAKES)
    claimed = PaymentRefund.objects.filter(free, pk=refund.pk, status=Status.PENDING).update(asked_at=Now())
    return bool(claimed), asked_before


@transaction.atomic
def _refused(refund: PaymentRefund, reason: str) -> bool:
    """Only a pending one fails by a refusal: what an event told in the meantime stands."""
    order = lock(refund.order_id)
    refund.refresh_from_db()
    if refund.status != Status.PENDING:
        return False
    _move(order, refund, Status.FAILED, failure=reason)
    return True


def reported(order: PaymentOrder, report: Report) -> Outcome:
    """A refund that the provider tells of: ours, or one made on its own pages. The order is locked."""
    if not order.is_paid:
        return Outcome(Event.RECEIVED, "waits for the payment that it gives back")
    if _is_of_another_payment(order, report):
        return Outcome(Event.IGNORED, "it gives back another payment than the one that the coins were given for")
    if not report.amount or report.amount < 0 or report.currency != order.currency or not report.provider_refund_id:
        return Outcome(Event.HELD, "the refund's amount or currency does not fit the order's")
    refund = _known(order, report)
    if refund is None:
        # One that failed is written down all the same, so that what is older and comes later takes no coin.
        if report.state != Status.FAILED and report.amount > left_of(order):
            return Outcome(Event.HELD, "more is refunded than was paid")
        refund = order.refunds.create(source=PaymentRefund.Source.PROVIDER, amount=report.amount, actor="provider")
    if refund.amount != report.amount:
        return Outcome(Event.HELD, "the refund has another amount than before")
    if (held := _revived(order, refund, report)) is not None:
        return held
    return _move(order, refund, Status(report.state), provider_id=report.provider_refund_id)


def _is_of_another_payment(order: PaymentOrder, report: Report) -> bool:
    """An order that was paid twice has a payment without coins: what becomes of that one takes none."""
    return bool(order.provider_payment_id and report.provider_payment_id not in ("", order.provider_payment_id))


def _revived(order: PaymentOrder, refund: PaymentRefund, report: Report) -> Outcome | None:
    """Nothing, if the refund can go on from where it is; else why not.

    One that the provider refused and then has all the same goes on. One that failed there
    goes on if the provider says so now, when asked: an event may be older than the failure,
    and one that is has nothing new to say.
    """
    if report.state not in _TAKEN or refund.status in _TAKEN:
        return None
    if refund.status == Status.FAILED and refund.provider_refund_id and report.event_id:
        if report.state == Status.PROCESSING or _failed_after(order, report):
            return Outcome(Event.IGNORED, "came after the refund had failed")
        return Outcome(Event.HELD, "a refund that had failed was paid after all: reconcile its order")
    if refund.amount > order.amount - order.refunded_amount:
        return Outcome(Event.HELD, "more is refunded than was paid")
    return None


def _failed_after(order: PaymentOrder, report: Report) -> bool:
    """Whether an event told of this refund's failure that is younger, by the provider's clock."""
    told = order.events.filter(kind=Kind.REFUND, provider_refund_id=report.provider_refund_id, state=Status.FAILED)
    return told.filter(occurred_at__gt=report.occurred_at).exists() if report.occurred_at else False


def disputed(order: PaymentOrder, report: Report) -> Outcome:
    """Opened, won or lost. What is lost is taken back like a refund, as far as it was not refunded before."""
    if not order.is_paid:
        return Outcome(Event.RECEIVED, "waits for the payment that it disputes")
    if _is_of_another_payment(order, report):
        return Outcome(Event.IGNORED, "it disputes another payment than the one that the coins were given for")
    state = PaymentOrder.Dispute(report.state)
    if state == PaymentOrder.Dispute.OPEN and order.dispute:
        return Outcome(Event.IGNORED, f"the dispute is {order.dispute} already")
    if state == PaymentOrder.Dispute.WON and order.dispute == PaymentOrder.Dispute.LOST:
        return Outcome(Event.HELD, "a lost dispute was won after all: give the coins back by hand")
    order.dispute = state
    order.save(update_fields=["dispute"])
    if state != PaymentOrder.Dispute.LOST:
        return Outcome(Event.APPLIED, f"the dispute is {state}")
    if not report.amount or report.amount < 0 or report.currency != order.currency:
        return Outcome(Event.HELD, "the lost dispute's amount or currency does not fit the order's")
    refund = _known(order, report)
    if refund is None:
        # A refund that is only asked for may yet be refused, as those of a disputed payment mostly are.
        lost = min(report.amount, order.amount - order.refunded_amount)
        if not lost:
            return Outcome(Event.APPLIED, "the dispute is lost; all was refunded before")
        refund = order.refunds.create(source=PaymentRefund.Source.DISPUTE, amount=lost, actor="provider")
    return _move(order, refund, Status.COMPLETED, provider_id=report.provider_refund_id)


def left_of(order: PaymentOrder) -> int:
    """What could still be sent back, in minor units."""
    return max(0, order.amount - order.refunds.standing().total_amount())


def _known(order: PaymentOrder, report: Report) -> PaymentRefund | None:
    named = order.refunds.filter(provider_refund_id=report.provider_refund_id).first()
    if named is not None or report.kind == Kind.DISPUTE:
        return named
    try:
        ours = uuid.UUID(report.refund_reference)
    except ValueError:
        return None
    return order.refunds.filter(pk=ours, provider_refund_id=None).first()


def _move(
    order: PaymentOrder, refund: PaymentRefund, to: Status, *, provider_id: str = "", failure: str = ""
) -> Outcome:
    """Bring a refund to a later state, and the coins with it. The order is locked."""
    refund.refresh_from_db()
    before = Status(refund.status)
    if before == to or (before, to) == (Status.COMPLETED, Status.PROCESSING):
        return Outcome(Event.IGNORED, f"the refund was {before} before")
    refund.status, refund.failure = to, failure
    refund.provider_refund_id = refund.provider_refund_id or provider_id or None
    if to == Status.FAILED and before in _TAKEN:
        _give_back(order, refund)
    elif to in _TAKEN and before not in _TAKEN:
        _take(order, refund)
    refund.save()
    completed_at = Now() if to == Status.COMPLETED else refund.completed_at
    PaymentRefund.objects.filter(pk=refund.pk).update(moved_at=Now(), completed_at=completed_at)
    return Outcome(Event.APPLIED, f"the refund is {to}: {refund.taken_coins} of {refund.coins} coins taken")


def _take(order: PaymentOrder, refund: PaymentRefund) -> None:
    """Of several parts the coins add up to those of the whole, whatever the rounding of each."""
    order.refunded_amount += refund.amount
    refund.coins = max(0, order.coins_for(order.refunded_amount) - order.refunds.with_the_provider().total_coins())
    if refund.coins:
        # One that failed after it took, and is made after all, takes again.
        before = _lines_of(order, refund).count()
        taken = ledger.refund(
            payment_order=order,
            coins=refund.coins,
            idempotency_key=f"{_key(refund)} {before + 1}" if before else _key(refund),
            actor=refund.actor,
            reason=refund.reason or refund.source,
        )
        refund.taken_coins = -taken.amount if taken else 0
    _save_refunded(order)


def _give_back(order: PaymentOrder, refund: PaymentRefund) -> None:
    taken = _lines_of(order, refund).last()
    if taken is not None:
        ledger.reverse_refund(refund=taken, reason="the provider could not send the money back")
    order.refunded_amount -= refund.amount
    refund.coins = refund.taken_coins = 0
    _save_refunded(order)


def _save_refunded(order: PaymentOrder) -> None:
    in_full = order.refunded_amount == order.amount
    order.status = PaymentOrder.Status.REFUNDED if in_full else PaymentOrder.Status.COMPLETED
    order.save(update_fields=["refunded_amount", "status"])


def _lines_of(order: PaymentOrder, refund: PaymentRefund) -> QuerySet[CreditTransaction]:
    """What the refund took, each time that it did."""
    lines = CreditTransaction.objects.filter(wallet=order.wallet_id, type=CreditTransaction.Type.REFUND)
    return lines.filter(payment_order=order, idempotency_key__startswith=_key(refund)).order_by("sequence")


def _key(refund: PaymentRefund) -> str:
    return f"refund {refund.pk}"
