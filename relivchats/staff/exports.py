"""Lists as CSV files. A page names the columns; a file has no e-mail address, name, title or free text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import path, reverse

from relivchats import clock, csv_files
from relivchats.staff.actions import ReasonForm
from relivchats.staff.bounded import count_each, within
from relivchats.staff.bulk_actions import ActionContext, ActionResult, record
from relivchats.staff.filters import UNKNOWN_VALUE

#: Taken in addition to the permission to view the list.
PERMISSION = "staff.export_lists"
#: A file has at most this many rows, about 10 MB.
MAX_ROWS = 50_000
#: A search for users finds one, or one by each of an e-mail address, an external id and an id.
MAX_NAMED_USERS = 3
#: An export is rare, and waits longer for its count than a list.
COUNT_MILLISECONDS = 5_000
#: Rows per fetch of the server-side cursor.
_CHUNK_SIZE = 2000


class ExportedList:
    """A mixin for ModelAdmin: the list, as it is filtered, can be exported as a CSV file."""

    opts: Any
    admin_site: Any
    media: Any
    #: The columns of the file: fields, or paths to those of related rows. Nothing else is exported; none: no export.
    export_columns: Sequence[str] = ()
    #: The headings of columns whose name does not say their unit.
    export_headings: Mapping[str, str] = {}

    def has_export_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may export this list."""
        may_view: bool = self.has_view_or_change_permission(request)  # type: ignore[attr-defined]
        return bool(self.export_columns) and may_view and request.user.has_perm(PERMISSION)

    def get_urls(self) -> list[Any]:
        """Return the addresses of the page, with that of the export if there is one."""
        found: list[Any] = super().get_urls()  # type: ignore[misc]
        if not self.export_columns:
            return found
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", self.admin_site.admin_view(self.export_view), name=name), *found]

    def export_view(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Show what would be exported, and ask for a reason; on POST, record the export and send the file."""
        if not self.has_export_permission(request):
            raise PermissionDenied
        list_address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
        try:
            listed: Any = self.get_changelist_instance(request)  # type: ignore[attr-defined]
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{list_address}?{ERROR_FLAG}=1")
        counts = within(lambda: count_each([listed.queryset], limit=MAX_ROWS), milliseconds=COUNT_MILLISECONDS)
        if counts is None:
            messages.warning(
                request, "Nothing is exported: counting the rows took too long. Filter the list, such as by time."
            )
            return HttpResponseRedirect(list_address + listed.get_query_string())
        (matching,) = counts
        form = ReasonForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            # Before any row leaves: a file that is sent in part is recorded too.
            actor = ActionContext(actor=f"user {request.user.pk}", reason=form.cleaned_data["reason"])
            outcome = "; ".join([f"{min(matching, MAX_ROWS)} rows", *_describe_filters(listed, matching=matching)])
            record("export list", ActionResult(self.opts.label_lower, done=True, outcome=outcome), context=actor)
            part = f"-first-{MAX_ROWS}" if matching > MAX_ROWS else ""
            file_name = f"{self.opts.model_name}-{clock.now():%Y-%m-%d-%H%M}{part}.csv"
            return StreamingHttpResponse(
                self._stream(listed.queryset, is_cut=matching > MAX_ROWS),
                content_type="text/csv; charset=utf-8",
                headers={"Content-Disposition": f'attachment; filename="{file_name}"'},
            )
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": f"Export {self.opts.verbose_name_plural}",
            "listed": listed,
            "matching": matching,
            "max_rows": MAX_ROWS,
            "is_cut": matching > MAX_ROWS,
            "columns": self._headings(),
            "form": form,
            "list_address": list_address + listed.get_query_string(),
            "media": self.media,
        }
        return TemplateResponse(request, "staff/export.html", context)

    def _headings(self) -> list[str]:
        return [self.export_headings.get(name, name.replace("__", "_")) for name in self.export_columns]

    def _stream(self, rows: QuerySet[Any], *, is_cut: bool) -> Iterator[str]:
        found = rows.select_related(None).values_list(*self.export_columns)[:MAX_ROWS]
        yield from csv_files.stream(self._headings(), map(_format_row, found.iterator(chunk_size=_CHUNK_SIZE)))
        if is_cut:
            yield from csv_files.stream([f"cut after {MAX_ROWS} rows: more match, filter the list"], [])


def _format_row(row: Sequence[Any]) -> list[Any]:
    """Return the cells of a row: times in UTC as in ISO 8601, and numbers as numbers."""
    cells: list[Any] = []
    for cell in row:
        if isinstance(cell, datetime):
            cells.append(f"{cell.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
        elif isinstance(cell, bool):
            cells.append(str(cell).lower())
        else:
            cells.append(cell if cell is None or isinstance(cell, int | float) else str(cell))
    return cells


def _describe_filters(listed: Any, *, matching: int) -> list[str]:
    """Return the filters of the list for the audit log, which holds ids only and outlasts the erasure of a person."""
    filters = [f"{active.title}: {active.text}" for active in listed.active_filters]
    term = listed.query.strip()
    if not term:
        return filters
    users = get_user_model()
    found: list[Any] = []
    if listed.model is users:
        # By an e-mail address or an external id, such as a phone number.
        found = list(listed.queryset.order_by().values_list("pk", flat=True)[:MAX_NAMED_USERS])
    elif "@" in term:
        found = list(users._default_manager.filter(email=term.lower()).values_list("pk", flat=True))
    elif matching:
        # A term that matches is an id. Another one can be anything.
        return [*filters, f"id {term}"]
    return [*filters, *(f"of user {pk}" for pk in found)] if found else [*filters, UNKNOWN_VALUE]
