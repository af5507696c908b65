"""Change rows for an operator or a member of staff, one at a time, each with an audit entry.

Commands and admin actions both call `run_batch`. It knows nothing about the rows: the caller passes the step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from django.db import Error, models
from django.db.models import QuerySet

from relivchats.errors import DomainError
from relivchats.staff.models import AuditEntry
from relivchats.staff.reports import Level, Line, Report, Table

logger = logging.getLogger(__name__)

Row = TypeVar("Row", bound=models.Model)

#: Rows read by one query, and the most results that a report lists. An admin action takes at most as many rows.
BATCH_SIZE = 200


class ProgressDisplay(Protocol):
    """Shows the progress of a block. The context manager yields a function to call with the number of rows done."""

    def __call__(self, title: str, *, total: int | None) -> AbstractContextManager[Callable[[int], None]]:
        """Enter the block. `total` is the number of rows, or None if it is unknown."""
        ...


@dataclass(frozen=True)
class ActionContext:
    """Who acts and why, and how progress is shown, if at all."""

    actor: str = "command"
    reason: str = ""
    progress: ProgressDisplay | None = None


@dataclass(frozen=True)
class ActionResult:
    """The result for one row. If `done` is false, the action was refused and nothing changed."""

    object_id: str
    done: bool
    outcome: str


@dataclass
class BatchResult:
    """The results of one batch: the counts of all rows, and the first `BATCH_SIZE` results."""

    done: int = 0
    refused: int = 0
    listed: list[ActionResult] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return the number of rows that were processed."""
        return self.done + self.refused

    def __add__(self, other: BatchResult) -> BatchResult:
        return BatchResult(
            self.done + other.done, self.refused + other.refused, (self.listed + other.listed)[:BATCH_SIZE]
        )

    def add(self, result: ActionResult) -> None:
        """Count one result, and list it if there is room."""
        self.done += result.done
        self.refused += not result.done
        if len(self.listed) < BATCH_SIZE:
            self.listed.append(result)


def run_batch(action: str, rows: Iterable[Row], step: Callable[[Row], str], *, context: ActionContext) -> BatchResult:
    """Call `step` for each row once and return the results. `step` returns the outcome in words.

    A step that raises DomainError or a database error is recorded as refused; the other rows still run.
    """
    batch = BatchResult()
    display: AbstractContextManager[Callable[[int], None]] = nullcontext(lambda done: None)
    if context.progress is not None:
        # Only here: an admin action shows no progress, and needs no count.
        display = context.progress(action, total=rows.count() if isinstance(rows, QuerySet) else None)
    with display as update_progress:
        for row in _iterate_by_pk(rows) if isinstance(rows, QuerySet) else rows:
            result = run_one(row, step)
            record(action, result, context=context)
            batch.add(result)
            update_progress(batch.total)
    return batch


def _iterate_by_pk(rows: QuerySet[Row]) -> Iterator[Row]:
    # Keyset pagination. A step often removes its row from the queryset; with OFFSET, the next page would skip rows.
    rows, last_pk = rows.order_by("pk"), None
    while page := list((rows if last_pk is None else rows.filter(pk__gt=last_pk))[:BATCH_SIZE]):
        yield from page
        last_pk = page[-1].pk


def run_one(row: Row, step: Callable[[Row], str]) -> ActionResult:
    """Call `step` for one row and return the result; a DomainError or a database error becomes a refusal."""
    try:
        return ActionResult(str(row.pk), done=True, outcome=step(row))
    except DomainError as refusal:
        return ActionResult(str(row.pk), done=False, outcome=refusal.detail)
    except Error as error:
        # For example a lock timeout. The next row may succeed, so the batch continues.
        logger.warning("action failed", extra={"object_id": str(row.pk), "error": type(error).__name__})
        outcome = f"the database refused it ({type(error).__name__}): try again"
        return ActionResult(str(row.pk), done=False, outcome=outcome)


def record(action: str, result: ActionResult, *, context: ActionContext) -> None:
    """Write the audit entry and the log line of one result."""
    # Cut to the lengths of the columns: the change is made already, and a long text must not undo its entry.
    AuditEntry.objects.create(
        actor=context.actor,
        action=action,
        object_id=result.object_id,
        reason=context.reason[:200],
        done=result.done,
        outcome=result.outcome[:300],
    )
    logger.info(action, extra={"object_id": result.object_id, "actor": context.actor, "done": result.done})


def batch_report(title: str, batch: BatchResult, *, remedy: str) -> Report:
    """Return a report with one table row per result. Refusals are a warning whose remedy is `remedy`."""
    lines = [Line("done", Level.FINE, str(batch.done))]
    if batch.refused:
        lines.append(Line("refused", Level.WARNING, f"{batch.refused}, unchanged", remedy))
    rows = tuple((result.object_id, result.done, result.outcome) for result in batch.listed)
    data: dict[str, Any] = {"done": batch.done, "refused": batch.refused}
    return Report(title, tuple(lines), Table(("id", "done", "outcome"), rows), data)
