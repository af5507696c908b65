"""The catalogue: categories and insight types as data in catalogue/*.toml, loaded into rows that staff then edit.

`load` runs after every migrate and by `manage.py load_catalogue`. Each row
keeps a digest of what the catalogue last put into it. A row that still reads
as that digest says has not been touched by staff and follows the files; a row
that staff edited is left as it is, whatever the files say. A row that the
files do not have is left alone too.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from insights.definition import Definition
from insights.models import Category, InsightType, InsightTypeVersion
from insights.tables import Table

DIRECTORY = Path(__file__).with_name("catalogue")

_CATEGORY_FIELDS = ("title", "description", "icon", "price", "display_order")
_TYPE_FIELDS = ("category_id", "title", "icon", "purpose", "price", "groups", "min_messages", "definition")
_TYPE_KEYS = {"name", "title", "icon", "purpose", "price", "groups", "min_messages", "section", "overall"}


@dataclass
class Summary:
    """Ids by what became of them: `kept` rows were edited by staff and differ from the files."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        parts = {"added": self.added, "updated": self.updated, "unchanged": self.unchanged, "kept": self.kept}
        return ", ".join(f"{len(ids)} {word}" for word, ids in parts.items())


@transaction.atomic
def load(directory: Path = DIRECTORY) -> Summary:
    """Put the files' categories and types into the database. Raises ValueError with the place of a fault."""
    summary = Summary()
    for path in sorted(directory.glob("*.toml")):
        category, types = read(path)
        _put(Category(**category), _CATEGORY_FIELDS, summary)
        for order, values in enumerate(types, start=1):
            _put(InsightType(category_id=category["id"], display_order=order * 10, **values), _TYPE_FIELDS, summary)
    return summary


def read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """One file's category and types, checked, as the fields of their models."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name}: {error}") from error
    table = Table(content, place=path.name)
    table.only(["category", "type"], all_of_them=True)
    return _category(table.table("category")), list(_types(content["type"], table))


@transaction.atomic
def save_type(insight_type: InsightType) -> InsightType:
    """Save a type, with a new version of it where its definition changed. Raises ValueError for a faulty definition."""
    Definition.parse(insight_type.definition)
    latest = (
        InsightTypeVersion.objects.select_for_update().filter(insight_type=insight_type.pk).order_by("-version").first()
    )
    changed = latest is None or latest.definition != insight_type.definition
    if changed:
        insight_type.version = latest.version + 1 if latest else 1
    elif latest is not None:
        insight_type.version = latest.version
    insight_type.save()
    if changed:
        InsightTypeVersion.objects.create(
            insight_type=insight_type, version=insight_type.version, definition=insight_type.definition
        )
    return insight_type


def _category(table: Table) -> dict[str, Any]:
    values = {
        "id": table.slug("id"),
        "title": table.text("title"),
        "description": table.text("description"),
        "icon": table.text("icon"),
        "price": table.whole("price"),
        "display_order": table.whole("display_order"),
    }
    table.only(values.keys())
    return values


def _types(types: Any, parent: Table) -> Iterator[dict[str, Any]]:
    for table, mapping in zip(parent.tables("type"), types, strict=True):
        table.only(_TYPE_KEYS, all_of_them=True)
        definition = {"section": mapping["section"], "overall": mapping["overall"]}
        try:
            Definition.parse(definition)
        except ValueError as error:
            raise ValueError(f"{table.place}: {error}") from error
        yield {
            "id": table.slug("name"),
            "title": table.text("title"),
            "icon": table.text("icon"),
            "purpose": table.text("purpose"),
            "price": table.integer("price", default=0, least=1),
            "groups": table.boolean("groups", default=False),
            "min_messages": table.whole("min_messages"),
            "definition": definition,
        }


def _put(row: Category | InsightType, fields: tuple[str, ...], summary: Summary) -> None:
    digest = _digest(row, fields)
    present = type(row)._default_manager.select_for_update().filter(pk=row.pk).first()
    if present is None:
        summary.added.append(row.pk)
    elif digest == _digest(present, fields):
        summary.unchanged.append(row.pk)
        return
    elif _digest(present, fields) != present.loaded_digest:
        summary.kept.append(row.pk)
        return
    else:
        summary.updated.append(row.pk)
        for name in fields:
            setattr(present, name, getattr(row, name))
        row = present
    row.loaded_digest = digest
    if isinstance(row, InsightType):
        save_type(row)
    else:
        row.save()


def _digest(row: Category | InsightType, fields: tuple[str, ...]) -> str:
    values: Mapping[str, Any] = {name: getattr(row, name) for name in fields}
    packed = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(packed.encode()).hexdigest()
