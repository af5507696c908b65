"""Many texts as one run of bytes: what only a few of them hold is found in all at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from chats.statistics.tally import Ints

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


class Texts:
    """UTF-8, with an END between spaces from text to text."""

    def __init__(self, texts: Sequence[str]) -> None:
        joined = _BETWEEN.join(texts)
        if joined.count("\0") >= len(texts):
            joined = _BETWEEN.join(text.replace("\0", " ") for text in texts)
        self.data = joined.encode("utf-8", "replace")
        self._codes = np.frombuffer(self.data, np.uint8)
        self._ends = np.flatnonzero(self._codes == END[0])

    def holding(self, sign: bytes) -> Ints:
        """The places of the texts that hold an ASCII sign, in order; letters may be of either case."""
        at = np.flatnonzero(self._codes == sign[-1])
        for back, code in enumerate(reversed(sign[:-1]), 1):
            at = at[(self._codes[at - back] | _LOWER_CASE) == code | _LOWER_CASE]
        places = np.searchsorted(self._ends, at)
        return places[np.flatnonzero(np.diff(places, prepend=-1))]
