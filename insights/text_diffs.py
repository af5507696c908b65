"""Compare two texts: line by line for a page, with the changed words marked, or as a unified diff for a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher, unified_diff
from typing import Literal

#: Unchanged lines that a comparison shows before and after a changed one.
CONTEXT_LINES = 3
#: Two lines with a smaller part in common are shown as different lines, without marking their words.
MIN_LIKENESS = 0.5
#: The time to compare words grows faster than their number squared: 300 take 50 ms.
MAX_WORDS = 300
#: A word or another character, with the spaces after it. Spaces alone would match everywhere and make that slower.
_WORDS = re.compile(r"^\s+|(?:\w+|[^\w\s])\s*")


@dataclass(frozen=True, slots=True)
class DiffLine:
    """A line of a comparison in parts; those marked True differ from the other text's line. `skipped` has no text."""

    kind: Literal["same", "removed", "added", "skipped"]
    parts: tuple[tuple[str, bool], ...] = ()


def compare_texts(old: str, new: str) -> list[DiffLine]:
    """Return the lines that differ, each with CONTEXT_LINES around it. Empty if the texts are the same."""
    before, after = old.splitlines(), new.splitlines()
    lines: list[DiffLine] = []
    end = 0
    for group in SequenceMatcher(None, before, after, autojunk=False).get_grouped_opcodes(CONTEXT_LINES):
        # get_grouped_opcodes returns one group of equal lines for two equal texts.
        if all(tag == "equal" for tag, *_ in group):
            continue
        if group[0][1] > end:
            lines.append(DiffLine("skipped"))
        for tag, start_before, end_before, start_after, end_after in group:
            if tag == "equal":
                lines += [DiffLine("same", ((line, False),)) for line in before[start_before:end_before]]
            else:
                lines += _compare_lines(before[start_before:end_before], after[start_after:end_after])
        end = group[-1][2]
    if lines and end < len(before):
        lines.append(DiffLine("skipped"))
    return lines


def format_diff(old: str, new: str, *, old_name: str, new_name: str) -> str:
    """Return the unified diff of two texts, as `diff -u` prints it. Empty if they are the same."""
    lines = unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="", n=CONTEXT_LINES)
    return "\n".join(lines)


def _compare_lines(before: list[str], after: list[str]) -> Iterator[DiffLine]:
    """Yield the removed lines, then the added ones. A paragraph is one long line, so changed words are marked.

    In lines of more than MAX_WORDS none are.
    """
    removed = [DiffLine("removed", ((line, False),)) for line in before]
    added = [DiffLine("added", ((line, False),)) for line in after]
    for index, (old, new) in enumerate(zip(before, after, strict=False)):
        words, others = _WORDS.findall(old), _WORDS.findall(new)
        if max(len(words), len(others)) > MAX_WORDS:
            continue
        matcher = SequenceMatcher(None, words, others, autojunk=False)
        if matcher.ratio() < MIN_LIKENESS:
            continue
        codes = matcher.get_opcodes()
        removed[index] = DiffLine(
            "removed", _join([("".join(words[i:j]), tag != "equal") for tag, i, j, _, _ in codes])
        )
        added[index] = DiffLine("added", _join([("".join(others[i:j]), tag != "equal") for tag, _, _, i, j in codes]))
    yield from removed
    yield from added


def _join(parts: list[tuple[str, bool]]) -> tuple[tuple[str, bool], ...]:
    return tuple(part for part in parts if part[0])
