from typing import Any

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.models import F, Sum
from django.db.models.functions import Now


def net(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Make a debt of the coins that each refund could not take, and pay it from what the wallet has.

    Staff settled some by a negative adjustment with the refund's id as its reason. Such an adjustment is returned, and
    its coins pay the debt, so that they are not taken twice.
    """
    # Until the end of the migration nothing else moves coins.
    schema_editor.execute("LOCK TABLE wallets, payment_refunds, credit_transactions IN SHARE ROW EXCLUSIVE MODE")
    refunds = apps.get_model("billing", "PaymentRefund").objects.filter(
        status__in=["processing", "completed"], taken_coins__lt=F("coins")
    )
    for refund in refunds.select_related("order__wallet").order_by("created_at", "pk"):
        wallet, coins = refund.order.wallet, refund.coins - refund.taken_coins
        # Another refund of this wallet may have changed it.
        wallet.refresh_from_db()
        adjustments = wallet.transactions.filter(type="admin_adjustment", amount__lt=0, reason__contains=str(refund.pk))
        settled = min(coins, -adjustments.aggregate(total=Sum("amount", default=0))["total"])
        paid = min(coins, settled + wallet.balance - wallet.reserved)
        debt = wallet.debts.create(
            refund=refund,
            coins=coins,
            paid_coins=paid,
            status="paid" if paid == coins else "open",
            resolved_at=Now() if paid == coins else None,
        )
        if settled:
            text = f"returned, and taken as owed: it settled refund {refund.pk}"
            _append(wallet, "admin_adjustment", settled, f"debt {debt.pk} settled", actor="migration", reason=text)
        if paid:
            text, order = f"owed since refund {refund.pk}", refund.order
            _append(wallet, "refund", -paid, f"debt {debt.pk} {paid}", reason=text, payment_order=order, debt=debt)
        wallet.owed += coins - paid
        wallet.save(update_fields=["balance", "owed"])


def _append(wallet: Any, type: str, amount: int, idempotency_key: str, **columns: Any) -> None:
    last = wallet.transactions.order_by("-sequence").values_list("sequence", flat=True).first() or 0
    wallet.balance += amount
    wallet.transactions.create(
        sequence=last + 1,
        type=type,
        amount=amount,
        balance_after=wallet.balance,
        idempotency_key=idempotency_key,
        **columns,
    )


class Migration(migrations.Migration):
    dependencies = [("billing", "0013_debts")]

    # Irreversible: the transactions stay, and without the debts the refunds would not agree with them.
    operations = [migrations.RunPython(net)]
