from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0017_validate_constraints_of_repairs"),
    ]

    operations = [
        *add_index(
            "credittransaction",
            models.Index(
                condition=models.Q(("type", "refund")),
                fields=["-created_at", "-id"],
                name="transactions_of_refunds",
            ),
        ),
        *add_index(
            "paymentorder",
            models.Index(condition=models.Q(("status", "refunded")), fields=["-created_at"], name="orders_refunded"),
        ),
        *add_index(
            "paymentorder",
            models.Index(
                condition=models.Q(("dispute", ""), _negated=True),
                fields=["dispute", "-created_at"],
                name="orders_disputed",
            ),
        ),
    ]
