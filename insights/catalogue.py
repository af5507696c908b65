"""The catalogue: categories and insight types as data in catalogue/*.toml, loaded into rows that staff then edit.

`load` runs after every migrate and by `manage.py load_catalogue`. Each row has a digest of what the catalogue last
wrote to it. A row that still has that digest was not edited by staff and follows the files. A row that staff edited,
or that the files do not have, stays unchanged.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Collection
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.db import transaction

from insights.definition import CatalogueFile
from insights.definition_versions import format_definition, save_type
from insights.models import Category, InsightType
from insights.text_diffs import format_diff
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
    """Ids of the loaded rows. `kept` rows were edited by staff and differ from the files.

    `diffs` has the unified diff from the row to the files for each row that was updated, kept or overwritten.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    overwritten: list[str] = field(default_factory=list)
    diffs: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        counts = {"added": self.added, "updated": self.updated, "unchanged": self.unchanged, "kept": self.kept}
        if self.overwritten:
            counts["overwritten"] = self.overwritten
        return ", ".join(f"{len(ids)} {word}" for word, ids in counts.items())


@transaction.atomic
def load(directory: Path = DIRECTORY, *, overwrite: Collection[str] = (), dry_run: bool = False) -> LoadResult:
    """Write the categories and types of the files to the database, and return what was written.

    Rows that staff edited are kept, except those of `overwrite`. With `dry_run`, nothing is written. Raise InvalidData
    with the locations of the errors of all files.
    """
    files = read_files(directory)
    known = {values["id"] for category, types in files for values in (category, *types)}
    if unknown := sorted(set(overwrite) - known):
        raise InvalidData([f"{unknown[0]!r} is not in the files: only what they have can be overwritten"])
    result = LoadResult()
    for category, types in files:
        _load_row(Category(**category), _CATEGORY_FIELDS, result, overwrite=overwrite)
        for order, values in enumerate(types, start=1):
            insight_type = InsightType(category_id=category["id"], display_order=order * 10, **values)
            _load_row(insight_type, _TYPE_FIELDS, result, overwrite=overwrite)
    if dry_run:
        transaction.set_rollback(True)
    return result


def find_unloaded() -> list[str]:
    """Return the ids of categories and types that the files of this release have and the database lacks.

    Also of those that differ from the files although staff did not edit them. Reads only.
    """
    unloaded = []
    for model, fields in ((Category, _CATEGORY_FIELDS), (InsightType, _TYPE_FIELDS)):
        rows = {row.pk: row for row in model._default_manager.all()}
        for pk, digest in read_digests()[model.__name__].items():
            row = rows.get(pk)
            current = _compute_digest(row, fields) if row is not None else ""
            if row is None or (current != digest and current == row.loaded_digest):
                unloaded.append(pk)
    return unloaded


@cache
def read_digests() -> dict[str, dict[str, str]]:
    """Return the digest of each category and type of the files, which are those of this process's release."""
    digests: dict[str, dict[str, str]] = {"Category": {}, "InsightType": {}}
    for category, types in read_files():
        digests["Category"][category["id"]] = _compute_digest(Category(**category), _CATEGORY_FIELDS)
        for values in types:
            row = InsightType(category_id=category["id"], **values)
            digests["InsightType"][values["id"]] = _compute_digest(row, _TYPE_FIELDS)
    return digests


def is_edited(insight_type: InsightType) -> bool:
    """Return whether staff edited the type since it was loaded, or added it."""
    return insight_type.loaded_digest != _compute_digest(insight_type, _TYPE_FIELDS)


def find_definition(type_id: str) -> Any:
    """Return the definition that the files of this release have for a type, or None if they have none."""
    for _, types in read_files():
        for values in types:
            if values["id"] == type_id:
                return values["definition"]
    return None


def read_files(directory: Path = DIRECTORY) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
    """Return what `read_file` returns for each file. Raise InvalidData with the errors of all files."""
    files: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    errors: list[str] = []
    file_of: dict[str, str] = {}
    for path in sorted(directory.glob("*.toml")):
        try:
            category, types = read_file(path)
        except InvalidData as error:
            errors += error.errors
            continue
        names = [("category: id", category["id"])]
        names += [(f"type {number}: name", values["id"]) for number, values in enumerate(types, start=1)]
        for location, name in names:
            if name in file_of:
                errors.append(f"{path.name}: {location}: {name!r} is used in {file_of[name]} already")
            file_of[name] = path.name
        files.append((category, types))
    if errors:
        raise InvalidData(errors)
    return files


def read_file(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return a file's category and types, validated, as fields of their models. Raise InvalidData."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise InvalidData([f"{path.name}: {error}"]) from error
    except UnicodeDecodeError as error:
        raise InvalidData([f"{path.name}: byte {error.start + 1}: is not UTF-8"]) from error
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


def _load_row(
    row: Category | InsightType, fields: tuple[str, ...], result: LoadResult, *, overwrite: Collection[str]
) -> None:
    """Create or update one row. One that staff edited is kept, or overwritten if `overwrite` has its id."""
    digest = _compute_digest(row, fields)
    existing = type(row)._default_manager.select_for_update().filter(pk=row.pk).first()
    if existing is None:
        result.added.append(row.pk)
    elif digest == _compute_digest(existing, fields):
        # Also if staff made the same edit as the files.
        result.unchanged.append(row.pk)
        return
    else:
        result.diffs[row.pk] = format_diff(
            _format_row(existing, fields), _format_row(row, fields), old_name="database", new_name="catalogue"
        )
        edited = _compute_digest(existing, fields) != existing.loaded_digest
        if edited and row.pk not in overwrite:
            result.kept.append(row.pk)
            return
        (result.overwritten if edited else result.updated).append(row.pk)
        for name in fields:
            setattr(existing, name, getattr(row, name))
        row = existing
    row.loaded_digest = digest
    if isinstance(row, InsightType):
        reason = "Edits of staff overwritten by the files" if row.pk in result.overwritten else "Loaded from the files"
        save_type(row, saved_by="catalogue", reason=reason)
    else:
        row.save()


def _format_row(row: Category | InsightType, fields: tuple[str, ...]) -> str:
    return format_definition({name: getattr(row, name) for name in fields})


def _compute_digest(row: Category | InsightType, fields: tuple[str, ...]) -> str:
    values = {name: getattr(row, name) for name in fields if name not in _ADDED_FIELDS or getattr(row, name)}
    return hashlib.sha256(json.dumps(values, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
