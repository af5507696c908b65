from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("accounts", "0004_users_know_who_set_their_password"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS users_newest", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="user",
            index=models.Index(fields=["-created_at"], name="users_newest"),
        ),
    ]
