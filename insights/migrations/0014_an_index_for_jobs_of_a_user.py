from django.conf import settings
from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("insights", "0013_versions_know_who_saved_them_and_why"),
    ]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS jobs_of_user", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="generationjob",
            index=models.Index(fields=["user", "-created_at"], name="jobs_of_user"),
        ),
    ]
