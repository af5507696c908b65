from django.db import migrations, models

from relivchats.indexes import add_index


class Migration(migrations.Migration):
    # Building an index locks out no writer, and can be repeated after an interruption.
    atomic = False

    dependencies = [
        ("ops", "0012_keys_of_processes"),
    ]

    operations = [
        *add_index(
            "errorevent",
            models.Index(fields=["job_id", "-at"], name="error_events_of_job", condition=~models.Q(job_id=None)),
        ),
        *add_index(
            "errorevent",
            models.Index(
                fields=["insight_id", "-at"], name="error_events_of_insight", condition=~models.Q(insight_id=None)
            ),
        ),
        *add_index(
            "errorevent",
            models.Index(fields=["chat_id", "-at"], name="error_events_of_chat", condition=~models.Q(chat_id=None)),
        ),
    ]
