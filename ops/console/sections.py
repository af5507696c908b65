"""The cards of a live page: reports of commands, with links, labels and buttons."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from insights.models import DispatchPause, UnlockPause
from ops.console.charts import Chart
from relivchats.staff.actions import BACK
from relivchats.staff.filters import TimeFilter
from relivchats.staff.markup import SHORT_ID
from relivchats.staff.reports import Level, Line, Report

#: The periods between which a reader chooses, by their name in the address.
WINDOWS = {"24h": timedelta(hours=24), "7d": timedelta(days=7), "30d": timedelta(days=30)}
#: A UUID, or the id of a request, which has no dashes.
_ID = re.compile(r"\b([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|[0-9a-f]{32})\b")


@dataclass(frozen=True)
class Button:
    """A link to the page that asks for the reason of an action and confirms it."""

    title: str
    address: str
    is_danger: bool = False


@dataclass(frozen=True)
class Section:
    """A report as a card.

    `columns` has a function for some columns, which returns the cell for a row, a mapping of column names to values.
    """

    report: Report
    empty: str = "There is nothing to show."
    columns: Mapping[str, Callable[[Mapping[str, Any]], Any]] = field(default_factory=dict)
    buttons: tuple[Button, ...] = ()
    charts: tuple[Chart, ...] = ()

    @property
    def problems(self) -> list[Line]:
        """Return the lines that are not fine."""
        return [line for line in self.report.lines if line.level is not Level.FINE]

    @property
    def fine(self) -> list[Line]:
        """Return the lines that are fine."""
        return [line for line in self.report.lines if line.level is Level.FINE]

    def rows(self) -> Iterator[list[Any]]:
        """Yield the cells of each row. Ids in them lead to the search, which knows their rows."""
        for row in self.report.table.as_json() if self.report.table else ():
            yield [self.columns[name](row) if name in self.columns else _cell(row[name]) for name in row]


def _cell(value: Any) -> Any:
    return linked_ids(value) if isinstance(value, str) else value


def linked_ids(text: str) -> SafeString:
    """Return the text, in which each id is a link to the search for it. HTML is returned as it is."""
    if isinstance(text, SafeString):
        return text
    search = reverse("console:find")
    # Split by a pattern in parentheses: every second piece is an id. Each piece is escaped.
    pieces = [
        format_html('<a class="rc-link" href="{}?q={}" title="{}">{}</a>', search, piece, piece, piece[:SHORT_ID])
        if number % 2
        else piece
        for number, piece in enumerate(_ID.split(text))
    ]
    return format_html_join("", "{}", ((piece,) for piece in pieces))


def pause_button(request: HttpRequest, model: type[UnlockPause | DispatchPause], *, what: str) -> tuple[Button, ...]:
    """Return the button that pauses, or the one that ends the pause that lasts, if the user may do so."""
    name = f"insights_{model._meta.model_name}"
    back = f"?{urlencode({BACK: request.path})}"
    lasting = model.objects.active().values_list("pk", flat=True).first()
    if lasting is None:
        may = request.user.has_perm(f"insights.add_{model._meta.model_name}")
        return (Button(f"Pause {what}", f"{reverse(f'admin:{name}_add')}{back}", is_danger=True),) if may else ()
    model_admin: Any = admin.site._registry[model]
    resume = model_admin.bulk_actions[0]
    may = request.user.has_perm(f"insights.change_{model._meta.model_name}")
    address = reverse(f"admin:{name}_{resume.name}_this", args=[lasting])
    return (Button(resume.title, f"{address}{back}"),) if may else ()


def chosen_window(name: str) -> str:
    """Return the name of a period of WINDOWS; the shortest for any other name."""
    return name if name in WINDOWS else next(iter(WINDOWS))


def window_title(name: str) -> str:
    """Return the heading of a period of WINDOWS, such as `Last 24 hours`."""
    return TimeFilter.spans[name][0]
