"""The page of the queue: what waits, the schedule of beat, and the buttons that pause insights and run a task now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html

from insights.models import DispatchPause
from ops import queues, schedule
from ops.console.attention import may_view
from ops.console.sections import Section, pause_button
from ops.models import ScheduleEntry
from relivchats.staff.markup import link


def sections(request: HttpRequest) -> list[Section]:
    """Return the queue and the schedule, with the buttons that apply and that the reader may use."""
    may_run = request.user.has_perm("ops.change_scheduleentry")

    def entry(row: Mapping[str, Any]) -> str:
        name = row["entry"]
        to_row = link(ScheduleEntry, name)
        if not may_run or not schedule.is_known(name):
            return to_row
        address = reverse("admin:ops_scheduleentry_run_now_this", args=[name])
        hidden = format_html('<span class="rc-hidden">: {}</span>', name)
        return format_html('{} · <a class="rc-link rc-nowrap" href="{}">Run now{}</a>', to_row, address, hidden)

    found = [Section(queues.report(), buttons=pause_button(request, DispatchPause, what="insights"))]
    if may_view(request, ScheduleEntry):
        empty = "Beat has not written its schedule yet."
        found.append(Section(queues.schedule_report(), empty, {"entry": entry}))
    return found
