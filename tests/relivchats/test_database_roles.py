"""The application's role can read and write rows. It can change neither tables nor the ledger's history."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction

from chats.models import Chat
from ops.checks import get_check
from relivchats import database_roles, embedded
from relivchats.staff.reports import Level
from tests.processes import owner_database_url

pytestmark = pytest.mark.django_db

FORBIDDEN = [
    "ALTER TABLE credit_transactions DISABLE TRIGGER credit_transactions_append_only",
    "ALTER TABLE credit_transactions DISABLE TRIGGER USER",
    "DROP TRIGGER credit_transactions_append_only ON credit_transactions",
    "ALTER FUNCTION refuse_change_of_credit_transactions() RENAME TO another",
    "CREATE TRIGGER another BEFORE INSERT ON credit_transactions EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "CREATE RULE another AS ON INSERT TO credit_transactions DO INSTEAD NOTHING",
    "SET session_replication_role = replica",
    "SET ROLE relivchats",
    "SET SESSION AUTHORIZATION relivchats",
    "UPDATE credit_transactions SET amount = 1",
    "UPDATE credit_transactions SET actor = ''",
    "DELETE FROM credit_transactions",
    "TRUNCATE credit_transactions",
    "TRUNCATE wallets CASCADE",
    "ALTER TABLE credit_transactions ADD COLUMN another integer",
    "ALTER TABLE credit_transactions RENAME TO another",
    "ALTER TABLE wallets DROP CONSTRAINT wallet_reserved_within_balance",
    "ALTER TABLE credit_transactions OWNER TO relivchats_app",
    "DROP TABLE credit_transactions CASCADE",
    "DROP INDEX one_transaction_per_key",
    "DROP SCHEMA public CASCADE",
    "CREATE TABLE another (number integer)",
    "CREATE SCHEMA another",
    "GRANT relivchats TO relivchats_app",
    "ALTER ROLE relivchats_app SUPERUSER",
    "CREATE ROLE another SUPERUSER",
    "DELETE FROM wallets",
    "DELETE FROM coin_reservations",
    "DELETE FROM coin_debts",
    "DELETE FROM payment_orders",
    "DELETE FROM audit_entries",
    "UPDATE audit_entries SET actor = ''",
    "DELETE FROM django_migrations",
    "INSERT INTO django_migrations (app, name, applied) VALUES ('billing', 'another', now())",
]


def execute(sql: str) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(sql)


@pytest.fixture
def owner(transactional_db: None) -> Iterator[psycopg.Connection[Any]]:
    """A second connection, as the owner of the tables. Its statements are committed at once."""
    with psycopg.connect(owner_database_url(connection.settings_dict["NAME"]), autocommit=True) as opened:
        yield opened


@pytest.mark.parametrize("sql", FORBIDDEN)
def test_the_application_cannot_change_tables_or_history(sql: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner|must be able to|Only roles with"):
        execute(sql)


def test_the_application_may_only_do_what_it_needs_with_every_table() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT relname, array(
                SELECT word
                FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'TRIGGER', 'MAINTAIN']) AS word
                WHERE has_table_privilege(pg_class.oid, word)
            ) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
            """
        )
        privileges = {table: tuple(granted) for table, granted in cursor.fetchall()}
    less = {table: granted for table, granted in privileges.items() if len(granted) < 4}
    assert less == {
        "credit_transactions": ("SELECT", "INSERT"),
        "audit_entries": ("SELECT", "INSERT"),
        "content_accesses": ("SELECT", "INSERT"),
        "content_reads": ("SELECT", "INSERT"),
        "django_migrations": ("SELECT",),
        **dict.fromkeys(
            (
                *("wallets", "coin_reservations", "coin_debts", "coin_adjustments"),
                *("payment_orders", "payment_refunds", "webhook_events"),
            ),
            ("SELECT", "INSERT", "UPDATE"),
        ),
    }
    assert {granted for table, granted in privileges.items() if table not in less} == {
        ("SELECT", "INSERT", "UPDATE", "DELETE")
    }


def test_a_table_that_the_owner_creates_is_usable_at_once(owner: psycopg.Connection[Any]) -> None:
    owner.execute("CREATE TABLE another (id bigserial, number integer)")
    try:
        for sql in (
            "INSERT INTO another (number) VALUES (1)",
            "UPDATE another SET number = 2",
            "SELECT number FROM another",
            "DELETE FROM another",
        ):
            execute(sql)
        with pytest.raises(ProgrammingError, match="permission denied"):
            execute("TRUNCATE another")
    finally:
        owner.execute("DROP TABLE another")


def test_migrate_grants_what_is_missing_and_takes_back_what_is_too_much(owner: psycopg.Connection[Any]) -> None:
    owner.execute("REVOKE ALL ON chats FROM relivchats_app")
    owner.execute("GRANT ALL ON credit_transactions TO relivchats_app")
    try:
        with pytest.raises(ProgrammingError, match="permission denied"):
            Chat.objects.count()
        assert get_check("role").run().level == Level.WARNING
    finally:
        call_command("migrate", verbosity=0)
    assert Chat.objects.count() == 0
    with pytest.raises(ProgrammingError, match="permission denied"):
        execute("DELETE FROM credit_transactions")
    line = get_check("role").run()
    assert (line.level, line.text) == (Level.FINE, "relivchats_app owns no table")


@pytest.mark.parametrize("option", ["plan", "check_unapplied"])
def test_a_look_at_the_migrations_grants_nothing(owner: psycopg.Connection[Any], option: str) -> None:
    owner.execute("REVOKE ALL ON chats FROM relivchats_app")
    try:
        call_command("migrate", verbosity=0, **{option: True})
        with pytest.raises(ProgrammingError, match="permission denied"):
            Chat.objects.count()
    finally:
        call_command("migrate", verbosity=0)


@pytest.mark.django_db(transaction=True)
def test_a_statement_of_the_owner_may_take_any_time() -> None:
    def timeout() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SHOW statement_timeout")
            return str(cursor.fetchone()[0])

    assert timeout() == "1min"
    with database_roles.as_owner(connection):
        assert timeout() == "0"


@pytest.mark.owner
def test_health_reports_an_application_that_owns_its_tables() -> None:
    line = get_check("role").run()
    assert (line.level, line.text) == (Level.WARNING, "relivchats owns the tables")
    assert "docs/operations.md" in line.remedy


@pytest.mark.owner
def test_a_missing_role_that_the_owner_may_not_create_is_named(settings: Any) -> None:
    parts = urlsplit(embedded.database_url())
    settings.DATABASE_URL = urlunsplit(parts._replace(netloc=f"somebody:secret@{parts.hostname}:{parts.port}"))
    with pytest.raises(ImproperlyConfigured, match="The role somebody of DATABASE_URL does not exist"):
        database_roles.grant(connection)


def test_the_application_reads_the_activity_of_other_roles(owner: psycopg.Connection[Any]) -> None:
    owner.execute("SELECT 'a query of the owner'")
    with connection.cursor() as cursor:
        cursor.execute("SELECT backend_type FROM pg_stat_activity WHERE pid = %s", [owner.info.backend_pid])
        assert cursor.fetchone() == ("client backend",)
