"""Small pieces of HTML that all pages of the admin share. Their classes are in static/relivchats/console.css."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.db import models
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from relivchats import installation

#: Characters of a UUID that a list shows: eight are unique among some ten thousand rows, and the title has all.
SHORT_ID = 8
#: How the audit log and the ledger name a user.
_USER = re.compile(r"(?<=\buser )([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\b")


def status_label(status: str, colour: str = "") -> SafeString | str:
    """Return a status as a coloured label, or a dash for none. The colour is success, info, warning, danger or none."""
    if not status:
        return "–"
    # Levels of logs and states of Celery are in capitals, all others are not.
    text = str(status).replace("_", " ")
    text = text.lower() if text.isupper() else text
    return format_html('<span class="rc-label rc-{}">{}</span>', colour or "plain", text)


def short_id(pk: Any) -> SafeString | str:
    """Return the start of a UUID, which a button copies in full; other ids as they are."""
    if not isinstance(pk, UUID):
        return str(pk)
    return format_html('<span class="rc-id" data-copy="{}" title="{}">{}</span>', pk, pk, str(pk)[:SHORT_ID])


def full_id(pk: Any) -> SafeString:
    """Return an id with a button that copies it."""
    return format_html('<span class="rc-id rc-full" data-copy="{}">{}</span>', pk, pk)


def command(text: str) -> SafeString:
    """Return a command with a button that copies it."""
    return format_html('<span class="rc-command" data-copy="{}"><span>{}</span></span>', text, text)


def remedy(text: str) -> SafeString | str:
    """Return a command with a button that copies it, or a sentence. It is a link if it ends with a page of the admin.

    What follows ` # ` in a sentence is for those who have no login.
    """
    if installation.is_command(text):
        return command(text)
    sentence, _, address = text.partition("  # ")[0].partition(": /admin/")
    sentence = f"{sentence[:1].upper()}{sentence[1:]}"
    return format_html('<a class="rc-link" href="/admin/{}">{}</a>', address, sentence) if address else sentence


def link(model: type[models.Model], pk: UUID | int | str | None, *, text: str = "") -> SafeString | str:
    """Return a link to a row's page, or a dash without an id. No row is read.

    The text is its id by default: of a UUID the start, with a button that copies all of it.
    """
    if pk is None:
        return "–"
    address = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])
    if text or not isinstance(pk, UUID):
        return format_html('<a class="rc-link" href="{}" title="{}">{}</a>', address, pk, text or pk)
    return format_html(
        '<span class="rc-id" data-copy="{}"><a class="rc-link" href="{}" title="{}">{}</a></span>',
        *(pk, address, pk, str(pk)[:SHORT_ID]),
    )


def actor_links(actor: str) -> SafeString | str:
    """Return who acted, with a link to each user: `user ID`, `command`, or `user ID, approved by user ID`."""
    texts = _USER.split(actor)
    if len(texts) == 1:
        return actor or "–"
    # Every second part is an id.
    parts = ((link(get_user_model(), UUID(text)) if number % 2 else text,) for number, text in enumerate(texts))
    return format_html_join("", "{}", parts)


def since(instant: datetime, age: str) -> SafeString:
    """Return an age with its time, which console.js shows in the reader's zone, as a title."""
    stamp = instant.astimezone(UTC)
    return format_html(
        '<time class="rc-age" datetime="{}" title="{}">{}</time>',
        stamp.isoformat(),
        f"{stamp:%Y-%m-%d %H:%M:%S} UTC",
        age,
    )
