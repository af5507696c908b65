"""Replaces the names of a chat's people by P1, P2 … before a text leaves the machine, and restores them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

_LABEL = re.compile(r"(?<!\w)P(\d+)(?!\w)")


class Pseudonyms:
    """The labels of a chat's people. `other_names` are further names, by the index of the person."""

    def __init__(self, people: Sequence[str], other_names: Mapping[str, int] | Sequence[str] = ()) -> None:
        self._people = tuple(people)
        names = dict(other_names) if isinstance(other_names, Mapping) else {}
        names |= {name: person for person, name in enumerate(people)}
        self._labels = {
            part.casefold(): self.label(person) for name, person in names.items() for part in [*name.split(), name]
        }
        parts = sorted(map(re.escape, self._labels), key=len, reverse=True)
        self._names = re.compile(rf"(?<!\w)(?:{'|'.join(parts)})(?!\w)", re.IGNORECASE)

    def label(self, person: int) -> str:
        """Return the label of a person: P1 for the first."""
        return f"P{person + 1}"

    def mask(self, text: str) -> str:
        """Return the text with labels in place of names."""
        return self._names.sub(lambda match: self._labels[match[0].casefold()], text)

    def restore(self, text: str) -> str:
        """Return the text with names in place of labels."""

        def name_of(match: re.Match[str]) -> str:
            index = int(match[1]) - 1
            return self._people[index] if 0 <= index < len(self._people) else match[0]

        return _LABEL.sub(name_of, text)

    def unknown_labels(self, text: str) -> set[str]:
        """Return the labels in the text that stand for nobody."""
        return {match[0] for match in _LABEL.finditer(text) if not 1 <= int(match[1]) <= len(self._people)}
