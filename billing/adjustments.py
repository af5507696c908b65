"""Adjustments by staff: small ones are made at once, larger ones need the approval of a second person."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from uuid import UUID, uuid4

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from billing import ledger
from billing.models import Adjustment, AdjustmentQuerySet, CreditTransaction, Wallet
from relivchats.accounts.passwords import is_controlled_by
from relivchats.errors import Conflict, DomainError

#: An older proposal can only be refused: its reason probably no longer applies.
MAX_PROPOSAL_AGE = timedelta(days=7)
#: Adjustments by one person in one wallet within this time count together against the limit.
LIMIT_WINDOW = timedelta(hours=24)


class NotBySamePerson(DomainError):
    """The author of a proposal, or an account whose password they set, tried to approve it (403)."""

    code, status, title = "ERR_1004", 403, "A second person must approve this"


@transaction.atomic
def adjust(
    *, wallet: Wallet, amount: int, actor: str, reason: str, idempotency_key: str
) -> CreditTransaction | Adjustment:
    """Adjust the wallet and return the transaction, or propose the adjustment and return the proposal.

    It is proposed if it exceeds ADJUSTMENT_APPROVAL_COINS together with what this actor alone moved in this wallet, in
    the same direction, within LIMIT_WINDOW. Raise what `ledger.adjust` raises, also for a proposal: a second person
    should not be asked for an adjustment that cannot be made.
    """
    actor = actor.strip()
    # The lock makes the sum below current: concurrent small adjustments cannot pass the limit together.
    locked = Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
    is_repeated = wallet.transactions.filter(idempotency_key=idempotency_key).exists()
    proposed = wallet.adjustments.filter(idempotency_key=idempotency_key).first()
    if is_repeated or (proposed is None and _is_within_limit(wallet, amount, actor=actor)):
        return ledger.adjust(wallet=wallet, amount=amount, actor=actor, reason=reason, idempotency_key=idempotency_key)
    reason = ledger.check_adjustment(amount=amount, actor=actor, reason=reason)
    if proposed is None:
        ledger.check_spendable(locked, -amount)
        # Nothing is reserved: the coins may be gone by the approval, which then fails.
        return wallet.adjustments.create(
            idempotency_key=idempotency_key, amount=amount, proposed_by=actor, reason=reason
        )
    if proposed.amount != amount:
        raise ledger.IdempotencyMismatch
    return proposed


@transaction.atomic
def propose_repair(*, wallet: Wallet, actor: str, reason: str) -> Adjustment:
    """Propose to set a wallet to the sums of its rows, and return the proposal, or the one that is pending already.

    One that is too old to be approved is refused, and replaced. Raise Conflict if the wallet is right, or cannot be
    repaired.
    """
    locked = Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
    sums = ledger.sum_up(locked)
    if sums == ledger.Sums(locked.balance, locked.reserved, locked.owed):
        raise Conflict(f"Wallet {wallet.pk} is right: it matches its transactions, reservations and debts.")
    wrong_by = sums.balance - locked.balance
    reason = ledger.check_adjustment(amount=1, actor=actor, reason=reason)
    pending = locked.adjustments.pending().filter(kind=Adjustment.Kind.REPAIR)
    too_old(pending).update(
        status=Adjustment.Status.REFUSED,
        decided_by=actor.strip(),
        decision=f"too old, proposed again: {reason}"[:200],
        decided_at=Now(),
    )
    if proposed := pending.first():
        return proposed
    return locked.adjustments.create(
        kind=Adjustment.Kind.REPAIR,
        amount=wrong_by,
        proposed_by=actor.strip(),
        reason=reason,
        idempotency_key=f"repair {uuid4()}",
    )


@transaction.atomic
def approve(adjustment: Adjustment, *, actor: str, reason: str) -> CreditTransaction | ledger.Sums:
    """Make a proposed adjustment, once. Return the transaction, or what a repaired wallet contains.

    Raise NotBySamePerson, Conflict if it is decided or too old, and what `ledger.adjust` or `ledger.repair` raises. The
    proposal is then unchanged.
    """
    adjustment = _lock_pending(adjustment)
    if adjustment.proposed_by == actor.strip():
        raise NotBySamePerson("You proposed this adjustment. Ask somebody else to approve it, or refuse it yourself.")
    if _is_controlled(actor.strip(), by=adjustment.proposed_by):
        raise NotBySamePerson(
            "Your password was set by the person who proposed this adjustment. Ask somebody else to approve it."
        )
    if vars(adjustment)["age"] > MAX_PROPOSAL_AGE:
        raise Conflict(
            f"This was proposed more than {MAX_PROPOSAL_AGE.days} days ago. Refuse it, and propose it again."
        )
    if adjustment.kind == Adjustment.Kind.REPAIR:
        sums = ledger.repair(wallet=adjustment.wallet)
        _decide(adjustment, Adjustment.Status.APPROVED, actor=actor, reason=reason)
        return sums
    made = ledger.adjust(
        wallet=adjustment.wallet,
        amount=adjustment.amount,
        actor=f"{adjustment.proposed_by}, approved by {actor.strip()}",
        reason=adjustment.reason,
        idempotency_key=f"adjustment {adjustment.pk}",
    )
    _decide(adjustment, Adjustment.Status.APPROVED, actor=actor, reason=reason, made=made)
    return made


@transaction.atomic
def refuse(adjustment: Adjustment, *, actor: str, reason: str) -> None:
    """Close a proposal. Its author may do this too. Raise Conflict if it is already decided."""
    _decide(_lock_pending(adjustment), Adjustment.Status.REFUSED, actor=actor, reason=reason)


def too_old(rows: AdjustmentQuerySet) -> AdjustmentQuerySet:
    """Return those of the proposals that can no longer be approved."""
    return rows.pending().filter(created_at__lt=Now() - MAX_PROPOSAL_AGE)


def _is_controlled(actor: str, *, by: str) -> bool:
    """Return whether the second actor may know the password of the first. A command is nobody's account."""
    accounts = []
    for name in (actor, by):
        kind, _, pk = name.partition(" ")
        with suppress(ValueError):
            accounts += [UUID(pk)] if kind == "user" else []
    return len(accounts) == 2 and is_controlled_by(*accounts)


def _is_within_limit(wallet: Wallet, amount: int, *, actor: str) -> bool:
    """Return whether the actor may move these coins without a second person's approval."""
    # An approved adjustment names two people as its actor, so it is not found here.
    recent = wallet.transactions.filter(
        type=CreditTransaction.Type.ADMIN_ADJUSTMENT, actor=actor, created_at__gt=Now() - LIMIT_WINDOW
    )
    same_direction = recent.filter(amount__gt=0) if amount > 0 else recent.filter(amount__lt=0)
    moved: int = same_direction.aggregate(total=Sum("amount", default=0))["total"]
    return abs(amount + moved) <= settings.ADJUSTMENT_APPROVAL_COINS


def _lock_pending(adjustment: Adjustment) -> Adjustment:
    """Return the proposal, locked and with its `age`. Raise Conflict if it is decided."""
    rows = Adjustment.objects.select_for_update(of=("self",)).annotate(age=Now() - F("created_at"))
    locked = rows.get(pk=adjustment.pk)
    if locked.status != Adjustment.Status.PENDING:
        raise Conflict(f"This adjustment is already {locked.status}. Nothing was changed.")
    return locked


def _decide(
    adjustment: Adjustment,
    status: Adjustment.Status,
    *,
    actor: str,
    reason: str,
    made: CreditTransaction | None = None,
) -> None:
    Adjustment.objects.filter(pk=adjustment.pk).update(
        status=status, decided_by=actor.strip(), decision=reason.strip()[:200], decided_at=Now(), transaction=made
    )
