import uuid
from typing import Any

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models
from django.db.models.functions import Now

FORWARDS = """
CREATE FUNCTION refuse_change_of_content_accesses() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER content_accesses_append_only BEFORE UPDATE OR DELETE ON content_accesses
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_content_accesses();
CREATE TRIGGER content_reads_append_only BEFORE UPDATE OR DELETE ON content_reads
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_content_accesses();
"""

BACKWARDS = """
DROP TRIGGER content_accesses_append_only ON content_accesses;
DROP TRIGGER content_reads_append_only ON content_reads;
DROP FUNCTION refuse_change_of_content_accesses();
"""


def reference(to: str, *, help_text: str = "") -> Any:
    """Return a reference to a row that may be deleted."""
    return models.ForeignKey(
        to, django.db.models.deletion.DO_NOTHING, db_constraint=False, related_name="+", help_text=help_text
    )


class Migration(migrations.Migration):
    dependencies = [
        ("chats", "0011_stored_bytes"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="ContentAccess",
            fields=[
                ("id", models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ("chat", reference("chats.chat")),
                ("owner", reference(settings.AUTH_USER_MODEL)),
                ("actor", reference(settings.AUTH_USER_MODEL, help_text="The member of staff.")),
                ("reason", models.CharField(help_text="The owner of the chat can read it.", max_length=200)),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
                ("expires_at", models.DateTimeField()),
            ],
            options={
                "db_table": "content_accesses",
                "verbose_name_plural": "content accesses",
                "indexes": [models.Index(fields=["-created_at"], name="content_accesses_newest")],
            },
        ),
        migrations.CreateModel(
            name="ContentRead",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "access",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.PROTECT, related_name="reads", to="chats.contentaccess"
                    ),
                ),
                ("first_number", models.PositiveIntegerField()),
                ("last_number", models.PositiveIntegerField()),
                ("created_at", models.DateTimeField(db_default=Now(), editable=False)),
            ],
            options={
                "db_table": "content_reads",
                "verbose_name": "opened page",
                "verbose_name_plural": "opened pages",
                "indexes": [models.Index(fields=["-created_at"], name="content_reads_newest")],
            },
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
    ]
