"""Adjustments by hand: small ones are made at once, above a limit a second person approves them first."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import F, Sum
from django.db.models.functions import Now

from billing import ledger
from billing.models import Adjustment, CreditTransaction, Wallet
from relivchats.errors import Conflict, DomainError

#: A proposal that nobody decided on for so long is only good for refusing: what it was for has passed.
GOOD_FOR = timedelta(days=7)


#: What one person moved in one wallet within this time counts together: many small ones are a large one.
COUNTED = timedelta(hours=24)


class NotBySamePerson(DomainError):
    code, status, title = "ERR_1004", 403, "A second person must approve this"


@transaction.atomic
def adjust(
    *, wallet: Wallet, amount: int, actor: str, reason: str, idempotency_key: str
) -> CreditTransaction | Adjustment:
    """Add or take coins; only propose it where that, and what this actor moved in this wallet the same way within a
    day and alone, is more than ADJUSTMENT_APPROVAL_COINS. Raises what `ledger.adjust` raises, also of what is only
    proposed: nobody waits for a second person to learn that there are not so many coins."""
    actor = actor.strip()
    locked = Wallet.objects.select_for_update(no_key=True).get(pk=wallet.pk)
    if wallet.transactions.filter(idempotency_key=idempotency_key).exists() or (
        not wallet.adjustments.filter(idempotency_key=idempotency_key).exists()
        and abs(amount + _moved_alone(wallet, actor=actor, added=amount > 0)) <= settings.ADJUSTMENT_APPROVAL_COINS
    ):
        return ledger.adjust(wallet=wallet, amount=amount, actor=actor, reason=reason, idempotency_key=idempotency_key)
    reason = ledger.check_adjustment(amount=amount, actor=actor, reason=reason)
    proposed = wallet.adjustments.filter(idempotency_key=idempotency_key).first()
    if proposed is None:
        ledger.check_takes(locked, -amount)
        return wallet.adjustments.create(
            idempotency_key=idempotency_key, amount=amount, proposed_by=actor, reason=reason
        )
    if proposed.amount != amount:
        raise ledger.IdempotencyMismatch
    return proposed


@transaction.atomic
def approve(adjustment: Adjustment, *, actor: str, reason: str) -> CreditTransaction:
    """Make a proposed adjustment, once. Raises NotBySamePerson, Conflict when it is decided or too old, and
    what `ledger.adjust` raises: then it stays as it was."""
    adjustment = _pending(adjustment)
    if adjustment.proposed_by == actor.strip():
        raise NotBySamePerson("You proposed this adjustment. Ask somebody else to approve it, or refuse it yourself.")
    if vars(adjustment)["age"] > GOOD_FOR:
        raise Conflict(f"This was proposed more than {GOOD_FOR.days} days ago. Refuse it, and propose it again.")
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
    """Close a proposal. Anybody may, its author too. Raises Conflict when it is decided already."""
    _decide(_pending(adjustment), Adjustment.Status.REFUSED, actor=actor, reason=reason)


def _moved_alone(wallet: Wallet, *, actor: str, added: bool) -> int:
    """Coins, signed, that the actor added, or took, by hand lately. Approved ones name their two people."""
    lately = wallet.transactions.filter(
        type=CreditTransaction.Type.ADMIN_ADJUSTMENT, actor=actor, created_at__gt=Now() - COUNTED
    )
    one_way = lately.filter(amount__gt=0) if added else lately.filter(amount__lt=0)
    total: int | None = one_way.aggregate(total=Sum("amount"))["total"]
    return total or 0


def _pending(adjustment: Adjustment) -> Adjustment:
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
