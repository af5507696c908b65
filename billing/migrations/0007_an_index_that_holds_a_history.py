from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0006_find_completed_orders"),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name="credittransaction",
            name="one_transaction_per_sequence",
        ),
        migrations.AddConstraint(
            model_name="credittransaction",
            constraint=models.UniqueConstraint(
                fields=("wallet", "sequence"),
                include=("amount", "balance_after", "id"),
                name="one_transaction_per_sequence",
            ),
        ),
    ]
