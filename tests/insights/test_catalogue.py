"""What the catalogue contains and how it is loaded. Rows that staff edited stay unchanged."""

from __future__ import annotations

import json
import re
from functools import partial
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from insights import catalogue
from insights.definition import Definition
from insights.definition_versions import save_type
from insights.models import Category, InsightType, InsightTypeVersion
from insights.scales import SIGNAL_KINDS
from insights.validation import InvalidData
from tests.insights.briefs import read_definitions

SECTIONS = {
    "communication_basics": [
        "initiation_balance", "response_patterns", "message_contribution", "engagement_indicators",
        "communication_strengths",
    ],
    "emotional_intimacy": [
        "vulnerability_expression", "emotional_support_patterns", "affection_expression", "emotional_checkins",
        "conflict_and_repair", "intimacy_strengths",
    ],
    "love_language": [
        "primary_languages", "secondary_languages", "appreciation", "recognition", "compatibility",
        "missing_languages", "beautiful_moments",
    ],
    "conflict_resolution": [
        "conflict_presence", "conflict_triggers", "individual_styles", "stress_communication", "repair_recovery",
        "positive_behaviors", "destructive_patterns", "stress_support",
    ],
    "future_planning": [
        "frequency", "categories", "alignment", "planning_styles", "timelines", "enthusiasm", "shared_dreams",
        "missing_conversations",
    ],
    "playfulness_romance": [
        "overall_playfulness", "humor_styles", "inside_jokes", "flirtation", "teasing_banter", "spontaneity",
        "emoji_usage", "fun_activities", "mood_lifting", "romance_maintenance", "playfulness_gaps", "best_moments",
    ],
    "friendship_trust_loyalty": [
        "reliability_patterns", "showing_up", "promise_keeping", "confidentiality", "consistency", "loyalty_signals",
        "trust_gaps",
    ],
    "friendship_support_dynamics": [
        "support_presence", "support_styles", "reciprocity", "emotional_availability", "checking_in",
        "hard_times_moments", "friendship_strengths", "growth_areas",
    ],
    "friendship_vitality": [
        "energy_level", "humor_banter", "inside_references", "shared_activities", "initiation_balance",
        "conversation_depth", "enthusiasm", "best_moments", "vitality_gaps",
    ],
    "family_dynamics": [
        "visible_roles", "decision_making", "communication_hierarchy", "expectation_patterns", "autonomy_space",
        "family_strengths", "patterns_to_reflect",
    ],
    "family_emotional_climate": [
        "overall_warmth", "affection_expression", "emotional_openness", "vulnerability_moments", "warmth_appreciation",
        "emotional_avoidance", "positive_emotional_moments", "growth_opportunities",
    ],
    "family_conflict_patterns": [
        "conflict_presence", "family_specific_patterns", "individual_styles", "tension_topics", "conflict_resolution",
        "positive_conflict_behaviors", "patterns_to_address",
    ],
    "workplace_communication": [
        "overall_quality", "clarity_directness", "tone_professionalism", "responsiveness", "information_flow",
        "conciseness", "communication_strengths", "communication_gaps",
    ],
    "workplace_collaboration": [
        "task_ownership", "follow_through", "decision_making", "blocker_communication", "workload_balance",
        "coordination_quality", "collaboration_strengths", "accountability_gaps",
    ],
    "workplace_relationship_health": [
        "overall_quality", "mutual_respect", "psychological_safety", "power_dynamics", "positive_reinforcement",
        "stress_signals", "interpersonal_rapport", "relationship_strengths", "areas_to_strengthen",
    ],
}  # fmt: skip
CATEGORY_PRICES = {"romantic": 400, "friendship": 250, "family": 250, "workplace": 250}
PRICES = {
    "communication_basics": 50,
    "emotional_intimacy": 100,
    "love_language": 100,
    "conflict_resolution": 100,
    "future_planning": 100,
    "playfulness_romance": 50,
    "friendship_trust_loyalty": 100,
    "friendship_support_dynamics": 100,
    "friendship_vitality": 100,
    "family_dynamics": 100,
    "family_emotional_climate": 100,
    "family_conflict_patterns": 100,
    "workplace_communication": 100,
    "workplace_collaboration": 100,
    "workplace_relationship_health": 100,
}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_of_a_type_is_in_the_catalogue(name: str) -> None:
    keys = [section.key for section in read_definitions()[name].sections]
    assert [key for key in SECTIONS[name] if key not in keys] == []


def test_the_catalogue_has_these_types_and_no_others() -> None:
    assert sorted(read_definitions()) == sorted(SECTIONS)


def test_families_teams_and_communication_basics_accept_groups() -> None:
    types = [values for path in catalogue.DIRECTORY.glob("*.toml") for values in catalogue.read_file(path)[1]]
    accept = {values["id"] for values in types if values["groups"]}
    assert accept == {"communication_basics", *(name for name in SECTIONS if name.startswith(("family", "workplace")))}


def test_queries_are_in_latin_and_devanagari_script() -> None:
    for name, definition in read_definitions().items():
        queries = " ".join(query for section in definition.sections for query in section.queries)
        assert any("\u0900" <= char <= "\u097f" for char in queries), name
        assert any(char.isascii() and char.isalpha() for char in queries), name


@pytest.mark.parametrize("name", SECTIONS)
def test_every_ordered_rating_has_a_sentence(name: str) -> None:
    for section in read_definitions()[name].sections:
        if section.signal and SIGNAL_KINDS[section.signal.kind].ordered:
            assert set(section.scale) <= set(section.sentences), section.key
        reading = section.reading
        if reading and reading.signal and SIGNAL_KINDS[reading.signal.kind].ordered:
            assert set(section.scale) <= {*section.sentences, *reading.sentences}, section.key


@pytest.mark.parametrize("name", SECTIONS)
def test_an_engine_that_reads_can_rate_every_section_with_a_scale(name: str) -> None:
    for section in read_definitions()[name].sections:
        if section.scale:
            measures_facts = section.signal is not None and not section.signal.counts_mentions
            assert (section.reading and section.reading.signal) or measures_facts or not section.reading, section.key


@pytest.mark.parametrize("name", [name for name in SECTIONS if name.startswith(("friendship", "family", "workplace"))])
def test_every_section_that_quotes_is_answered_by_reading(name: str) -> None:
    assert [section.key for section in read_definitions()[name].sections if not section.reading] == []


READING = {
    "kinds": ["promise_kept", "promise_broken"],
    "group": [
        {"key": "kept", "title": "Kept", "kinds": ["promise_kept"]},
        {"key": "broken", "title": "Broken", "kinds": ["promise_broken"]},
    ],
    "signal": {"kind": "share", "over": "kept", "under": "broken", "cuts": [0.7]},
}


def make_definition(**keys: Any) -> dict[str, Any]:
    section = {
        "key": "promises",
        "title": "Promises",
        "question": "Are they kept?",
        "scale": ["kept", "broken"],
        **keys,
    }
    overall = {"scale": ["good", "bad"], "cuts": [5], "rubric": {"0-4": "Bad.", "5-10": "Good."}}
    return {"section": [section], "overall": overall}


def test_a_section_can_be_rated_by_reading_only() -> None:
    section = Definition.parse(make_definition(reading=READING)).section("promises")
    assert section.needs_reading
    assert section.signal is None


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({}, "signal: a section with a scale needs one, for words or in reading"),
        ({"reading": {"kinds": ["promise_kept"]}}, "signal: a section with a scale needs one, for words or in reading"),
        ({"scale": [], "reading": READING}, "scale: a section with a signal needs one"),
        (
            {"reading": {**READING, "group": []}},
            "reading: signal: kind: share compares groups, and the section has none",
        ),
        (
            {"terms": ["i promise"], "counted": "promises", "signal": READING["signal"], "reading": READING},
            "signal: kind: share measures episodes",
        ),
        ({"reading": {**READING, "says": {"fine": "Fine."}}}, "reading: says: fine is not a member of the scale"),
        ({"reading": {**READING, "kinds": ["promises"]}}, "reading: kinds: 'promises' is none of"),
    ],
)
def test_a_section_without_a_fitting_signal_is_rejected_with_its_location(keys: dict[str, Any], error: str) -> None:
    with pytest.raises(ValueError, match=re.escape(f"definition: section 1 (promises): {error}")):
        Definition.parse(make_definition(**keys))


@pytest.mark.django_db
def test_a_migrate_loads_the_catalogue() -> None:
    assert {category.pk: category.price for category in Category.objects.all()} == CATEGORY_PRICES
    assert {insight_type.id: insight_type.price for insight_type in InsightType.objects.all()} == PRICES


@pytest.mark.django_db
def test_loading_again_changes_nothing() -> None:
    versions = list(InsightTypeVersion.objects.order_by("pk").values_list("pk", "version"))
    result = catalogue.load()
    assert (result.added, result.updated, result.kept) == ([], [], [])
    assert list(InsightTypeVersion.objects.order_by("pk").values_list("pk", "version")) == versions
    assert [version for _, version in versions] == [1] * len(PRICES)


def test_a_row_that_staff_edited_stays_unchanged(db: None, changed: Path) -> None:
    InsightType.objects.filter(pk="love_language").update(price=75)
    result = catalogue.load(changed)
    assert result.kept == ["love_language"]
    assert InsightType.objects.get(pk="love_language").price == 75


def test_a_row_that_staff_did_not_edit_follows_the_files(db: None, changed: Path) -> None:
    result = catalogue.load(changed)
    love = InsightType.objects.get(pk="love_language")
    assert result.updated == ["love_language"]
    assert love.definition["overall"]["cuts"] == [9, 4]
    assert (love.version, love.versions.count()) == (2, 2)


@pytest.mark.django_db
def test_an_edited_definition_creates_a_version_and_keeps_the_old_one() -> None:
    love = InsightType.objects.get(pk="love_language")
    before = love.definition["overall"]["cuts"]
    love.definition["overall"]["cuts"] = [9, 2]
    save_type(love, saved_by="user 1", reason="test")
    first, second = love.versions.order_by("version")
    assert (first.definition["overall"]["cuts"], second.definition["overall"]["cuts"]) == (before, [9, 2])
    assert (first.version, second.version, InsightType.objects.get(pk=love.pk).version) == (1, 2, 2)


@pytest.mark.django_db
def test_a_new_price_creates_no_version() -> None:
    love = InsightType.objects.get(pk="love_language")
    love.price = 120
    save_type(love, saved_by="user 1", reason="test")
    assert (love.version, love.versions.count()) == (1, 1)


@pytest.mark.django_db
def test_an_invalid_definition_is_not_saved() -> None:
    love = InsightType.objects.get(pk="love_language")
    love.definition["section"][0]["scale"] = ["Very Good", "bad"]
    with pytest.raises(ValueError, match=r"section 1 \(primary_languages\): scale: 'Very Good' is not in lower"):
        save_type(love, saved_by="user 1", reason="test")
    assert love.versions.count() == 1


def run_command(*arguments: str) -> str:
    out = StringIO()
    call_command("load_catalogue", *arguments, stdout=out)
    return out.getvalue()


@pytest.mark.django_db
def test_the_command_shows_what_it_kept_and_how_the_files_differ() -> None:
    InsightType.objects.filter(pk="love_language").update(price=75)
    output = run_command()
    assert "0 added, 0 updated, 18 unchanged, 1 kept" in output
    assert "love_language was edited in the admin and stays unchanged" in output
    assert '-  "price": 75,' in output
    assert '+  "price": 100,' in output
    assert InsightType.objects.get(pk="love_language").price == 75


@pytest.mark.django_db
def test_the_command_overwrites_only_the_named_rows() -> None:
    InsightType.objects.filter(pk__in=["love_language", "future_planning"]).update(price=75)
    Category.objects.filter(pk="family").update(price=300)
    output = run_command("--overwrite", "love_language", "family")
    assert "1 kept, 2 overwritten" in output
    assert '-  "price": 300' in output
    assert dict(InsightType.objects.filter(pk__in=["love_language", "future_planning"]).values_list("pk", "price")) == {
        "love_language": 100,
        "future_planning": 75,
    }
    assert Category.objects.get(pk="family").price == 250
    assert "0 updated, 18 unchanged, 1 kept." in run_command()


@pytest.mark.django_db
def test_a_dry_run_shows_the_same_and_writes_nothing() -> None:
    InsightType.objects.filter(pk="love_language").update(price=75)
    output = run_command("--dry-run", "--overwrite", "love_language")
    assert "1 overwritten. Nothing was written." in output
    assert '+  "price": 100,' in output
    assert InsightType.objects.get(pk="love_language").price == 75


@pytest.mark.django_db
def test_the_result_as_json_has_the_ids_and_the_diffs() -> None:
    InsightType.objects.filter(pk="love_language").update(price=75)
    result = json.loads(run_command("--dry-run", "--json"))
    assert (result["kept"], result["level"], result["dry_run"]) == (["love_language"], "fine", True)
    assert '+  "price": 100,' in result["diffs"]["love_language"]


@pytest.mark.django_db
def test_only_rows_of_the_files_can_be_overwritten() -> None:
    with pytest.raises(CommandError, match="'romance' is not in the files"):
        run_command("--overwrite", "romance")


def test_the_errors_of_all_files_are_reported_with_file_location_and_problem(
    db: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (catalogue.DIRECTORY / "romantic.toml").read_text(encoding="utf-8")
    (tmp_path / "copied.toml").write_text(text, encoding="utf-8")
    (tmp_path / "romantic.toml").write_text(text.replace("price = 50", 'price = "50"', 1), encoding="utf-8")
    (tmp_path / "same.toml").write_text(text.replace('id = "romantic"', 'id = "other"', 1), encoding="utf-8")
    (tmp_path / "syntax.toml").write_text("[category]\nid = a", encoding="utf-8")
    (tmp_path / "western.toml").write_bytes('[category]\ntitle = "Für uns"'.encode("latin-1"))
    with pytest.raises(InvalidData) as raised:
        catalogue.load(tmp_path)
    errors = raised.value.errors
    assert errors[0] == "romantic.toml: type 1 (communication_basics): price: '50' must be a whole number"
    assert errors[1] == "same.toml: type 1: name: 'communication_basics' is used in copied.toml already"
    assert [error.split(":")[0] for error in errors[2:-2]] == ["same.toml"] * 5
    assert errors[-2].startswith("syntax.toml: ")
    assert "line 2" in errors[-2]
    assert errors[-1] == "western.toml: byte 22: is not UTF-8"
    monkeypatch.setattr(catalogue, "load", partial(catalogue.load, tmp_path))
    with pytest.raises(CommandError, match=re.escape(errors[-1])):
        run_command()


def test_an_invalid_file_is_rejected_with_the_location_of_the_error(db: None, tmp_path: Path) -> None:
    text = (catalogue.DIRECTORY / "romantic.toml").read_text(encoding="utf-8")
    (tmp_path / "romantic.toml").write_text(text.replace('kind = "match"', 'kind = "guess"'), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"romantic.toml: type 3 \(love_language\): section 6 \(compatibility\): signal: kind: 'guess'"
    ):
        catalogue.load(tmp_path)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """Return a copy of the catalogue in which one type is changed."""
    text = (catalogue.DIRECTORY / "romantic.toml").read_text(encoding="utf-8")
    assert text.count("cuts = [7, 4]") == 1
    (tmp_path / "romantic.toml").write_text(text.replace("cuts = [7, 4]", "cuts = [9, 4]"), encoding="utf-8")
    return tmp_path
