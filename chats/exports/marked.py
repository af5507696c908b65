"""Recognise what WhatsApp wrote on an iPhone in any language: its mark and the content of the line decide.

phrases.toml has the words of many languages, but the lines that these functions receive contain other words.
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from pathlib import Path
from unicodedata import category, normalize

from chats.exports.bidi import ANY_OWN_MARK, RIGHT_TO_LEFT, split_at_last_own_mark, without_marks
from chats.exports.parsed import MessageKind

_MAP = re.compile(
    rb"https?://(?:maps\.google\.|www\.google\.[a-z.]{2,6}/maps|goo\.gl/maps|maps\.app\.goo\.gl"
    rb"|maps\.apple\.com|(?:www\.|m\.)?foursquare\.com/v/|(?:www\.)?openstreetmap\.org)"
)
# Up to the next parenthesis, also a full-width one, so that a line of parentheses takes linear time.
_NO_PARENTHESIS = rb"(?>(?:[^\n()\xef]|\xef(?!\xbc[\x88\x89]))*)"
#: A line of a poll: `<mark>OPTION: Goa (<mark>2 votes)`.
_OPTION = re.compile(
    rb"\n%b[^\n]*(?:\(|\xef\xbc\x88)%b?%b(?:\)|\xef\xbc\x89)" % (ANY_OWN_MARK, ANY_OWN_MARK, _NO_PARENTHESIS)
)
#: A file's name in an attachment: `<attached: 00000012-PHOTO-2024-02-13.jpg>`. Only WhatsApp numbers files like this.
_ATTACHMENT = re.compile(rb"<[^<>\n:]{1,60}(?::|\xef\xbc\x9a) ?\d{8}-([^<>\n]++)>\s*+\Z")
#: What follows the name of a document before its placeholder: `Lease.pdf • <mark>14 pages`.
_PAGES = re.compile(r"[ \u00a0]•[ \u00a0]?[\u200e\u200f][^\n\u200e\u200f]+\Z")
_EXTENSION = re.compile(r"\.[A-Za-z0-9]{2,5}\Z")
_ENDS_OF_A_PERSON = ("?", "\u061f", "!")
# The longest words of a placeholder or a call have about half of this length.
_WORDS_LENGTH = 80
_LETTER = r"[^\d\s+\-<>()@#/\\\"“”«»]"
#: `9:05`, `3`, `3min`, `1分23秒`
_NUMBER = re.compile(rf"\d{{1,2}}(?:[:.]\d\d){{1,2}}|(?:\d{{1,4}}{_LETTER}{{0,12}}){{1,3}}")
_NUMBER_AND_UNIT = re.compile(r"(\d{1,4})[ \u00a0\u202f]?([^\d\s,،]{1,20})")
_UNIT = re.compile(rf"{_LETTER}{{1,20}}")


def kind_of_marked(body: bytes, *, marked_header: bool) -> MessageKind:
    """Return the kind of a body that begins with a mark, in a language that phrases.toml lacks.

    `marked_header` says that the mark is before the bracket too, as for everything but system lines. A deleted message
    has no such mark, so without its words it cannot be distinguished from a system line.
    """
    head, newline, _ = body.partition(b"\n")
    if _MAP.search(head):
        return MessageKind.LOCATION
    if newline and _OPTION.search(body):
        return MessageKind.POLL
    if not newline and _is_call(body):
        return MessageKind.CALL
    if marked_header or _ATTACHMENT.search(head):
        return MessageKind.MEDIA
    text = body.decode("utf-8", "replace")
    # A person's keyboard can type the right-to-left mark, and WhatsApp's lines neither ask nor exclaim.
    if body.startswith(RIGHT_TO_LEFT) and text.rstrip().endswith(_ENDS_OF_A_PERSON):
        return MessageKind.TEXT
    # WhatsApp's lines contain words. A number that was copied from a contact begins with a mark too.
    return MessageKind.SYSTEM if any(map(str.isalpha, text)) else MessageKind.TEXT


def _is_call(body: bytes) -> bool:
    """Return whether the line is `<mark>Voice call. <mark>3 min`, in any language: an inner mark, then a time."""
    if len(body) > 8 * _WORDS_LENGTH or not (parts := split_at_last_own_mark(body)) or not parts[0]:
        return False
    words, time = (part.decode("utf-8", "replace").strip() for part in parts)
    return len(words) <= _WORDS_LENGTH and category(words[-1:] or " ") == "Po" and _is_time(time)


def _is_time(text: str) -> bool:
    """Return whether a text contains only numbers with their units: `3 min`, `1 hr, 5 min`, `dakika 2`, `9:05 PM`."""
    words = text.split()
    numbers = sum(_NUMBER.fullmatch(word) is not None for word in words)
    units = sum(_UNIT.fullmatch(word) is not None for word in words)
    return numbers > 0 and numbers + units == len(words) and units <= numbers + 1


def call_seconds(body: bytes) -> int | None:
    """Return the length of a call in seconds; None without one, or if it contains a word that is no unit of time."""
    if len(body) > 8 * _WORDS_LENGTH or not (parts := split_at_last_own_mark(body)):
        return None
    text = normalize("NFC", parts[1].decode("utf-8", "replace")).strip(" ,.،")
    pairs = _NUMBER_AND_UNIT.findall(text)
    if not pairs or _NUMBER_AND_UNIT.sub("", text).strip(" ,.،"):
        return None
    units = [_units().get(unit.lower().strip(".")) for _, unit in pairs]
    # The units become shorter, as in `1 hr 5 min`.
    if None in units or units != sorted(set(units), reverse=True):  # type: ignore[type-var]
        return None
    return sum(int(number) * (unit or 0) for (number, _), unit in zip(pairs, units, strict=True))


@cache
def _units() -> dict[str, int]:
    """Return the seconds of each unit of time."""
    words = tomllib.loads(Path(__file__).with_name("units.toml").read_text(encoding="utf-8"))
    seconds = {"second": 1, "minute": 60, "hour": 3600}
    return {word: seconds[unit] for unit, names in words.items() for word in names}


def without_note(text: bytes) -> bytes | None:
    """Return the text before an iPhone's note about editing, in any language; None if there is no such note."""
    parts = split_at_last_own_mark(text, before=b"<")
    if parts is None:
        return None
    before, note = parts
    if note.endswith(b">") and note.count(b">") == 1 and b":" not in note and b"\n" not in note:
        return before.rstrip()
    return None


def file_and_caption(text: bytes, placeholder: bytes) -> tuple[bytes, bytes]:
    """Return the name of a document, and the caption, in the text before a placeholder; either can be empty.

    The name is in the last line, alone or with the number of pages.
    """
    above, _, line = text.rpartition(b"\n")
    printed = line.decode("utf-8", "replace").strip()
    name = _PAGES.sub("", printed)
    if name == printed:
        # Without the number of pages, only the name in the attachment tells it from a caption.
        attached = _ATTACHMENT.search(placeholder)
        if attached is None or attached[1] != without_marks(printed.encode()):
            return b"", text.strip()
    return without_marks(printed.encode()), above.strip()


def unknown_placeholder(text: bytes, *, marked_header: bool) -> bytes | None:
    """Return the placeholder of a file with unknown words, and its caption below it; None if the text is no such file.

    In `Lease.pdf • <mark>14 pages <mark>words` the name shows it, in `at the beach <mark>words` the mark before the
    bracket, and in `at the beach <mark><words: 00000012-PHOTO.jpg>` the number of the file.
    """
    parts = split_at_last_own_mark(text)
    if parts is None:
        return None
    before, words = parts
    if not before.strip() or b"\n" in words or not words.strip() or len(words) > 8 * _WORDS_LENGTH:
        return None
    name, caption = file_and_caption(before, words)
    decoded = words.decode("utf-8", "replace")
    is_wordy = any(map(str.isalpha, decoded)) and not any(map(str.isdigit, decoded)) and len(decoded) <= _WORDS_LENGTH
    if not name and is_wordy:
        above, _, line = before.rpartition(b"\n")
        if _EXTENSION.search(line[-8:].decode("utf-8", "replace").rstrip()):
            name, caption = without_marks(line).strip(), above.strip()
    if name or _ATTACHMENT.search(words) or (marked_header and is_wordy):
        first_line = b" ".join(filter(None, [name, without_marks(words).strip()]))
        return b"\n".join(filter(None, [first_line, caption]))
    return None
