"""What waits for a person: counts that are zero when all is well, each with the list that it counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse

from billing import adjustments
from billing.models import Adjustment, CoinDebt, CoinReservation, PaymentOrder, WebhookEvent
from chats.models import Chat
from insights import stuck
from insights.models import DispatchPause, UnlockPause
from ops import snapshots
from ops.console.cached import Cached
from relivchats.staff.bounded import count_each, within
from relivchats.staff.reports import MAX_COUNTED, count, format_count

#: A count that takes longer is left out: a page never waits for it.
COUNT_MILLISECONDS = 200
CACHE_SECONDS = 5
#: Beat counts every 15 s. While it does not, each web process does.
MAX_AGE = timedelta(seconds=30)


@dataclass(frozen=True)
class Kind:
    """Rows that should not exist. `query` selects them on the list of their model."""

    title: str
    rows: Callable[[], QuerySet[Any]]
    query: str
    colour: str = "danger"


KINDS = (
    Kind("Adjustments to approve", Adjustment.objects.pending, "status__exact=pending", "warning"),
    Kind("Adjustments too old to approve", lambda: adjustments.too_old(Adjustment.objects.all()), "stuck=yes"),
    Kind("Events held for review", WebhookEvent.objects.needing_review, "stuck=yes"),
    Kind("Orders to review", PaymentOrder.objects.needing_review, "stuck=yes"),
    Kind("Disputes to answer", PaymentOrder.objects.disputed, "stuck=disputed"),
    Kind("Paid, no coins", WebhookEvent.objects.uncredited, "stuck=uncredited"),
    Kind("Paid twice", WebhookEvent.objects.duplicate_payments, "stuck=again"),
    Kind("Coins owed", lambda: CoinDebt.objects.filter(status="open"), "status__exact=open", "warning"),
    Kind("Overdue reservations", CoinReservation.objects.overdue, "stuck=yes"),
    Kind("Stuck jobs", stuck.stuck_jobs, "stuck=yes"),
    Kind("Stuck insights", stuck.stuck_insights, "stuck=yes"),
    Kind("Failed insights, not retried", stuck.failed_insights, "stuck=failed", "warning"),
    Kind("Failed indexing", lambda: Chat.objects.filter(vector_status=Chat.VectorStatus.FAILED), "indexing=failed"),
    Kind("Unlocks paused", UnlockPause.objects.active, "resumed_at__isempty=1", "warning"),
    Kind("Insights paused", DispatchPause.objects.active, "resumed_at__isempty=1", "warning"),
)


@dataclass(frozen=True)
class Item:
    """A kind with its count, which is None if counting took too long."""

    title: str
    number: int | None
    colour: str
    link: str
    model: type[Model]

    @property
    def count(self) -> str:
        """Return the count as text."""
        return "?" if self.number is None else format_count(self.number)


def _count_all() -> Sequence[int | None]:
    """Return the number of rows of each kind, None for those whose counting takes too long."""
    selections = [kind.rows() for kind in KINDS]
    # One query for all: each alone takes five more, for its time limit.
    numbers: Sequence[int | None] | None = within(
        lambda: count_each(selections, limit=MAX_COUNTED), milliseconds=COUNT_MILLISECONDS
    )
    if numbers is None:
        # Only those that take too long are left out.
        numbers = [within(lambda rows=rows: count(rows), milliseconds=COUNT_MILLISECONDS) for rows in selections]  # type: ignore[misc]
    return numbers


def record() -> None:
    """Store the counts for the pages of all processes."""
    snapshots.write(snapshots.WAITING, dict(zip((kind.title for kind in KINDS), _count_all(), strict=True)))


def _list_all(_: None) -> list[Item]:
    stored = snapshots.read(snapshots.WAITING, max_age=MAX_AGE)
    numbers = stored.data if stored else dict(zip((kind.title for kind in KINDS), _count_all(), strict=True))
    found = []
    for kind in KINDS:
        # None also for a kind that a beat of another release does not know.
        number, model = numbers.get(kind.title), kind.rows().model
        colour = "success" if number == 0 else kind.colour
        found.append(Item(kind.title, number, colour, f"{list_address(model)}?{kind.query}", model))
    return found


cache = Cached(_list_all, seconds=CACHE_SECONDS)
clear_cache = cache.clear


def items(request: HttpRequest) -> list[Item]:
    """Return the counts of the rows that this user may see: those of others would disclose something."""
    return [item for item in cache.get(None) if may_view(request, item.model)]


def list_address(model: type[Model]) -> str:
    """Return the address of a model's list."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")


def may_view(request: HttpRequest, model: type[Model]) -> bool:
    """Return whether the user may see the rows of a model."""
    label, name = model._meta.app_label, model._meta.model_name
    return request.user.has_perm(f"{label}.view_{name}") or request.user.has_perm(f"{label}.change_{name}")
