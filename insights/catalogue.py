"""The catalogue: categories and insight types as data in catalogue/*.toml, loaded into rows that staff then edit.

`load` runs after every migrate and by `manage.py load_catalogue`. Each row has a digest of what the catalogue last
wrote to it. A row that still has that digest was not edited by staff and follows the files. A row that staff edited,
or that the files do not have, stays unchanged.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from insights.definition import CatalogueFile, Definition
from insights.models import Category, InsightType, InsightTypeVersion
from insights.validation import InvalidData, parse

DIRECTORY = Path(__file__).with_name("catalogue")

_CATEGORY_FIELDS = ("title", "description", "icon", "price", "engine_prices", "display_order", "not_for")
_TYPE_FIELDS = (
    "category_id", "title", "icon", "purpose", "price", "engine_prices", "groups", "min_messages", "definition",
)  # fmt: skip
#: Fields that older rows were loaded without. Left out of the digest while empty, so that theirs stay valid.
_ADDED_FIELDS = ("engine_prices", "not_for")


@dataclass
class LoadResult:
    """Ids of the loaded rows. `kept` rows were edited by staff and differ from the files."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        counts = {"added": self.added, "updated": self.updated, "unchanged": self.unchanged, "kept": self.kept}
        return ", ".join(f"{len(ids)} {word}" for word, ids in counts.items())


@transaction.atomic
def load(directory: Path = DIRECTORY) -> LoadResult:
    """Write the categories and types of the files to the database. Raise InvalidData with the locations of errors."""
    result = LoadResult()
    for path in sorted(directory.glob("*.toml")):
        category, types = read_file(path)
        _load_row(Category(**category), _CATEGORY_FIELDS, result)
        for order, values in enumerate(types, start=1):
            insight_type = InsightType(category_id=category["id"], display_order=order * 10, **values)
            _load_row(insight_type, _TYPE_FIELDS, result)
    return result


def read_file(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a file's category and types, validated, as fields of their models. Raise InvalidData."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidData([f"{path.name}: {error}"]) from error
    file = parse(CatalogueFile, content, source=path.name)
    types = []
    for entry, table in zip(file.types, content["type"], strict=True):
        fields = entry.model_dump(
            include={"title", "icon", "purpose", "price", "engine_prices", "groups", "min_messages"}
        )
        # The definition is stored as it is written; defaults apply when it is read.
        definition = {"section": table["section"], "overall": table["overall"]}
        types.append({"id": entry.name, **fields, "definition": definition})
    return file.category.model_dump(mode="json"), types


@transaction.atomic
def save_type(insight_type: InsightType) -> InsightType:
    """Save a type, with a new version if its definition changed. Raise InvalidData if the definition is invalid."""
    Definition.parse(insight_type.definition)
    # Locked, so that two edits at the same time get different version numbers.
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


def _load_row(row: Category | InsightType, fields: tuple[str, ...], result: LoadResult) -> None:
    """Create or update one row, unless staff edited it."""
    digest = _compute_digest(row, fields)
    existing = type(row)._default_manager.select_for_update().filter(pk=row.pk).first()
    if existing is None:
        result.added.append(row.pk)
    elif digest == _compute_digest(existing, fields):
        # Also if staff made the same edit as the files.
        result.unchanged.append(row.pk)
        return
    elif _compute_digest(existing, fields) != existing.loaded_digest:
        result.kept.append(row.pk)
        return
    else:
        result.updated.append(row.pk)
        for name in fields:
            setattr(existing, name, getattr(row, name))
        row = existing
    row.loaded_digest = digest
    if isinstance(row, InsightType):
        save_type(row)
    else:
        row.save()


def _compute_digest(row: Category | InsightType, fields: tuple[str, ...]) -> str:
    values = {name: getattr(row, name) for name in fields if name not in _ADDED_FIELDS or getattr(row, name)}
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
