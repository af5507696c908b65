import django.core.serializers.json
import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ops", "0013_find_error_events_by_their_work"),
    ]

    operations = [
        migrations.CreateModel(
            name="Snapshot",
            fields=[
                ("name", models.CharField(max_length=40, primary_key=True, serialize=False)),
                ("data", models.JSONField(encoder=django.core.serializers.json.DjangoJSONEncoder)),
                ("taken_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                "db_table": "snapshots",
            },
        ),
    ]
