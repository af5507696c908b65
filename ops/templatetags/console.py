"""Filters of the console's templates."""

from __future__ import annotations

from datetime import timedelta

from django import template
from django.utils.safestring import SafeString
from django.utils.text import capfirst

from ops.console.sections import linked_ids
from relivchats import durations, installation
from relivchats.staff import markup

register = template.Library()


@register.filter
def remedy(text: str) -> SafeString | str:
    """Return a command with a button that copies it, or a sentence."""
    return markup.remedy(text)


@register.filter
def is_command(text: str) -> bool:
    """Return whether a remedy is a command, which can be copied."""
    return installation.is_command(text)


@register.filter
def with_links(text: str) -> SafeString:
    """Return a text in which each id leads to the search for it."""
    return linked_ids(text)


@register.filter
def lasts_a_minute(duration: timedelta | None) -> bool:
    """Return whether a duration is worth showing. After a start, all states are a few seconds old."""
    return duration is not None and duration >= timedelta(minutes=1)


@register.filter
def short_duration(duration: timedelta) -> str:
    """Return a duration such as `3 min`."""
    return durations.format_short(duration)


@register.filter
def heading(column: str) -> str:
    """Return the heading of a column: as a sentence begins, but for a symbol such as `p95 ms`."""
    return column if column[1:2].isdigit() else capfirst(column)
