"""The catalogue: what it holds, how it is loaded, and that staff's edits stay."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
from django.core.management import call_command

from insights import catalogue
from insights.definition import Definition
from insights.models import Category, InsightType, InsightTypeVersion
from insights.scales import SIGNALS

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
}  # fmt: skip
PRICES = {
    "communication_basics": 50,
    "emotional_intimacy": 100,
    "love_language": 100,
    "conflict_resolution": 100,
    "future_planning": 100,
    "playfulness_romance": 50,
}


def romantic() -> dict[str, Definition]:
    _, types = catalogue.read(catalogue.DIRECTORY / "romantic.toml")
    return {values["id"]: Definition.parse(values["definition"]) for values in types}


@pytest.mark.parametrize("name", SECTIONS)
def test_every_section_of_a_type_is_in_the_catalogue(name: str) -> None:
    keys = [section.key for section in romantic()[name].sections]
    assert [key for key in SECTIONS[name] if key not in keys] == []


def test_the_catalogue_has_these_types_and_no_others() -> None:
    assert list(romantic()) == list(SECTIONS)


def test_only_communication_basics_takes_groups() -> None:
    _, types = catalogue.read(catalogue.DIRECTORY / "romantic.toml")
    assert [values["id"] for values in types if values["groups"]] == ["communication_basics"]


def test_searches_are_in_english_hinglish_and_devanagari() -> None:
    for name, definition in romantic().items():
        queries = " ".join(query for section in definition.sections for query in section.queries)
        assert any("\u0900" <= char <= "\u097f" for char in queries), name
        assert any(char.isascii() and char.isalpha() for char in queries), name


def test_every_rated_section_has_words_for_its_ratings_or_tells_them_by_group() -> None:
    for definition in romantic().values():
        for section in definition.sections:
            if section.signal and SIGNALS[section.signal.kind].ordered:
                assert set(section.scale) <= set(section.says), section.key


@pytest.mark.django_db
def test_the_catalogue_is_there_after_a_migrate() -> None:
    assert Category.objects.get(pk="romantic").price == 400
    assert {insight_type.id: insight_type.price for insight_type in InsightType.objects.all()} == PRICES


@pytest.mark.django_db
def test_loading_again_changes_nothing() -> None:
    versions = list(InsightTypeVersion.objects.order_by("pk").values_list("pk", "version"))
    summary = catalogue.load()
    assert (summary.added, summary.updated, summary.kept) == ([], [], [])
    assert list(InsightTypeVersion.objects.order_by("pk").values_list("pk", "version")) == versions
    assert [version for _, version in versions] == [1] * len(PRICES)


def test_a_row_that_staff_edited_stays_as_it_is(db: None, changed: Path) -> None:
    InsightType.objects.filter(pk="love_language").update(price=75)
    summary = catalogue.load(changed)
    assert summary.kept == ["love_language"]
    assert InsightType.objects.get(pk="love_language").price == 75


def test_a_row_that_nobody_edited_follows_the_files(db: None, changed: Path) -> None:
    summary = catalogue.load(changed)
    love = InsightType.objects.get(pk="love_language")
    assert summary.updated == ["love_language"]
    assert love.definition["overall"]["cuts"] == [9, 4]
    assert (love.version, love.versions.count()) == (2, 2)


@pytest.mark.django_db
def test_an_edited_definition_becomes_a_new_version_and_the_old_one_stays() -> None:
    love = InsightType.objects.get(pk="love_language")
    before = love.definition["overall"]["cuts"]
    love.definition["overall"]["cuts"] = [9, 2]
    catalogue.save_type(love)
    first, second = love.versions.order_by("version")
    assert (first.definition["overall"]["cuts"], second.definition["overall"]["cuts"]) == (before, [9, 2])
    assert (first.version, second.version, InsightType.objects.get(pk=love.pk).version) == (1, 2, 2)


@pytest.mark.django_db
def test_a_new_price_alone_makes_no_new_version() -> None:
    love = InsightType.objects.get(pk="love_language")
    love.price = 120
    catalogue.save_type(love)
    assert (love.version, love.versions.count()) == (1, 1)


@pytest.mark.django_db
def test_a_faulty_definition_is_not_saved() -> None:
    love = InsightType.objects.get(pk="love_language")
    love.definition["section"][0]["scale"] = ["Very Good", "bad"]
    with pytest.raises(ValueError, match=r"section 1 \(primary_languages\): scale: 'Very Good'"):
        catalogue.save_type(love)
    assert love.versions.count() == 1


@pytest.mark.django_db
def test_the_command_says_what_it_did() -> None:
    InsightType.objects.filter(pk="love_language").update(price=75)
    out = StringIO()
    call_command("load_catalogue", stdout=out)
    assert "0 added, 0 updated, 6 unchanged, 1 kept" in out.getvalue()
    assert "love_language was edited in the admin" in out.getvalue()


def test_a_broken_file_is_refused_with_the_place(db: None, tmp_path: Path) -> None:
    text = (catalogue.DIRECTORY / "romantic.toml").read_text(encoding="utf-8")
    (tmp_path / "romantic.toml").write_text(text.replace('kind = "match"', 'kind = "guess"'), encoding="utf-8")
    with pytest.raises(
        ValueError, match=r"romantic.toml: type 3: .*section 6 \(compatibility\): signal: kind: 'guess'"
    ):
        catalogue.load(tmp_path)


@pytest.fixture
def changed(tmp_path: Path) -> Path:
    """The catalogue's files with one type changed."""
    text = (catalogue.DIRECTORY / "romantic.toml").read_text(encoding="utf-8")
    assert text.count("cuts = [7, 4]") == 1
    (tmp_path / "romantic.toml").write_text(text.replace("cuts = [7, 4]", "cuts = [9, 4]"), encoding="utf-8")
    return tmp_path
