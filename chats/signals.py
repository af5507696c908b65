"""Signals of this app. It does not know their receivers."""

from __future__ import annotations

from django.dispatch import Signal

#: Sent with `chat_id` after the commit that made a chat searchable, or that gave its indexing up.
indexing_finished = Signal()

#: Sent with `chat` in the transaction that deletes it. The row is locked, and no row is deleted yet.
chat_erasing = Signal()
