from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("insights", "0001_insights")]

    operations = [
        migrations.AddField(
            model_name="category",
            name="loaded_digest",
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
        migrations.AddField(
            model_name="insighttype",
            name="loaded_digest",
            field=models.CharField(blank=True, editable=False, max_length=64),
        ),
    ]
