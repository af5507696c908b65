from typing import Any

from django.db import migrations


def move_content_type(apps: Any, schema_editor: Any) -> None:
    """Keep the content type's id, and with it every permission and log entry that refers to it."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    ContentType.objects.filter(app_label="ops", model="auditentry").update(app_label="staff")


def restore_content_type(apps: Any, schema_editor: Any) -> None:
    """Undo `move_content_type`."""
    ContentType = apps.get_model("contenttypes", "ContentType")
    ContentType.objects.filter(app_label="staff", model="auditentry").update(app_label="ops")


class Migration(migrations.Migration):
    dependencies = [
        ("contenttypes", "0002_remove_content_type_name"),
        ("ops", "0003_audits_that_go_on"),
        ("staff", "0001_audit_entries"),
    ]

    operations = [
        migrations.SeparateDatabaseAndState(state_operations=[migrations.DeleteModel("AuditEntry")]),
        migrations.RunPython(move_content_type, restore_content_type),
    ]
