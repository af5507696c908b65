from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("billing", "0018_indexes_of_rare_states"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS events_open", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("status__in", ["received", "needs_review"])),
                fields=["received_at"],
                name="events_open",
            ),
        ),
        # The new one has these rows too.
        RemoveIndexConcurrently(model_name="webhookevent", name="events_needing_review"),
    ]
