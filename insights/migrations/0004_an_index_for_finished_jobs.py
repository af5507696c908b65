from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0004_history_follows"),
        ("chats", "0002_an_index_for_expired_index_leases"),
        ("insights", "0003_category_price_has_a_floor"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.AddIndex(
            model_name="generationjob",
            index=models.Index(fields=["-finished_at"], name="jobs_last_finished"),
        ),
    ]
