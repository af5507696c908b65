from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chats", "0004_known_contents"),
    ]

    operations = [
        migrations.AlterField(
            model_name="chat",
            name="clock",
            field=models.CharField(
                choices=[("local", "Local"), ("utc", "Utc")],
                default="local",
                help_text="local: times as printed by the phone. utc: instants.",
                max_length=8,
            ),
        ),
        migrations.AlterField(
            model_name="chat",
            name="index_from_number",
            field=models.PositiveIntegerField(
                editable=False, help_text="Chunks that end before this message are kept.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="chat",
            name="line_count",
            field=models.PositiveIntegerField(help_text="The last message number. Counts messages and system lines."),
        ),
        migrations.AlterField(
            model_name="chat",
            name="message_count",
            field=models.PositiveIntegerField(help_text="Messages that people sent, without system lines."),
        ),
        migrations.AlterField(
            model_name="chat",
            name="time_zone",
            field=models.CharField(blank=True, help_text="IANA name, chosen by the owner.", max_length=64),
        ),
        migrations.AlterField(
            model_name="chatupload",
            name="header_shape",
            field=models.CharField(
                blank=True, help_text="The first line, with digits as 9 and letters as a.", max_length=80
            ),
        ),
        migrations.AlterField(
            model_name="chatupload",
            name="message_count",
            field=models.PositiveIntegerField(default=0, help_text="Messages that the upload added."),
        ),
        migrations.AlterField(
            model_name="chatupload",
            name="older_left_out",
            field=models.PositiveIntegerField(
                default=0, help_text="Messages that the chat lacks but that are older than its last one."
            ),
        ),
        migrations.AlterField(
            model_name="chatupload",
            name="reason",
            field=models.CharField(blank=True, help_text="The name of the error.", max_length=64),
        ),
        migrations.AlterField(
            model_name="chatupload",
            name="stages",
            field=models.JSONField(default=dict, help_text="Milliseconds by stage of the import."),
        ),
        migrations.AlterField(
            model_name="chunk",
            name="conversation",
            field=models.PositiveIntegerField(help_text="The number of the conversation that the chunk is part of."),
        ),
        migrations.AlterField(
            model_name="chunk",
            name="vector_count",
            field=models.PositiveSmallIntegerField(
                help_text="Rows of the chat's vector matrix that belong to this chunk."
            ),
        ),
    ]
