"""Instagram's `message_1.json`, `message_2.json`, …, which Meta's "Download your information" writes.

The format is that of `chats.exports.meta`. Names are display names, and `inbox/NAME_ID` is the folder of a chat.
"""

from __future__ import annotations

from datetime import datetime

from chats.exports.meta import CLOCK, PAGE, ChatReader
from chats.exports.meta_origin import pages_of
from chats.exports.parsed import Platform
from chats.exports.platforms import ChatInUpload, JsonFormat
from chats.exports.unpacking import Document

_PAGES = ChatReader(Platform.INSTAGRAM, dialect="instagram-json", unnamed="Instagram user")


class InstagramParser:
    """Reads the JSON of "Download your information", one or more pages for each chat."""

    platform = Platform.INSTAGRAM
    name = "Instagram"
    clock = CLOCK
    has_date_order = False
    reads_pages = False

    @property
    def json_formats(self) -> tuple[JsonFormat, ...]:
        """Return the form that Instagram shares with Messenger."""
        return (PAGE,)

    def find_chats(
        self, documents: list[Document], *, date_order: str | None, now: datetime | None
    ) -> list[ChatInUpload]:
        """Return one chat for each folder with pages of Instagram."""
        return _PAGES.chats(pages_of(self.platform, documents))


PARSER = InstagramParser()
