"""Reads a table of the catalogue: every value is checked, and every complaint names its place."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any

SLUG = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
MOST_CHARACTERS = 600
MOST_TEXTS = 200


class Table:
    """A mapping with its place, such as `definition: section 2 (affection)`."""

    def __init__(self, mapping: Any, *, place: str) -> None:
        if not isinstance(mapping, Mapping):
            raise ValueError(f"{place}: must be a table")
        self._mapping: Mapping[str, Any] = mapping
        self.place = place

    def __contains__(self, key: str) -> bool:
        return key in self._mapping

    def wrong(self, key: str, reason: str) -> ValueError:
        return ValueError(f"{self.place}: {key}: {reason}")

    def need(self, keys: Iterable[str]) -> None:
        for key in sorted(keys):
            if key not in self._mapping:
                raise self.wrong(key, "is missing")

    def only(self, keys: Collection[str], *, all_of_them: bool = False) -> None:
        """Refuse a key that nothing reads: it is a slip of the pen."""
        if all_of_them:
            self.need(keys)
        if strangers := sorted(self._mapping.keys() - set(keys)):
            raise self.wrong(strangers[0], "is not known here")

    def value(self, key: str) -> Any:
        return self._mapping.get(key)

    def string(self, key: str) -> str:
        """Any text, however long, and the empty one."""
        value = self._mapping.get(key)
        if not isinstance(value, str):
            raise self.wrong(key, "must be a text")
        return value

    def whole(self, key: str) -> int:
        self.need([key])
        return self.integer(key, default=0, least=0)

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self._mapping.get(key, default)
        if value is None:
            raise self.wrong(key, "is missing")
        if not isinstance(value, str) or len(value) > MOST_CHARACTERS or (default is None and not value.strip()):
            raise self.wrong(key, f"must be a text of 1 to {MOST_CHARACTERS} characters")
        return value

    def slug(self, key: str) -> str:
        value = self.text(key)
        if not SLUG.fullmatch(value):
            raise self.wrong(key, f"{value!r} is not in lower snake case")
        return value

    def one_of(self, key: str, choices: Collection[str]) -> str:
        value = self.text(key)
        if value not in choices:
            raise self.wrong(key, f"{value!r} is none of {', '.join(sorted(choices))}")
        return value

    def texts(self, key: str, *, least: int = 0) -> tuple[str, ...]:
        value = self._mapping.get(key, [])
        if not isinstance(value, (list, tuple)) or not all(isinstance(text, str) and text.strip() for text in value):
            raise self.wrong(key, "must be a list of texts")
        if not least <= len(value) <= MOST_TEXTS:
            raise self.wrong(key, f"must hold {least} to {MOST_TEXTS} texts")
        return tuple(value)

    def members(self, key: str, choices: Collection[str]) -> tuple[str, ...]:
        values = self.texts(key)
        for value in values:
            if value not in choices:
                raise self.wrong(key, f"{value!r} is none of {', '.join(sorted(choices))}")
        return values

    def boolean(self, key: str, *, default: bool) -> bool:
        value = self._mapping.get(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "must be true or false")
        return value

    def number(self, key: str, *, default: float) -> float:
        value = self._mapping.get(key, default)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
            raise self.wrong(key, "must be a number, 0 or more")
        return float(value)

    def integer(self, key: str, *, default: int, least: int) -> int:
        value = self._mapping.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(key, f"must be a whole number, {least} or more")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        value = self._mapping.get(key)
        if not isinstance(value, (list, tuple)) or any(
            isinstance(number, bool) or not isinstance(number, (int, float)) for number in value
        ):
            raise self.wrong(key, "must be a list of numbers")
        return tuple(float(number) for number in value)

    def strings(self, key: str) -> Mapping[str, str]:
        table = self.table(key)
        return {name: table.text(name) for name in table._mapping}

    def table(self, key: str) -> Table:
        return Table(self._mapping.get(key, {}), place=f"{self.place}: {key}")

    def tables(self, key: str) -> list[Table]:
        value = self._mapping.get(key, [])
        if not isinstance(value, (list, tuple)):
            raise self.wrong(key, "must be a list of tables")
        return [
            Table(entry, place=f"{self.place}: {key} {number}{_label(entry)}")
            for number, entry in enumerate(value, start=1)
        ]


def _label(entry: Any) -> str:
    key = entry.get("key") if isinstance(entry, Mapping) else None
    return f" ({key})" if isinstance(key, str) and len(key) <= 64 else ""
