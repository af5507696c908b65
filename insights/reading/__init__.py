"""Reading a chat by a language model, once, before any insight is written: plan windows, read them, count episodes."""

from __future__ import annotations

from chats.models import Chat
from insights.episodes import MonthRead, Reading, Relationship
from insights.reading.queue import request

__all__ = ["MonthRead", "Reading", "load", "load_relationship", "request"]

# `result` is imported where it is needed: with its lists of words it takes 0.1 s, and most processes read no chat.


def load(chat: Chat) -> Reading | None:
    """Return what the current engine found in the chat, or None if it has not finished reading it."""
    from insights.reading import result

    return result.load(chat)


def load_relationship(chat: Chat) -> Relationship:
    """Return what the chat's people are to each other, UNCLEAR until it was read. Opens nothing else of the reading."""
    from insights.reading import result

    return result.load_relationship(chat)
