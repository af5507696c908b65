"""The page of uploads: which files could not be read, over a period, and the rows of each kind."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from chats.models import ChatUpload
from ops import uploads
from ops.console.attention import list_address
from ops.console.sections import WINDOWS, Section, chosen_window
from relivchats.staff.reports import Level, Line, Report, Table

_COLUMNS = ("reason", *uploads.COLUMNS[1:3], *uploads.COLUMNS[4:])


def sections(request: HttpRequest) -> list[Section]:
    """Return the uploads that failed and those that were refused, of the period that the reader chose."""
    window = chosen_window(request.GET.get("window", ""))
    found = uploads.fetch(WINDOWS[window])
    if found is None:
        line = Line("uploads", Level.UNKNOWN, "Counting them took too long. Choose a shorter period.")
        return [Section(Report("Uploads", (line,)))]
    ours = "No upload failed for our reasons. All is well."
    return [
        _section(found, outcome="failed", title="Failed: ours to correct", empty=ours, window=window),
        _section(
            found, outcome="refused", title="Refused: the person's file", empty="No file was refused.", window=window
        ),
    ]


def _section(found: uploads.Failures, *, outcome: str, title: str, empty: str, window: str) -> Section:
    rows = []
    for group in found.groups:
        if group.outcome == outcome:
            number, share, reason, *described = uploads.cells(group, found)
            rows.append((_link(group, text=str(reason), window=window), number, share, *described))
    lines = (uploads.line_of_failed(found),) if outcome == "failed" and rows else ()
    report = Report(title, lines, Table(_COLUMNS, tuple(rows)), headline=found.describe(outcome))
    return Section(report, empty)


def _link(group: uploads.Group, *, text: str, window: str) -> SafeString:
    """Return a link to the uploads of a group. The list has filters by the same periods."""
    chosen = {"outcome__exact": group.outcome, "failure": f"{group.reason}|{group.header_shape}", "when": window}
    chosen |= {"platform__exact": group.platform} if group.platform else {}
    return format_html('<a class="rc-link" href="{}?{}">{}</a>', list_address(ChatUpload), urlencode(chosen), text)
