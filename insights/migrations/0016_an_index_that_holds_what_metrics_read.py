from django.db import migrations, models

from relivchats.indexes import add_index, remove_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("insights", "0015_dispatch_pauses"),
    ]

    operations = [
        *add_index(
            "insight",
            models.Index(
                fields=["-finished_at"],
                include=["status", "started_at", "price"],
                name="insights_finished",
            ),
        ),
        # The new one replaces it: insights have as many indexes as before.
        *remove_index("insight", "insights_last_finished"),
    ]
