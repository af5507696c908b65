from django.conf import settings
from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
        ("insights", "0013_versions_know_who_saved_them_and_why"),
    ]

    operations = [
        *add_index("generationjob", models.Index(fields=["user", "-created_at"], name="jobs_of_user")),
    ]
