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

from insights.claims import Verdict
from insights.engines import ENGINES, get_engine
from insights.engines.answers import (
    parse_verdicts,
    parse_writing,
    reading_schema,
    verification_schema,
    writing_schema,
)
from insights.engines.base import UnusableAnswer
from tests.insights.briefs import get_definition
from tests.insights.test_local_engine import TYPES

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


@pytest.mark.parametrize("engine", ["gemini", "openai"])
def test_an_engine_without_its_settings_starts_and_loads_no_sdk(engine: str) -> None:
    """The web process asks the engine for its languages. A missing key is reported; it stops nothing."""
    source = (
        "import sys, django; django.setup(); from insights import availability, engines;"
        " print(availability.configuration_fault(engines.get_engine()),"
        " [name for name in ('google.genai', 'httpx2') if name in sys.modules])"
    )
    environment = {"DJANGO_SETTINGS_MODULE": "relivchats.settings", "INSIGHT_ENGINE": engine}
    result = subprocess.run([sys.executable, "-c", source], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "not_configured []"


def parts_of(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield the schema and every schema within it."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from parts_of(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from parts_of(value)


@pytest.mark.parametrize("people", [2, 8, 30, 50, 200])
@pytest.mark.parametrize("name", ["reading", "verification", *TYPES])
def test_every_schema_stays_within_the_limits_of_structured_output(name: str, people: int) -> None:
    if name == "reading":
        schema = reading_schema(people)
    elif name == "verification":
        schema = verification_schema()
    else:
        schema = writing_schema(get_definition(name), people)
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
    """Return a valid answer about a chat of two, with a claim in every section."""
    claim = {"sentence": "They write.", "context": "A morning", "numbers": [1, 2], "person": "all"}
    quoting = [section.key for section in get_definition(name).sections if section.evidence.max]
    return {
        "can_judge": True,
        "sections": {key: {"can_judge": True, "claims": [dict(claim)]} for key in quoting},
    }


@pytest.mark.parametrize("name", TYPES)
def test_an_answer_that_follows_the_schema_is_parsed_completely(name: str) -> None:
    definition = get_definition(name)
    answer = make_answer(name)
    jsonschema.validate(answer, writing_schema(definition, 2))
    parsed = parse_writing(json.dumps(answer), definition, people_count=2)
    assert [claim.section for claim in parsed.claims] == list(answer["sections"])
    assert {(claim.numbers, claim.person) for claim in parsed.claims} == {((1, 2), None)}
    assert (parsed.dropped, parsed.declined, parsed.can_judge) == (0, frozenset(), True)


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer["sections"]["appreciation"]["claims"][0].update(person="P9"),
        lambda answer: answer["sections"]["appreciation"]["claims"][0].update(sentence=7),
        lambda answer: answer["sections"]["appreciation"]["claims"][0].update(rating="frequent"),
        lambda answer: answer["sections"].update(mood={"can_judge": True, "claims": []}),
        lambda answer: answer["sections"].update(appreciation=[]),
    ],
)
def test_an_invalid_entry_is_dropped_and_counted_and_the_others_stay(change: Any) -> None:
    answer = make_answer("love_language")
    change(answer)
    parsed = parse_writing(json.dumps(answer), get_definition("love_language"), people_count=2)
    assert parsed.dropped == 1
    assert parsed.claims


@pytest.mark.parametrize(
    "change",
    [
        lambda answer: answer.pop("sections"),
        lambda answer: answer.update(can_judge="yes"),
        lambda answer: answer.update(mood="good"),
        lambda answer: answer.update(sections=[]),
    ],
)
def test_an_answer_of_another_shape_is_unusable(change: Any) -> None:
    answer = make_answer("love_language")
    change(answer)
    with pytest.raises(UnusableAnswer) as raised:
        parse_writing(json.dumps(answer), get_definition("love_language"), people_count=2)
    assert raised.value.code == "malformed_answer"


@pytest.mark.parametrize(
    ("sentence", "kept"),
    [
        ("word " * 100, ""),
        ("He writes “I promise. " + "word " * 100, "He writes “I promise."),
        (f"They make up. {'word ' * 100}", "They make up."),
        ("They make up. " * 20 + "word " * 30, "They make up. " * 20),
        ("They make\nup at 4.50.", "They make up at 4.50."),
    ],
)
def test_a_long_text_is_cut_after_a_sentence_and_a_long_sentence_is_dropped(sentence: str, kept: str) -> None:
    answer = make_answer("love_language")
    claim = {"sentence": sentence, "context": "", "numbers": [1], "person": "all"}
    answer["sections"] = {next(iter(answer["sections"])): {"can_judge": True, "claims": [claim]}}
    parsed = parse_writing(json.dumps(answer), get_definition("love_language"), people_count=2)
    assert [claim.sentence for claim in parsed.claims] == [kept.strip()]


def test_of_two_verdicts_on_one_claim_the_stricter_one_holds() -> None:
    verdicts = [
        {"claim": 1, "shown": True, "right_person": True, "sincere": True},
        {"claim": 1, "shown": False, "right_person": True, "sincere": True},
        {"claim": 3, "shown": True, "right_person": True, "sincere": True},
        {"claim": "2", "shown": True, "right_person": True, "sincere": True},
    ]
    parsed = parse_verdicts(json.dumps({"verdicts": verdicts}), count=2)
    assert parsed == {0: Verdict(shown=False, right_person=True, sincere=True)}


@pytest.mark.parametrize("text", ["", "{", "null", '"a secret of the chat"', '{"sections": "a secret"}'])
def test_the_error_about_an_answer_contains_nothing_of_it(text: str) -> None:
    for parse in (
        lambda: parse_writing(text, get_definition("love_language"), people_count=2),
        lambda: parse_verdicts(text, count=1),
    ):
        with pytest.raises(UnusableAnswer) as raised:
            parse()
        assert raised.value.__cause__ is None
        assert str(raised.value) == "malformed_answer"
