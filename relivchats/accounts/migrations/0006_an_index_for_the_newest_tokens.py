from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("accounts", "0005_an_index_for_the_newest_users"),
    ]

    operations = [
        *add_index("accesstoken", models.Index(fields=["-created_at"], name="access_tokens_newest")),
    ]
