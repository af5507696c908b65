"""Audits of the ledger's invariants, and the ledger's latest transactions."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any

from django.db.models.functions import Now

from billing import adjustments, audit, ledger, operations
from billing.models import Adjustment, CreditTransaction, Wallet
from ops.models import LedgerAudit
from relivchats.errors import Conflict, NotFound
from relivchats.staff.bulk_actions import ActionContext
from relivchats.staff.reports import Level, Line, Report, Table
from relivchats.terminal import plural

COLUMNS = ("transaction", "wallet", "sequence", "type", "amount", "balance after", "at")
MAX_RECENT = 1000

#: The invariants of what a repair of a wallet computes: its balance, its reserved and its owed coins.
REPAIRED = ("1", "2", "12a")
#: Its rows are transactions that do not follow from each other: nothing can be computed from them.
_CHANGED_HISTORY = "3"

#: Proposed repairs that a report names.
MAX_REPAIRS_NAMED = 20
#: Offending rows that an audit lists per invariant.
MAX_OFFENDERS_LISTED = 5
#: Earlier audits whose transactions in progress are looked up again, to find a horizon that is settled by now.
MAX_MARKS = 50


def audit_report() -> Report:
    """Audit the whole ledger now and return one line per invariant; a broken one is critical."""
    broken = {finding.invariant.number: finding for finding in full_audit()}
    changed = broken.get(_CHANGED_HISTORY)
    changed_wallets = {row["wallet_id"] for row in changed.rows} if changed else set()
    repairs = pending_repairs()
    lines = []
    # Invariants that hold are listed too: the reader sees what was checked.
    for invariant in audit.registered():
        finding = broken.get(invariant.number)
        if finding is None:
            lines.append(Line(invariant.number, Level.FINE, invariant.name))
            continue
        text = f"BROKEN by {plural(finding.total, 'row')}: {invariant.name}"
        if proposed := _repairs_of(finding, repairs):
            text = f"{text}; {describe_repairs(proposed)}"
        remedy = _remedy_of(finding, changed_wallets, repairs)
        data = {"total": finding.total, "rows": finding.rows}
        lines.append(Line(invariant.number, Level.CRITICAL, text, remedy, data))
    return Report("Ledger", tuple(lines), data={"clean": not broken})


def pending_repairs() -> dict[int, int]:
    """Return the proposed repairs that can still be approved, the oldest first: ids of adjustments by wallet."""
    pending = Adjustment.objects.pending().filter(
        kind=Adjustment.Kind.REPAIR, created_at__gt=Now() - adjustments.MAX_PROPOSAL_AGE
    )
    return dict(pending.order_by("pk").values_list("wallet_id", "pk")[:MAX_REPAIRS_NAMED])


def remedy_of_repairs(repairs: Collection[int]) -> str:
    """Return how the adjustments with these ids are approved: by any account of staff that may, also the operator's."""
    first = next(iter(repairs))
    what, page = f"adjustment {first}", f"/admin/billing/adjustment/{first}/change/"
    if len(repairs) > 1:
        what, page = "the adjustments", "/admin/billing/adjustment/?status__exact=pending"
    who = "as a member of the group finance, or with the login of: manage.py createsuperuser"
    return f"approve {what}: {page}  # {who}"


def describe_repairs(repairs: Collection[int]) -> str:
    """Return that the adjustments with these ids wait for approval."""
    if len(repairs) == 1:
        return f"repair proposed: adjustment {next(iter(repairs))} waits for approval"
    return f"repairs proposed: adjustments {', '.join(map(str, repairs))} wait for approval"


def _repairs_of(finding: audit.Finding, repairs: Mapping[int, int]) -> list[int]:
    """Return the ids of the repairs that are proposed for the wallets of a finding."""
    if finding.invariant.number not in REPAIRED:
        return []
    return [repairs[row["wallet_id"]] for row in finding.rows if row["wallet_id"] in repairs]


def _remedy_of(finding: audit.Finding, changed_wallets: set[Any], repairs: Mapping[int, int]) -> str:
    """Return the repair of the first wallet that differs from its rows and has none yet, or how those are approved.

    If the rows were changed, return how they are listed.
    """
    if finding.invariant.number in REPAIRED:
        for wallet_id in (row["wallet_id"] for row in finding.rows):
            if wallet_id not in changed_wallets and wallet_id not in repairs:
                return f"manage.py ledger --repair {wallet_id}"
        if proposed := _repairs_of(finding, repairs):
            return remedy_of_repairs(proposed)
    return f"manage.py ledger --json  # shows the rows; then docs/ledger.md, invariant {finding.invariant.number}"


def recent_transactions_report(limit: int) -> Report:
    """Return the latest `limit` transactions as a table, newest first."""
    rows = CreditTransaction.objects.order_by("-created_at", "-id").values_list(
        "id", "wallet_id", "sequence", "type", "amount", "balance_after", "created_at"
    )
    return Report("Latest transactions", table=Table(COLUMNS, tuple(rows[:limit])))


def repair_report(wallet_id: int, *, context: ActionContext | None) -> Report:
    """Return what a repair of a wallet would change; with a context, propose it to a second person as well.

    Raise NotFound, or Conflict if the wallet is right or its history was changed.
    """
    wallet = Wallet.objects.filter(pk=wallet_id).first()
    if wallet is None:
        raise NotFound(f"There is no wallet {wallet_id}. `manage.py ledger --json` names those that are broken.")
    sums = ledger.sum_up(wallet)
    table = Table(
        ("coins", "stored", "by its rows"),
        tuple((name, getattr(wallet, name), getattr(sums, name)) for name in ("balance", "reserved", "owed")),
    )
    if sums == ledger.Sums(wallet.balance, wallet.reserved, wallet.owed):
        return Report("Repair", (Line("wallet", Level.FINE, "it matches its rows: nothing to repair"),), table)
    if context is None and (proposed := pending_repairs().get(wallet.pk)):
        line = Line("wallet", Level.WARNING, describe_repairs([proposed]), remedy_of_repairs([proposed]))
        return Report("Repair", (line,), table)
    if context is None:
        remedy = f"manage.py ledger --repair {wallet_id} --reason 'it differs from its rows' --yes"
        line = Line("wallet", Level.WARNING, "differs from its rows; nothing was changed yet", remedy)
        return Report("Repair (preview)", (line,), table)
    result = operations.propose_repair(wallet, context=context)
    if not result.done:
        raise Conflict(result.outcome)
    made = Adjustment.objects.pending().filter(kind=Adjustment.Kind.REPAIR, wallet=wallet).latest("pk")
    line = Line("wallet", Level.WARNING, result.outcome, remedy_of_repairs([made.pk]))
    return Report("Repair proposed", (line,), table, has_changed=True)


def full_audit() -> list[audit.Finding]:
    """Check every invariant on every row, store the result for `health`, and return the broken invariants."""
    return _audit(since=None)


def recent_audit() -> list[audit.Finding]:
    """Check every invariant on the rows since the horizon, or on every row if there is no horizon yet."""
    return _audit(since=horizon())


def horizon() -> audit.Horizon | None:
    """Return the horizon of the latest clean audit: an audit need not read the rows before it again."""
    latest = LedgerAudit.objects.settled().order_by("-ended_at").values_list("settled_at", "settled_coins").first()
    return audit.Horizon(*latest) if latest else None  # type: ignore[arg-type]


def _audit(*, since: audit.Horizon | None) -> list[audit.Finding]:
    started = time.monotonic()
    # A mark is the state just before an audit. It becomes a horizon when all transactions open at that time have ended.
    marked = LedgerAudit.objects.filter(next_xid__isnull=False).order_by("-ended_at")
    marks = [audit.Mark(*each) for each in marked.values_list("marked_at", "next_xid")[:MAX_MARKS]]  # type: ignore[arg-type]
    seen = audit.incremental_audit(limit=MAX_OFFENDERS_LISTED, since=since, marks=marks)
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
