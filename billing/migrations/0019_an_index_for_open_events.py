from django.db import migrations, models

from relivchats.indexes import add_index, remove_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0018_indexes_of_rare_states"),
    ]

    operations = [
        *add_index(
            "webhookevent",
            models.Index(
                condition=models.Q(("status__in", ["received", "needs_review"])),
                fields=["received_at"],
                name="events_open",
            ),
        ),
        # The new one has these rows too.
        *remove_index("webhookevent", "events_needing_review"),
    ]
