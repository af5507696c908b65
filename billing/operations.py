"""Bulk actions of staff on wallets and adjustments."""

from __future__ import annotations

from django.db.models import QuerySet

from billing import adjustments, debts, ledger
from billing.models import Adjustment, CreditTransaction, Wallet
from relivchats.staff.bulk_actions import ActionContext, ActionResult, BatchResult, record, run_batch, run_one


def adjust_wallet(wallet: Wallet, *, amount: int, idempotency_key: str, context: ActionContext) -> ActionResult:
    """Adjust a wallet, or propose the adjustment if it is large. Repeating the key changes nothing."""

    def adjust(wallet: Wallet) -> str:
        return _describe(
            adjustments.adjust(
                wallet=wallet,
                amount=amount,
                actor=context.actor,
                reason=context.reason,
                idempotency_key=idempotency_key,
            )
        )

    result = run_one(wallet, adjust)
    record("adjust wallet", result, context=context)
    return result


def approve_adjustments(proposals: QuerySet[Adjustment], *, context: ActionContext) -> BatchResult:
    """Approve each proposed adjustment."""

    def approve(adjustment: Adjustment) -> str:
        return _describe(adjustments.approve(adjustment, actor=context.actor, reason=context.reason))

    return run_batch("approve adjustment", proposals, approve, context=context)


def refuse_adjustments(proposals: QuerySet[Adjustment], *, context: ActionContext) -> BatchResult:
    """Refuse each proposed adjustment."""

    def refuse(adjustment: Adjustment) -> str:
        adjustments.refuse(adjustment, actor=context.actor, reason=context.reason)
        return "refused, no coins moved"

    return run_batch("refuse adjustment", proposals, refuse, context=context)


def propose_repair(wallet: Wallet, *, context: ActionContext) -> ActionResult:
    """Propose to rebuild the sums of a wallet from its rows. A second person approves it, as a large adjustment."""

    def propose(wallet: Wallet) -> str:
        return _describe(adjustments.propose_repair(wallet=wallet, actor=context.actor, reason=context.reason))

    result = run_one(wallet, propose)
    record("repair wallet", result, context=context)
    return result


def _describe(result: CreditTransaction | Adjustment | ledger.Sums) -> str:
    if isinstance(result, ledger.Sums):
        return f"repaired: {result.describe()}"
    if isinstance(result, Adjustment) and result.kind == Adjustment.Kind.REPAIR:
        return f"The repair is proposed as adjustment {result.pk}: a second person must approve it."
    if isinstance(result, Adjustment):
        return f"{result.amount:+} coins are proposed as adjustment {result.pk}: a second person must approve them."
    # The instance that the ledger locked and changed.
    wallet = result.wallet
    paid = debts.describe_payment(result, wallet=wallet)
    return f"{result.amount:+} coins. {f'{paid} ' if paid else ''}The balance is {wallet.balance}."
