"""The platforms whose exports are read, and what the parser of each declares."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from chats.exports.errors import ExportRefused
from chats.exports.parsed import Clock, ParsedExport, Platform
from chats.exports.unpacking import Document


@dataclass(frozen=True)
class ChatInUpload:
    """A chat that an upload contains.

    `describe` returns its title and its number of messages by people, and may read all of it. `read` starts to parse
    it and raises ExportRefused. `id` is the platform's own identifier, or empty.
    """

    describe: Callable[[], tuple[str, int]]
    read: Callable[[], ParsedExport]
    id: str = ""


@dataclass(frozen=True)
class JsonFormat:
    """How JSON documents of one form are recognised: by one message, else by the document's members.

    Platforms that write the same form share one object: each of them receives its documents. `is_message` receives a
    decoded element of the array `messages`. `members` are the keys that every document has.
    `list_members` are keys that only a list of chats has. `beginning` is found in damaged documents.
    """

    is_message: Callable[[object], bool]
    members: frozenset[str]
    list_members: frozenset[str] = frozenset()
    beginning: re.Pattern[bytes] | None = None


class Parser(Protocol):
    """What a platform's module provides; `chats.exports.registry` lists one object for each platform."""

    @property
    def platform(self) -> Platform:
        """The platform whose exports it parses."""
        ...

    @property
    def name(self) -> str:
        """The platform's name in sentences."""
        ...

    @property
    def clock(self) -> Clock:
        """What the seconds of its messages count."""
        ...

    @property
    def has_date_order(self) -> bool:
        """Whether its dates can be read in more than one order, so that `date_order` applies."""
        ...

    @property
    def json_formats(self) -> tuple[JsonFormat, ...]:
        """The forms of its JSON documents; empty if its documents are plain text."""
        ...

    @property
    def reads_pages(self) -> bool:
        """Whether it receives documents that are web pages of a chat."""
        ...

    def find_chats(
        self, documents: list[Document], *, date_order: str | None, now: datetime | None
    ) -> list[ChatInUpload]:
        """Return the platform's chats in the documents of its forms, in order. Raise ExportRefused if damaged.

        No message is later than `now`, which is None if it is not known.
        """
        ...


def count_messages(read: Callable[[], ParsedExport]) -> int:
    """Return the number of messages by people; 0 if the chat is refused."""
    try:
        export = read()
        for _ in export.batches:
            pass
    except ExportRefused:
        return 0
    return export.n_messages
