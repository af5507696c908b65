from django.db import migrations

from relivchats.indexes import create_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("staff", "0003_permission_to_export_lists"),
        ("admin", "0003_logentry_add_action_flag_choices"),
    ]

    # Django's own model, so that no state changes.
    operations = [
        *create_index("admin_log_newest", "django_admin_log (action_time DESC)"),
        *create_index("admin_log_of_object", "django_admin_log (object_id, content_type_id)"),
    ]
