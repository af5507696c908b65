from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ops", "0014_snapshots_for_pages"),
    ]

    operations = [
        migrations.AddField(
            model_name="snapshot",
            name="version",
            field=models.CharField(db_default="", help_text="The release of the beat that computed it.", max_length=40),
        ),
    ]
