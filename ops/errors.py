"""Warnings and errors of all processes as rows, which `ops.recorder` writes. `manage.py errors` lists them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import timedelta
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Max, Min, Q, QuerySet, Sum
from django.db.models.functions import Now

from chats.models import Chat
from insights.models import GenerationJob, Insight
from ops.monitoring_models import ErrorEvent
from relivchats import clock, error_events, installation
from relivchats.accounts.models import User
from relivchats.errors import NotFound
from relivchats.staff.reports import Level, Line, Report, Table

GROUP_COLUMNS = ("times", "level", "first", "last", "event", "where", "code", "request")
EVENT_COLUMNS = ("at", "level", "role", "event", "where", "code", "user", "job", "insight", "chat", "request")
_SEARCHED = ("event", "error", "code", "location", "logger", "route", "level", "role", "request_id")
MAX_FOLLOWED = 1000
#: What a person can correct, such as a file that is no export, is no warning.
REFUSAL_LEVEL = "INFO"


def write(events: Sequence[error_events.ErrorEvent], *, role: ErrorEvent.Role, dropped: int = 0) -> None:
    """Store events of this process. `dropped` is the number of those that it had no room for."""
    process = {"role": role, "host": socket.gethostname()[:120], "pid": os.getpid()}
    rows = [ErrorEvent(**asdict(event), fingerprint=event.fingerprint, **process) for event in events]
    if dropped:
        lost = error_events.ErrorEvent(clock.now(), "WARNING", __name__, "events had no room in memory")
        rows.append(ErrorEvent(**asdict(lost), fingerprint=lost.fingerprint, times=dropped, **process))
    ErrorEvent.objects.bulk_create(rows)


def select(*, since: timedelta, user: str = "", grep: str = "", refusals: bool = False) -> QuerySet[ErrorEvent]:
    """Return the events of a window, with `refusals` also refused uploads, unlocks and logins. Raise NotFound.

    `user` is an e-mail address or an id; events of their jobs, insights and chats belong to them too. `grep` is a text,
    or several with | between them, compared without regard to case.
    """
    rows = ErrorEvent.objects.filter(at__gte=Now() - since)
    if not refusals:
        rows = rows.exclude(level=REFUSAL_LEVEL)
    if user:
        found = User.objects.filter(Q(email=user.lower()) if "@" in user else Q(pk=_uuid(user))).first()
        if found is None:
            raise NotFound(f"There is no user {user}. Enter an e-mail address or an id.")
        jobs = GenerationJob.objects.filter(user=found)
        # Each by its own index: an OR would read the events of everyone.
        selections = (
            rows.filter(user_id=found.pk),
            rows.filter(job_id__in=jobs.values("pk")),
            rows.filter(insight_id__in=Insight.objects.filter(job__in=jobs).values("pk")),
            rows.filter(chat_id__in=Chat.objects.filter(owner=found).values("pk")),
        )
        first, *others = (selected.values("pk") for selected in selections)
        rows = rows.filter(pk__in=first.union(*others))
    if words := [word for word in grep.split("|") if word.strip()]:
        rows = rows.filter(reduce(or_, (Q(**{f"{name}__icontains": word}) for word in words for name in _SEARCHED)))
    return rows


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def groups(rows: QuerySet[ErrorEvent], *, limit: int) -> list[dict[str, Any]]:
    """Return the events by cause: `times`, `first`, `last` and the latest event of each, the most recent first."""
    summed = (
        rows.order_by()
        .values("fingerprint")
        .annotate(number=Sum("times"), first=Min("at"), last=Max("at"), latest=Max("pk"))
        .order_by("-last")[:limit]
    )
    found = list(summed)
    latest = ErrorEvent.objects.in_bulk([group["latest"] for group in found])
    return [
        {"times": group["number"], "first": group["first"], "last": group["last"], "event": latest[group["latest"]]}
        for group in found
    ]


def groups_report(rows: QuerySet[ErrorEvent], *, limit: int) -> Report:
    """Return the events by cause as a table, with the id of one request."""
    cells = []
    for group in groups(rows, limit=limit):
        event = group["event"]
        what = (group["times"], event.level, group["first"], group["last"], title(event), event.location, event.code)
        cells.append((*what, event.request_id or None))
    return Report("Warnings and errors", table=Table(GROUP_COLUMNS, tuple(cells)))


def events_report(rows: QuerySet[ErrorEvent], *, limit: int) -> Report:
    """Return the latest events as a table, the newest first."""
    cells = tuple(event_cells(event) for event in rows.order_by("-at", "-pk")[:limit])
    return Report("Warnings and errors", table=Table(EVENT_COLUMNS, cells))


def request_report(request_id: str, *, limit: int) -> Report:
    """Return all events of a request, refusals too; if it has none, the command that shows its line in the log."""
    rows = ErrorEvent.objects.filter(request_id=request_id).order_by("-at", "-pk")[:limit]
    cells = tuple(event_cells(event) for event in rows)
    text = "no event has this id: a request that was answered or refused is only in the log of web"
    lines = () if cells else (Line("request", Level.FINE, text, installation.log_of_request(request_id)),)
    return Report(f"Request {request_id}", lines, Table(EVENT_COLUMNS, cells))


def event_cells(event: ErrorEvent) -> tuple[Any, ...]:
    """Return the values of EVENT_COLUMNS."""
    ids = (event.user_id, event.job_id, event.insight_id, event.chat_id)
    shown = [None if value is None else str(value) for value in ids]
    what = (event.at, event.level, f"{event.role}:{event.pid}", title(event), event.location, event.code)
    return (*what, *shown, event.request_id or None)


def newer(rows: QuerySet[ErrorEvent], *, than: int) -> Iterator[ErrorEvent]:
    """Yield the events that were written after the one with this id, the oldest first."""
    yield from rows.filter(pk__gt=than).order_by("pk")[:MAX_FOLLOWED]


def title(event: ErrorEvent) -> str:
    """Return the event in a few words, such as `unhandled exception: KeyError (GET api/chats 500)`."""
    request = " ".join(str(part) for part in (event.route, event.status) if part)
    return event.event + (f": {event.error}" if event.error else "") + (f" ({request})" if request else "")


def prune() -> int:
    """Delete the events that are older than MONITORING_DAYS, and return their number."""
    removed, _ = ErrorEvent.objects.filter(at__lt=Now() - timedelta(days=settings.MONITORING_DAYS)).delete()
    return removed
