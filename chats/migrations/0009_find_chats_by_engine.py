from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("chats", "0008_rows_of_matrices"),
    ]

    operations = [
        *add_index(
            "chat",
            models.Index(
                condition=models.Q(("vector_status", "completed")),
                fields=["index_engine"],
                name="chats_by_index_engine",
            ),
        ),
    ]
