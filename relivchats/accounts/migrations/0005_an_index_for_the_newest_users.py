from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building the index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("accounts", "0004_users_know_who_set_their_password"),
    ]

    operations = [
        *add_index("user", models.Index(fields=["-created_at"], name="users_newest")),
    ]
