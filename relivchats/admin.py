"""What the pages of the admin share: read-only by default, quick on large tables, blind to what is sealed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import reduce
from operator import or_
from typing import Any, TypeVar
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.paginator import Paginator
from django.db import models
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display

from relivchats import spans

#: Colours of the theme's labels.
COLOURS = {
    "active": "info",
    "captured": "success",
    "completed": "success",
    "failed": "danger",
    "generating": "info",
    "indexing": "info",
    "partial_failure": "warning",
    "running": "info",
}


#: Rows that a search by an id of another table finds at most.
SEARCHED = 100

Method = TypeVar("Method", bound=Callable[..., str])


def label(description: str, *, colours: Mapping[str, str] = COLOURS) -> Callable[[Method], Method]:
    """A column whose word is coloured by what it says."""
    decorate: Callable[[Method], Method] = display(description=description, label=colours)
    return decorate


class BoundedPaginator(Paginator):  # type: ignore[type-arg]
    """Counts up to a bound: what lies beyond is found by a filter or an id, not by leafing."""

    MOST = 5_000

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        if not isinstance(rows, QuerySet):
            return len(rows)
        return rows.order_by().values("pk")[: self.MOST].count()


class StaffAdmin(ModelAdmin):  # type: ignore[misc]
    """A list and a page that show; nothing is added, changed or deleted here.

    `search_ids` names the fields that a search for an id looks at, those of other tables by their path from the row;
    `search_owner` is the path to the person, who is found by e-mail address and id. Text is never searched.
    Subclasses name what they show: `list_display` and `fields`.
    """

    search_ids: Sequence[str] = ("pk",)
    search_owner = ""
    search_fields: Sequence[str] = ("pk",)
    search_help_text = "An id, in full"
    list_per_page = 50
    list_max_show_all = 50
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = BoundedPaginator
    sortable_by: Sequence[str] = ()
    list_disable_select_all = True
    #: The field that `age` counts from.
    age_of = "created_at"

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """May this member of staff act on these rows, though nobody edits them?"""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Without what is sealed; with the database's time, for ages."""
        sealed = [field.name for field in self.opts.concrete_fields if isinstance(field, models.BinaryField)]
        rows: QuerySet[Any] = super().get_queryset(request)
        timed: QuerySet[Any] = rows.defer(*sealed).annotate(looked_at=Now())
        return timed

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip()
        if not term:
            return queryset, False
        if self.search_owner and (theirs := _of_person(self.search_owner, term)) is not None:
            return queryset.filter(theirs), False
        names = [name for name in self.search_ids if self._fits(name, term)]
        found = [Q(**{name: term}) for name in names if "__" not in name]
        # Each by its own index: joined to the row's own columns by OR, they would read the whole table.
        for name in names:
            if "__" in name:
                rows = self.model._default_manager.filter(**{name: term})
                found.append(Q(pk__in=list(rows.order_by().values_list("pk", flat=True)[:SEARCHED])))
        return (queryset.filter(reduce(or_, found)) if found else queryset.none()), False

    def _fits(self, name: str, term: str) -> bool:
        opts: Any = self.opts
        field: Any = None
        for part in name.split("__"):
            field = opts.pk if part == "pk" else opts.get_field(part)
            opts = field.related_model._meta if field.is_relation else opts
        return _readable(opts.pk if field.is_relation else field, term)

    @admin.display(description="age")
    def age(self, row: Any) -> str:
        return self.span_since(row, getattr(row, self.age_of))

    @staticmethod
    def span_since(row: Any, instant: datetime | None) -> str:
        return spans.short(row.looked_at - instant) if instant else "–"


def _readable(field: Any, term: str) -> bool:
    try:
        field.to_python(term)
    except ValidationError:
        return False
    return True


def _of_person(path: str, term: str) -> Q | None:
    """The rows of whom this e-mail address or id names; None: it is neither."""
    if "@" in term:
        return Q(**{f"{path}__email": term.lower()})
    people = get_user_model()._default_manager
    known = _readable(people.model._meta.pk, term) and people.filter(pk=term).exists()
    return Q(**{path: term}) if known else None


class EditedAdmin(StaffAdmin):
    """Prices and the catalogue: staff add and change them. Nothing that is referred to is deleted."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return bool(ModelAdmin.has_add_permission(self, request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return bool(ModelAdmin.has_change_permission(self, request, obj))


def link(model: type[models.Model], pk: UUID | int | str | None) -> SafeString | str:
    """To a row's page, by its id alone: the row itself is not read."""
    if pk is None:
        return "–"
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])
    return format_html('<a href="{}">{}</a>', address, pk)
