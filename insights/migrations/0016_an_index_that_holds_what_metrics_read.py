from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("insights", "0015_dispatch_pauses"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS insights_finished", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="insight",
            index=models.Index(
                fields=["-finished_at"],
                include=["status", "started_at", "price"],
                name="insights_finished",
            ),
        ),
        # The new one replaces it: insights have as many indexes as before.
        RemoveIndexConcurrently(model_name="insight", name="insights_last_finished"),
    ]
