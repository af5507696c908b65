"""Rows that an earlier version stored stay readable: tests/data/insights_v1.json was written by release 0.1."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from insights import document, document_models
from insights.definition import Definition
from insights.engines.local.engine import LocalInsightEngine
from tests.insights.briefs import PEOPLE, PROVENANCE, Line, get_definition, make_brief
from tests.insights.test_local_engine import WARM

STORED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "data" / "insights_v1.json").read_text())
CHATS = {
    "warm": (PEOPLE, WARM),
    "danger": (PEOPLE, [*WARM, Line(0, "he hit me again yesterday")]),
    "group": (
        ("Asha", "Ravi", "Meera", "Kabir", "Silent"),
        [Line(number % 4, "good morning, how are you?", timedelta(hours=7)) for number in range(80)],
    ),
}


@pytest.mark.parametrize("name", STORED["definitions"])
def test_a_stored_definition_means_what_the_catalogue_means(name: str) -> None:
    assert Definition.parse(STORED["definitions"][name]) == get_definition(name)


@pytest.mark.parametrize("name", STORED["documents"])
def test_a_stored_document_is_valid(name: str) -> None:
    stored = STORED["documents"][name]
    definition = Definition.parse(STORED["definitions"][name.partition("/")[0]])
    dumped = document_models.validate(stored, definition).model_dump(mode="json", by_alias=True)
    assert dumped == stored


@pytest.mark.parametrize("name", STORED["documents"])
def test_the_same_chat_still_gives_the_same_document(name: str) -> None:
    type_name, _, chat = name.partition("/")
    people, lines = CHATS[chat]
    definition = Definition.parse(STORED["definitions"][type_name])
    brief = make_brief(lines, definition=definition, people=people)
    provenance = {**PROVENANCE, "engine": "local", "model": "rules-1"}
    built = document.build_document(brief=brief, draft=LocalInsightEngine().write(brief), provenance=provenance)
    assert built == STORED["documents"][name]
