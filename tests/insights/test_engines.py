"""What every registered engine declares, and what language models are asked for."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import jsonschema
import pytest

from insights import document
from insights.engines import ENGINES, get_engine
from insights.engines.answers import answer_schema, parse_answer
from insights.engines.base import UnusableAnswer
from tests.insights.briefs import PROVENANCE, get_definition, make_brief
from tests.insights.test_local_engine import TYPES, WARM

#: Gemini rejects a schema whose enums are too long in all; this is far below every limit that was observed.
MAX_ENUM_CHARACTERS = 4_000


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine_declares_its_name_model_and_languages(name: str) -> None:
    module, _, class_name = ENGINES[name].rpartition(".")
    engine = getattr(import_module(module), class_name)()
    assert engine.name == name
    assert isinstance(engine.model, str)
    assert isinstance(engine.prompt_version, str)
    assert engine.languages[0]
    assert engine.method in ("counted", "read")
    assert engine.chat_languages is None or engine.chat_languages
    assert callable(engine.write)


def test_the_engine_of_a_process_is_the_one_of_the_setting(settings: Any) -> None:
    assert get_engine().name == settings.INSIGHT_ENGINE
    assert get_engine() is get_engine()


def test_an_unknown_engine_is_rejected_at_startup() -> None:
    result = subprocess.run(
        [sys.executable, "-c", "import relivchats.settings"],
        env={"INSIGHT_ENGINE": "crystal-ball"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    for name in ENGINES:
        assert name in result.stderr


def test_the_web_process_does_not_load_pydantic_at_startup() -> None:
    """Its models take 0.35 s to import, and only the form of a definition and the API description need them."""
    source = (
        "import sys, django; django.setup(); from django.urls import get_resolver; get_resolver().url_patterns;"
        " from insights import engines; engines.get_engine(); print('pydantic' in sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", source],
        env={"DJANGO_SETTINGS_MODULE": "relivchats.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.strip() == "False"


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schema and every schema within it."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts_of(value)


@pytest.mark.parametrize("name", TYPES)
def test_the_schema_of_answers_stays_within_the_limits_of_structured_output(name: str) -> None:
    schema = answer_schema(get_definition(name))
    jsonschema.Draft202012Validator.check_schema(schema)
    enum_characters = 0
    for part in parts_of(schema):
        assert not part.keys() & {"$ref", "$defs", "maxItems", "minItems", "minimum", "maximum", "maxLength", "default"}
        enum_characters += sum(map(len, part.get("enum", [])))
        if part.get("type") == "object":
            assert sorted(part["required"]) == sorted(part["properties"])
            assert part["additionalProperties"] is False
    assert enum_characters < MAX_ENUM_CHARACTERS


def make_answer(name: str) -> dict[str, Any]:
    """Return a valid answer about WARM that cites its first two messages in every section."""
    sections = {}
    for section in get_definition(name).sections:
        answer: dict[str, Any] = {"finding": "They write to each other."}
        if section.scale:
            answer["rating"] = section.scale[0]
        if section.scale and section.per_person:
            answer["people"] = [{"person": 0, "rating": section.scale[-1], "note": "Less."}]
        if section.evidence.max:
            answer["evidence"] = [{"context": "A morning", "numbers": [1, 2]}]
        sections[section.key] = answer
    recommendation = {"title": "Go on", "people": [0, 1], "suggestion": "Do.", "why": "It helps.", "example": "Hello!"}
    return {"score": 8, "summary": "Warm.", "recommendations": [recommendation], "sections": sections}


@pytest.mark.parametrize("name", TYPES)
def test_an_answer_that_follows_the_schema_becomes_a_document(name: str) -> None:
    definition = get_definition(name)
    answer = make_answer(name)
    jsonschema.validate(answer, answer_schema(definition))
    draft = parse_answer(json.dumps(answer), definition)
    built = document.build_document(brief=make_brief(WARM, definition=definition), draft=draft, provenance=PROVENANCE)
    assert built["overall"]["score"] == 8
    for entry, section in zip(built["sections"], definition.sections, strict=True):
        assert entry["rating"] == (section.scale[0] if section.scale else None)


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.pop("summary"),
        lambda answer: answer.update(score="8"),
        lambda answer: answer.update(mood="good"),
        lambda answer: answer["sections"].pop("compatibility"),
        lambda answer: answer["sections"]["compatibility"].update(rating="perfect"),
        lambda answer: answer["sections"]["appreciation"]["evidence"][0].update(numbers=["1"]),
    ],
)
def test_an_answer_that_does_not_follow_the_schema_is_unusable(change: Any) -> None:
    answer = make_answer("love_language")
    change(answer)
    with pytest.raises(UnusableAnswer) as raised:
        parse_answer(json.dumps(answer), get_definition("love_language"))
    assert raised.value.code == "malformed_answer"


@pytest.mark.parametrize("text", ["", "{", "null", '"a secret of the chat"'])
def test_the_error_about_an_answer_contains_nothing_of_it(text: str) -> None:
    with pytest.raises(UnusableAnswer) as raised:
        parse_answer(text, get_definition("love_language"))
    assert raised.value.__cause__ is None
    assert str(raised.value) == "malformed_answer"
