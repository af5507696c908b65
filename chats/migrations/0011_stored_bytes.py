from django.db import migrations, models

# The length of a value is known without reading it.
COUNT_STORED = """
    UPDATE chats SET stored_bytes = blocks.bytes
    FROM (SELECT chat_id, sum(octet_length(sealed)) AS bytes FROM transcript_blocks GROUP BY chat_id) AS blocks
    WHERE blocks.chat_id = chats.id
"""


class Migration(migrations.Migration):
    dependencies = [
        ("chats", "0010_key_store"),
    ]

    operations = [
        migrations.AddField(
            model_name="chat",
            name="stored_bytes",
            field=models.PositiveBigIntegerField(
                db_default=0, default=0, editable=False, help_text="Bytes of its sealed messages."
            ),
        ),
        migrations.RunSQL(COUNT_STORED, migrations.RunSQL.noop),
    ]
