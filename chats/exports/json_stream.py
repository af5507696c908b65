"""Read JSON that is too large to decode as a whole: member by member, and long arrays in windows.

Two hundred megabytes of JSON become gigabytes of objects. Here at most one window of objects exists at a time. Members
that the caller does not read are skipped by one pattern, without Python code for each bracket.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from chats.exports.patterns import repeated

WINDOW_BYTES = 256 * 1024
#: Larger than any message of any platform, and small enough to decode at once even if it is all brackets.
VALUE_LIMIT_BYTES = 1024 * 1024
#: Telegram accounts have thousands of chats, and objects of an export fewer than a hundred members.
ENTRIES_LIMIT = 100_000
#: Nested brackets below a member or an element. Exports need six.
DEPTH_LIMIT = 12

# No repetition is backtracked into, so matching takes one step per byte.
# Most strings have no escape. Their own alternative spares a repetition of a group: half the time of short strings.
STRING = rb'"[^"\\]*+(?:"|(?=\\)' + repeated(rb'\\.[^"\\]*+') + b'")'
_PLAIN = rb'[^{}\[\]"]*+'

# Where a value is not closed, no level of brackets around it can match. Without this alternative, each level would try
# the levels below it twice (see `repeated`): 4,000 times in all.
_UNCLOSED = rb'["{\[].*+'

# Python's patterns cannot recurse, so each level of brackets contains a copy of the pattern of the level below.
_NESTED = _PLAIN + repeated(STRING + _PLAIN)
for _ in range(DEPTH_LIMIT - 1):
    _NESTED = _PLAIN + repeated(b"(?:" + STRING + rb"|[{\[]" + _NESTED + rb"[}\]]|" + _UNCLOSED + b")" + _PLAIN)

_VALUE_PATTERN = rb'(?:[^{}\[\]",:\s]++|' + STRING + rb"|[{\[]" + _NESTED + rb"[}\]])"
_VALUE = re.compile(_VALUE_PATTERN, re.DOTALL)
_ELEMENTS = re.compile(repeated(rb"\s*+" + _VALUE_PATTERN + rb"\s*+,"), re.DOTALL)
_BLANK = re.compile(rb"\s*+")
_KEY = re.compile(rb"\s*+(" + STRING + rb")\s*+:\s*+", re.DOTALL)
#: From the end of an object to the first key of the next one. Its length is limited where it is used.
_SEPARATOR = re.compile(rb"\}\s*+,\s*+\{\s*+" + STRING + rb"\s*+:", re.DOTALL)


class MalformedJson(ValueError):
    """The text is not JSON, or a part of it exceeds the limits above."""


class Window(NamedTuple):
    """Complete elements of an array, and their `start` and `end` in the text."""

    start: int
    end: int
    rows: list[Any]


class JsonCursor:
    """A position in a JSON text. Every method raises MalformedJson if the text is not JSON."""

    def __init__(self, text: bytes, at: int = 0) -> None:
        self.text = text
        self.position = self._after_blanks(at)

    def starts_with(self, mark: bytes) -> bool:
        """Return whether the text at the cursor begins with the mark."""
        return self.text.startswith(mark, self.position)

    def members(self) -> Iterator[str]:
        """Yield the keys of this object, with the cursor at the value. Values that the caller leaves are skipped."""
        self._expect(b"{")
        for _ in self._entries(b"}"):
            key = _KEY.match(self.text, self.position)
            if key is None or key.end() - self.position > VALUE_LIMIT_BYTES:
                raise MalformedJson
            self.position = place = key.end()
            yield str(decode(key[1]))
            if self.position == place:
                self._skip()

    def elements(self) -> Iterator[None]:
        """Stop at each element of this array; an element that the caller does not read is skipped."""
        self._expect(b"[")
        for place in self._entries(b"]"):
            yield
            if self.position == place:
                self._skip()

    def value(self) -> Any:
        """Return this value decoded. Raise MalformedJson if it exceeds VALUE_LIMIT_BYTES."""
        start = self.position
        self._skip()
        if self.position - start > VALUE_LIMIT_BYTES:
            raise MalformedJson
        return decode(self.text[start : self.position])

    def windows(self) -> Iterator[Window]:
        """Yield the elements of this array in windows. The cursor ends after the array."""
        self._expect(b"[")
        separator = b""
        is_first = True
        while not self._ends(b"]", first=is_first):
            if is_first:
                # `},{"id"` with the blanks of this file; empty if the elements are not objects.
                element = _VALUE.match(self.text, self.position)
                match = element and _SEPARATOR.match(self.text, element.end() - 1, element.end() + 256)
                separator = match[0] if match else b""
                is_first = False
            window = self._guess_window(separator) or self._measure_window()
            self.position = window.end
            yield window

    def _guess_window(self, separator: bytes) -> Window | None:
        """Return a window that ends at the usual separator of elements, or None.

        Text that begins with an element and decodes between brackets consists of whole elements, so a wrong guess is
        never accepted.
        """
        cut = self.text.rfind(separator, self.position, self.position + WINDOW_BYTES) if separator else -1
        if cut < 0:
            return None
        try:
            rows = decode(b"[" + self.text[self.position : cut + 1] + b"]")
        except MalformedJson:
            # The separator was inside a string or a nested array.
            return None
        return Window(self.position, cut + 1, rows)

    def _measure_window(self) -> Window:
        """Return a window that ends after the last comma that the pattern finds, or after one element."""
        start = self.position
        elements = _ELEMENTS.match(self.text, start, start + WINDOW_BYTES)
        end = elements.end() - 1 if elements and elements.end() > start else self._end_of_value(VALUE_LIMIT_BYTES + 1)
        # A window that is mostly brackets becomes many objects, slow to create, and does not contain messages.
        brackets = self.text.count(b"[", start, end) + self.text.count(b"{", start, end)
        if end - start > VALUE_LIMIT_BYTES or 4 * brackets > max(end - start, WINDOW_BYTES // 2):
            raise MalformedJson
        return Window(start, end, decode(b"[" + self.text[start:end] + b"]"))

    def _skip(self) -> None:
        self.position = self._end_of_value()

    def _end_of_value(self, limit_bytes: int = sys.maxsize) -> int:
        value = _VALUE.match(self.text, self.position, min(self.position + limit_bytes, len(self.text)))
        if value is None:
            raise MalformedJson
        return value.end()

    def _expect(self, mark: bytes) -> None:
        if not self.starts_with(mark):
            raise MalformedJson
        self.position = self._after_blanks(self.position + 1)

    def _entries(self, end: bytes) -> Iterator[int]:
        for number in range(ENTRIES_LIMIT):
            if self._ends(end, first=number == 0):
                return
            yield self.position
        raise MalformedJson

    def _ends(self, mark: bytes, *, first: bool) -> bool:
        """Step over the end of the container and return True, or over the comma and return False."""
        self.position = self._after_blanks(self.position)
        if self.starts_with(mark):
            self.position += 1
            return True
        if not first:
            self._expect(b",")
        return False

    def _after_blanks(self, at: int) -> int:
        match = _BLANK.match(self.text, at)
        return match.end() if match else at


def decode(piece: bytes) -> Any:
    """Return the decoded value. Lone surrogates, NaN and raw control characters are accepted."""
    try:
        return orjson.loads(piece)
    except orjson.JSONDecodeError:
        # orjson is strict. Exports contain what the standard library accepts, such as half of an emoji.
        pass
    try:
        return json.loads(piece, strict=False)
    except (ValueError, RecursionError) as error:
        raise MalformedJson from error
