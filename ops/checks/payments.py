"""Payments: has everybody who paid their coins, and does anything wait for a person?"""

from __future__ import annotations

from billing.models import PaymentOrder, PaymentRefund, WebhookEvent
from ops.checks.work import count, words
from relivchats.staff.reports import Level, Line

MEND = "manage.py payments --reconcile"
SEND_BACK = "send that payment back at the provider, then set its event aside: /admin/billing/webhookevent/?stuck=again"


def credited() -> Line:
    uncredited, held = count(WebhookEvent.objects.uncredited()), count(WebhookEvent.objects.needing_review())
    again, orders = count(WebhookEvent.objects.duplicate_payments()), count(PaymentOrder.objects.needing_review())
    unasked, not_taken = count(PaymentOrder.objects.unchecked()), count(PaymentRefund.objects.unacknowledged())
    data = {"uncredited": uncredited, "paid_again": again, "held": held, "orders": orders, "unasked": unasked}
    data["refunds_not_taken"] = not_taken
    if uncredited:
        text = f"{words(uncredited)} paid more than five minutes ago and without coins"
        return Line("payments", Level.CRITICAL, text, MEND, data)
    if again:
        text = f"{words(again)} paid a second time for coins that were given once"
        return Line("payments", Level.CRITICAL, text, SEND_BACK, data)
    if held or orders:
        return Line("payments", Level.WARNING, f"{words(max(held, orders))} to look at", "manage.py payments", data)
    if not_taken:
        text = f"{words(not_taken)} to send back, and in half an hour no provider answered"
        return Line("payments", Level.WARNING, text, MEND, data)
    if unasked:
        text = f"{words(unasked)} that no provider was asked about for half an hour: are worker and beat at work?"
        return Line("payments", Level.WARNING, text, MEND, data)
    return Line("payments", Level.FINE, "everybody who paid has their coins", data=data)
