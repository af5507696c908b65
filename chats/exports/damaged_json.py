"""Read the array of messages of a text that is not JSON: what is intact, and what a repair makes readable.

Telegram Desktop writes control characters as `\\x0B`, which JSON does not know, and once wrote values without quotation
marks. A download that breaks off ends within a message. Such damage concerns single messages; the others are read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

from chats.exports.json_stream import (
    STRING,
    VALUE_LIMIT_BYTES,
    WINDOW_BYTES,
    JsonCursor,
    MalformedJson,
    Window,
    decode,
)
from chats.exports.patterns import repeated

#: More than any messenger writes. Each unreadable value takes several attempts.
UNREADABLE_LIMIT = 10_000

#: More than any messenger writes wrongly in one file, and repaired in a few seconds.
REPAIRS_LIMIT = 500_000

#: How far an element is followed beyond the text that usually begins the next one.
_LOOK_BYTES = 64 * 1024
#: How often the text can be looked at in this way.
_LOOKS = 8

#: What needs no repair.
_CORRECT = re.compile(
    repeated(
        rb'[^":,]++|' + STRING + rb"|,(?!\s*+[}\]])"
        rb'|:\s*+(?:(?=["{\[])|(?:true|false|null|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?)(?=\s*+[,}\]]))'
    ),
    re.DOTALL,
)
#: A value without quotation marks ends with its line, as in Telegram's files, or else at the next delimiter. File names
#: have at most 255 bytes.
_BARE = re.compile(rb':(\s*+(?:[^"\r\n]{1,300}+(?=[\r\n])|[^",{}\[\]\r\n]*+))')
_FIRST_KEY = re.compile(rb"\{\s*+(" + STRING + rb")\s*+:", re.DOTALL)
_LITERAL = re.compile(rb"true|false|null|NaN|-?Infinity|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?")
_DELIMITER = re.compile(rb"[,{}\[\]]")
_ESCAPE = re.compile(rb'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}|x(?P<code>[0-9a-fA-F]{2})|(?P<other>.))', re.DOTALL)


class DamagedArray(JsonCursor):
    """The elements of an array that begins at `start`; `end` is before any other array of messages.

    `first_key` is what elements usually begin with, such as `"id"`.
    `unreadable` counts the values that `windows` has left out so far, `repairs` the attempts to repair one. They begin
    with those in the other arrays of the file.
    """

    def __init__(self, text: bytes, start: int, end: int, first_key: bytes, *, repairs: int = 0) -> None:
        super().__init__(text, start)
        self.end = end
        self.first_key = first_key
        self.unreadable = 0
        self.repairs = repairs
        #: The comma before an element and what follows up to its first key: as usual in this file, and with any blanks.
        self._beginning = b""
        self._similar: re.Pattern[bytes] | None = None
        self._is_out_of_step = False
        self._skipped_brackets = 0
        #: What has been found ahead of the cursor applies until the cursor is there: the beginning of the next element,
        #: the end of the last one, and the end of a text that cannot be decoded as a whole.
        self._next_beginning = self._last_end = self._undecodable_end = -1
        # All looks beyond the beginnings of elements are limited together, so that the time stays linear.
        self._look_bytes = _LOOKS * (end - start)

    def windows(self) -> Iterator[Window]:
        """Yield the readable elements in windows.

        Raise MalformedJson if there is no array, after UNREADABLE_LIMIT unreadable values or brackets that close
        nothing, or after REPAIRS_LIMIT repairs.
        """
        self._expect(b"[")
        self._learn_beginning()
        separator = b"}" + self._beginning if self._beginning else b""
        while self.position < self.end and not self._is_closed():
            window = self._intact_window(separator) or self._salvaged_window(separator)
            self.position = window.end
            if self.repairs > REPAIRS_LIMIT:
                raise MalformedJson
            yield window
            self._step_over_comma()
        if self.position >= self.end:
            # The text breaks off, usually within an element.
            self._count_unreadable()

    def _learn_beginning(self) -> None:
        """Find how each element but the first begins in this file: `,{"id":` with its blanks."""
        sample = self.text[self.position : min(self.end, self.position + WINDOW_BYTES)]
        own_key = _FIRST_KEY.match(sample)
        for key in filter(None, (self.first_key, own_key and own_key[1])):
            pattern = re.compile(rb",\s*+\{\s*+" + re.escape(key) + rb"\s*+:")
            found = Counter(pattern.findall(sample))
            if found:
                # Lists inside of elements can have elements with this key too, but they are further indented.
                self._beginning = max(found, key=lambda beginning: (found[beginning], -len(beginning)))
                self._similar = pattern
                return

    def _find_next_beginning(self) -> int:
        """Return the position of the comma before the next element; `end` if there is none."""
        if self._next_beginning < self.position:
            found = self.text.find(self._beginning, self.position, self.end) if self._beginning else -1
            if found < 0:
                self._beginning = b""
                similar = self._similar and self._similar.search(self.text, self.position, self.end)
                found = similar.start() if similar else self.end
            self._next_beginning = found
        return self._next_beginning

    def _is_closed(self) -> bool:
        """Return whether the array ends here. After damage, a bracket can belong to a list inside an element."""
        if not self.starts_with(b"]"):
            return False
        after = self._after_blanks(self.position + 1)
        if after < self.end and not self.text.startswith((b",", b"}"), after):
            return False
        if self._is_out_of_step and (next_element := self._find_next_beginning()) < self.end:
            self._skipped_brackets += 1
            if self._skipped_brackets > UNREADABLE_LIMIT:
                raise MalformedJson
            self.position = self._after_blanks(next_element + 1)
            return False
        return True

    def _intact_window(self, separator: bytes) -> Window | None:
        if window := self._guess_window(separator):
            return window
        try:
            window = self._measure_window()
        except MalformedJson:
            return None
        return window if self._is_followed_by_delimiter(window.end) else None

    def _salvaged_window(self, separator: bytes) -> Window:
        """Return the readable elements of about the next WINDOW_BYTES."""
        start = self.position
        stop = min(self.end, start + WINDOW_BYTES)
        cut = self.text.rfind(separator, start, stop) if separator else -1
        if cut >= 0:
            try:
                return Window(start, cut + 1, self._decode_repaired(start, cut + 1))
            except MalformedJson:
                pass
        rows: list[Any] = []
        while self.position < stop and not self._is_closed():
            rows += self._salvage_elements()
            self._step_over_comma()
        return Window(start, self.position, rows)

    def _salvage_elements(self) -> list[Any]:
        """Return the readable elements before the next text that looks like the beginning of an element.

        The cursor ends at its comma, at the end of the array, or where the text breaks off.
        """
        start = self.position
        cut = self._find_next_beginning()
        if cut == self.end:
            cut = self._find_last_end()
        # What is left of an undecodable text after an intact element is undecodable too.
        if cut != self._undecodable_end:
            try:
                rows = self._decode(start, cut)
            except MalformedJson:
                self._undecodable_end = cut
            else:
                self.position = cut
                return rows
        # The cut can be inside of a list. Or another element begins before it, and its beginning is damaged.
        for limit_bytes in (cut - start, min(_LOOK_BYTES, self._look_bytes, self.end - start)):
            try:
                end = self._end_of_value(limit_bytes)
                rows = self._decode(start, end)
            except MalformedJson:
                continue
            if self._is_followed_by_delimiter(end):
                self.position = end
                return rows
        self._look_bytes -= limit_bytes
        self.position = cut
        try:
            return self._decode_repaired(start, cut)
        except MalformedJson:
            self._is_out_of_step = True
            if cut < self.end:
                self._count_unreadable()
            return []

    def _is_followed_by_delimiter(self, end: int) -> bool:
        after = self._after_blanks(end)
        return after < self.end and self.text.startswith((b",", b"]"), after)

    def _find_last_end(self) -> int:
        """Return the position after the last element of the array; `end` if the array is not closed."""
        if self._last_end <= self.position:
            self._last_end = self.end
            bracket = self.text.rfind(b"]", self.position, self.end)
            if bracket > self.position:
                brace = self.text.rfind(b"}", self.position, bracket)
                self._last_end = bracket if brace < 0 else brace + 1
        return self._last_end

    def _step_over_comma(self) -> None:
        self.position = self._after_blanks(self.position)
        if self.position < self.end and self.starts_with(b","):
            self.position = self._after_blanks(self.position + 1)

    def _decode(self, start: int, end: int) -> list[Any]:
        if end - start > VALUE_LIMIT_BYTES:
            raise MalformedJson
        rows: list[Any] = decode(b"[" + self.text[start:end] + b"]")
        return rows

    def _decode_repaired(self, start: int, end: int) -> list[Any]:
        if end - start > VALUE_LIMIT_BYTES or self.repairs > REPAIRS_LIMIT:
            raise MalformedJson
        repaired, missing, repairs = repair(self.text[start:end])
        self.repairs += repairs
        rows: list[Any] = decode(b"[" + repaired + b"]")
        self._count_unreadable(missing)
        return rows

    def _count_unreadable(self, number: int = 1) -> None:
        self.unreadable += number
        if self.unreadable > UNREADABLE_LIMIT:
            raise MalformedJson


def repair(piece: bytes) -> tuple[bytes, int, int]:
    """Return the text with the mistakes repaired that leave its meaning clear, how many values it lacks, and how many
    places between its strings were repaired.

    Escapes that JSON does not have are rewritten (`\\x0B`) or read as they are printed. Values without quotation marks
    become strings, missing ones null. The comma after the last value of a list is removed.
    """
    # Outside of strings, a backslash has no meaning at all.
    piece = _ESCAPE.sub(_repaired_escape, piece) if b"\\" in piece else piece
    parts: list[bytes] = []
    missing = repairs = position = 0
    while True:
        correct = _CORRECT.match(piece, position)
        if correct:
            parts.append(correct[0])
            position = correct.end()
        if position == len(piece):
            break
        repairs += 1
        bare = _BARE.match(piece, position)
        if bare is None:
            if piece.startswith(b'"', position):
                # A string that is not closed: the quotation marks after it are escaped and close none either.
                parts.append(piece[position:])
                break
            # The comma before the end of a list.
            position += 1
            continue
        value = bare[1].rstrip().removesuffix(b",").rstrip()
        if value.endswith((b"}", b"]")):
            # The line does not only contain this value.
            value = _DELIMITER.split(value, 1)[0].rstrip()
        position += 1 + len(value)
        value = value.lstrip()
        if not value:
            missing += 1
            value = b"null"
        elif not _LITERAL.fullmatch(value):
            value = b'"' + value + b'"'
        parts.append(b":" + value)
    return b"".join(parts), missing, repairs


def _repaired_escape(escape: re.Match[bytes]) -> bytes:
    if escape["code"]:
        return rb"\u00" + escape["code"]
    return escape[0] if escape["other"] is None else b"\\" + escape[0]
