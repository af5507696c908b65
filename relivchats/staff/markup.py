"""Small pieces of HTML that all pages of the admin share. Their classes are in static/relivchats/console.css."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import models
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

#: Characters of a UUID that a list shows: eight are unique among some ten thousand rows, and the title has all.
SHORT_ID = 8


def status_label(status: str, colour: str = "") -> SafeString | str:
    """Return a status as a coloured label, or a dash for none. The colour is success, info, warning, danger or none."""
    if not status:
        return "–"
    return format_html('<span class="rc-label rc-{}">{}</span>', colour or "plain", str(status).replace("_", " "))


def short_id(pk: Any) -> SafeString | str:
    """Return the start of a UUID, which a button copies in full; other ids as they are."""
    if not isinstance(pk, UUID):
        return str(pk)
    return format_html('<span class="rc-id" data-copy="{}" title="{}">{}</span>', pk, pk, str(pk)[:SHORT_ID])


def full_id(pk: Any) -> SafeString:
    """Return an id with a button that copies it."""
    return format_html('<span class="rc-id" data-copy="{}">{}</span>', pk, pk)


def command(text: str) -> SafeString:
    """Return a command with a button that copies it."""
    return format_html('<span class="rc-command" data-copy="{}"><span>{}</span></span>', text, text)


def link(model: type[models.Model], pk: UUID | int | str | None, *, text: str = "") -> SafeString | str:
    """Return a link to a row's page, with its id as the text by default, or a dash without an id. No row is read."""
    if pk is None:
        return "–"
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])
    shown = text or (str(pk)[:SHORT_ID] if isinstance(pk, UUID) else pk)
    return format_html('<a class="rc-link" href="{}" title="{}">{}</a>', address, pk, shown)
