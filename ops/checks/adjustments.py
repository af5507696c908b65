"""Adjustments by hand: does one wait too long for a second person?"""

from __future__ import annotations

from datetime import timedelta

from django.db.models.functions import Now

from billing import adjustments
from billing.models import Adjustment
from ops.checks.work import count, words
from relivchats.staff.reports import Level, Line

_LIST = "/admin/billing/adjustment/?status__exact=pending"

#: To wait for somebody is their normal course.
_PATIENCE = timedelta(days=1)


def decided() -> Line:
    pending = Adjustment.objects.pending()
    waiting = count(pending)
    late = count(pending.filter(created_at__lt=Now() - _PATIENCE))
    too_old = count(pending.filter(created_at__lt=Now() - adjustments.GOOD_FOR))
    data = {"waiting": waiting, "late": late, "too_old": too_old}
    if too_old:
        text = f"{_wait(too_old)} for more than {adjustments.GOOD_FOR.days} days and can only be refused"
        return Line(
            "adjustments", Level.WARNING, text, f"refuse them, and propose again what is still due: {_LIST}", data
        )
    if late:
        text = f"{_wait(late)} for a second person for more than a day"
        return Line("adjustments", Level.WARNING, text, f"approve or refuse them: {_LIST}", data)
    text = f"{_wait(waiting) if waiting else 'none waits'} for a second person"
    return Line("adjustments", Level.FINE, text, data=data)


def _wait(number: int) -> str:
    return f"{words(number)} {'waits' if number == 1 else 'wait'}"
