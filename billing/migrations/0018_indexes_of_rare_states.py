from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0017_validate_constraints_of_repairs"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS transactions_of_refunds", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="credittransaction",
            index=models.Index(
                condition=models.Q(("type", "refund")),
                fields=["-created_at", "-id"],
                name="transactions_of_refunds",
            ),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS orders_refunded", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="paymentorder",
            index=models.Index(
                condition=models.Q(("status", "refunded")), fields=["-created_at"], name="orders_refunded"
            ),
        ),
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS orders_disputed", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="paymentorder",
            index=models.Index(
                condition=models.Q(("dispute", ""), _negated=True),
                fields=["dispute", "-created_at"],
                name="orders_disputed",
            ),
        ),
    ]
