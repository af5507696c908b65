"""Uploads that were refused or failed, by what they have in common. No word of a file is known here.

Refused is a file that is no export that we read: the person can correct that. Failed is what we have to correct.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max
from django.db.models.functions import Now

from chats.models import ChatUpload
from chats.upload_log import refusal_title
from relivchats import durations
from relivchats.staff.bounded import within
from relivchats.staff.reports import Level, Line, Report, Table

#: The most frequent groups of each outcome.
MAX_GROUPS = 50
#: Counting a month of uploads takes as long at the most; nothing is shown of a longer count.
QUERY_MILLISECONDS = 2000
COLUMNS = ("outcome", "uploads", "share", "reason", "platform", "dialect", "first line", "last")


@dataclass(frozen=True)
class Group:
    """Uploads of one outcome, reason, platform, dialect and shape of the first line."""

    outcome: str
    reason: str
    platform: str
    dialect: str
    header_shape: str
    uploads: int
    last_at: datetime


@dataclass(frozen=True)
class Failures:
    """The uploads of a period: `counts` by outcome, and the groups of those that were refused or failed."""

    counts: dict[str, int]
    groups: tuple[Group, ...]

    @property
    def total(self) -> int:
        """The number of all uploads."""
        return sum(self.counts.values())

    def describe(self, outcome: str) -> str:
        """Return such as `3 of 400 uploads, 0.8 %`."""
        number = self.counts.get(outcome, 0)
        return f"{number:,} of {self.total:,} upload{'' if self.total == 1 else 's'}, {self.share(number)}"

    def share(self, number: int) -> str:
        """Return a number of uploads in percent of all."""
        return f"{100 * number / self.total:.1f} %" if self.total else "0 %"


def fetch(window: timedelta) -> Failures | None:
    """Return the uploads of a period that ends now, or None if they cannot be counted in QUERY_MILLISECONDS."""
    return within(lambda: _fetch(window), milliseconds=QUERY_MILLISECONDS)


def _fetch(window: timedelta) -> Failures:
    rows = ChatUpload.objects.filter(created_at__gte=Now() - window).order_by()
    names = ("outcome", "reason", "platform", "dialect", "header_shape")
    groups = []
    for outcome in (ChatUpload.Outcome.FAILED, ChatUpload.Outcome.REFUSED):
        found = rows.filter(outcome=outcome).values(*names).annotate(uploads=Count("pk"), last_at=Max("created_at"))
        groups += [Group(**group) for group in found.order_by("-uploads", *names)[:MAX_GROUPS]]
    return Failures(dict(rows.values_list("outcome").annotate(uploads=Count("pk"))), tuple(groups))


def report(window: timedelta) -> Report:
    """Return the groups, the failed ones first. It is a warning if an upload failed."""
    title = f"Uploads that were refused or failed within {durations.format_short(window)}"
    found = fetch(window)
    if found is None:
        text = "counting the uploads took too long"
        return Report(title, (Line("uploads", Level.UNKNOWN, text, "manage.py uploads --since 1h"),))
    table = Table(COLUMNS, tuple((group.outcome, *cells(group, found)) for group in found.groups))
    lines = (line_of_failed(found), Line("refused", Level.FINE, found.describe("refused")))
    return Report(title, lines, table, {"counts": found.counts})


def line_of_failed(found: Failures) -> Line:
    """Return how many uploads failed: a warning if there are any."""
    is_fine = not found.counts.get("failed")
    remedy = "" if is_fine else "manage.py errors --since 24h --grep 'upload failed'"
    return Line("failed", Level.FINE if is_fine else Level.WARNING, found.describe("failed"), remedy)


def cells(group: Group, found: Failures) -> tuple[object, ...]:
    """Return the values of COLUMNS after the outcome."""
    described = (group.platform or None, group.dialect or None, group.header_shape or None)
    reason = refusal_title(group.reason) or "unknown"
    return (group.uploads, found.share(group.uploads), reason, *described, group.last_at)
