"""Many texts as one run of bytes: what only a few of them hold is found in all at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from chats.statistics.sparse_counts import Ints

#: What a batch of ordinary messages stays far below. Of one Chinese character each, so many words take 60 MB.
PAGE_CHARS = 1 << 19
END = b"\0"
_BETWEEN = " \0 "
_LOWER_CASE = 0x20


def pages(sizes: Ints) -> Iterator[tuple[int, int]]:
    """Runs of texts that hold about PAGE_CHARS together, or one text each that holds more."""
    ends = np.cumsum(sizes)
    start = 0
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        end = max(start + 1, int(np.searchsorted(ends, before + PAGE_CHARS, "right")))
        yield start, end
        start = end


class TextPage:
    """The texts, and their `data`: UTF-8 with an END between spaces from text to text."""

    def __init__(self, texts: list[str]) -> None:
        self.texts = texts
        self._put(_encoded(_BETWEEN.join(texts)))
        if len(self._ends) >= max(1, len(texts)):
            self._put(_encoded(_BETWEEN.join(map(_without_end, texts))))

    def replace(self, texts: Mapping[int, str]) -> None:
        """Put others in the places that lead to them, which are in order."""
        places = np.array(list(texts))
        starts = np.concatenate([[0], self._ends + 2])[places].tolist()
        ends = np.concatenate([self._ends - 1, [len(self.data)]])[places].tolist()
        parts, kept = [], 0
        for (place, text), start, end in zip(texts.items(), starts, ends, strict=True):
            self.texts[place] = text
            parts += [self.data[kept:start], _encoded(_without_end(text))]
            kept = end
        self._put(b"".join([*parts, self.data[kept:]]))

    def _put(self, data: bytes) -> None:
        self.data = data
        self._codes = np.frombuffer(data, np.uint8)
        self._ends = np.flatnonzero(self._codes == END[0])

    def holding(self, sign: bytes) -> Ints:
        """The places of the texts that hold an ASCII sign, in order; letters may be of either case."""
        at = np.flatnonzero(self._codes == sign[-1])
        for back, code in enumerate(reversed(sign[:-1]), 1):
            at = at[(self._codes[at - back] | _LOWER_CASE) == code | _LOWER_CASE]
        places = np.searchsorted(self._ends, at)
        return places[np.flatnonzero(np.diff(places, prepend=-1))]


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "replace")


def _without_end(text: str) -> str:
    return text.replace("\0", " ")
