"""Checks of payments and of adjustments by hand."""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from billing import adjustments as billing_adjustments
from billing.models import Adjustment, PaymentOrder, PaymentRefund, WebhookEvent
from billing.payments.reports import REFUND_DUPLICATE
from ops.checks.registry import health_check
from relivchats.staff.reports import Level, Line, count, format_count

_RECONCILE = "manage.py payments --reconcile"

_ADJUSTMENTS_PAGE = "/admin/billing/adjustment/?status__exact=pending"
_TOO_OLD_PAGE = "/admin/billing/adjustment/?stuck=yes"
#: Every large adjustment waits for a second person, so a short wait is no problem.
_MAX_ADJUSTMENT_WAIT = timedelta(days=1)


@health_check("payments", remedy=_RECONCILE, page="/admin/billing/webhookevent/")
def payments() -> Line:
    """Return a critical line if a payment has no coins or was made twice, and a warning if something needs review."""
    uncredited, needing_review = count(WebhookEvent.objects.uncredited()), count(WebhookEvent.objects.needing_review())
    duplicates = count(WebhookEvent.objects.duplicate_payments())
    orders_to_review = count(PaymentOrder.objects.needing_review())
    unchecked, unacknowledged = count(PaymentOrder.objects.unchecked()), count(PaymentRefund.objects.unacknowledged())
    data = {
        "uncredited": uncredited,
        "paid_again": duplicates,
        "held": needing_review,
        "orders": orders_to_review,
        "unasked": unchecked,
        "refunds_not_taken": unacknowledged,
    }
    # The most severe finding only: its remedy comes first, and the data have all the counts.
    if uncredited:
        text = f"{format_count(uncredited)} paid more than five minutes ago, without coins"
        return Line("payments", Level.CRITICAL, text, _RECONCILE, data)
    if duplicates:
        text = f"{format_count(duplicates)} paid twice; the coins were granted once"
        return Line("payments", Level.CRITICAL, text, REFUND_DUPLICATE, data)
    if needing_review or orders_to_review:
        text = f"{format_count(max(needing_review, orders_to_review))} held for review"
        return Line("payments", Level.WARNING, text, "manage.py payments", data)
    if unacknowledged:
        text = f"{format_count(unacknowledged, 'refund')} that no provider has accepted for half an hour"
        return Line("payments", Level.WARNING, text, _RECONCILE, data)
    if unchecked:
        text = f"{format_count(unchecked)} not checked with their provider for half an hour"
        text += ": are the worker and beat running?"
        return Line("payments", Level.WARNING, text, _RECONCILE, data)
    return Line("payments", Level.FINE, "every payment has its coins", data=data)


@health_check("adjustments", page=_ADJUSTMENTS_PAGE)
def adjustments() -> Line:
    """Return a warning if an adjustment waits too long for its second person, or can no longer be approved."""
    pending, expired = Adjustment.objects.pending(), billing_adjustments.too_old(Adjustment.objects.all())
    waiting, too_old = count(pending), count(expired)
    late = count(pending.filter(created_at__lt=Now() - _MAX_ADJUSTMENT_WAIT))
    data = {"waiting": waiting, "late": late, "too_old": too_old}
    if too_old:
        days = billing_adjustments.MAX_PROPOSAL_AGE.days
        text = f"{format_count(too_old)} pending for more than {days} days: can only be refused"
        remedy = f"refuse them, and propose again what is still due: {_TOO_OLD_PAGE}"
        repair = expired.filter(kind=Adjustment.Kind.REPAIR).order_by("pk").values_list("wallet_id", flat=True).first()
        if repair is not None:
            text += f"; one would have repaired wallet {repair}"
            # It previews, and its --yes closes the earlier proposal.
            remedy = f"manage.py ledger --repair {repair}  # if the wallet is right by now, refuse it: {_TOO_OLD_PAGE}"
        return Line("adjustments", Level.WARNING, text, remedy, data)
    if late:
        text = f"{format_count(late)} pending for more than a day: need a second person"
        return Line("adjustments", Level.WARNING, text, f"approve or refuse them: {_ADJUSTMENTS_PAGE}", data)
    return Line("adjustments", Level.FINE, f"{format_count(waiting)} pending" if waiting else "none pending", data=data)
