"""Migrations of a released version's tables lock out no writer while they read all rows."""

from __future__ import annotations

import itertools

from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently, RemoveIndexConcurrently
from django.db.migrations import AddConstraint, AddIndex, CreateModel, RunSQL
from django.db.migrations.loader import MigrationLoader

#: The last migration of each app in version 0.2.0.
RELEASED = {"accounts": 2, "billing": 12, "chats": 4, "insights": 5}
#: They neither lock out writers nor read the rows.
_ALLOWED = (AddIndexConcurrently, AddConstraintNotValid)


def test_indexes_and_constraints_are_added_to_released_tables_without_a_lock() -> None:
    graph = sorted(MigrationLoader(None).disk_migrations.items())
    later = [(app, each) for (app, name), each in graph if app in RELEASED and int(name[:4]) > RELEASED[app]]
    new = {
        (app, each.name_lower) for app, migration in later for each in migration.operations if type(each) is CreateModel
    }
    locking = [
        f"{app} {migration.name}: {each.describe()}"
        for app, migration in later
        for each in migration.operations
        if isinstance(each, AddIndex | AddConstraint)
        and not isinstance(each, _ALLOWED)
        and (app, each.model_name_lower) not in new
    ]
    assert locking == []


def test_an_index_is_built_however_long_older_transactions_last() -> None:
    """CREATE INDEX CONCURRENTLY waits for them, and lock_timeout would cancel it after the scan."""
    timeouts: dict[str, str] = {}
    for (app, name), migration in MigrationLoader(None).disk_migrations.items():
        for before, each in itertools.pairwise(migration.operations):
            if isinstance(before, RunSQL) and "lock_timeout" in str(before.sql):
                timeouts[f"{app} {name}"] = str(before.sql)
            if isinstance(each, AddIndexConcurrently | RemoveIndexConcurrently):
                assert timeouts.get(f"{app} {name}") == "SET lock_timeout = 0", (app, name)
        if f"{app} {name}" in timeouts:
            assert str(getattr(migration.operations[-1], "sql", "")) == "RESET lock_timeout", "for what follows"
    assert len(timeouts) > 5
