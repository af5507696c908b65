"""What chats announce. Whoever depends on them listens; chats know nothing of their listeners."""

from __future__ import annotations

from django.dispatch import Signal

#: Sent with `chat_id` after the commit in which a chat became searchable, or failed for good.
indexing_finished = Signal()

#: Sent with `chat`, its row locked, inside the transaction that deletes it and before any row is gone.
chat_erasing = Signal()
