"""Which of Meta's platforms wrote a page: Messenger and Instagram write the same members.

The path in the archive decides, then members that only one of them writes. Quotation marks inside a text are escaped,
so a text cannot look like a member.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict

from chats.exports.parsed import Platform
from chats.exports.unpacking import Document

#: Parts of the path. The account's name and a date follow in the names of the outermost folder.
_PATHS = (
    (re.compile(r"(?:^|/)(?:your_instagram_activity|instagram-[^/]*)/", re.IGNORECASE), Platform.INSTAGRAM),
    (
        re.compile(
            r"(?:^|/)(?:your_activity_across_facebook|your_facebook_activity|facebook-[^/]*)/"
            r"|(?:^|/)messages/(?:archived_threads|filtered_threads|e2ee_cutover)/",
            re.IGNORECASE,
        ),
        Platform.MESSENGER,
    ),
)
_SLASH = rb"\\?/"


def _member(key: bytes, value: bytes) -> bytes:
    return rb'"' + key + rb'"\s*+:\s*+' + value


#: The link to join a group. A link that somebody shared has the same key in another object.
_INVITATION = _member(rb"joinable_mode", rb"\{[^{}]{0,200}" + _member(rb"link", rb'"https:'))
#: Only members that Meta fills: people write texts and titles, and share links.
_MEMBERS = (
    (
        re.compile(
            b"|".join(
                [
                    _member(rb"uri", rb'"(?:[^"]{0,200}' + _SLASH + rb")?your_instagram_activity" + _SLASH),
                    _INVITATION + _SLASH * 2 + rb"ig\.me" + _SLASH,
                    _member(rb"original_content_owner", rb'"'),
                    _member(rb"(?:sender_name|name)", rb'"Instagram [Uu]ser"'),
                ]
            )
        ),
        Platform.INSTAGRAM,
    ),
    (
        re.compile(
            b"|".join(
                [
                    _member(
                        rb"uri",
                        rb'"(?:[^"]{0,200}' + _SLASH + rb")?"
                        rb"(?:your_activity_across_facebook|your_facebook_activity|stickers_used)" + _SLASH,
                    ),
                    _INVITATION + _SLASH * 2 + rb"(?:m\.me|www\.messenger\.com)" + _SLASH,
                    _member(rb"thread_path", rb'"(?:archived_threads|filtered_threads|e2ee_cutover)' + _SLASH),
                    _member(rb"(?:sender_name|name)", rb'"Facebook [Uu]ser"'),
                ]
            )
        ),
        Platform.MESSENGER,
    ),
)
#: Members until 2022. Both wrote them, Messenger for three years longer and in more archives.
_OLD_MEMBERS = re.compile(
    _member(rb"(?:type|thread_type|bumped_message_metadata|is_taken_down|ip|missed|users|plan)", rb"\S")
)
#: Both had this folder at the top of their archives until 2022; Instagram for two years, Messenger for five.
_INBOX = re.compile(r"(?:^|/)messages/(?:inbox|message_requests)(?:/|$)", re.IGNORECASE)


def pages_of(platform: Platform, documents: list[Document]) -> list[Document]:
    """Return the pages that the platform wrote, in their order.

    A page that could be of both is of the platform that wrote most of the chats beside it, and else of Instagram.
    """
    # The folder that contains the folders of the chats, and the platform of each page or None.
    found = [(document.folder.rpartition("/")[0], _platform_of(document)) for document in documents]
    beside: dict[str, Counter[Platform]] = defaultdict(Counter)
    for parent, named in found:
        if named:
            beside[parent][named] += 1
    usual = {parent: counter.most_common(1)[0][0] for parent, counter in beside.items()}
    return [
        document
        for document, (parent, named) in zip(documents, found, strict=True)
        if (named or usual.get(parent, Platform.INSTAGRAM)) is platform
    ]


def _platform_of(document: Document) -> Platform | None:
    """Return the platform that a page names, or None."""
    path = f"{document.folder}/"
    for pattern, platform in _PATHS:
        if pattern.search(path):
            return platform
    named = [platform for pattern, platform in _MEMBERS if pattern.search(document.head)]
    if len(named) == 1:
        return named[0]
    if not named and (_OLD_MEMBERS.search(document.head) or _INBOX.search(path)):
        return Platform.MESSENGER
    return None
