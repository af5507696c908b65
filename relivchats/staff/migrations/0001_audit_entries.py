from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    """Take over the audit entries from the app `ops`: the table exists already, only Django's state changes."""

    initial = True

    dependencies = [("ops", "0003_audits_that_go_on")]

    operations = [
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.CreateModel(
                    name="AuditEntry",
                    fields=[
                        (
                            "id",
                            models.BigAutoField(
                                auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                            ),
                        ),
                        ("actor", models.CharField(help_text="`command`, or `user ID`.", max_length=150)),
                        ("action", models.CharField(max_length=64)),
                        ("object_id", models.CharField(max_length=64)),
                        ("reason", models.CharField(blank=True, max_length=200)),
                        (
                            "done",
                            models.BooleanField(help_text="False: the action was refused, and nothing changed."),
                        ),
                        ("outcome", models.CharField(max_length=300)),
                        ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                    ],
                    options={
                        "db_table": "audit_entries",
                        "verbose_name_plural": "audit entries",
                        "indexes": [
                            models.Index(fields=["-created_at"], name="audit_entries_newest"),
                            models.Index(fields=["object_id"], name="audit_entries_of_object"),
                        ],
                    },
                )
            ]
        )
    ]
