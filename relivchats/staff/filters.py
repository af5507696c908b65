"""The filters of lists by time and by state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import BooleanField, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest

from relivchats import clock
from relivchats.staff.bounded import within
from relivchats.staff.lookups import is_valid

#: Counting the rows of a choice stops after this many.
MAX_COUNTED = 1000
#: A filter whose values are not known in advance offers those of this many rows at the start of the list.
MAX_READ_FOR_VALUES = 1000
#: Whether a row has a chosen value is not asked for longer.
EXISTS_MILLISECONDS = 100
#: The label of a chosen value that no row has.
UNKNOWN_VALUE = "a value that no row has"
#: console.js stores the reader's time zone in it, such as `Europe/Berlin`. Days begin there.
ZONE_COOKIE = "zone"
#: Days outside of these years are typing errors, and some are no instants in every zone.
MIN_YEAR, MAX_YEAR = 2000, 2199


def format_count(number: int) -> str:
    """Return a count as text: `12`, or `1,000+` if it is above MAX_COUNTED."""
    return f"{MAX_COUNTED:,}+" if number > MAX_COUNTED else f"{number:,}"


def label_chosen(rows: QuerySet[Any], label: str) -> str:
    """Return the label of a chosen value if one of the rows that have it exists, and otherwise UNKNOWN_VALUE.

    An address can have any text as a value, such as a name. Pages show the labels, and the audit log keeps them.
    """
    exists = within(rows.exists, milliseconds=EXISTS_MILLISECONDS)
    return "a rare value" if exists is None else label if exists else UNKNOWN_VALUE


def read_zone(request: HttpRequest) -> ZoneInfo:
    """Return the time zone of the reader's browser, or UTC if it is unknown."""
    try:
        return ZoneInfo(request.COOKIES.get(ZONE_COOKIE, "")[:64] or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


class TimeFilter(admin.FieldListFilter):
    """Rows of today, of the last hours or days, or from one day to another, both included, in the reader's zone."""

    template = "staff/time_filter.html"
    #: The value in the URL to the label and the length of the span.
    spans: ClassVar[Mapping[str, tuple[str, timedelta]]] = {
        "24h": ("Last 24 hours", timedelta(hours=24)),
        "7d": ("Last 7 days", timedelta(days=7)),
        "30d": ("Last 30 days", timedelta(days=30)),
    }

    def __init__(
        self, field: Any, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any, *, field_path: str
    ) -> None:
        super().__init__(field, request, params, model, model_admin, field_path)
        self.zone = read_zone(request)
        given: dict[str, Any] = self.used_parameters
        values: dict[str, str] = {name: texts[-1] for name, texts in given.items()}
        self.span = values.get("when", "")
        if self.span not in ("", "today", *self.spans):
            raise IncorrectLookupParameters
        self.first_day, self.last_day = _read_day(values.get("from")), _read_day(values.get("to"))
        #: The other parameters of the list, which the form keeps.
        self.others: list[tuple[str, str]] = []

    def expected_parameters(self) -> list[str | None]:
        """Return the names of the parameters."""
        return ["when", "from", "to"]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the chosen time."""
        if self.span in self.spans:
            queryset = queryset.filter(**{f"{self.field_path}__gte": Now() - self.spans[self.span][1]})
        today = clock.now().astimezone(self.zone).date() if self.span == "today" else None
        for day in (today, self.first_day):
            if day:
                queryset = queryset.filter(**{f"{self.field_path}__gte": self._start(day)})
        if self.last_day:
            queryset = queryset.filter(**{f"{self.field_path}__lt": self._start(self.last_day + timedelta(days=1))})
        return queryset

    def describe(self) -> str:
        """Return the chosen time, such as `last 7 days`, or an empty string."""
        parts = ["today"] if self.span == "today" else []
        parts += [self.spans[self.span][0].lower()] if self.span in self.spans else []
        parts += [f"from {self.first_day}"] if self.first_day else []
        parts += [f"to {self.last_day}"] if self.last_day else []
        # The length of a span is the same in every zone.
        return " ".join(parts) + (f" ({self.zone})" if parts and self.span not in self.spans else "")

    def _start(self, day: date) -> datetime:
        return datetime.combine(day, time.min, tzinfo=self.zone).astimezone(UTC)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the spans."""
        names = self.expected_parameters()
        self.others = [
            (name, value) for name, given in changelist.filter_params.items() if name not in names for value in given
        ]
        spans = {"today": "Today"} | {value: text for value, (text, _) in self.spans.items()}
        any_time = not (self.span or self.first_day or self.last_day)
        yield {"selected": any_time, "query_string": changelist.get_query_string(remove=names), "display": "Any time"}
        for value, text in spans.items():
            address = changelist.get_query_string({"when": value}, ["from", "to"])
            yield {"selected": self.span == value, "query_string": address, "display": text}


def _read_day(text: str | None) -> date | None:
    """Return the day of a parameter, or None if it is empty. Raise IncorrectLookupParameters."""
    if not text:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise IncorrectLookupParameters from None
    if not MIN_YEAR <= day.year <= MAX_YEAR:
        raise IncorrectLookupParameters
    return day


class CountedFilter(admin.ListFilter):
    """The base of filters with a count next to each choice. A value that is no choice is refused."""

    parameter_name: Any
    #: The values in the URL with their labels.
    lookup_choices: Any

    def value(self) -> str | None:
        """Return the chosen value, or None if there is none."""
        raise NotImplementedError

    def select(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the rows of a choice."""
        raise NotImplementedError

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        """Return the rows of the chosen value. Raise IncorrectLookupParameters if it is no choice."""
        chosen = self.value()
        if chosen is None:
            return queryset
        if chosen not in dict(self.lookup_choices):
            raise IncorrectLookupParameters
        return self.select(queryset, chosen)

    def choices(self, changelist: Any) -> Iterator[Any]:
        """Yield the choices with their counts, for which the list's other filters are applied."""
        yield {
            "selected": self.value() is None,
            "query_string": changelist.get_query_string(remove=[self.parameter_name]),
            "display": "All",
            "count": "",
        }
        for value, text in self.lookup_choices:
            yield {
                "selected": self.value() == value,
                "query_string": changelist.get_query_string({self.parameter_name: value}),
                "display": text,
                "count": changelist.choice_counts.get((self.parameter_name, value), "?"),
            }


class SelectionFilter(CountedFilter, admin.SimpleListFilter):
    """A filter whose choices each select rows by a function, such as a method of the model's queryset."""

    #: The value in the URL to the label and the function.
    selections: ClassVar[Mapping[str, tuple[str, Any]]]

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        """Return the values with their labels."""
        return [(value, text) for value, (text, _) in self.selections.items()]

    def value(self) -> str | None:
        """Return the chosen value, or None if there is none."""
        return admin.SimpleListFilter.value(self)

    def select(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the rows that the function of the choice selects."""
        selected: QuerySet[Any] = self.selections[value][1](rows)
        return selected


class StateFilter(CountedFilter, admin.FieldListFilter):
    """Rows with one value of a field. The choices are those of the field, `values`, or what the first rows hold."""

    #: The values of a field that declares none.
    values: ClassVar[Sequence[str]] = ()

    def __init__(
        self, field: Any, request: HttpRequest, params: dict[str, Any], model: Any, model_admin: Any, *, field_path: str
    ) -> None:
        self.parameter_name = f"{field_path}__exact"
        super().__init__(field, request, params, model, model_admin, field_path)
        self.lookup_choices = self._list_choices(request, model_admin)

    def _list_choices(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        if isinstance(self.field, BooleanField):
            return [("1", "yes"), ("0", "no")]
        if self.field.flatchoices:
            return [(str(value), _label(str(value), str(text))) for value, text in self.field.flatchoices]
        if self.values:
            return [(value, _label(value, value)) for value in self.values]
        rows = model_admin.get_queryset(request).order_by(*model_admin.get_ordering(request))
        found = {*rows.values_list(self.field_path, flat=True)[:MAX_READ_FOR_VALUES]} - {None}
        choices = [(str(value), _label(str(value), str(value))) for value in sorted(found)]
        # The chosen value may be a rare one, which those rows do not hold.
        chosen = self.value()
        if chosen is not None and is_valid(self.field, chosen):
            value = self.field.to_python(chosen)
            if value not in found:
                label = _label(str(value), str(value))
                choices.append((str(value), label_chosen(self.select(rows, value), label)))
        return choices

    def expected_parameters(self) -> list[str | None]:
        """Return the name of the parameter."""
        return [self.parameter_name]

    def value(self) -> str | None:
        """Return the chosen value, or None if there is none."""
        given: Any = self.used_parameters.get(self.parameter_name)
        return given[-1] if given else None

    def select(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        """Return the rows with this value."""
        return rows.filter(**{self.parameter_name: value})


def _label(value: str, text: str) -> str:
    """Return the label of a choice: a text as the list shows it, or the name of a number."""
    if value.isdigit():
        return text
    return value.replace("_", " ") or "none"
