from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0019_an_index_for_open_events"),
    ]

    operations = [
        *add_index("wallet", models.Index(fields=["-created_at"], name="wallets_newest")),
        *add_index(
            "adjustment",
            models.Index(fields=["created_at"], name="adjustments_pending", condition=models.Q(status="pending")),
        ),
        *add_index(
            "webhookevent",
            models.Index(
                fields=["provider_refund_id"], name="events_by_refund", condition=~models.Q(provider_refund_id="")
            ),
        ),
    ]
