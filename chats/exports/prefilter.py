"""Find the few bodies that may contain a phrase, by their first and last bytes, for thousands of bodies at a time."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import repeat
from operator import contains

import numpy as np
from numpy.typing import NDArray

_Offsets = NDArray[np.int64]

#: The number of first or last bytes that are compared. No phrase is shorter.
EDGE_BYTES = 5
_LINE_FEED = 0x0A
# Line feeds around all bodies, so that the edge of a short first or last body is inside the array.
_PADDING = b"\n" * EDGE_BYTES
# An edge is looked up by its remainder, so a few bodies match by collision. The caller checks every match.
_PRIME = 65_521


class EdgePrefilter:
    """The first and last bytes of phrases, and the bytes that can precede a phrase."""

    def __init__(self, *, heads: Iterable[bytes], tails: Iterable[bytes], before: Iterable[int]) -> None:
        self._heads = _table([head[:EDGE_BYTES] for head in heads])
        self._tails = _table([tail[-EDGE_BYTES:] for tail in tails])
        self._before = np.zeros(256, bool)
        self._before[list(before)] = True

    def matching_positions(self, bodies: list[bytes]) -> list[int]:
        """Return the positions of bodies that may begin or end with a phrase, as a whole or in the first line."""
        codes = np.frombuffer(b"\n".join([_PADDING, *bodies, _PADDING]), np.uint8)
        sizes = np.fromiter(map(len, bodies), np.int64, len(bodies))
        ends = np.cumsum(sizes + 1) + EDGE_BYTES
        starts = ends - sizes
        matches = self._before[codes[starts]]
        matches |= self._heads[_edges(codes, starts)]
        matches |= self._tails[_edges(codes, ends - EDGE_BYTES)]
        longer = np.flatnonzero(np.fromiter(map(contains, bodies, repeat(_LINE_FEED)), bool, len(bodies)))
        first_lines = np.array([bodies[position].index(_LINE_FEED) for position in longer.tolist()], np.int64)
        matches[longer] |= self._tails[_edges(codes, starts[longer] + first_lines - EDGE_BYTES)]
        positions: list[int] = np.flatnonzero(matches).tolist()
        return positions


def _table(edges: list[bytes]) -> NDArray[np.bool_]:
    """Return a table that is true at the index of each edge. Raise ValueError if an edge is too short."""
    if short := [edge for edge in edges if len(edge) < EDGE_BYTES]:
        raise ValueError(f"shorter than {EDGE_BYTES} bytes: {short}")
    table = np.zeros(_PRIME, bool)
    codes = np.frombuffer(b"".join(edges), np.uint8)
    table[_edges(codes, np.arange(0, len(codes), EDGE_BYTES))] = True
    return table


def _edges(codes: NDArray[np.uint8], starts: _Offsets) -> _Offsets:
    """Return the index in a table of the EDGE_BYTES bytes at each offset."""
    edges = np.zeros(len(starts), np.int64)
    for offset in range(EDGE_BYTES):
        edges = edges << 8 | codes[starts + offset]
    return edges % _PRIME
