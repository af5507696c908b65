"""Migrations of a released version's tables lock out no writer while they read all rows."""

from __future__ import annotations

from django.contrib.postgres.operations import AddConstraintNotValid, AddIndexConcurrently
from django.db.migrations import AddConstraint, AddIndex, CreateModel
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
