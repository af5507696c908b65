"""Repetition without backtracking in regular expressions, for every patch release of Python 3.11."""

from __future__ import annotations

# A possessive repetition of a group, such as (?:…)*+, matches wrongly before Python 3.11.5: when an iteration fails
# halfway, the text that it consumed stays consumed (https://github.com/python/cpython/issues/106052). An atomic group
# around a greedy repetition, (?>(?:…)*), matches the same text and is correct in all releases. A possessive
# repetition of one character or set, [^:]*+, is correct too.

# A greedy repetition keeps about 200 bytes for each iteration until its atomic group ends. A text can consist of eight
# million bidi marks, so a long repetition frees this memory after each thousand iterations.
_ITERATIONS_PER_GROUP = 1_000


def repeated(pattern: bytes) -> bytes:
    """Return a pattern that matches `pattern` as often as possible, also not at all, and does not backtrack into it.

    `pattern` must not match an empty text.
    """
    return b"(?>(?:(?>(?:%b){1,%d}))*)" % (pattern, _ITERATIONS_PER_GROUP)


def repeated_up_to(count: int, pattern: bytes) -> bytes:
    """Return a pattern like `repeated`, for at most `count` times."""
    return b"(?>(?:%b){0,%d})" % (pattern, count)
