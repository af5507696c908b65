"""Recognise the texts that WhatsApp writes itself, in the languages of phrases.toml."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from chats.exports.bidi import MARKS, OWN_MARKS, split_at_last_own_mark, without_marks, without_outer_marks
from chats.exports.marked import file_and_caption
from chats.exports.parsed import MessageKind
from chats.exports.prefilter import EDGE_BYTES, EdgePrefilter
from chats.exports.spelling import normal, normal_bytes, spellings

_ANY = "…"
_HEAD_BYTES = 3  # of a mark
# `in` finds a byte given as an integer in a sixth of the time that a bytes object of length one takes.
_LINE_FEED = 0x0A
# What follows the words for a call, before the mark of its length: `Voice call, <mark>3 min`.
_AFTER_A_CALL = (", ", ". ", "، ")
_FULL_STOPS = (".", "。", "۔", "।")
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
# No phrase is longer, in any Unicode form.
_PHRASE_BYTES = 1_000


class Classified(NamedTuple):
    """What a body is, and its text without WhatsApp's own marks."""

    kind: MessageKind
    text: bytes
    edited: bool


class Phrases:
    """The phrases of all languages: an export does not name its language.

    They are compared in the form of `normal`. The first and last bytes of bodies, which exclude nearly all of them from
    this, are compared with those of each spelling.
    """

    def __init__(self, languages: dict[str, dict[str, list[str]]]) -> None:
        self.whole: dict[bytes, MessageKind] = {}
        self.begins: dict[bytes, list[tuple[bytes, MessageKind]]] = defaultdict(list)
        self.ends: dict[bytes, MessageKind] = {b".vcf>": MessageKind.CONTACT}
        self.edited: set[bytes] = set()
        self.lines = SystemLines([normal(line) for phrases in languages.values() for line in phrases.get("system", ())])
        for phrases in languages.values():
            for field, texts in phrases.items():
                for text in texts:
                    # A field without a method is an error of the file, and fails at import.
                    getattr(self, f"_add_{field}")(normal(text))
        self._begin(MessageKind.CONTACT, "BEGIN:VCARD")
        self._placeholders = {
            lead + phrase: Classified(kind, phrase, edited=False)
            for phrase, kind in self.whole.items()
            for lead in (b"", *OWN_MARKS)
        }
        notes = tuple(self.edited)
        self._ends, self._notes = tuple(self.ends), notes
        # Each character takes a byte at least.
        tails = {end.decode()[-EDGE_BYTES:] for end in self._ends + notes}
        self.tails = {spelling.encode()[-EDGE_BYTES:] for tail in tails for spelling in spellings(tail)}
        self.heads = {head: tuple(begin for begin, _ in begins) for head, begins in self.begins.items()}
        self.heads |= {mark: (mark,) for mark in MARKS}
        begins = [begin for begins in self.begins.values() for begin, _ in begins]
        heads = {text.decode()[:EDGE_BYTES] for text in [*self.whole, *begins]}
        self._edges = EdgePrefilter(
            heads={spelling.encode() for head in heads for spelling in spellings(head)},
            tails=self.tails,
            before=[*b" \t", *(mark[0] for mark in MARKS)],
        )

    def _add_media(self, text: str, kind: MessageKind = MessageKind.MEDIA) -> None:
        for spelled in _spellings(text):
            self.whole[spelled.encode()] = kind
            if not _ENCLOSED.match(text):
                self.whole[f"<{spelled}>".encode()] = kind

    def _add_document(self, text: str) -> None:
        self._add_media(text)
        self.ends.update(
            (mark + spelled.encode(), MessageKind.MEDIA) for mark in OWN_MARKS for spelled in _spellings(text)
        )

    def _add_contact(self, text: str) -> None:
        self._add_media(text, MessageKind.CONTACT)

    def _add_attached(self, text: str) -> None:
        self.ends[f".vcf ({text})".encode()] = MessageKind.CONTACT
        self.ends[f" ({text})".encode()] = MessageKind.MEDIA

    def _add_attachment(self, text: str) -> None:
        self._begin(MessageKind.MEDIA, f"<{text}: ")

    def _add_deleted(self, text: str) -> None:
        self._add_sentence(MessageKind.DELETED, text)

    def _add_call(self, text: str) -> None:
        self._add_sentence(MessageKind.CALL, text)
        if _ANY not in text:
            self._add_talk(text)

    def _add_talk(self, text: str) -> None:
        marks = [mark.decode() for mark in OWN_MARKS]
        self._begin(MessageKind.CALL, *(text + after + mark for after in _AFTER_A_CALL for mark in marks))

    def _add_location(self, text: str) -> None:
        for spelled in _spellings(text):
            self._begin(MessageKind.LOCATION, f"{spelled}: https://maps.google.com/", f"live {spelled}: https://")

    def _add_live(self, text: str) -> None:
        for spelled in _spellings(text):
            self.whole[spelled.encode()] = MessageKind.LOCATION

    def _add_poll(self, text: str) -> None:
        self._begin(MessageKind.POLL, f"{text}:\n", f"{text}: \n")

    def _add_edited(self, text: str) -> None:
        self.edited.add(text.encode())

    def _add_system(self, text: str) -> None:
        """Recognise a whole sentence in a body too: old iPhones printed it with a sender and without a mark."""
        sentence = text.removesuffix(_ANY)
        if sentence != text and _ANY not in sentence and sentence.endswith(_FULL_STOPS):
            self._begin(MessageKind.SYSTEM, sentence)

    def _add_sentence(self, kind: MessageKind, text: str) -> None:
        if text.endswith(_ANY):
            self._begin(kind, text.removesuffix(_ANY))
            return
        for end in ("", *_FULL_STOPS):
            self.whole[(text + end).encode()] = kind

    def _begin(self, kind: MessageKind, *texts: str) -> None:
        for text in texts:
            begin = text.encode()
            self.begins[begin[:_HEAD_BYTES]].append((begin, kind))

    def notable(self, bodies: list[bytes]) -> list[int]:
        """Return the positions of the bodies that may be more than plain text; `classify` decides."""
        notable = []
        for position in self._edges.matching_positions(bodies):
            body = bodies[position]
            if _LINE_FEED in body or body[-EDGE_BYTES:] in self.tails:
                notable.append(position)
                continue
            begin = normal_bytes(body[:_PHRASE_BYTES])
            head = begin[:_HEAD_BYTES]
            if begin in self.whole or (head in self.heads and begin.startswith(self.heads[head])):
                notable.append(position)
        return notable

    def classify(self, body: bytes) -> Classified:
        """Return the kind, the text without the marks around WhatsApp's own words, and whether it was edited."""
        if (placeholder := self._placeholders.get(body)) is not None:
            return placeholder
        text = without_outer_marks(body) if body.startswith(MARKS) else body
        edited = text[-EDGE_BYTES:] in self.tails and normal_bytes(text[-_PHRASE_BYTES:]).endswith(self._notes)
        if edited:
            text = text[: text.rindex(b"<")]
            for mark in OWN_MARKS:
                text = text.removesuffix(mark)
            text = text.rstrip()
        head, newline, caption = text.partition(b"\n")
        kind = self._kind(text, head, captioned=bool(newline))
        if kind is MessageKind.POLL:
            text = without_marks(text).rstrip()
        elif kind is not MessageKind.TEXT:
            text = without_marks(head).strip() + newline + caption
        return Classified(kind, text, edited)

    def captioned(self, text: bytes) -> Classified | None:
        """Move a caption that an iPhone prints first, as in `at the beach <mark>image omitted`, to the line below."""
        parts = split_at_last_own_mark(text)
        if parts is None or b"\n" in parts[1]:
            return None
        classified = self.classify(parts[1])
        if classified.kind not in (MessageKind.MEDIA, MessageKind.CONTACT) or not parts[0].strip():
            return None
        name, caption = file_and_caption(parts[0], classified.text)
        first_line = b" ".join(filter(None, [name, classified.text]))
        return Classified(classified.kind, b"\n".join(filter(None, [first_line, caption])), edited=False)

    def is_call(self, text: str) -> bool:
        """Return whether a text is the notice of a call."""
        return self.classify(text.encode()).kind is MessageKind.CALL

    def _kind(self, text: bytes, head: bytes, *, captioned: bool) -> MessageKind:
        """Return the kind of a text by its first line. Only media can have a caption below a whole phrase."""
        plain = normal_bytes(without_marks(head).strip())
        kind = self.whole.get(plain)
        if kind is MessageKind.MEDIA or (kind is not None and not captioned):
            return kind
        # A file name contains a dot. Without one, the end is a person's own words in parentheses.
        if head[-EDGE_BYTES:] in self.tails and b"." in plain:
            end = normal_bytes(head[-_PHRASE_BYTES:])
            if end.endswith(self._ends):
                return next(kind for phrase, kind in self.ends.items() if end.endswith(phrase))
        begin = normal_bytes(text[:_PHRASE_BYTES])
        for phrase, kind in self.begins.get(begin[:_HEAD_BYTES], ()):
            if begin.startswith(phrase):
                return kind
        return MessageKind.TEXT


class SystemLines:
    """Recognise printed names that are the beginning of a system line."""

    def __init__(self, lines: list[str]) -> None:
        pieces = [line.split(_ANY) for line in lines]
        self._begins = tuple(begin for begin, *_, end in pieces if begin and not end)
        # A phrase with the verb at the end has two parts, as in `… hat … entfernt`. The first can be empty.
        self._framed = [(before, end) for *_, before, end in pieces if end]
        self._framed_firsts = re.compile("|".join(sorted({re.escape(first) for first, _ in self._framed if first})))
        #: Ends of bodies that follow any name.
        self.ends = tuple({form.encode() for first, end in self._framed if not first for form in spellings(end)})
        inner = [rest[0] for begin, *rest in pieces if not begin and not rest[-1]]
        # Phrases by their first word; `_dense` has those of languages without spaces between words.
        self._by_word: dict[str, list[str]] = defaultdict(list)
        for phrase in inner:
            if phrase.startswith(" "):
                self._by_word[phrase.split()[0]].append(phrase)
        self._dense = re.compile("|".join(re.escape(phrase) for phrase in inner if not phrase.startswith(" ")))

    def begin(self, name: str) -> bool:
        """Return whether a printed name is certainly the beginning of a system line."""
        name = normal(name)
        if name.startswith(self._begins):
            return True
        by_word = self._by_word
        # The first word is a person's name, also if it is a word of a phrase.
        if any(phrase in name for word in name.split()[1:] if word in by_word for phrase in by_word[word]):
            return True
        # Phrases of languages without spaces contain other letters than ASCII.
        return not name.isascii() and bool(self._dense.search(name))

    def may_begin(self, name: str) -> bool:
        """Return whether the text after the colon has to decide: `Asha, “Gezi` is not a name, `"Mom` can be one."""
        return _quotation_is_open(name) or bool(self._framed_firsts.search(normal(name)))

    def end(self, name: str, body: bytes) -> bool:
        """Return whether the body ends the system line that the name may begin."""
        line = body[:_LINE_BYTES].partition(b"\n")[0].decode("utf-8", "replace")
        if _quotation_is_open(name) and not _quotation_is_open(f"{name}: {line}"):
            return True
        name, line = normal(name), normal(line).rstrip(" .")
        return any(first in name and line.endswith(last) for first, last in self._framed)


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


def _spellings(text: str) -> set[str]:
    """Return the text with and without a capital letter at its beginning; releases of WhatsApp differ."""
    first = 1 if text.startswith("<") else 0
    return {text[:first] + text[first].swapcase() + text[first + 1 :], text}


PHRASES = Phrases(tomllib.loads(Path(__file__).with_name("phrases.toml").read_text(encoding="utf-8")))
