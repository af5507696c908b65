"""What the address of an admin page may select: the filters that the page declares, and values that Postgres can hold.

Django lets the address of a list filter by any column with any lookup. `?digest__startswith=a` would read a column that
the page does not show, one digit at a time, and `?created_at__year=0` or a NUL byte would be an error 500.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.contrib.admin.options import IncorrectLookupParameters
from django.core.exceptions import BadRequest, ValidationError
from django.db.models import Field, QuerySet
from django.http import HttpRequest, HttpResponse
from unfold.views import ChangeList


class DeclaredFilterChangeList(ChangeList):  # type: ignore[misc]
    """A list that is filtered only by its `list_filter`."""

    def get_filters(self, request: HttpRequest) -> tuple[Any, ...]:
        """Return what Django returns. Raise IncorrectLookupParameters, which shows the list unfiltered, for others."""
        found: tuple[Any, ...] = super().get_filters(request)
        # Filters remove the parameters that they use. Django applies the others to the rows.
        _, _, remaining, *_ = found
        if remaining:
            raise IncorrectLookupParameters
        return found


class DeclaredLookups:
    """A mixin for ModelAdmin: a list is filtered by its declared filters only, and no action takes a malformed id."""

    opts: Any

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[DeclaredFilterChangeList]:
        """Return the class of the list."""
        return DeclaredFilterChangeList

    def response_action(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Run the chosen action on the selected rows. Raise BadRequest if an id is malformed."""
        if not all(is_valid(self.opts.pk, pk) for pk in request.POST.getlist(ACTION_CHECKBOX_NAME)):
            raise BadRequest("A selected id is malformed.")
        response: HttpResponse | None = super().response_action(request, queryset)  # type: ignore[misc]
        return response


def is_valid(field: Field[Any, Any], text: str) -> bool:
    """Return whether the text stands for a value of the field. PostgreSQL cannot compare with a NUL byte."""
    if "\0" in text:
        return False
    try:
        field.to_python(text)
    except ValidationError:
        return False
    return True


class NoNullBytesMiddleware:
    """Refuse a NUL byte in the address of an admin page with 400. PostgreSQL cannot compare with it."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Return the response unchanged: the address is checked when its view is known."""
        return self.get_response(request)

    def process_view(self, request: HttpRequest, view: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Raise BadRequest if the path or the query has a NUL byte."""
        if getattr(request.resolver_match, "app_name", "") != "admin":
            return
        texts = [request.path, *request.GET, *(value for values in request.GET.lists() for value in values[1])]
        if any("\0" in text for text in texts):
            raise BadRequest("The address has a NUL byte.")
