from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("insights", "0016_an_index_that_holds_what_metrics_read"),
    ]

    operations = [
        *add_index(
            "insight",
            models.Index(
                fields=["-created_at"],
                name="insights_open_newest",
                condition=models.Q(status__in=["pending", "generating"]),
            ),
        ),
    ]
