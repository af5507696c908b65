from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [("staff", "0001_audit_entries")]

    operations = [
        # An interrupted attempt leaves an invalid index.
        migrations.RunSQL("DROP INDEX CONCURRENTLY IF EXISTS audit_entries_of_action", migrations.RunSQL.noop),
        AddIndexConcurrently(
            model_name="auditentry",
            index=models.Index(fields=["action", "-created_at"], name="audit_entries_of_action"),
        ),
    ]
