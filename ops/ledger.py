"""The ledger's invariants, one by one, and its latest transactions."""

from __future__ import annotations

import time
from datetime import timedelta

from django.db.models.functions import Now

from billing import audit
from billing.models import CreditTransaction
from ops.models import LedgerAudit
from relivchats.staff.reports import Level, Line, Report, Table

COLUMNS = ("transaction", "wallet", "sequence", "type", "amount", "balance after", "at")
SHOWN = 5
MOST_RECENT = 1000
#: Earlier looks that are asked whether what ran at their time is over.
MARKS = 50


def report(*, recent: int | None) -> Report:
    if recent is not None:
        return Report("Latest transactions", table=_latest(recent))
    broken = {finding.invariant.number: finding for finding in full_audit()}
    lines = tuple(
        _broken(broken[invariant.number])
        if invariant.number in broken
        else Line(invariant.number, Level.FINE, invariant.name)
        for invariant in audit.registered()
    )
    return Report("Ledger", lines, data={"clean": not broken})


def full_audit() -> list[audit.Finding]:
    """Every invariant over every row, and a note of the result for `health`."""
    return _audit(since=None)


def recent_audit() -> list[audit.Finding]:
    """Every invariant over what changed since the horizon; over everything where there is none yet."""
    return _audit(since=horizon())


def horizon() -> audit.Horizon | None:
    """From where an audit of what changed may start, by the latest clean one."""
    latest = LedgerAudit.objects.settled().order_by("-ended_at").values_list("settled_at", "settled_coins").first()
    return audit.Horizon(*latest) if latest else None  # type: ignore[arg-type]


def _audit(*, since: audit.Horizon | None) -> list[audit.Finding]:
    started = time.monotonic()
    marked = LedgerAudit.objects.filter(next_xid__isnull=False).order_by("-ended_at")
    marks = [audit.Mark(*each) for each in marked.values_list("marked_at", "next_xid")[:MARKS]]  # type: ignore[arg-type]
    seen = audit.look(limit=SHOWN, since=since, marks=marks)
    LedgerAudit.objects.create(
        complete=since is None,
        milliseconds=int((time.monotonic() - started) * 1000),
        broken=[finding.invariant.number for finding in seen.findings],
        marked_at=seen.mark.at,
        next_xid=seen.mark.next_xid,
        settled_at=seen.horizon.at if seen.horizon else None,
        settled_coins=seen.horizon.coins if seen.horizon else None,
    )
    LedgerAudit.objects.filter(ended_at__lt=Now() - timedelta(days=30)).delete()
    return seen.findings


def _broken(finding: audit.Finding) -> Line:
    text = f"BROKEN by {finding.total} row{'s' * (finding.total != 1)}: {finding.invariant.name}"
    remedy = f"see the rows: manage.py ledger --json; then docs/ledger.md, invariant {finding.invariant.number}"
    return Line(finding.invariant.number, Level.CRITICAL, text, remedy, {"total": finding.total, "rows": finding.rows})


def _latest(number: int) -> Table:
    rows = CreditTransaction.objects.order_by("-created_at", "-id").values_list(
        "id", "wallet_id", "sequence", "type", "amount", "balance_after", "created_at"
    )
    return Table(COLUMNS, tuple(rows[:number]))
