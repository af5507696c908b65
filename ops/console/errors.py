"""The page of errors: warnings and errors of a period by cause, each with its rows and its latest request."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.html import format_html

from ops import errors
from ops.console.attention import list_address
from ops.console.sections import WINDOWS, Section, chosen_window
from ops.monitoring_models import ErrorEvent
from relivchats.staff.bounded import within
from relivchats.staff.markup import status_label
from relivchats.staff.reports import Level, Line, Report, Table

MAX_GROUPS = 50
#: Grouping a month of events takes as long at the most; nothing is shown of a longer one.
QUERY_MILLISECONDS = 2000
LEVEL_COLOURS = {"WARNING": "warning", "ERROR": "danger", "CRITICAL": "danger"}
_COLUMNS = ("event", "times", "level", "last", "first", "request")


def sections(request: HttpRequest) -> list[Section]:
    """Return the causes of the period that the reader chose, the most recent first."""
    window = chosen_window(request.GET.get("window", ""))
    found = within(
        lambda: errors.groups(errors.select(since=WINDOWS[window]), limit=MAX_GROUPS), milliseconds=QUERY_MILLISECONDS
    )
    if found is None:
        line = Line("errors", Level.UNKNOWN, "Grouping them took too long. Choose a shorter period.")
        return [Section(Report("Warnings and errors", (line,)))]
    rows = []
    for group in found:
        event: ErrorEvent = group["event"]
        address = f"{list_address(ErrorEvent)}?{urlencode({'q': event.fingerprint, 'when': window})}"
        place = " · ".join(filter(None, (event.code, event.location)))
        title = format_html(
            '<a class="rc-link" href="{}">{}</a><div class="rc-note">{}</div>', address, errors.title(event), place
        )
        level = status_label(event.level, LEVEL_COLOURS.get(event.level, ""))
        rows.append((title, group["times"], level, group["last"], group["first"], event.request_id or None))
    table = Table(_COLUMNS, tuple(rows))
    return [Section(Report("Warnings and errors", table=table), f"No process wrote a warning or an error in {window}.")]
