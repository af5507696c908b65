"""Find the few bodies that may contain a phrase, by their first and last bytes, for thousands of bodies at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from operator import contains

import numpy as np
from numpy.typing import NDArray

_Offsets = NDArray[np.int64]
_Bytes = NDArray[np.uint8]
_Matches = NDArray[np.bool_]

#: The number of first or last bytes that are compared. No phrase is shorter.
EDGE_BYTES = 5
#: The same for phrases that are long enough: in many scripts, a letter takes three bytes.
LONG_EDGE_BYTES = 8
_LINE_FEED = 0x0A
# Line feeds around all bodies, so that the edge of a short first or last body is inside the array.
_PADDING = b"\n" * LONG_EDGE_BYTES
# An edge is looked up by a hash (Knuth's multiplicative one), so a few bodies match by collision. The caller checks
# every match.
_HASH_BITS = 16
_MULTIPLIER = np.uint64(0x9E37_79B9_7F4A_7C15)
_UNUSED_BITS = np.uint64(64 - _HASH_BITS)
_OTHER_BITS = np.uint64(8 * (LONG_EDGE_BYTES - EDGE_BYTES))
_SHORT = np.uint64(2 ** (8 * EDGE_BYTES) - 1)


class EdgePrefilter:
    """The first and last bytes of phrases, and the bytes that can precede a phrase.

    A body matches with both edges of a whole phrase, with the first bytes of one of `heads`, or with the last bytes of
    one of `tails`.
    """

    def __init__(
        self,
        *,
        whole_heads: Iterable[bytes],
        whole_tails: Iterable[bytes],
        heads: Iterable[bytes],
        tails: Iterable[bytes],
        before: Iterable[int],
    ) -> None:
        self._whole_heads = _EdgeTable(whole_heads, first=True)
        self._whole_tails = _EdgeTable(whole_tails, first=False)
        self._heads = _EdgeTable(heads, first=True)
        self._tails = _EdgeTable(tails, first=False)
        self._before = np.zeros(256, bool)
        self._before[list(before)] = True

    def matching_positions(self, bodies: list[bytes]) -> list[int]:
        """Return the positions of bodies that may begin or end with a phrase, as a whole or in the first line."""
        codes = np.frombuffer(b"\n".join([_PADDING, *bodies, _PADDING]), np.uint8)
        sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
        ends = np.cumsum(sizes + 1) + LONG_EDGE_BYTES
        starts = ends - sizes
        longer = np.flatnonzero(np.fromiter(map(contains, bodies, repeat(_LINE_FEED)), bool, len(bodies)))
        first_lines = np.array([bodies[position].index(_LINE_FEED) for position in longer.tolist()], np.int64)
        line_ends = ends.copy()
        line_ends[longer] = starts[longer] + first_lines

        heads = _Edges(codes, starts, first=True)
        tails = _Edges(codes, ends, first=False)
        matches = self._before[codes[starts]] | self._heads.contains(heads) | self._tails.contains(tails)
        matches[longer] |= self._tails.contains(_Edges(codes, line_ends[longer], first=False))
        candidates = np.flatnonzero(self._whole_heads.contains(heads) & ~matches)
        matches[candidates] = self._may_end_whole(codes, line_ends[candidates])
        positions: list[int] = np.flatnonzero(matches).tolist()
        return positions

    def _may_end_whole(self, codes: _Bytes, ends: _Offsets) -> _Matches:
        """Return whether a whole phrase may end at each offset, before a full stop, a space or a mark."""
        last, before_last, third = codes[ends - 1], codes[ends - 2], codes[ends - 3]
        # The full stops `.`, `۔`, and `。` or `।`; direction marks begin with E2 80 or E2 81.
        stops = (last == ord(".")) * 1 + ((before_last == 0xDB) & (last == 0x94)) * 2
        stops += ((third == 0xE3) & (before_last == 0x80) & (last == 0x82)) * 3
        stops += ((third == 0xE0) & (before_last == 0xA5) & (last == 0xA4)) * 3
        uneven = (last <= ord(" ")) | (third == 0xE2)
        matches: _Matches = self._whole_tails.contains(_Edges(codes, ends - stops, first=False)) | uneven
        return matches


class _Edges:
    """Hashes of the first or last bytes at each offset: of EDGE_BYTES of them, and of LONG_EDGE_BYTES."""

    def __init__(self, codes: _Bytes, offsets: _Offsets, *, first: bool) -> None:
        # Overlapping numbers, one for each byte of the array: one look-up returns LONG_EDGE_BYTES bytes.
        windows = np.ndarray(len(codes) - LONG_EDGE_BYTES + 1, "<u8", codes, strides=(1,))
        edges = windows[offsets if first else offsets - LONG_EDGE_BYTES]
        self.short = _hashes(edges & _SHORT if first else edges >> _OTHER_BITS)
        self.long = _hashes(edges)


class _EdgeTable:
    """The edges of phrases, in tables that are true at their hashes."""

    def __init__(self, edges: Iterable[bytes], *, first: bool) -> None:
        """Raise ValueError if an edge is too short."""
        edges = set(edges)
        if tiny := [edge for edge in edges if len(edge) < EDGE_BYTES]:
            raise ValueError(f"shorter than {EDGE_BYTES} bytes: {tiny}")
        self._short, self._long = np.zeros(2**_HASH_BITS, bool), np.zeros(2**_HASH_BITS, bool)
        short = [edge for edge in edges if len(edge) < LONG_EDGE_BYTES]
        for table, kept in ((self._short, short), (self._long, edges.difference(short))):
            padded = [edge.ljust(LONG_EDGE_BYTES) if first else edge.rjust(LONG_EDGE_BYTES) for edge in kept]
            joined = b"".join(edge[:LONG_EDGE_BYTES] if first else edge[-LONG_EDGE_BYTES:] for edge in padded)
            codes = np.frombuffer(joined + _PADDING, np.uint8)
            offsets = LONG_EDGE_BYTES * np.arange(len(kept)) + (0 if first else LONG_EDGE_BYTES)
            hashes = _Edges(codes, offsets, first=first)
            table[hashes.short if kept is short else hashes.long] = True

    def contains(self, edges: _Edges) -> _Matches:
        """Return whether each edge may be in the table."""
        matches: _Matches = self._short[edges.short] | self._long[edges.long]
        return matches


def _hashes(edges: NDArray[np.uint64]) -> _Offsets:
    return (edges * _MULTIPLIER >> _UNUSED_BITS).view(np.int64)
