"""Pages: many texts as one byte string, which is searched and split in single calls instead of one call per text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from chats.statistics.sparse_counts import IntArray

#: Characters on a page. An ordinary batch is far smaller. If each character is a word, as in Chinese, counting the
#: words of one page takes 60 MB.
PAGE_CHARS = 1 << 19
#: Separates the texts in the bytes of a page.
SEPARATOR = b"\0"
# The spaces make the separator a token of its own when the bytes are split.
_PADDED_SEPARATOR = " \0 "
_LOWER_CASE_BIT = 0x20


def split_pages(sizes: IntArray) -> Iterator[tuple[int, int]]:
    """Yield (start, end) ranges of texts that hold about PAGE_CHARS characters, or one longer text each."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + PAGE_CHARS, "right")))
        yield start, end
        start = end


class TextPage:
    """`texts`, and `data`: the same texts in UTF-8 with a separator between each two."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self._set_data(_encode(_PADDED_SEPARATOR.join(texts)))
        if len(self._separators) >= max(1, len(texts)):
            # A text contains the separator itself. Checking the total is faster than checking each text.
            self._set_data(_encode(_PADDED_SEPARATOR.join(map(_without_separator, texts))))

    def replace(self, texts: Mapping[int, str]) -> None:
        """Replace the texts at the given positions, which are in ascending order."""
        positions = np.array(list(texts))
        starts = np.concatenate([[0], self._separators + 2])[positions].tolist()
        ends = np.concatenate([self._separators - 1, [len(self.data)]])[positions].tolist()
        parts, copied_to = [], 0
        for (position, text), start, end in zip(texts.items(), starts, ends, strict=True):
            self.texts[position] = text
            parts += [self.data[copied_to:start], _encode(_without_separator(text))]
            copied_to = end
        self._set_data(b"".join([*parts, self.data[copied_to:]]))

    def find(self, pattern: bytes) -> IntArray:
        """Return the positions of the texts that contain an ASCII string, in order.

        All but the last character match in either case.
        """
        at = np.flatnonzero(self._codes == pattern[-1])
        for back, code in enumerate(reversed(pattern[:-1]), 1):
            at = at[(self._codes[at - back] | _LOWER_CASE_BIT) == code | _LOWER_CASE_BIT]
        positions = np.searchsorted(self._separators, at)
        return positions[np.flatnonzero(np.diff(positions, prepend=-1))]

    def _set_data(self, data: bytes) -> None:
        self.data = data
        self._codes = np.frombuffer(data, np.uint8)
        self._separators = np.flatnonzero(self._codes == SEPARATOR[0])


def _encode(text: str) -> bytes:
    # Broken exports contain halves of surrogate pairs, which UTF-8 cannot encode.
    return text.encode("utf-8", "replace")


def _without_separator(text: str) -> str:
    return text.replace("\0", " ")
