"""The ledger: is every invariant clean."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.db.utils import OperationalError

from billing import audit
from ops.models import LedgerAudit
from ops.report import Level, Line
from relivchats import spans

_MEND = "manage.py ledger"

#: What the invariants together may take here; a large ledger needs longer and is audited by beat.
SECONDS = 1.0


def clean() -> Line:
    """Ask the invariants now; where that takes too long, tell what the latest full audit found."""
    latest = LedgerAudit.objects.annotate(age=Now() - F("ended_at")).order_by("-ended_at").first()
    if latest is not None and latest.milliseconds > SECONDS * 1000 and _is_fresh(latest):
        return _told(latest)
    invariants = audit.registered()
    try:
        broken = [invariant.name for invariant in _broken(invariants)]
    except OperationalError:
        if latest is not None:
            return _told(latest)
        return Line("ledger", Level.UNKNOWN, "too large to audit here, and never audited in full", _MEND)
    if broken:
        return Line("ledger", Level.CRITICAL, f"{len(broken)} broken: {broken[0]}", _MEND, {"broken": broken})
    return Line("ledger", Level.FINE, f"{len(invariants)} invariants hold", data={"broken": []})


def _broken(invariants: list[audit.Invariant]) -> list[audit.Invariant]:
    """Each invariant is one statement, so it sees one moment."""
    until = time.monotonic() + SECONDS
    found = []
    with transaction.atomic(), connection.cursor() as cursor:
        for invariant in invariants:
            left = max(1, int((until - time.monotonic()) * 1000))
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(left)])
            cursor.execute(f"SELECT EXISTS ({invariant.sql})")
            if cursor.fetchone()[0]:
                found.append(invariant)
    return found


def _age(latest: LedgerAudit) -> timedelta:
    age: timedelta = vars(latest)["age"]
    return age


def _is_fresh(latest: LedgerAudit) -> bool:
    return _age(latest).total_seconds() <= settings.HEALTH_LEDGER_AUDIT_SECONDS


def _told(latest: LedgerAudit) -> Line:
    text = f"audited in full {spans.short(_age(latest))} ago"
    data = {"broken": latest.broken, "seconds": round(_age(latest).total_seconds())}
    if latest.broken:
        return Line("ledger", Level.CRITICAL, f"{text}: {len(latest.broken)} invariants broken", _MEND, data)
    if not _is_fresh(latest):
        return Line("ledger", Level.WARNING, text, _MEND, data)
    return Line("ledger", Level.FINE, f"{text}: every invariant held", data=data)
