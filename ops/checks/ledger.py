"""The check of the ledger: every invariant holds."""

from __future__ import annotations

import time
from datetime import timedelta

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.db.utils import OperationalError

from billing import audit
from ops import ledger as ledger_audits
from ops.checks.registry import health_check
from ops.models import LedgerAudit
from relivchats import durations
from relivchats.staff.reports import Level, Line

_REMEDY = "manage.py ledger"

#: The time limit of all invariants together.
MAX_SECONDS = 1.0


@health_check("ledger", remedy=_REMEDY, page="/admin/ops/ledgeraudit/")
def ledger() -> Line:
    """Check the invariants now: on all rows if that is quick, otherwise on the rows since the latest clean audit."""
    latest = LedgerAudit.objects.complete().annotate(age=Now() - F("ended_at")).order_by("-ended_at").first()
    since = None
    if latest is not None and latest.milliseconds > MAX_SECONDS * 1000:
        since = ledger_audits.horizon()
        if since is None and _is_fresh(latest):
            # Too large to audit here, and no horizon yet: the latest full audit is the answer.
            return _latest_audit_line(latest)
    try:
        broken = [invariant.name for invariant in _broken_invariants(since)]
    except OperationalError:
        # The time limit expired, or another transaction holds a lock on the ledger.
        if latest is not None:
            return _latest_audit_line(latest)
        return Line("ledger", Level.UNKNOWN, "too large to audit here, and never audited in full", _REMEDY)
    if broken:
        text = f"{len(broken)} of {len(audit.registered())} invariants do not hold, such as “{broken[0]}”"
        return Line("ledger", Level.CRITICAL, text, _REMEDY, {"broken": broken})
    if latest is not None and since is not None:
        return _latest_audit_line(latest, prefix="what changed since is clean; ")
    return Line("ledger", Level.FINE, f"{len(audit.registered())} invariants hold", data={"broken": []})


def _broken_invariants(since: audit.Horizon | None) -> list[audit.Invariant]:
    """Return the broken invariants. Raise OperationalError if they take more than MAX_SECONDS together."""
    until = time.monotonic() + MAX_SECONDS
    broken = []
    with transaction.atomic(), connection.cursor() as cursor:
        # Each invariant is one statement, so it sees one snapshot.
        for invariant, sql, values in audit.queries(since):
            remaining = max(1, int((until - time.monotonic()) * 1000))
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(remaining)])
            # A count, because for EXISTS Postgres plans for an early first row, which a clean ledger does not have.
            cursor.execute(f"SELECT count(*) FROM ({sql}) AS offenders", values)  # noqa: S608 - SQL of billing/audit.py
            if cursor.fetchone()[0]:
                broken.append(invariant)
    return broken


def _is_fresh(latest: LedgerAudit) -> bool:
    age: timedelta = vars(latest)["age"]
    return age.total_seconds() <= settings.HEALTH_LEDGER_AUDIT_SECONDS


def _latest_audit_line(latest: LedgerAudit, *, prefix: str = "") -> Line:
    age: timedelta = vars(latest)["age"]
    text = f"{prefix}audited in full {durations.format_short(age)} ago"
    data = {"broken": latest.broken, "seconds": round(age.total_seconds())}
    if latest.broken:
        return Line("ledger", Level.CRITICAL, f"{text}: {len(latest.broken)} invariants broken", _REMEDY, data)
    if not _is_fresh(latest):
        return Line("ledger", Level.WARNING, text, _REMEDY, data)
    return Line("ledger", Level.FINE, f"{text}: every invariant held", data=data)
