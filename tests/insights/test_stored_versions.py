"""Rows that an earlier version stored stay readable: tests/data/insights_v1.json was written by release 0.1."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from insights import document_models
from insights.definition import Definition
from tests.insights.briefs import get_definition

STORED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "insights_v1.json").read_text())


def _reword(stored: dict[str, Any]) -> dict[str, Any]:
    """Return a stored definition with the sentence whose wording the catalogue has changed since."""
    text = json.dumps(stored).replace("Nearly all five languages", "At least four of the five languages")
    reworded: dict[str, Any] = json.loads(text)
    return reworded


@pytest.mark.parametrize("name", STORED["definitions"])
def test_a_stored_definition_means_what_the_catalogue_means(name: str) -> None:
    # Keys that are younger than the stored rows: without them nothing is read, as before.
    later = {"sections": {"__all__": {"reading", "withheld_for"}}}
    stored = Definition.parse(_reword(STORED["definitions"][name]))
    assert stored.model_dump(exclude=later) == get_definition(name).model_dump(exclude=later)
    assert all(section.reading is None for section in stored.sections)


@pytest.mark.parametrize("name", STORED["documents"])
def test_a_stored_document_is_valid(name: str) -> None:
    stored = STORED["documents"][name]
    definition = Definition.parse(STORED["definitions"][name.partition("/")[0]])
    dumped = document_models.validate(stored, definition).model_dump(mode="json", by_alias=True, exclude_unset=True)
    assert dumped == stored
