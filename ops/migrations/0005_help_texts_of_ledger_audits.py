from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ops", "0004_audit_entries_move_to_staff")]

    operations = [
        migrations.AlterField(
            model_name="ledgeraudit",
            name="complete",
            field=models.BooleanField(
                default=True, help_text="True: every row was read. False: only rows that changed."
            ),
        ),
        migrations.AlterField(
            model_name="ledgeraudit",
            name="marked_at",
            field=models.DateTimeField(help_text="The time just before the audit.", null=True),
        ),
        migrations.AlterField(
            model_name="ledgeraudit",
            name="next_xid",
            field=models.BigIntegerField(help_text="The next transaction id of the database at that time.", null=True),
        ),
        migrations.AlterField(
            model_name="ledgeraudit",
            name="settled_at",
            field=models.DateTimeField(
                help_text="Rows before this time are clean, and no open transaction can add to them.", null=True
            ),
        ),
        migrations.AlterField(
            model_name="ledgeraudit",
            name="settled_coins",
            field=models.BigIntegerField(help_text="Sum of the amounts of all transactions before it.", null=True),
        ),
    ]
