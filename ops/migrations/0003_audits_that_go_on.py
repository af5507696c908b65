from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("ops", "0002_audits"),
    ]

    operations = [
        migrations.AddField(
            model_name="ledgeraudit",
            name="complete",
            field=models.BooleanField(default=True, help_text="Every row was read, not only what changed."),
        ),
        migrations.AddField(
            model_name="ledgeraudit",
            name="marked_at",
            field=models.DateTimeField(help_text="The moment just before it.", null=True),
        ),
        migrations.AddField(
            model_name="ledgeraudit",
            name="next_xid",
            field=models.BigIntegerField(help_text="The database's next transaction at that moment.", null=True),
        ),
        migrations.AddField(
            model_name="ledgeraudit",
            name="settled_at",
            field=models.DateTimeField(help_text="Everything before was found clean and cannot grow.", null=True),
        ),
        migrations.AddField(
            model_name="ledgeraudit",
            name="settled_coins",
            field=models.BigIntegerField(help_text="What all transactions before that moved.", null=True),
        ),
    ]
