from django.db import migrations

FORWARDS = """
CREATE FUNCTION refuse_change_of_credit_transactions() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'credit_transactions is append-only: % of transaction % refused', TG_OP, OLD.id
        USING ERRCODE = 'restrict_violation', HINT = 'Write an adjustment that corrects it.';
END
$$;
CREATE TRIGGER credit_transactions_append_only BEFORE UPDATE OR DELETE ON credit_transactions
    FOR EACH ROW EXECUTE FUNCTION refuse_change_of_credit_transactions();
"""

BACKWARDS = """
DROP TRIGGER credit_transactions_append_only ON credit_transactions;
DROP FUNCTION refuse_change_of_credit_transactions();
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0001_coins")]

    operations = [migrations.RunSQL(FORWARDS, BACKWARDS)]
