from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chats", "0006_details_of_messages"),
    ]

    operations = [
        migrations.AddField(
            model_name="chat",
            name="index_engine",
            field=models.CharField(
                blank=True,
                db_default="",
                default="",
                editable=False,
                help_text="The embedding engine of the finished index, with its model, size and prefix version.",
                max_length=64,
            ),
        ),
        migrations.AddField(
            model_name="chat",
            name="index_not_before",
            field=models.DateTimeField(
                editable=False,
                help_text="The next attempt waits until then: the provider accepts no calls.",
                null=True,
            ),
        ),
        migrations.RunSQL(
            "UPDATE chats SET index_engine = vector_matrices.engine FROM vector_matrices"
            " WHERE vector_matrices.chat_id = chats.id AND chats.indexed_at IS NOT NULL",
            migrations.RunSQL.noop,
        ),
    ]
