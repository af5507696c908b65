"""What an operator does to rows: one at a time, each with an audit entry. Commands and admin actions come here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from django.db import Error, models
from django.db.models import QuerySet

from ops.models import AuditEntry
from ops.report import Level, Line, Report, Table
from relivchats.errors import DomainError

logger = logging.getLogger(__name__)

Row = TypeVar("Row", bound=models.Model)

#: Rows that are read at once, and the most that a report shows.
BATCH = 200


def _quiet(done: int) -> None:
    """Tell nobody how far it is."""


@dataclass(frozen=True)
class Order:
    """Who wants it and why; `progress` is told after each batch how many rows are behind."""

    actor: str = "command"
    reason: str = ""
    progress: Callable[[int], None] = _quiet


@dataclass(frozen=True)
class Deed:
    """What became of one row. Not `done`: it was refused, and nothing changed."""

    object_id: str
    done: bool
    outcome: str


@dataclass
class Deeds:
    """All of one order: how many, and the first of them."""

    done: int = 0
    refused: int = 0
    shown: list[Deed] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.done + self.refused

    def __add__(self, more: Deeds) -> Deeds:
        return Deeds(self.done + more.done, self.refused + more.refused, (self.shown + more.shown)[:BATCH])

    def add(self, deed: Deed) -> None:
        self.done += deed.done
        self.refused += not deed.done
        if len(self.shown) < BATCH:
            self.shown.append(deed)


def carry_out(action: str, rows: Iterable[Row], step: Callable[[Row], str], *, order: Order) -> Deeds:
    """Do `step` to each row once, in its own transaction; its answer tells the outcome. A refusal stops no other."""
    deeds = Deeds()
    for row in _each(rows) if isinstance(rows, QuerySet) else rows:
        deed = one(row, step)
        record(action, deed, order=order)
        deeds.add(deed)
        if deeds.total % BATCH == 0:
            order.progress(deeds.total)
    if deeds.total % BATCH:
        order.progress(deeds.total)
    return deeds


def _each(rows: QuerySet[Row]) -> Iterator[Row]:
    """By primary key, a batch a query: rows that leave the set on being done do not shift the rest."""
    rows, last = rows.order_by("pk"), None
    while batch := list((rows if last is None else rows.filter(pk__gt=last))[:BATCH]):
        yield from batch
        last = batch[-1].pk


def one(row: Row, step: Callable[[Row], str]) -> Deed:
    """A step on one row, refused or done."""
    try:
        return Deed(str(row.pk), done=True, outcome=step(row))
    except DomainError as refusal:
        return Deed(str(row.pk), done=False, outcome=refusal.detail)
    except Error as error:
        # A lock that was waited for in vain, say. The rows after it are another matter.
        logger.warning("not done", extra={"object_id": str(row.pk), "error": type(error).__name__})
        return Deed(str(row.pk), done=False, outcome=f"the database did not do it ({type(error).__name__}): try again")


def record(action: str, deed: Deed, *, order: Order) -> None:
    """The audit entry of one deed, and a line in the log."""
    AuditEntry.objects.create(
        actor=order.actor,
        action=action,
        object_id=deed.object_id,
        reason=order.reason[:200],
        done=deed.done,
        outcome=deed.outcome[:300],
    )
    logger.info(action, extra={"object_id": deed.object_id, "actor": order.actor, "done": deed.done})


def report(title: str, deeds: Deeds, *, mend: str) -> Report:
    """What was done, row by row. What was refused is told as a warning, and `mend` is where to look."""
    lines = [Line("done", Level.FINE, str(deeds.done))]
    if deeds.refused:
        lines.append(Line("refused", Level.WARNING, f"{deeds.refused}, nothing changed in them", mend))
    table = Table(("id", "done", "outcome"), tuple((deed.object_id, deed.done, deed.outcome) for deed in deeds.shown))
    data: dict[str, Any] = {"done": deeds.done, "refused": deeds.refused}
    return Report(title, tuple(lines), table, data)
