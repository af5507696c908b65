"""The parsers of all platforms. To add a platform, see docs/imports.md."""

from __future__ import annotations

from chats.exports import instagram, messenger, telegram, whatsapp
from chats.exports.parsed import Platform
from chats.exports.platforms import Parser

#: In the order in which the chats of a mixed archive are listed.
PARSERS: tuple[Parser, ...] = (whatsapp.PARSER, telegram.PARSER, instagram.PARSER, messenger.PARSER)


def get_parser(platform: Platform | str) -> Parser:
    """Return the parser of a platform. Raise LookupError if there is none."""
    for parser in PARSERS:
        if parser.platform == platform:
            return parser
    raise LookupError(f"no parser for {platform}")
