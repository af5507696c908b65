from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0007_an_index_that_holds_a_history"),
    ]

    operations = [
        migrations.AddConstraint(
            model_name="credittransaction",
            constraint=models.UniqueConstraint(
                condition=models.Q(("reverses__isnull", False)), fields=("reverses",), name="one_reversal_per_refund"
            ),
        ),
        migrations.AddConstraint(
            model_name="credittransaction",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    models.Q(("type", "purchase"), _negated=True), ("payment_order__isnull", False), _connector="OR"
                ),
                name="transaction_without_order_is_no_purchase",
            ),
        ),
    ]
