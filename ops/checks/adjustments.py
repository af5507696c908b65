"""Adjustments by hand: does one wait for a second person?"""

from __future__ import annotations

from billing.models import Adjustment
from ops.checks.work import count, words
from ops.report import Level, Line

MEND = "approve or refuse them: /admin/billing/adjustment/?status__exact=pending"


def decided() -> Line:
    waiting = count(Adjustment.objects.pending())
    if waiting:
        text = f"{words(waiting)} {'waits' if waiting == 1 else 'wait'} for a second person"
        return Line("adjustments", Level.WARNING, text, MEND, {"waiting": waiting})
    return Line("adjustments", Level.FINE, "none waits for a second person", data={"waiting": 0})
