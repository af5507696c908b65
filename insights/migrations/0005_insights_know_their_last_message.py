from django.db import migrations, models

#: No chat could grow before now: what is written knows all of its chat.
KNOW_ALL = """
UPDATE insights SET up_to_message = chats.line_count FROM chats
WHERE chats.id = insights.chat_id AND insights.status = 'completed'
"""


class Migration(migrations.Migration):
    dependencies = [
        ("insights", "0004_an_index_for_finished_jobs"),
        ("chats", "0003_chats_that_grow"),
    ]

    operations = [
        migrations.AddField(
            model_name="insight",
            name="up_to_message",
            field=models.PositiveIntegerField(
                editable=False,
                help_text="The last message number that the chat had when this was written.",
                null=True,
            ),
        ),
        migrations.RunSQL(KNOW_ALL, migrations.RunSQL.noop),
    ]
