"""Estimates of the tokens of texts in a prompt. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from chats.chunking import BYTES_PER_TOKEN
from insights.engines.base import ShownMessage

#: Tokens of `[#1042 2024-03-14 21:05 P1] ` and the end of the line.
LINE_TOKENS = 14


def count_text_tokens(text: str) -> int:
    """Return about how many tokens a text has."""
    # Most texts are ASCII, whose size needs no copy.
    size = len(text) if text.isascii() else len(text.encode(errors="replace"))
    return round(size / BYTES_PER_TOKEN)


def count_line_tokens(text: str, *, max_tokens: int | None = None) -> int:
    """Return about how many tokens a message takes as a line of a prompt. Its text counts at most `max_tokens`."""
    tokens = count_text_tokens(text)
    return LINE_TOKENS + (tokens if max_tokens is None else min(max_tokens, tokens))


def count_message_tokens(messages: Iterable[ShownMessage]) -> int:
    """Return about how many tokens messages take as lines of a prompt."""
    return sum(count_line_tokens(message.text) for message in messages)
