from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("chats", "0013_an_index_for_the_last_indexed_chats"),
    ]

    operations = [
        *add_index(
            "chatupload",
            models.Index(fields=["request_id"], name="chat_uploads_of_request", condition=~models.Q(request_id="")),
        ),
    ]
