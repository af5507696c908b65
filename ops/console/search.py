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
from relivchats.staff.bounded import within
from relivchats.staff.markup import SHORT_ID

#: Rows of one kind that are listed, and the time that is spent on each.
MAX_ROWS = 5
_QUERY_MILLISECONDS = 300
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


def find(request: HttpRequest, term: str) -> list[Match]:
    """Return the rows with this id, those that refer to it, and the person with this e-mail address or external id.

    The first eight characters of an id, as lists show them, are enough. Only rows that the user may see are returned.
    """
    term = term.strip().replace("\0", "")
    return list(_iterate(request, term)) if 0 < len(term) <= 200 else []


def _iterate(request: HttpRequest, term: str) -> Iterator[Match]:
    for model, model_admin in sorted(admin.site._registry.items(), key=lambda item: item[0] is not User):
        if not attention.may_view(request, model):
            continue
        rows = _rows(request, term, model, model_admin)
        # A table without a fitting index costs one limited query, not the page.
        for row in within(lambda rows=rows: list(rows[:MAX_ROWS]), milliseconds=_QUERY_MILLISECONDS) or ():  # type: ignore[misc]
            yield Match(
                capfirst(str(model._meta.verbose_name)),
                str(row.pk),
                reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[row.pk]),
                reverse(_PAGES[model], args=[row.pk]) if model in _PAGES else "",
            )


def _rows(request: HttpRequest, term: str, model: type[models.Model], model_admin: Any) -> models.QuerySet[Any]:
    rows: models.QuerySet[Any] = model._default_manager.order_by("pk").only("pk")
    if re.fullmatch(f"[0-9a-fA-F]{{{SHORT_ID}}}", term) and isinstance(model._meta.pk, models.UUIDField):
        first, last = UUID(f"{term:0<32}"), UUID(f"{term:f<32}")
        return rows.filter(pk__range=(first, last))
    if model is User:
        found, _ = model_admin.get_search_results(request, rows, term)
        return found  # type: ignore[no-any-return]
    if not isinstance(model_admin, StaffAdmin) or "@" in term:
        return rows.none()
    return model_admin.find_by_id(rows, term)


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
        for match in find(request, term)
    ]
    return pages + rows
