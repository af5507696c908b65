"""The page of the queue: what waits, the schedule of beat, and the buttons that pause insights and run a task now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from chats.models import Chat
from insights.models import DispatchPause, Insight
from ops import queues, schedule
from ops.console.attention import list_address, may_view
from ops.console.sections import Section, pause_button
from ops.models import ScheduleEntry
from relivchats.staff.markup import link
from relivchats.staff.reports import Table

#: The lists of what the queue counts, with their filters, by the beginning of its name.
_LISTS: Mapping[str, tuple[type[Model], str]] = {
    "insights due": (Insight, "stuck=open"),
    "insights waiting": (Insight, "stuck=open"),
    "insights generating": (Insight, "status__exact=generating"),
    "chats waiting for indexing": (Chat, "indexing=waiting"),
    "chats indexing": (Chat, "vector_status__exact=indexing"),
}


def sections(request: HttpRequest) -> list[Section]:
    """Return the queue and the schedule, with the buttons that apply and that the reader may use."""
    columns = {"what": partial(_what, request)}
    found = [Section(queues.report(), columns=columns, buttons=pause_button(request, DispatchPause, what="insights"))]
    if may_view(request, ScheduleEntry):
        found.append(_schedule(request))
    return found


def _what(request: HttpRequest, row: Mapping[str, Any]) -> str:
    """Return what is counted, with a link to the list that shows it."""
    text = str(row["what"])
    model, query = next((found for start, found in _LISTS.items() if text.startswith(start)), (None, ""))
    if model is None or not may_view(request, model):
        return text
    return format_html('<a class="rc-link" href="{}?{}">{}</a>', list_address(model), query, text)


def _schedule(request: HttpRequest) -> Section:
    may_run = request.user.has_perm("ops.change_scheduleentry")

    def action(row: Mapping[str, Any]) -> str:
        name = row["entry"]
        if not may_run or not schedule.is_known(name):
            return "–"
        address = reverse("admin:ops_scheduleentry_run_now_this", args=[name])
        hidden = format_html('<span class="rc-hidden">: {}</span>', name)
        return format_html('<a class="rc-link rc-nowrap" href="{}">Run now{}</a>', address, hidden)

    report = queues.schedule_report()
    assert report.table
    table = Table((*report.table.columns, "action"), tuple((*row, None) for row in report.table.rows))
    columns = {"entry": lambda row: link(ScheduleEntry, row["entry"]), "action": action}
    return Section(replace(report, table=table), "Beat has not written its schedule yet.", columns)
