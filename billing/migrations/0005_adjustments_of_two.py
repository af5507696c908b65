import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0004_history_follows"),
    ]

    operations = [
        migrations.CreateModel(
            name="Adjustment",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("amount", models.BigIntegerField(help_text="Coins, signed.")),
                ("reason", models.CharField(max_length=200)),
                ("idempotency_key", models.CharField(max_length=100)),
                ("proposed_by", models.CharField(help_text="`user ID` or `command`.", max_length=150)),
                (
                    "status",
                    models.CharField(
                        choices=[("pending", "Pending"), ("approved", "Approved"), ("refused", "Refused")],
                        default="pending",
                        max_length=16,
                    ),
                ),
                ("decided_by", models.CharField(blank=True, max_length=150)),
                ("decision", models.CharField(blank=True, help_text="Why it was approved or refused.", max_length=200)),
                ("decided_at", models.DateTimeField(null=True)),
                (
                    "created_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
                ),
                (
                    "transaction",
                    models.OneToOneField(
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="adjustment",
                        to="billing.credittransaction",
                    ),
                ),
                (
                    "wallet",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="adjustments", to="billing.wallet"
                    ),
                ),
            ],
            options={
                "db_table": "coin_adjustments",
                "indexes": [models.Index(fields=["-created_at"], name="adjustments_newest")],
                "constraints": [
                    models.UniqueConstraint(fields=("wallet", "idempotency_key"), name="one_adjustment_per_key"),
                    models.CheckConstraint(
                        condition=models.Q(("amount", 0), _negated=True), name="adjustment_moves_coins"
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("proposed_by", ""), _negated=True), models.Q(("reason", ""), _negated=True)
                        ),
                        name="adjustment_says_who_and_why",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("decided_at__isnull", True), ("decided_by", ""), ("status", "pending")),
                            models.Q(
                                ("decided_at__isnull", False),
                                ("status__in", ["approved", "refused"]),
                                models.Q(("decided_by", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="adjustment_decided_iff_not_pending",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "approved"), ("transaction__isnull", False)),
                            models.Q(models.Q(("status", "approved"), _negated=True), ("transaction__isnull", True)),
                            _connector="OR",
                        ),
                        name="adjustment_made_iff_approved",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("status", "approved"), _negated=True),
                            models.Q(("decided_by", models.F("proposed_by")), _negated=True),
                            _connector="OR",
                        ),
                        name="adjustment_approved_by_another",
                    ),
                ],
            },
        ),
    ]
