"""The check of the ledger: every invariant holds."""

from __future__ import annotations

import time
from collections.abc import Collection
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
from relivchats.staff.reports import Level, Line, format_count

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
    repairs = ledger_audits.pending_repairs()
    try:
        broken = _broken_invariants(since, repairs)
    except OperationalError:
        # The time limit expired, or another transaction holds a lock on the ledger.
        if latest is not None:
            return _latest_audit_line(latest)
        return Line("ledger", Level.UNKNOWN, "too large to audit here, and never audited in full", _REMEDY)
    if broken:
        names = [invariant.name for invariant in broken]
        verb = "does" if len(broken) == 1 else "do"
        text = f"{len(broken)} of {len(audit.registered())} invariants {verb} not hold, such as “{names[0]}”"
        if any(broken.values()):
            text = f"{text}; {ledger_audits.describe_repairs(repairs.values())}"
        remedy = ledger_audits.remedy_of_repairs(repairs.values()) if all(broken.values()) else _REMEDY
        data = {"broken": names, "late_work": all(invariant.is_of_late_work for invariant in broken)}
        return Line("ledger", Level.CRITICAL, text, remedy, data)
    if latest is not None and since is not None:
        return _latest_audit_line(latest, prefix="what changed since is clean; ")
    return Line("ledger", Level.FINE, f"{len(audit.registered())} invariants hold", data={"broken": []})


def _broken_invariants(since: audit.Horizon | None, repairs: Collection[int]) -> dict[audit.Invariant, bool]:
    """Return each broken invariant with whether a repair is proposed for all wallets that break it.

    `repairs` are the wallets with a proposed repair. Raise OperationalError if this takes more than MAX_SECONDS.
    """
    until = time.monotonic() + MAX_SECONDS
    broken = {}
    with transaction.atomic(), connection.cursor() as cursor:
        # Each invariant is one statement, so it sees one snapshot.
        for invariant, sql, values in audit.queries(since):
            remaining = max(1, int((until - time.monotonic()) * 1000))
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(remaining)])
            # A count, because for EXISTS Postgres plans for an early first row, which a clean ledger does not have.
            others = "count(*)"
            if repairs and invariant.number in ledger_audits.REPAIRED:
                others = f"count(*) FILTER (WHERE wallet_id NOT IN ({', '.join(map(str, repairs))}))"
            cursor.execute(f"SELECT count(*), {others} FROM ({sql}) AS offenders", values)  # noqa: S608 - SQL of billing/audit.py
            rows, unrepaired = cursor.fetchone()
            if rows:
                broken[invariant] = not unrepaired
    return broken


def _is_fresh(latest: LedgerAudit) -> bool:
    age: timedelta = vars(latest)["age"]
    return age.total_seconds() <= settings.HEALTH_LEDGER_AUDIT_SECONDS


def _latest_audit_line(latest: LedgerAudit, *, prefix: str = "") -> Line:
    age: timedelta = vars(latest)["age"]
    text = f"{prefix}audited in full {durations.format_short(age)} ago"
    data = {"broken": latest.broken, "seconds": round(age.total_seconds())}
    if latest.broken:
        text, remedy = f"{text}: {format_count(len(latest.broken), 'invariant')} broken", _REMEDY
        if set(latest.broken) <= set(ledger_audits.REPAIRED) and (repairs := ledger_audits.pending_repairs()):
            text = f"{text}; {ledger_audits.describe_repairs(repairs.values())}"
            remedy = ledger_audits.remedy_of_repairs(repairs.values())
        late = {invariant.number for invariant in audit.registered() if invariant.is_of_late_work}
        data["late_work"] = set(latest.broken) <= late
        return Line("ledger", Level.CRITICAL, text, remedy, data)
    if not _is_fresh(latest):
        return Line("ledger", Level.WARNING, text, _REMEDY, data)
    return Line("ledger", Level.FINE, f"{text}: every invariant held", data=data)
