from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("chats", "0008_rows_of_matrices"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS chats_by_index_engine", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="chat",
            index=models.Index(
                condition=models.Q(("vector_status", "completed")),
                fields=["index_engine"],
                name="chats_by_index_engine",
            ),
        ),
    ]
