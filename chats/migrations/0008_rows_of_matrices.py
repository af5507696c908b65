from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("chats", "0007_engines_of_indexes"),
    ]

    operations = [
        migrations.AddField(
            model_name="vectormatrix",
            name="row_count",
            field=models.PositiveIntegerField(db_default=0, default=0),
        ),
        migrations.RunSQL(
            "UPDATE vector_matrices SET row_count = counted.rows FROM"
            " (SELECT chat_id, sum(vector_count) AS rows FROM chunks GROUP BY chat_id) AS counted"
            " WHERE counted.chat_id = vector_matrices.chat_id",
            migrations.RunSQL.noop,
        ),
    ]
