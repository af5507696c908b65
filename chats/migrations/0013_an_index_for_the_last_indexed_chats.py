from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("chats", "0012_content_accesses"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS chats_last_indexed", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="chat",
            index=models.Index(
                condition=models.Q(("indexed_at__isnull", False)),
                fields=["-indexed_at"],
                name="chats_last_indexed",
            ),
        ),
    ]
