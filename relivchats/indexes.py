"""Operations of migrations that add and remove indexes of large tables while the service runs."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db.migrations import RunSQL
from django.db.migrations.operations.base import Operation
from django.db.models import Index

#: Postgres waits for the transactions that are older than the index, such as a backup, and cancels that wait, too,
#: after lock_timeout. The scan would be lost, and leave an invalid index.
_WAIT = "SET lock_timeout = 0"
_END_WAIT = "RESET lock_timeout"


def add_index(model_name: str, index: Index) -> list[Operation]:
    """Return the operations that build an index without locking out writers. The migration must not be atomic.

    They can be repeated after an interruption.
    """
    return [
        RunSQL(_WAIT, _END_WAIT),
        # An interrupted attempt leaves an invalid index.
        RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", RunSQL.noop),
        AddIndexConcurrently(model_name=model_name, index=index),
        RunSQL(_END_WAIT, _WAIT),
    ]


def create_index(name: str, definition: str) -> list[Operation]:
    """Return the operations as of `add_index` for a table of another app: its columns, as in CREATE INDEX … ON."""
    drop = f"DROP INDEX CONCURRENTLY IF EXISTS {name}"
    return [
        RunSQL(_WAIT, _END_WAIT),
        RunSQL(drop, RunSQL.noop),
        RunSQL(f"CREATE INDEX CONCURRENTLY {name} ON {definition}", drop),
        RunSQL(_END_WAIT, _WAIT),
    ]


def remove_index(model_name: str, name: str) -> list[Operation]:
    """Return the operations that drop an index without locking out writers. The migration must not be atomic."""
    return [
        RunSQL(_WAIT, _END_WAIT),
        RemoveIndexConcurrently(model_name=model_name, name=name),
        RunSQL(_END_WAIT, _WAIT),
    ]
