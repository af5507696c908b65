"""What the lists of all pages share: filters by time and state with counts, at a cost that tables of any size bear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from django.contrib import admin, messages
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db.models import QuerySet, Value
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property

from relivchats.staff.bounded import count_each, sum_each, within
from relivchats.staff.exports import ExportedList
from relivchats.staff.filters import MAX_COUNTED, CountedFilter, TimeFilter, format_count
from relivchats.staff.lookups import DeclaredFilterChangeList, DeclaredLookups

#: Counts and sums that take longer are left out: a list never waits for them.
COUNT_MILLISECONDS = 100
#: Rows at the start of the list that are counted instead.
MAX_SAMPLED = 2_000
#: Sums of more rows are not computed. A filter by time brings most lists below.
MAX_SUMMED = 10_000


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """A paginator that counts at most MAX_COUNT rows.

    COUNT(*) on ten million rows takes seconds. Nobody pages that far: filters and ids find the rest.
    """

    MAX_COUNT = 5_000
    template_name = "staff/pagination.html"

    @cached_property
    def _counted(self) -> int:
        rows: Any = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return rows.order_by().values("pk")[: self.MAX_COUNT + 1].count()

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most MAX_COUNT for a queryset."""
        return min(self._counted, self.MAX_COUNT)

    @property
    def has_more(self) -> bool:
        """Return whether there are more rows than `count`."""
        return self._counted > self.MAX_COUNT

    @property
    def count_text(self) -> str:
        """Return the number of rows as text, such as `5,000+` if there are more than MAX_COUNT."""
        return f"{self.count:,}{'+' if self.has_more else ''}"


@dataclass(frozen=True)
class ActiveFilter:
    """A filter that is applied: its title, the chosen value, and the address of the list without it."""

    title: str
    text: str
    address: str


class StaffChangeList(DeclaredFilterChangeList):
    """A list with the counts of its filters' choices, and the sums of its rows."""

    def __init__(self, request: HttpRequest, *args: Any, **kwargs: Any) -> None:
        super().__init__(request, *args, **kwargs)
        self._request = request
        chosen = sorted((name, tuple(values)) for name, values in self.filter_params.items())
        #: What the counts and sums of the list depend on.
        self._key = (self.model._meta.label, self.query, *chosen)

    @cached_property
    def choice_counts(self) -> Mapping[tuple[str, str], str]:
        """Return the number of rows by the parameter and the value of each choice, as text.

        If counting takes too long, the first rows of the list are counted, as in `12+`. It is empty if that does, too.
        """
        exact = within(
            lambda: count_each(self._choices(), limit=MAX_COUNTED),
            milliseconds=COUNT_MILLISECONDS,
            key=("counts", *self._key),
        )
        if exact is not None:
            return dict(zip(self._choice_names, map(format_count, exact), strict=True))
        # A rare state without an index: its rows are all over the table.
        least = within(
            lambda: count_each(self._choices(only_first=MAX_SAMPLED), limit=MAX_COUNTED),
            milliseconds=COUNT_MILLISECONDS,
        )
        return dict(zip(self._choice_names, (f"{number:,}+" for number in least), strict=True)) if least else {}

    @cached_property
    def _counted(self) -> list[CountedFilter]:
        return [spec for spec in self.filter_specs if isinstance(spec, CountedFilter)]

    @cached_property
    def _choice_names(self) -> list[tuple[str, str]]:
        return [(spec.parameter_name, value) for spec in self._counted for value, _ in spec.lookup_choices]

    @cached_property
    def _found(self) -> QuerySet[Any]:
        # Evaluated once: it can take a query to find the person of an e-mail address.
        found, _ = self.model_admin.get_search_results(self._request, self.root_queryset, self.query)
        return cast("QuerySet[Any]", found)

    def _choices(self, *, only_first: int | None = None) -> list[QuerySet[Any]]:
        """Return the rows of each choice, to which the other filters apply; of the first so many rows, if given."""
        selections = []
        for spec in self._counted:
            rows = self._found
            for other in self.filter_specs:
                if other is not spec:
                    rows = other.queryset(self._request, rows)
            if only_first:
                first = rows.order_by(*self.model_admin.get_ordering(self._request)).values("pk")[:only_first]
                rows = self.root_queryset.filter(pk__in=first)
            selections += [spec.select(rows, value) for value, _ in spec.lookup_choices]
        return selections

    @cached_property
    def active_filters(self) -> list[ActiveFilter]:
        """Return the filters that are applied."""
        active = []
        for spec in self.filter_specs:
            everything, *choices = spec.choices(self)
            chosen = [str(choice["display"]) for choice in choices if choice["selected"]]
            text = spec.describe() if isinstance(spec, TimeFilter) else ", ".join(chosen)
            if text:
                active.append(ActiveFilter(str(spec.title), text, everything["query_string"]))
        return active

    @cached_property
    def sums(self) -> list[str]:
        """Return the sums of all rows that the filters select, as sentences; the reason if there are none."""
        model_admin = self.model_admin
        if not model_admin.sums:
            return []
        found = within(
            lambda: (
                sum_each(
                    self.queryset,
                    list(model_admin.sums.values()),
                    unit=model_admin.unit_of_sums,
                    limit=MAX_SUMMED,
                ),
            ),
            milliseconds=COUNT_MILLISECONDS,
            key=("sums", *self._key),
        )
        if found is None:
            return ["No sums: they take too long. Filter the list further."]
        (totals,) = found
        if totals is None:
            return [f"No sums: more than {MAX_SUMMED:,} rows match. Filter the list, such as by time."]
        return [
            "Sum: "
            + ", ".join(
                f"{name} {model_admin.format_sum(total, unit)}"
                for name, total in zip(model_admin.sums, of_unit, strict=True)
            )
            for unit, of_unit in totals
        ]

    @property
    def export_address(self) -> str:
        """Return the address of the page that exports the rows that the filters select, or an empty string."""
        if not self.model_admin.has_export_permission(self._request):
            return ""
        address: str = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_export")
        return address + str(self.get_query_string())

    def get_results(self, request: HttpRequest) -> None:
        """Read the rows of the page. The theme's heading shows no number of rows: the end of the list has it."""
        super().get_results(request)
        self.full_result_count = self.result_count


class ListPage(ExportedList, DeclaredLookups):
    """A mixin for ModelAdmin: the list has a filter by time, and counts of states that stop at a limit."""

    #: The time of a row: the column `age` counts from it, and the list is filtered by it.
    time_field = "created_at"
    #: What the list sums, by name: fields or expressions.
    sums: Mapping[str, Any] = {}
    #: The expression of the unit by which sums are separate, such as a currency.
    unit_of_sums: Any = Value("")
    list_before_template = "staff/list_summary.html"
    # Each of these defaults of Django reads the whole table: a second count next to the paginator's, one count per
    # filter choice, and a sort by a column without an index.
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by: Any = ()
    paginator = BoundedPaginator
    list_per_page = 50
    list_max_show_all = 50

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[StaffChangeList]:
        """Return the class of the list."""
        return StaffChangeList

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        """Return `list_filter`; a filter by the rows' time comes before those by another table, which are long."""
        declared = list(super().get_list_filter(request))  # type: ignore[misc]
        try:
            self.opts.get_field(self.time_field)
        except FieldDoesNotExist:
            return declared
        relations = [spec for spec in declared if isinstance(spec, str)]
        states = [spec for spec in declared if spec not in relations]
        return [*states, (self.time_field, TimeFilter), *relations]

    def format_sum(self, total: int, unit: str) -> str:
        """Return a sum with its unit."""
        return f"{total:,} coins".replace("-", "−")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the list. Say so if its address had a filter that is unknown or a value that is invalid."""
        if ERROR_FLAG in request.GET:
            messages.warning(
                request,
                "A filter in the address is unknown, or its value is not valid. The list is shown without filters.",
            )
        response: HttpResponse = super().changelist_view(request, extra_context)  # type: ignore[misc]
        return response
