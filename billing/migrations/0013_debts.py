import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models

FORWARDS = """
CREATE FUNCTION refuse_change_of_coin_debts() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' OR (NEW.wallet_id, NEW.refund_id, NEW.coins) <> (OLD.wallet_id, OLD.refund_id, OLD.coins)
        OR NEW.paid_coins < OLD.paid_coins OR OLD.status = 'cancelled' OR (OLD.status = 'paid' AND NEW.status = 'open')
    THEN
        RAISE EXCEPTION 'debts_are_only_paid_or_cancelled: % of debt % refused', TG_OP, OLD.id
            USING ERRCODE = 'restrict_violation', HINT = 'Only billing.ledger writes this table.';
    END IF;
    RETURN NEW;
END
$$;
CREATE TRIGGER debts_are_only_paid_or_cancelled BEFORE UPDATE OR DELETE ON coin_debts
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_coin_debts();
"""

BACKWARDS = """
DROP TRIGGER debts_are_only_paid_or_cancelled ON coin_debts;
DROP FUNCTION refuse_change_of_coin_debts();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0012_help_texts"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="CoinDebt",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("coins", models.BigIntegerField()),
                ("paid_coins", models.BigIntegerField(default=0)),
                (
                    "status",
                    models.CharField(
                        choices=[("open", "Open"), ("paid", "Paid"), ("cancelled", "Cancelled")],
                        default="open",
                        max_length=16,
                    ),
                ),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                ("resolved_at", models.DateTimeField(null=True)),
            ],
            options={
                "db_table": "coin_debts",
            },
        ),
        migrations.AddField(
            model_name="wallet",
            name="owed",
            field=models.BigIntegerField(
                db_default=0, default=0, help_text="Coins of refunds that could not be taken yet."
            ),
        ),
        migrations.AlterField(
            model_name="paymentrefund",
            name="taken_coins",
            field=models.PositiveIntegerField(default=0, help_text="Those of them that were taken back at once."),
        ),
        # Migration 0015 validates the constraints of tables that may be large.
        AddConstraintNotValid(
            model_name="wallet",
            constraint=models.CheckConstraint(condition=models.Q(("owed__gte", 0)), name="wallet_owed_not_negative"),
        ),
        AddConstraintNotValid(
            model_name="wallet",
            constraint=models.CheckConstraint(
                condition=models.Q(("owed", 0), ("balance", models.F("reserved")), _connector="OR"),
                name="wallet_owes_only_without_spendable_coins",
            ),
        ),
        migrations.AddField(
            model_name="coindebt",
            name="refund",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="debts", to="billing.paymentrefund"
            ),
        ),
        migrations.AddField(
            model_name="coindebt",
            name="wallet",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT, related_name="debts", to="billing.wallet"
            ),
        ),
        migrations.AddField(
            model_name="credittransaction",
            name="debt",
            field=models.ForeignKey(
                blank=True,
                db_index=False,
                null=True,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="transactions",
                to="billing.coindebt",
            ),
        ),
        AddConstraintNotValid(
            model_name="credittransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(("debt__isnull", True), ("type", "refund"), _connector="OR"),
                name="debt_named_for_refunds_only",
            ),
        ),
        migrations.AddIndex(
            model_name="coindebt",
            index=models.Index(condition=models.Q(("status", "open")), fields=["wallet"], name="debts_open_of_wallet"),
        ),
        migrations.AddIndex(
            model_name="coindebt",
            index=models.Index(fields=["-created_at"], name="debts_newest"),
        ),
        migrations.AddIndex(
            model_name="coindebt",
            index=models.Index(fields=["-resolved_at"], name="debts_last_resolved"),
        ),
        migrations.AddConstraint(
            model_name="coindebt",
            constraint=models.UniqueConstraint(
                condition=models.Q(("status", "cancelled"), _negated=True),
                fields=("refund",),
                name="one_debt_per_refund",
            ),
        ),
        migrations.AddConstraint(
            model_name="coindebt",
            constraint=models.CheckConstraint(condition=models.Q(("coins__gt", 0)), name="debt_owes_coins"),
        ),
        migrations.AddConstraint(
            model_name="coindebt",
            constraint=models.CheckConstraint(
                condition=models.Q(("paid_coins__gte", 0), ("paid_coins__lte", models.F("coins"))),
                name="debt_paid_at_most_in_full",
            ),
        ),
        migrations.AddConstraint(
            model_name="coindebt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("paid_coins__lt", models.F("coins")), ("status", "open")),
                    models.Q(("paid_coins", models.F("coins")), ("status", "paid")),
                    ("status", "cancelled"),
                    _connector="OR",
                ),
                name="debt_paid_iff_in_full",
            ),
        ),
        migrations.AddConstraint(
            model_name="coindebt",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("resolved_at__isnull", True), ("status", "open")),
                    models.Q(("resolved_at__isnull", False), ("status__in", ["paid", "cancelled"])),
                    _connector="OR",
                ),
                name="debt_resolved_iff_not_open",
            ),
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
    ]
