from django.db import migrations, models

# A renamed column needs no new index: Postgres keeps the predicate. Only Django's state has to follow.
KEEP_INDEX_PREDICATE = migrations.SeparateDatabaseAndState(
    state_operations=[
        migrations.RemoveIndex(model_name="paymentorder", name="orders_needing_review"),
        migrations.AddIndex(
            model_name="paymentorder",
            index=models.Index(
                condition=models.Q(("review_reason", ""), _negated=True),
                fields=["created_at"],
                name="orders_needing_review",
            ),
        ),
    ]
)


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0010_find_what_to_ask_about"),
    ]

    operations = [
        migrations.RenameField(model_name="paymentorder", old_name="attention", new_name="review_reason"),
        migrations.RenameIndex(
            model_name="paymentorder", old_name="orders_needing_a_look", new_name="orders_needing_review"
        ),
        KEEP_INDEX_PREDICATE,
        migrations.RemoveIndex(model_name="webhookevent", name="events_held"),
        migrations.RemoveIndex(model_name="webhookevent", name="events_to_ask_about"),
        migrations.RunSQL(
            "UPDATE webhook_events SET status = CASE status WHEN 'held' THEN 'needs_review' ELSE 'dismissed' END"
            " WHERE status IN ('held', 'set_aside')",
            "UPDATE webhook_events SET status = CASE status WHEN 'needs_review' THEN 'held' ELSE 'set_aside' END"
            " WHERE status IN ('needs_review', 'dismissed')",
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("status", "needs_review")), fields=["received_at"], name="events_needing_review"
            ),
        ),
        migrations.AddIndex(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("kind", "refunds_changed"), ("status__in", ["received", "needs_review"])),
                fields=["order"],
                name="events_changing_refunds",
            ),
        ),
    ]
