from django.db import migrations, models

FORWARDS = """
CREATE FUNCTION refuse_broken_history_of_credit_transactions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before bigint;
BEGIN
    SELECT balance_after INTO before FROM credit_transactions
    WHERE wallet_id = NEW.wallet_id AND sequence = NEW.sequence - 1;
    IF (before IS NULL) <> (NEW.sequence = 1) OR NEW.balance_after <> COALESCE(before, 0) + NEW.amount THEN
        RAISE EXCEPTION 'transaction_follows_the_one_before: % of wallet % does not',
            NEW.sequence, NEW.wallet_id
            USING ERRCODE = 'restrict_violation', HINT = 'Only billing.ledger writes this table.';
    END IF;
    RETURN NULL;
END
$$;
CREATE TRIGGER credit_transactions_follow AFTER INSERT ON credit_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_broken_history_of_credit_transactions();

CREATE FUNCTION refuse_emptying_of_credit_transactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'credit_transactions is append-only: TRUNCATE refused' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER credit_transactions_never_emptied BEFORE TRUNCATE ON credit_transactions
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_emptying_of_credit_transactions();
"""

BACKWARDS = """
DROP TRIGGER credit_transactions_never_emptied ON credit_transactions;
DROP FUNCTION refuse_emptying_of_credit_transactions();
DROP TRIGGER credit_transactions_follow ON credit_transactions;
DROP FUNCTION refuse_broken_history_of_credit_transactions();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("billing", "0003_payments"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="coinreservation",
            index=models.Index(fields=["-resolved_at"], name="reservations_last_resolved"),
        ),
        migrations.RunSQL(FORWARDS, BACKWARDS),
    ]
