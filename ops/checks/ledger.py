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
from ops import ledger
from ops.models import LedgerAudit
from relivchats import durations
from relivchats.staff.reports import Level, Line

_MEND = "manage.py ledger"

#: What the invariants together may take here.
SECONDS = 1.0


def clean() -> Line:
    """Ask the invariants now: over everything while that is quick, else over what changed since the latest audit."""
    latest = LedgerAudit.objects.complete().annotate(age=Now() - F("ended_at")).order_by("-ended_at").first()
    large = latest is not None and latest.milliseconds > SECONDS * 1000
    since = ledger.horizon() if large else None
    if latest is not None and large and since is None and _is_fresh(latest):
        return _told(latest)
    try:
        broken = [invariant.name for invariant in _broken(since)]
    except OperationalError:
        if latest is not None:
            return _told(latest)
        return Line("ledger", Level.UNKNOWN, "too large to audit here, and never audited in full", _MEND)
    if broken:
        return Line("ledger", Level.CRITICAL, f"{len(broken)} broken: {broken[0]}", _MEND, {"broken": broken})
    if latest is not None and since is not None:
        return _told(latest, "what changed since is clean; ")
    return Line("ledger", Level.FINE, f"{len(audit.registered())} invariants hold", data={"broken": []})


def _broken(since: audit.Horizon | None) -> list[audit.Invariant]:
    """Each invariant is one statement, so it sees one moment."""
    until = time.monotonic() + SECONDS
    found = []
    with transaction.atomic(), connection.cursor() as cursor:
        for invariant, sql, values in audit.questions(since):
            left = max(1, int((until - time.monotonic()) * 1000))
            cursor.execute("SELECT set_config('statement_timeout', %s, true)", [str(left)])
            # A count, since for EXISTS Postgres bets on a first row that a sound ledger does not have.
            cursor.execute(f"SELECT count(*) FROM ({sql}) AS offenders", values)  # noqa: S608
            if cursor.fetchone()[0]:
                found.append(invariant)
    return found


def _age(latest: LedgerAudit) -> timedelta:
    age: timedelta = vars(latest)["age"]
    return age


def _is_fresh(latest: LedgerAudit) -> bool:
    return _age(latest).total_seconds() <= settings.HEALTH_LEDGER_AUDIT_SECONDS


def _told(latest: LedgerAudit, beside: str = "") -> Line:
    text = f"{beside}audited in full {durations.format_short(_age(latest))} ago"
    data = {"broken": latest.broken, "seconds": round(_age(latest).total_seconds())}
    if latest.broken:
        return Line("ledger", Level.CRITICAL, f"{text}: {len(latest.broken)} invariants broken", _MEND, data)
    if not _is_fresh(latest):
        return Line("ledger", Level.WARNING, text, _MEND, data)
    return Line("ledger", Level.FINE, f"{text}: every invariant held", data=data)
