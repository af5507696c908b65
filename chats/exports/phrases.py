"""Recognise the texts that WhatsApp writes itself, in the languages of phrases.toml."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from chats.exports.bidi import (
    ANY_OWN_MARK,
    MARKS,
    OWN_MARKS,
    split_at_last_own_mark,
    without_marks,
    without_outer_marks,
)
from chats.exports.file_names import extension_in, media_kind_of_file
from chats.exports.marked import file_and_caption
from chats.exports.parsed import MediaKind, MessageKind
from chats.exports.prefilter import EDGE_BYTES, LONG_EDGE_BYTES, EdgePrefilter
from chats.exports.spelling import normal, normal_bytes, spellings

_ANY = "…"
_HEAD_BYTES = 3  # of a mark
_BEGIN_LETTERS = 4
# `in` finds a byte given as an integer in a sixth of the time that a bytes object of length one takes.
_LINE_FEED = 0x0A
_FULL_STOPS = (".", "。", "۔", "।")
# What stands between the parts of a phrase. A file name contains a dot: without one, the rest is a person's own words.
_ANY_NAME = re.compile(rb".*\.")
_FILE_NAME = re.compile(rb".*\.[0-9A-Za-z]{1,5}\Z")
# The mark is looked for first: two variable parts would take quadratic time.
_NAME_AND_MARK = re.compile(rb"(?=.*+(?<=\xe2\x80[\x8e\x8f])\Z).*\.")
_COLON = re.compile(rb" ?(?::|\xef\xbc\x9a) ?[^\n]*\.")
_LINK = re.compile(rb" ?(?::|\xef\xbc\x9a) ?https?://(?:maps\.google\.com|www\.google\.com/maps|foursquare\.com)/")
_DETAILS_OF_A_CALL = re.compile(rb"(?:[,.]|\xd8\x8c|\xe3\x80\x81|\xef\xbc\x8c) ?" + ANY_OWN_MARK)
# ASCII digits, Arabic, Persian, Devanagari and Bengali ones.
_DIGIT = rb"(?:[0-9]|\xd9[\xa0-\xa9]|\xdb[\xb0-\xb9]|\xe0\xa5[\xa6-\xaf]|\xe0\xa7[\xa6-\xaf])"
_TIME = re.compile(rb"[^\n]{0,30}?%b[^\n]{0,30}\Z" % _DIGIT)
# A question, and an option: `OPTION: Goa (2 votes)`.
_OPTIONS = re.compile(rb" ?\n[^\n]*\n[^\n:]{1,60}(?::|\xef\xbc\x9a)")
_LINE_ENDS = " " + "".join(_FULL_STOPS)
_STOP_BYTES = tuple(stop.encode() for stop in _FULL_STOPS)
_ENCLOSED = re.compile("^<.*>$")
#: Each opening quotation mark of any language, with the marks that close it.
_CLOSERS = {
    '"': '"',
    "\u201c": "\u201d",
    "\u201d": "\u201d",
    "\u201e": "\u201c\u201d",
    "\u00ab": "\u00bb",
    "\u00bb": "\u00ab\u00bb",
    "\u300c": "\u300d",
    "\u300e": "\u300f",
}
_QUOTE = re.compile(f"[{''.join(_CLOSERS)}\u300d\u300f]")
_ALWAYS_OPENING = "\u201c\u201e\u00ab\u300c\u300e"
# Scripts without spaces between words, or without a space before a quotation.
_BEFORE_A_QUOTATION = re.compile("[\\s(\\[\\-\u3040-\u9fff\uac00-\ud7a3]")
# A subject has a hundred characters.
_LINE_BYTES = 1_000
# No phrase with a file name is longer, in any Unicode form.
_PHRASE_BYTES = 2_000


class Classified(NamedTuple):
    """What a body is, its text without WhatsApp's own marks, and the kind of its file if the body tells it."""

    kind: MessageKind
    text: bytes
    edited: bool
    media: MediaKind | None = None


class Meaning(NamedTuple):
    """What a phrase stands for."""

    kind: MessageKind
    media: MediaKind | None = None


_CALL = Meaning(MessageKind.CALL)
_CONTACT = Meaning(MessageKind.CONTACT)
_DELETED = Meaning(MessageKind.DELETED)
_DOCUMENT = Meaning(MessageKind.MEDIA, MediaKind.DOCUMENT)
_LOCATION = Meaning(MessageKind.LOCATION)
_POLL = Meaning(MessageKind.POLL)
_SYSTEM = Meaning(MessageKind.SYSTEM)
# A file that only its name describes.
_FILE = Meaning(MessageKind.MEDIA)
#: The fields of phrases.toml whose phrases are placeholders and nothing else.
_PLACEHOLDERS = {
    "photo": Meaning(MessageKind.MEDIA, MediaKind.PHOTO),
    "video": Meaning(MessageKind.MEDIA, MediaKind.VIDEO),
    "audio": Meaning(MessageKind.MEDIA, MediaKind.AUDIO),
    "voice": Meaning(MessageKind.MEDIA, MediaKind.VOICE),
    "gif": Meaning(MessageKind.MEDIA, MediaKind.GIF),
    "sticker": Meaning(MessageKind.MEDIA, MediaKind.STICKER),
    # Not _FILE, which is compared by identity.
    "media": Meaning(MessageKind.MEDIA),
    "contact": _CONTACT,
    "live": _LOCATION,
}


class Frame(NamedTuple):
    """A phrase with other text behind it, before it or inside it, such as a file name, a time or a link.

    `between` matches this text, up to its end if the frame has an end.
    """

    begin: bytes
    end: bytes
    meaning: Meaning
    between: re.Pattern[bytes] | None = None

    def matches(self, line: bytes) -> bool:
        """Return whether a line, or a text if the frame has no end, is in the frame."""
        stop = len(line) - len(self.end)
        if len(self.begin) > stop or not line.startswith(self.begin) or not line.endswith(self.end):
            return False
        return self.between is None or self.between.match(line, len(self.begin), stop) is not None


class Phrases:
    """The phrases of all languages: an export does not name its language.

    They are compared in the form of `normal`. The first and last bytes of bodies, which exclude nearly all of them from
    this, are compared with those of each spelling.
    """

    def __init__(self, languages: dict[str, dict[str, list[str]]]) -> None:
        self.whole: dict[bytes, Meaning] = {}
        # Of those bodies that are whole phrases, the ones that were classified before.
        self._placeholders: dict[bytes, Classified] = {}
        #: Phrases that count only behind WhatsApp's mark.
        self.typed: set[bytes] = set()
        self.begins: dict[bytes, list[Frame]] = defaultdict(list)
        self.ends: dict[bytes, list[Frame]] = defaultdict(list)
        self.edited: set[bytes] = set()
        self._frames: set[tuple[str, str, re.Pattern[bytes] | None]] = set()
        self._whole_heads: set[str] = set()
        self._whole_tails: set[str] = set()
        self._first_letters: set[str] = set()
        self._last_letters: set[str] = set()
        self.lines = SystemLines([line for phrases in languages.values() for line in phrases.get("system", ())])
        for phrases in languages.values():
            for field, texts in phrases.items():
                for text in texts:
                    if field in _PLACEHOLDERS:
                        self._add_placeholder(text, _PLACEHOLDERS[field])
                    else:
                        # A field without a method is an error of the file, and fails at import.
                        getattr(self, f"_add_{field}")(text)
        self._frame("", ".vcf>", _CONTACT)
        self._frame("BEGIN:VCARD", "", _CONTACT)
        self.tails = {tail[-EDGE_BYTES:] for tail in _edges(self._last_letters)}
        self.heads = {head: tuple(frame.begin for frame in frames) for head, frames in self.begins.items()}
        self.heads |= {mark: (mark,) for mark in MARKS}
        self._prefilter = EdgePrefilter(
            whole_heads=_edges(self._whole_heads),
            whole_tails=_edges(self._whole_tails),
            heads=_edges(self._first_letters),
            tails=_edges(self._last_letters),
            before=[*b" \t", *(mark[0] for mark in MARKS)],
        )

    def _add_document(self, text: str) -> None:
        self._add_placeholder(text, _DOCUMENT)
        for spelled in _capitalisations(text):
            self._frame("", spelled, _DOCUMENT, _NAME_AND_MARK)

    def _add_attached(self, text: str) -> None:
        if _ANY in text:
            begin, end = text.split(_ANY)
            self._frame(begin, end, _FILE, _FILE_NAME)
        else:
            self._frame("", f" ({text})", _FILE, _ANY_NAME)

    def _add_attachment(self, text: str) -> None:
        if _ANY in text:
            begin, end = text.split(_ANY)
            self._frame(f"<{begin}", f"{end}>", _FILE, _FILE_NAME)
        else:
            self._frame(f"<{text}", "", _FILE, _COLON)
            self._frame(f"< {text}", "", _FILE, _COLON)

    def _add_typed(self, text: str) -> None:
        self.typed |= {spelled.encode() for spelled in _capitalisations(text)}

    def _add_deleted(self, text: str) -> None:
        self._add_sentence(text, _DELETED, None)

    def _add_call(self, text: str) -> None:
        self._add_sentence(text, _CALL, _TIME)
        if _ANY not in text:
            self._add_talk(text)

    def _add_talk(self, text: str) -> None:
        self._frame(text, "", _CALL, _DETAILS_OF_A_CALL)

    def _add_location(self, text: str) -> None:
        for spelled in _capitalisations(text):
            self._frame(spelled, "", _LOCATION, _LINK)

    def _add_poll(self, text: str) -> None:
        for colon in (":", " :", "："):
            self._frame(text + colon, "", _POLL, _OPTIONS)

    def _add_edited(self, text: str) -> None:
        note = text.removesuffix(">")
        for end in (">", *(f"{stop}>" for stop in _FULL_STOPS)):
            self.edited.add((note + end).encode())
            self._last_letters.add((note + end)[-LONG_EDGE_BYTES:])

    def _add_system(self, text: str) -> None:
        """Recognise a whole sentence in a body too: old iPhones printed it with a sender and without a mark."""
        sentence = text.removesuffix(_ANY)
        if sentence != text and _ANY not in sentence and sentence.endswith(_FULL_STOPS):
            self._frame(sentence, "", _SYSTEM)

    def _add_placeholder(self, text: str, meaning: Meaning) -> None:
        """Recognise a whole text, as iPhones write it and as Android encloses it."""
        for spelled in _capitalisations(text):
            self._whole(spelled, meaning)
            if not _ENCLOSED.match(text):
                self._whole(f"<{spelled}>", meaning)

    def _add_sentence(self, text: str, meaning: Meaning, between: re.Pattern[bytes] | None) -> None:
        """Recognise a whole sentence. `between` matches the text at its `…`."""
        begin, any_text, end = text.partition(_ANY)
        if not any_text:
            self._whole(text, meaning)
            return
        # What follows a comma, as in `Missed voice call, …`, can also be an invitation to tap.
        self._frame(begin, end, meaning, None if begin.endswith(", ") and not end else between)
        for stop in _FULL_STOPS if end else ():
            if len(end.encode()) < EDGE_BYTES:
                self._frame(begin, end + stop, meaning, between)
            else:
                self._last_letters.add((end + stop)[-LONG_EDGE_BYTES:])

    def _whole(self, text: str, meaning: Meaning) -> None:
        text = text.rstrip(_LINE_ENDS)
        self.whole[text.encode()] = meaning
        # Each letter takes a byte at least.
        self._whole_heads.add(text[:LONG_EDGE_BYTES])
        self._whole_tails.add(text[-LONG_EDGE_BYTES:])

    def _frame(self, begin: str, end: str, meaning: Meaning, between: re.Pattern[bytes] | None = None) -> None:
        frame = Frame(begin.encode(), end.encode(), meaning, between)
        if (begin, end, between) in self._frames:
            return
        self._frames.add((begin, end, between))
        if len(frame.end) >= EDGE_BYTES:
            self.ends[frame.end[-EDGE_BYTES:]].append(frame)
            self._last_letters.add(end[-LONG_EDGE_BYTES:])
        else:
            self.begins[frame.begin[:_HEAD_BYTES]].append(frame)
            self._first_letters.add(begin[:LONG_EDGE_BYTES])

    def notable(self, bodies: list[bytes]) -> list[int]:
        """Return the positions of the bodies that may be more than plain text; `classify` decides."""
        notable = []
        for position in self._prefilter.matching_positions(bodies):
            body = bodies[position]
            if _LINE_FEED in body or body[-EDGE_BYTES:] in self.tails:
                notable.append(position)
                continue
            begin = normal_bytes(body[:_PHRASE_BYTES])
            head = begin[:_HEAD_BYTES]
            if _without_stop(begin) in self.whole or (head in self.heads and begin.startswith(self.heads[head])):
                notable.append(position)
        return notable

    def classify(self, body: bytes) -> Classified:
        """Return the kind, the text without the marks around WhatsApp's own words, and whether it was edited."""
        if (classified := self._placeholders.get(body)) is not None:
            return classified
        is_marked = body.startswith(MARKS)
        placeholder = body[len(OWN_MARKS[0]) :] if body.startswith(OWN_MARKS) else body
        meaning = self.whole.get(placeholder)
        if meaning is not None and (is_marked or placeholder not in self.typed):
            classified = Classified(meaning.kind, placeholder, edited=False, media=meaning.media)
            self._placeholders[body] = classified
            return classified
        text = without_outer_marks(body) if is_marked else body
        edited = text.endswith(b">") and normal_bytes(text[text.rfind(b"<") :]) in self.edited
        if edited:
            text = text[: text.rindex(b"<")]
            for mark in OWN_MARKS:
                text = text.removesuffix(mark)
            text = text.rstrip()
        head, newline, caption = text.partition(b"\n")
        meaning = self._meaning(text, head, captioned=bool(newline), marked=is_marked)
        if meaning is None:
            return Classified(MessageKind.TEXT, text, edited)
        if meaning.kind is MessageKind.POLL:
            return Classified(meaning.kind, without_marks(text).rstrip(), edited)
        text = without_marks(head).strip() + newline + caption
        if meaning is _FILE:
            extension = extension_in(head)
            if extension == b"vcf":
                return Classified(MessageKind.CONTACT, text, edited)
            return Classified(MessageKind.MEDIA, text, edited, media_kind_of_file(head, extension))
        return Classified(meaning.kind, text, edited, meaning.media)

    def captioned(self, text: bytes) -> Classified | None:
        """Move a caption that an iPhone prints first, as in `at the beach <mark>image omitted`, to the line below."""
        parts = split_at_last_own_mark(text)
        if parts is None or b"\n" in parts[1]:
            return None
        classified = self.classify(OWN_MARKS[0] + parts[1])
        if classified.kind not in (MessageKind.MEDIA, MessageKind.CONTACT) or not parts[0].strip():
            return None
        name, caption = file_and_caption(parts[0], classified.text)
        first_line = b" ".join(filter(None, [name, classified.text]))
        return classified._replace(text=b"\n".join(filter(None, [first_line, caption])), edited=False)

    def is_call(self, text: str) -> bool:
        """Return whether a text is the notice of a call."""
        return self.classify(text.encode()).kind is MessageKind.CALL

    def _meaning(self, text: bytes, head: bytes, *, captioned: bool, marked: bool) -> Meaning | None:
        """Return the meaning of a text by its first line. Only media can have a caption below a whole phrase."""
        plain = _without_stop(normal_bytes(without_marks(head).strip()))
        meaning = self.whole.get(plain) if marked or plain not in self.typed else None
        if meaning is not None and (meaning.kind is MessageKind.MEDIA or not captioned):
            return meaning
        if head[-EDGE_BYTES:] in self.tails and len(head) <= _PHRASE_BYTES:
            line = _without_stop(normal_bytes(head))
            for frame in self.ends.get(line[-EDGE_BYTES:], ()):
                if frame.matches(line):
                    return frame.meaning
        begin = normal_bytes(text[:_PHRASE_BYTES])
        for frame in self.begins.get(begin[:_HEAD_BYTES], ()):
            if frame.matches(begin):
                return frame.meaning
        return None


class SystemLines:
    """Recognise printed names that are the beginning of a system line."""

    def __init__(self, lines: list[str]) -> None:
        pieces = [line.split(_ANY) for line in dict.fromkeys(lines)]
        self._begins: dict[str, list[str]] = defaultdict(list)
        for begin, *_, end in pieces:
            if begin and not end:
                self._begins[begin[:_BEGIN_LETTERS]].append(begin)
        # A phrase with the verb at the end has two parts, as in `… hat … entfernt`. The first can be empty.
        self._framed = [(before, end.rstrip(_LINE_ENDS)) for *_, before, end in pieces if end]
        self._framed_firsts = _PiecesByWord({first for first, _ in self._framed if first})
        #: Ends of bodies that follow any name.
        self.ends = tuple({form.encode() for first, end in self._framed if not first for form in spellings(end)})
        self._inner = _PiecesByWord({rest[0] for begin, *rest in pieces if not begin and not rest[-1]})

    def begin(self, name: str) -> bool:
        """Return whether a printed name is certainly the beginning of a system line."""
        name = normal(name)
        # The first word is a person's name, also if it is a word of a phrase.
        return any(map(name.startswith, self._begins.get(name[:_BEGIN_LETTERS], ()))) or self._inner.any_in(name)

    def may_begin(self, name: str) -> bool:
        """Return whether the text after the colon has to decide: `Asha, “Gezi` is not a name, `"Mom` can be one."""
        return _quotation_is_open(name) or self._framed_firsts.any_in(normal(name))

    def end(self, name: str, body: bytes) -> bool:
        """Return whether the body ends the system line that the name may begin."""
        line = body[:_LINE_BYTES].partition(b"\n")[0].decode("utf-8", "replace")
        if _quotation_is_open(name) and not _quotation_is_open(f"{name}: {line}"):
            return True
        name, line = normal(name), normal(line).rstrip(_LINE_ENDS)
        return any(first in name and line.endswith(last) for first, last in self._framed)


class _PiecesByWord:
    """Pieces of phrases by their first word, so that a name is compared with few of them."""

    def __init__(self, pieces: set[str]) -> None:
        self._by_word: dict[str, list[str]] = defaultdict(list)
        # Those of languages without spaces between words, and those that begin a line or follow a comma.
        self._others = sorted(piece for piece in pieces if not piece.startswith(" ") or not piece.strip())
        for piece in sorted(pieces.difference(self._others)):
            self._by_word[piece.split()[0]].append(piece)
        self._ascii = [piece for piece in self._others if piece.isascii()]

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        # Most files have only names in ASCII, and do without it.
        return re.compile("|".join(map(re.escape, self._others)))

    def any_in(self, name: str) -> bool:
        """Return whether a name contains a piece behind its first word."""
        by_word = self._by_word
        if any(piece in name for word in name.split()[1:] if word in by_word for piece in by_word[word]):
            return True
        if name.isascii():
            return any(piece in name for piece in self._ascii)
        return bool(self._others) and self._pattern.search(name) is not None


def _quotation_is_open(text: str) -> bool:
    """Return whether a quotation stays open.

    The colon of a subject cuts a system line, so that its name is `Asha, “Gezi` of `Asha, “Gezi: Goa” …`.
    A mark after a letter closes a quotation, is part of a word as in ד"ר, or means inches. It opens a quotation only
    after a space.
    """
    closers = ""
    for quote in _QUOTE.finditer(text):
        mark, position = quote[0], quote.start()
        if closers:
            closers = "" if mark in closers else closers
        elif mark in _ALWAYS_OPENING or position == 0 or _BEFORE_A_QUOTATION.match(text, position - 1):
            closers = _CLOSERS.get(mark, "")
    return bool(closers)


def _edges(letters: set[str]) -> set[bytes]:
    """Return the first or last letters of phrases in each spelling."""
    return {spelling.encode() for text in letters for spelling in spellings(text)}


def _capitalisations(text: str) -> set[str]:
    """Return the text with and without a capital letter at its beginning; releases of WhatsApp differ."""
    first = 1 if text.startswith("<") else 0
    return {text[:first] + text[first].swapcase() + text[first + 1 :], text}


def _without_stop(text: bytes) -> bytes:
    """Return the text without the full stop that can follow a phrase."""
    if text.endswith(_STOP_BYTES):
        return next(text[: -len(stop)] for stop in _STOP_BYTES if text.endswith(stop))
    return text


def load_phrases(path: Path) -> dict[str, dict[str, list[str]]]:
    """Return the phrases by language and field, in the form of `normal`."""
    languages = tomllib.loads(path.read_text(encoding="utf-8"))
    return {
        name: {field: normal(text).split(" | ") for field, text in fields.items()} for name, fields in languages.items()
    }


PHRASES = Phrases(load_phrases(Path(__file__).with_name("phrases.toml")))
