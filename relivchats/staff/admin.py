"""The base classes of the admin pages: read-only by default, fast on large tables, never loading sealed columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import reduce, wraps
from operator import or_
from types import MethodType
from typing import Any, TypeVar, cast

from django.contrib import admin
from django.contrib.admin.utils import flatten
from django.contrib.auth import get_user_model
from django.db import models
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import action as page_action

from relivchats import durations
from relivchats.sizes import format_bytes
from relivchats.staff.actions import BulkAction, get_row_or_404
from relivchats.staff.filters import StateFilter
from relivchats.staff.lists import ListPage
from relivchats.staff.lookups import is_valid
from relivchats.staff.markup import SHORT_ID, actor_links, full_id, link, short_id, since, status_label
from relivchats.staff.models import AuditEntry

__all__ = ["EditedAdmin", "StaffAdmin", "actor_column", "label", "link"]

#: Status to the colour of its label.
STATUS_COLOURS = {
    "active": "info",
    "captured": "success",
    "completed": "success",
    "failed": "danger",
    "generating": "info",
    "indexing": "info",
    "partial_failure": "warning",
    "running": "info",
}

#: A search by an id of another table returns at most so many rows.
MAX_RELATED_MATCHES = 100

Method = TypeVar("Method", bound=Callable[..., str])


def label(description: str, *, colours: Mapping[str, str] = STATUS_COLOURS) -> Callable[[Method], Method]:
    """Return a decorator for a column that shows its value as a coloured label, on lists, details and confirmations."""

    def decorate(method: Method) -> Method:
        @wraps(method)
        def column(*args: Any) -> str:
            value = method(*args)
            return status_label(value, colours.get(value, ""))

        column.short_description = description  # type: ignore[attr-defined]
        return cast(Method, column)

    return decorate


def _once_per_row(name: str, method: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Return a column that keeps its value with the row: the theme asks five times for each field of a page."""

    @wraps(method)
    def column(self: Any, row: Any) -> Any:
        kept = vars(row).setdefault("_columns", {})
        if name not in kept:
            kept[name] = method(self, row)
        return kept[name]

    return column


def _column(field: Any) -> Callable[[Any], SafeString | str] | None:
    """Return a column of a list that shows a field better than Django does, or None if there is none."""
    name = field.attname
    show: Callable[[Any], SafeString | str]
    if isinstance(field, models.AutoField):
        # Django writes the name of a generated key in capitals, unlike that of other ids.
        title, show = "id", str
    elif field.is_relation:
        title, show = str(field.verbose_name), lambda pk: link(field.related_model, pk, text=str(pk))
    elif name.endswith("_bytes"):
        title, show = name.removesuffix("_bytes").replace("_", " "), format_bytes
    elif name == "milliseconds":
        title, show = "duration", lambda milliseconds: f"{milliseconds:,} ms"
    else:
        return None

    @admin.display(description=title)
    def column(row: Any) -> SafeString | str:
        value = getattr(row, name)
        return "" if value is None else show(value)

    return column


def actor_column(field: str) -> Any:
    """Return a column that shows who acted, with links to users, for a field of `user ID` or `command`."""

    @admin.display(description=field.replace("_", " "))
    def column(model_admin: Any, row: Any) -> SafeString | str:
        return actor_links(getattr(row, field))

    return column


class StaffAdmin(ListPage, ModelAdmin):  # type: ignore[misc]
    """A read-only list and detail page: no row is added, changed or deleted here, except by `bulk_actions`.

    Subclasses declare `list_display` and `fields`. The search box finds rows by id: `search_ids` names the fields
    to compare, with lookups such as `orders__pk` for related tables; `search_owner` is the path to the user, who is
    found by e-mail address or id. Free text is never searched.
    """

    #: Actions with a reason and a confirmation, offered on the list and on each row's page.
    bulk_actions: Sequence[BulkAction] = ()
    actions: Sequence[Callable[..., Any]] = ()
    actions_detail: Sequence[str] = ()
    search_ids: Sequence[str] = ("pk",)
    search_owner = ""
    # Django shows the search box only if this is set. `get_search_results` does not use it.
    search_fields: Sequence[str] = ("pk",)
    search_help_text = "An id, in full"
    # "Select all" would select every row of the table, but an action takes at most BATCH_SIZE.
    list_disable_select_all = True
    #: The page of the console that shows a row with everything around it, such as `console:job`.
    timeline_page = ""
    #: Actions of a page that have a form of their own, and to which rows each applies.
    page_actions_apply: Mapping[str, Callable[[Any], bool]] = {}

    def __init__(self, model: type[models.Model], admin_site: admin.AdminSite) -> None:
        for action in self.bulk_actions:
            # The theme finds the action of a page by its attribute name, which becomes part of the URL's name.
            setattr(self, f"{action.name}_this", MethodType(action.page_action(), self))
        self.actions = (*self.actions, *(action.list_action() for action in self.bulk_actions))
        self.actions_detail = (*self.actions_detail, *(f"{action.name}_this" for action in self.bulk_actions))
        if self.timeline_page:
            self.actions_detail = ("timeline_this", *self.actions_detail)
        for name in flatten(self.fields or ()):
            if callable(method := getattr(type(self), name, None)):
                setattr(self, name, MethodType(_once_per_row(name, method), self))
        super().__init__(model, admin_site)
        #: Columns in place of fields of `list_display`, by their names.
        self._list_columns = {
            field.attname: column for field in self.opts.concrete_fields if (column := _column(field))
        }

    @page_action(description="Timeline", permissions=["view"], url_path="timeline", icon="timeline")  # type: ignore[untyped-decorator]
    def timeline_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Show the row with everything around it."""
        return redirect(self.timeline_page, get_row_or_404(self, request, object_id).pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return False, for everyone: rows are created by the service."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False, for everyone: rows change only through `bulk_actions`."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return False, for everyone."""
        return False

    def has_operate_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        """Return whether the user may run actions on these rows: this takes the "change" permission."""
        return request.user.has_perm(f"{self.opts.app_label}.change_{self.opts.model_name}")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """Defer the sealed columns, and annotate the database's time as `looked_at`, from which ages are computed."""
        # Every sealed column is a BinaryField. They are large, and no page may decrypt them.
        sealed = [field.name for field in self.opts.concrete_fields if isinstance(field, models.BinaryField)]
        rows: QuerySet[Any] = super().get_queryset(request)
        timed: QuerySet[Any] = rows.defer(*sealed).annotate(looked_at=Now())
        return timed

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Return `list_display`, in which a UUID is shortened, other rows are linked, and quantities have units."""
        names = super().get_list_display(request)
        return ["list_id" if self._is_uuid(name) else self._list_columns.get(name, name) for name in names]

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return `fields` in pairs: in a third column an id or a date breaks into several lines.

        A field that stands alone in `fields` has a row to itself.
        """
        rows: list[Any] = []
        pair: list[Any] = []
        is_number = isinstance(self.opts.pk, models.AutoField) and not self.has_change_permission(request, obj)
        for row in super().get_fields(request, obj):
            if isinstance(row, str):
                rows += [tuple(pair)] if pair else []
                rows.append(row)
                pair = []
                continue
            for name in row:
                is_id = self._is_uuid(name) or (is_number and name == self.opts.pk.name)
                pair.append("row_id" if obj is not None and is_id else name)
                if len(pair) == 2:
                    rows.append(tuple(pair))
                    pair = []
        return rows + ([tuple(pair)] if pair else [])

    def _is_uuid(self, name: Any) -> bool:
        pk = self.opts.pk
        return name == pk.name and isinstance(pk, models.UUIDField) and not pk.editable

    @admin.display(description="id")
    def list_id(self, row: Any) -> SafeString | str:
        """Return the start of the id, with a button that copies it."""
        return short_id(row.pk)

    @admin.display(description="id")
    def row_id(self, row: Any) -> SafeString | str:
        """Return the id with a button that copies it."""
        return full_id(row.pk)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Return the actions that the user may run and that apply to the row."""
        allowed: list[Any] = super().get_actions_detail(request, object_id)
        if not any(action.applies for action in self.bulk_actions) and not self.page_actions_apply:
            return allowed
        row = self.get_object(request, object_id)
        rules = {f"{action.name}_this": action.applies for action in self.bulk_actions if action.applies}
        rules |= dict(self.page_actions_apply.items())
        prefix = f"{self.opts.app_label}_{self.opts.model_name}_"
        found = []
        for action in allowed:
            rule = rules.get(action.action_name.removeprefix(prefix))
            if row is None or rule is None or rule(row):
                found.append(action)
        return found

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Filter by id or owner, exactly; return no rows if the term is neither."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if self.search_owner:
            # No id contains an @. An id can be that of the owner, or of a row.
            if "@" in term:
                return queryset.filter(**{f"{self.search_owner}__email": term.lower()}), False
            users = get_user_model()._default_manager
            if is_valid(users.model._meta.pk, term) and users.filter(pk=term).exists():
                return queryset.filter(**{self.search_owner: term}), False
        return self.find_by_id(queryset, term), False

    def find_by_id(self, queryset: QuerySet[Any], term: str) -> QuerySet[Any]:
        """Return the rows of which one of `search_ids` has this value."""
        names = self.list_id_lookups(term)
        matches = [Q(**{name: term}) for name in names if "__" not in name]
        # Related tables are queried separately, each by its own index. An OR over a join would scan the whole table.
        for name in names:
            if "__" in name:
                rows = self.model._default_manager.filter(**{name: term})
                matches.append(Q(pk__in=list(rows.order_by().values_list("pk", flat=True)[:MAX_RELATED_MATCHES])))
        return queryset.filter(reduce(or_, matches)) if matches else queryset.none()

    def list_id_lookups(self, term: str) -> list[str]:
        """Return those of `search_ids` that can have this value: others, such as a UUID for a word, would raise."""
        return [name for name in self.search_ids if self._accepts(name, term)]

    def _accepts(self, name: str, term: str) -> bool:
        """Return whether `term` is a valid value of the field that the lookup `name` ends at."""
        opts: Any = self.opts
        field: Any = None
        for part in name.split("__"):
            field = opts.pk if part == "pk" else opts.get_field(part)
            opts = field.related_model._meta if field.is_relation else opts
        return is_valid(opts.pk if field.is_relation else field, term)

    @admin.display(description="age")
    def age(self, row: Any) -> SafeString | str:
        """Return the time since `time_field`, such as `3 min`; its title is the time."""
        instant = getattr(row, self.time_field)
        return since(instant, self.format_age(row, instant)) if instant else "–"

    @staticmethod
    def format_age(row: Any, instant: datetime | None) -> str:
        """Return the time from `instant` to the row's `looked_at`, or a dash."""
        return durations.format_short(row.looked_at - instant) if instant else "–"


class EditedAdmin(StaffAdmin):
    """A page on which staff add and change rows, such as prices. Nothing is deleted: other rows refer to them."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Return whether the user has the model's "add" permission."""
        return bool(ModelAdmin.has_add_permission(self, request))

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Return whether the user has the model's "change" permission."""
        return bool(ModelAdmin.has_change_permission(self, request, obj))


@admin.register(AuditEntry)
class AuditEntryAdmin(StaffAdmin):
    """The audit log of staff and operators."""

    export_columns = ("id", "created_at", "actor", "action", "object_id", "done")
    list_display = ("id", "action", "object_link", "result", "outcome", "actor_link", "reason", "age")
    list_filter = (("done", StateFilter),)
    ordering = ("-created_at",)
    search_ids = ("object_id",)
    fields = (("id", "created_at"), ("action", "object_link"), ("result", "outcome"), ("actor_link", "reason"))
    readonly_fields = ("id", "created_at", "object_link", "result", "actor_link")
    actor_link = actor_column("actor")

    @admin.display(description="row")
    def object_link(self, entry: AuditEntry) -> SafeString | str:
        """Return a link to the search for the row; what has no such id, such as a list, is named."""
        is_uuid = is_valid(models.UUIDField(), entry.object_id)
        if not is_uuid and not entry.object_id.isdigit():
            return entry.object_id
        return format_html(
            '<span class="rc-id" data-copy="{}"><a class="rc-link" href="{}?q={}" title="{}">{}</a></span>',
            *(entry.object_id, reverse("console:find"), entry.object_id, entry.object_id),
            entry.object_id[:SHORT_ID] if is_uuid else entry.object_id,
        )

    @label("result", colours={"done": "success", "refused": "warning"})
    def result(self, entry: AuditEntry) -> str:
        """Return whether the action was done."""
        return "done" if entry.done else "refused"
