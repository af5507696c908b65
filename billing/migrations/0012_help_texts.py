import django.db.models.functions.datetime
from django.db import migrations, models

import billing.payments.money


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0011_review_reason_and_event_statuses"),
    ]

    operations = [
        migrations.AlterField(
            model_name="paymentorder",
            name="review_reason",
            field=models.CharField(blank=True, help_text="Why a person must review it, or empty.", max_length=200),
        ),
        migrations.AlterField(
            model_name="coinreservation",
            name="reason",
            field=models.CharField(blank=True, help_text="What the coins are reserved for.", max_length=200),
        ),
        migrations.AlterField(
            model_name="coinreservation",
            name="release_reason",
            field=models.CharField(blank=True, help_text="Why the coins were released.", max_length=200),
        ),
        migrations.AlterField(
            model_name="creditpackage",
            name="active",
            field=models.BooleanField(default=True, help_text="Offered for sale."),
        ),
        migrations.AlterField(
            model_name="creditpackage",
            name="popular",
            field=models.BooleanField(default=False, help_text="Highlighted as the most popular package."),
        ),
        migrations.AlterField(
            model_name="packageprice",
            name="currency",
            field=models.CharField(choices=billing.payments.money.currency_choices, max_length=3),
        ),
        migrations.AlterField(
            model_name="paymentorder",
            name="asked_at",
            field=models.DateTimeField(help_text="When the provider was last asked for its state.", null=True),
        ),
        migrations.AlterField(
            model_name="paymentorder",
            name="completed_at",
            field=models.DateTimeField(help_text="When the coins were granted.", null=True),
        ),
        migrations.AlterField(
            model_name="paymentorder",
            name="failure",
            field=models.CharField(blank=True, help_text="Why it failed: the provider's error code.", max_length=100),
        ),
        migrations.AlterField(
            model_name="paymentorder",
            name="provider",
            field=models.CharField(max_length=16),
        ),
        migrations.AlterField(
            model_name="paymentorder",
            name="refunded_amount",
            field=models.PositiveIntegerField(default=0, help_text="In minor units: money sent back."),
        ),
        migrations.AlterField(
            model_name="paymentrefund",
            name="coins",
            field=models.PositiveIntegerField(default=0, help_text="Coins that the refunded money bought."),
        ),
        migrations.AlterField(
            model_name="paymentrefund",
            name="completed_at",
            field=models.DateTimeField(help_text="When the provider reported it as paid.", null=True),
        ),
        migrations.AlterField(
            model_name="paymentrefund",
            name="failure",
            field=models.CharField(blank=True, help_text="Why it failed: the provider's error code.", max_length=100),
        ),
        migrations.AlterField(
            model_name="paymentrefund",
            name="moved_at",
            field=models.DateTimeField(
                db_default=django.db.models.functions.datetime.Now(),
                editable=False,
                help_text="When its status last changed.",
            ),
        ),
        migrations.AlterField(
            model_name="paymentrefund",
            name="taken_coins",
            field=models.PositiveIntegerField(default=0, help_text="Those of them that were taken back."),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="occurred_at",
            field=models.DateTimeField(help_text="Time of the event by the provider's clock.", null=True),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="order_reference",
            field=models.CharField(blank=True, help_text="Our order's id in the provider's metadata.", max_length=100),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="outcome",
            field=models.CharField(blank=True, help_text="The result, or why it needs review.", max_length=200),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="provider",
            field=models.CharField(max_length=16),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="refund_reference",
            field=models.CharField(blank=True, help_text="Our refund's id in the provider's metadata.", max_length=100),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="status",
            field=models.CharField(
                choices=[
                    ("received", "Received"),
                    ("applied", "Applied"),
                    ("ignored", "Ignored"),
                    ("needs_review", "Needs Review"),
                    ("dismissed", "Dismissed"),
                ],
                default="received",
                max_length=16,
            ),
        ),
        migrations.AlterField(
            model_name="webhookevent",
            name="type",
            field=models.CharField(help_text="The provider's name of the event.", max_length=100),
        ),
    ]
