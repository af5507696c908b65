from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Each step locks out no writer, and all can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0014_net_recorded_debts"),
    ]

    operations = [
        ValidateConstraint(model_name="wallet", name="wallet_owed_not_negative"),
        ValidateConstraint(model_name="wallet", name="wallet_owes_only_without_spendable_coins"),
        ValidateConstraint(model_name="credittransaction", name="debt_named_for_refunds_only"),
        *add_index(
            "credittransaction",
            models.Index(condition=models.Q(("debt__isnull", False)), fields=["debt"], name="transactions_of_debts"),
        ),
    ]
