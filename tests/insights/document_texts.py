"""The texts of documents that are ours, and what is English in them."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from typing import Any

from insights.translation import get_language
from insights.translation_files import list_messages

_MONTHS = calendar.month_name[1:]
_PLACEHOLDER = re.compile(r"\{\w+\}")
#: Parts of a sentence between placeholders that are too short to be English alone: "de", " und ".
_MIN_LETTERS = 9


@cache
def list_english(language: str) -> frozenset[str]:
    """Return the parts of English texts that the language writes in another way, and the English months."""
    wording = get_language(language)
    months = {wording.format_month(date(2024, number, 1)).split()[0] for number in range(1, 13)}
    parts = set(_MONTHS) - months
    for catalog in list_messages().values():
        for message in catalog:
            for text in [message.id] if isinstance(message.id, str) else message.id:
                translated = wording.translate(text) if message.context is None else ""
                for part in map(str.strip, _PLACEHOLDER.split(text)):
                    if len(part) >= _MIN_LETTERS and part not in translated:
                        parts.add(part)
    return frozenset(parts)


def find_english(texts: Iterable[str], language: str) -> list[str]:
    """Return the parts of English texts that these texts contain and the language writes in another way."""
    said = "\n".join(texts)
    found = [part for part in list_english(language) if part in said]
    return [part for part in found if re.search(rf"(?<!\w){re.escape(part)}(?!\w)", said)]


def list_texts(value: Any, key: str = "") -> Iterator[str]:
    """Yield the texts of a document that are ours: no quoted messages, names and keys."""
    if key in ("messages", "people_names", "key", "rating", "provenance", "unit", "source", "id", "name", "sender"):
        return
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield from list_texts(entry, name)
    elif isinstance(value, list):
        for entry in value:
            yield from list_texts(entry, key)
