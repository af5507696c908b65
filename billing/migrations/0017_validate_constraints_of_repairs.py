from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models

INDEX = "one_pending_repair_per_wallet"


class Migration(migrations.Migration):
    # Each step locks out no writer, and all can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0016_repairs"),
    ]

    operations = [
        ValidateConstraint(model_name="adjustment", name="adjustment_moves_coins"),
        ValidateConstraint(model_name="adjustment", name="adjustment_made_iff_approved"),
        # As relivchats.indexes.add_index, for a unique index that is a constraint of the model.
        migrations.RunSQL("SET lock_timeout = 0", "RESET lock_timeout"),
        migrations.RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}", migrations.RunSQL.noop),
        migrations.SeparateDatabaseAndState(
            database_operations=[
                migrations.RunSQL(
                    f"CREATE UNIQUE INDEX CONCURRENTLY {INDEX} ON coin_adjustments (wallet_id)"
                    " WHERE kind = 'repair' AND status = 'pending'",
                    f"DROP INDEX CONCURRENTLY IF EXISTS {INDEX}",
                )
            ],
            state_operations=[
                migrations.AddConstraint(
                    model_name="adjustment",
                    constraint=models.UniqueConstraint(
                        condition=models.Q(("kind", "repair"), ("status", "pending")), fields=("wallet",), name=INDEX
                    ),
                )
            ],
        ),
        migrations.RunSQL("RESET lock_timeout", "SET lock_timeout = 0"),
    ]
