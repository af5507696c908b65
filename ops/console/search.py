"""Search over everything by any id or e-mail address, for the search page and for the command palette."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db import models
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst
from unfold.dataclasses import SearchResult

from billing.models import PaymentOrder
from insights.models import GenerationJob
from ops.console import attention
from relivchats.accounts.models import User
from relivchats.staff.admin import StaffAdmin
from relivchats.staff.bounded import list_keys_of_each, within
from relivchats.staff.markup import SHORT_ID

#: Rows of one kind that are listed.
MAX_ROWS = 5
#: Nothing is found in a search that takes longer.
_QUERY_MILLISECONDS = 1000
#: The page that shows a row with everything around it.
_PAGES: dict[type[models.Model], str] = {
    User: "console:person",
    PaymentOrder: "console:payment",
    GenerationJob: "console:job",
}


@dataclass(frozen=True)
class Match:
    """A row that was found."""

    kind: str
    pk: str
    link: str
    page: str = ""


def find(request: HttpRequest, term: str) -> list[Match] | None:
    """Return the rows with this id, those that refer to it, and the person with this e-mail address or external id.

    The first eight characters of an id, as lists show them, are enough. Only rows that the user may see are returned.
    None if the search takes too long.
    """
    term = term.strip().replace("\0", "")
    if not 0 < len(term) <= 200:
        return []
    pages = sorted(admin.site._registry.items(), key=lambda item: item[0] is not User)
    # One query for each table would be two hundred, with its time limit.
    selections = [
        (model, rows)
        for model, model_admin in pages
        if attention.may_view(request, model)
        for rows in _select(request, term, model, model_admin)
    ]
    keys = within(
        lambda: list_keys_of_each([rows for _, rows in selections], limit=MAX_ROWS), milliseconds=_QUERY_MILLISECONDS
    )
    if keys is None:
        return None
    of_model: dict[type[models.Model], set[str]] = {}
    for (model, _), found in zip(selections, keys, strict=True):
        of_model.setdefault(model, set()).update(found)
    return [_match(model, key) for model, found in of_model.items() for key in sorted(found)[:MAX_ROWS]]


def _match(model: type[models.Model], key: str) -> Match:
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])
    page = reverse(_PAGES[model], args=[key]) if model in _PAGES else ""
    return Match(capfirst(str(model._meta.verbose_name)), key, address, page)


def _select(
    request: HttpRequest, term: str, model: type[models.Model], model_admin: Any
) -> Iterator[models.QuerySet[Any]]:
    """Yield the rows of a model that the term can stand for, by each column apart: each has its own index."""
    rows: models.QuerySet[Any] = model._default_manager.all()
    if re.fullmatch(f"[0-9a-fA-F]{{{SHORT_ID}}}", term) and isinstance(model._meta.pk, models.UUIDField):
        first, last = UUID(f"{term:0<32}"), UUID(f"{term:f<32}")
        yield rows.filter(pk__range=(first, last))
    elif model is User:
        found, _ = model_admin.get_search_results(request, rows, term)
        yield found
    elif isinstance(model_admin, StaffAdmin) and "@" not in term:
        for lookup in model_admin.list_id_lookups(term):
            yield rows.filter(**{lookup: term})


def command_results(request: HttpRequest, term: str) -> list[SearchResult]:
    """Return what the command palette lists: the pages whose title contains the term, then the rows that it names."""
    from ops import dashboard

    pages = [
        SearchResult(title=item["title"], description="page", link=item["link"], icon=item["icon"])
        for group in dashboard.sidebar(request)
        for item in group["items"]
        if term in item["title"].lower()
    ]
    rows = [
        SearchResult(title=match.kind, description=match.pk, link=match.page or match.link, icon="tag")
        for match in find(request, term) or ()
    ]
    return pages + rows
