"""Definitions are validated, and a document follows the definition of its type."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import pytest

from insights import document, document_models, safety
from insights.definition import Definition
from insights.engines.base import (
    Brief,
    CitedExchange,
    Draft,
    PersonDraft,
    RecommendationDraft,
    SectionDraft,
    UnusableAnswer,
)
from insights.scales import NOT_ENOUGH_DATA
from insights.translation import get_language
from insights.validation import InvalidData
from tests.insights.briefs import PROVENANCE, Line, make_brief

SECTION: dict[str, Any] = {
    "key": "warmth",
    "title": "Warmth",
    "question": "How warm is it?",
    "scale": ["warm", "cool"],
    "per_person": True,
    "queries": ["love you"],
    "terms": ["love"],
    "counted": "words of love",
    "signal": {"kind": "per_hundred", "cuts": [5]},
    "evidence": {"min": 1, "max": 2},
}
DEFINITION: dict[str, Any] = {
    "section": [SECTION, {**SECTION, "key": "tales", "scale": [], "signal": None, "evidence": {"min": 0, "max": 1}}],
    "overall": {"scale": ["good", "poor"], "cuts": [5], "rubric": {"0-4": "Poor.", "5-10": "Good."}},
}
DEFINITION["section"][1].pop("signal")
LINES = [Line(0, "I love you"), Line(1, "love you too"), Line(0, "good night")]


def change_definition(path: str, value: Any) -> dict[str, Any]:
    """Return the definition with one value changed or, if it is None, removed."""
    definition = copy.deepcopy(DEFINITION)
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    table: Any = definition
    for step in way:
        table = table[step]
    if value is None:
        del table[last]
    else:
        table[last] = value
    return definition


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("section.0.title", None, r"section 1 \(warmth\): title: is missing"),
        ("section.0.key", "Warm th", r"section 1 \(Warm th\): key: 'Warm th' is not in lower snake case"),
        ("section.0.scale", ["warm", "Cool"], r"section 1 \(warmth\): scale: 'Cool'"),
        ("section.0.scale", ["warm", NOT_ENOUGH_DATA], r"scale: must have at least two different members"),
        ("section.0.signal", None, r"section 1 \(warmth\): signal: a section with a scale needs one"),
        ("section.0.signal.kind", "guess", r"section 1 \(warmth\): signal: kind: 'guess' is none of"),
        ("section.0.signal.cuts", [5, 6], r"signal: cuts: a scale of 2 takes 1 cuts"),
        ("section.0.signal.cuts", ["5"], r"signal: cuts: '5' must be a number"),
        ("section.0.signal.colour", "red", r"signal: colour: is not known here"),
        ("section.0.facts", ["shoe_size"], r"section 1 \(warmth\): facts: 'shoe_size' is none of"),
        ("section.1.like", "coldness", r"section 2 \(tales\): like: 'coldness' is not a section of this type"),
        ("section.0.evidence", {"min": 3, "max": 2}, r"evidence: needs 0 <= min <= max"),
        ("section.0.terms", None, r"terms: the signal counts mentions"),
        ("section.0.says", {"hot": "Hot."}, r"says: hot is not a member of the scale"),
        ("section.1.key", "warmth", r"definition: section: warmth is used twice"),
        ("section.1.colour", "red", r"section 2 \(tales\): colour: is not known here"),
        ("section.1", "tale", r"section 2: 'tale' must be a table"),
        ("section", [], r"definition: section: needs at least 1"),
        ("overall.cuts", [5, 6], r"definition: overall: cuts"),
        ("overall.rubric", {}, r"definition: overall: rubric"),
    ],
)
def test_an_invalid_definition_is_rejected_with_the_location_of_the_error(path: str, value: Any, place: str) -> None:
    with pytest.raises(ValueError, match=place):
        Definition.parse(change_definition(path, value))


def test_all_errors_of_a_definition_are_reported_at_once() -> None:
    definition = change_definition("section.0.title", None)
    definition["section"][1]["weight"] = "heavy"
    with pytest.raises(InvalidData) as raised:
        Definition.parse(definition)
    assert raised.value.errors == (
        "definition: section 1 (warmth): title: is missing",
        "definition: section 2 (tales): weight: 'heavy' must be a number",
    )


@pytest.mark.parametrize(
    "nonsense", [None, 3, "text", [], {"section": 3}, {"section": [3]}, {"section": [{"key": [], "like": {}}]}]
)
def test_data_of_any_other_shape_is_rejected(nonsense: Any) -> None:
    with pytest.raises(ValueError, match="definition"):
        Definition.parse(nonsense)


def test_a_section_that_is_like_another_uses_its_words() -> None:
    twin = {"key": "coolness", "title": "Coolness", "question": "How cool?", "like": "warmth"}
    definition = Definition.parse({**DEFINITION, "section": [SECTION, twin]})
    assert definition.section("coolness").terms == definition.section("warmth").terms
    assert definition.section("coolness").scale == ()


def test_a_document_has_every_part_and_is_valid() -> None:
    built = build(make_draft())
    assert list(built) == [
        "schema_version", "overall", "sections", "recommendations", "sufficiency", "provenance", "language",
    ]  # fmt: skip
    warmth, tales = built["sections"]
    assert (warmth["key"], warmth["rating"], tales["rating"]) == ("warmth", "warm", None)
    assert warmth["people"] == [{"name": "Asha", "rating": "warm", "rating_label": "warm", "note": "Says it first."}]
    assert warmth["facts"][0] == {
        "label": "Words of love",
        "person": "Asha",
        "value": 1,
        "unit": "messages",
        "source": "counted",
    }
    assert warmth["evidence"] == [
        {
            "context": "An evening",
            "messages": [
                {"number": 1, "sender": "Asha", "sent_at": "2024-01-01T09:01:00", "text": "I love you"},
                {"number": 2, "sender": "Ravi", "sent_at": "2024-01-01T09:02:00", "text": "love you too"},
            ],
        }
    ]
    expected = {"citations": {"given": 2, "kept": 2, "dropped": 0}, "verification": None, "reading": None}
    assert built["provenance"] == {**PROVENANCE, **expected}
    assert built["sufficiency"]["messages_read"] == built["sufficiency"]["messages_total"] == 3


def test_the_overall_rating_follows_from_the_score() -> None:
    assert build(replace(make_draft(), score=7))["overall"]["rating"] == "good"
    assert build(replace(make_draft(), score=None))["overall"]["rating"] == NOT_ENOUGH_DATA


def test_recommendations_have_ids_made_of_title_and_number() -> None:
    again = RecommendationDraft(title="Say it: “now”!", people=(1,), suggestion="S", why="W", example="E")
    recommendations = build(replace(make_draft(), recommendations=(again, again)))["recommendations"]
    assert [entry["id"] for entry in recommendations] == ["say-it-now-1", "say-it-now-2"]
    assert recommendations[0]["for"] == ["Ravi"]


def test_a_section_with_too_little_evidence_is_not_rated() -> None:
    uncited = SectionDraft("warm", "They are warm.", (PersonDraft(0, "warm", "Warm."),))
    half = Draft(
        score=5,
        summary="",
        sections={"warmth": uncited, "colder": make_section((1, 2)), "tales": SectionDraft(None, "")},
        recommendations=(),
    )
    both = {**DEFINITION, "section": [SECTION, {**SECTION, "key": "colder"}, DEFINITION["section"][1]]}
    built = document.build_document(brief=brief_for(both), draft=half, provenance=PROVENANCE)
    warmth, colder, _ = built["sections"]
    assert (warmth["rating"], warmth["people"][0]["rating"], warmth["finding"]) == (
        NOT_ENOUGH_DATA,
        NOT_ENOUGH_DATA,
        document.TOO_LITTLE,
    )
    assert colder["rating"] == "warm"
    assert "Warmth" in built["sufficiency"]["limits"][-1]


@pytest.mark.parametrize(
    ("draft", "code"),
    [
        (lambda: replace(make_draft(), sections={}), "section_missing"),
        (lambda: replace_warmth(replace(make_section((1, 2)), rating="blazing")), "malformed_answer"),
        (
            lambda: replace_warmth(replace(make_section((1, 2)), people=(PersonDraft(0, "blazing", ""),))),
            "malformed_answer",
        ),
        (lambda: replace_warmth(replace(make_section((1, 2)), people=(PersonDraft(7, "warm", ""),))), "unknown_person"),
        (lambda: replace(make_draft(), score=11), "malformed_answer"),
        (lambda: replace_warmth(make_section((1, 900, 901))), "evidence_not_in_chat"),
        (lambda: replace_warmth(make_section()), "too_little_evidence"),
    ],
)
def test_an_invalid_draft_is_an_unusable_answer(draft: Any, code: str) -> None:
    with pytest.raises(UnusableAnswer) as raised:
        build(draft())
    assert raised.value.code == code


def test_signs_of_danger_remove_the_score_of_any_draft() -> None:
    danger = replace(brief_for(), concerns={"violence": 1})
    built = document.build_document(brief=danger, draft=make_draft(), provenance=PROVENANCE)
    assert (built["overall"]["score"], built["overall"]["rating"]) == (None, NOT_ENOUGH_DATA)
    assert built["overall"]["summary"].startswith(safety.write_notice(get_language("en")))


def test_a_quotation_in_a_finding_is_kept_only_if_its_section_cites_it() -> None:
    said = replace(make_section((1, 2)), finding='One says "I love you", the other "good night".')
    assert build(replace_warmth(said))["sections"][0]["finding"] == 'One says "I love you", the other […].'


def test_quotation_marks_within_a_name_are_no_quotation() -> None:
    name = 'Asha "Ashu" Rao'
    brief = replace(brief_for(), people=(name, *brief_for().people[1:]))
    section = SectionDraft(
        "warm",
        f"{name} loves.",
        people=(PersonDraft(0, "warm", f"{name} is first."),),
        evidence=(CitedExchange(f"Of {name}", (1,)), CitedExchange(f"To {name}", (2,))),
    )
    draft = replace(replace_warmth(section), summary=f"{name} is warm.")
    built = document.build_document(brief=brief, draft=draft, provenance=PROVENANCE)
    (written, _) = built["sections"]
    texts = [built["overall"]["summary"], written["finding"], written["people"][0]["note"]]
    texts += [exchange["context"] for exchange in written["evidence"]]
    assert texts == [f"{name} is warm.", f"{name} loves.", f"{name} is first.", f"Of {name}", f"To {name}"]


@pytest.mark.parametrize(
    ("path", "value", "place"),
    [
        ("overall.score", 11, "overall: score"),
        ("overall.rating", "poor", "overall: rating"),
        ("sections.0.rating", "blazing", r"sections 1 \(warmth\): rating"),
        ("sections.0.people.0.rating", "blazing", "people 1: rating"),
        ("sections.0.evidence", [], r"sections 1 \(warmth\): evidence: at least 1"),
        ("sections.1.key", "other", "document: sections"),
        ("sections.0.evidence.0.messages", [], "messages: needs at least 1"),
        ("provenance.citations.kept", 9, "citations"),
        ("sufficiency.limits", "none", "sufficiency: limits"),
        ("schema_version", 99, "schema_version"),
    ],
)
def test_an_invalid_document_is_rejected_with_the_location_of_the_error(path: str, value: Any, place: str) -> None:
    built = build(make_draft())
    *way, last = [int(step) if step.isdigit() else step for step in path.split(".")]
    table: Any = built
    for step in way:
        table = table[step]
    table[last] = value
    with pytest.raises(ValueError, match=place):
        document_models.validate(built, Definition.parse(DEFINITION))


def test_an_error_about_a_document_contains_nothing_of_the_chat() -> None:
    built = build(make_draft())
    built["sections"][0]["people"][0]["rating"] = built["overall"]["summary"] = 1234
    built["sections"][0]["evidence"][0]["messages"][0]["text"] = ["a secret"]
    with pytest.raises(InvalidData) as raised:
        document_models.validate(built, Definition.parse(DEFINITION))
    assert raised.value.errors == (
        "document: overall: summary: must be a text",
        "document: sections 1 (warmth): people 1: rating: must be a text",
        "document: sections 1 (warmth): evidence 1: messages 1: text: must be a text",
    )
    assert raised.value.__context__ is None


def make_section(*exchanges: tuple[int, ...]) -> SectionDraft:
    return SectionDraft(
        rating="warm",
        finding="Love is said.",
        people=(PersonDraft(0, "warm", "Says it first."),),
        evidence=tuple(CitedExchange("An evening", numbers) for numbers in exchanges),
    )


def make_draft() -> Draft:
    return Draft(
        score=8,
        summary="Warm.",
        sections={"warmth": make_section((2, 1)), "tales": SectionDraft(None, "A tale.")},
        recommendations=(),
    )


def replace_warmth(section: SectionDraft) -> Draft:
    return replace(make_draft(), sections={**make_draft().sections, "warmth": section})


def brief_for(definition: dict[str, Any] = DEFINITION) -> Brief:
    return make_brief(LINES, definition=Definition.parse(definition))


def build(draft: Draft) -> dict[str, Any]:
    return document.build_document(brief=brief_for(), draft=draft, provenance=PROVENANCE)
