from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("chats", "0012_content_accesses"),
    ]

    operations = [
        *add_index(
            "chat",
            models.Index(
                condition=models.Q(("indexed_at__isnull", False)),
                fields=["-indexed_at"],
                name="chats_last_indexed",
            ),
        ),
    ]
