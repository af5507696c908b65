from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [("staff", "0001_audit_entries")]

    operations = [
        *add_index("auditentry", models.Index(fields=["action", "-created_at"], name="audit_entries_of_action")),
    ]
