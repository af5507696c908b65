"""The sentences of planted chats: enough of them, each once, and half of them without obvious words."""

from __future__ import annotations

from collections import Counter

import pytest

from chats.word_index import split_words
from insights import catalogue
from insights.definition import Definition
from insights.episodes import KINDS, Relationship, Tone
from tests.truth import material
from tests.truth.circles import CATEGORIES
from tests.truth.material import LANGUAGES, NEGATED


def read_definitions(relationship: Relationship) -> list[Definition]:
    """Return the definitions of the types of a relationship's category, from the file of the catalogue."""
    _, types = catalogue.read_file(catalogue.DIRECTORY / f"{CATEGORIES[relationship]}.toml")
    return [Definition.parse(values["definition"]) for values in types]


SCRIPTS = [script for language in LANGUAGES for script in material.load(language).scripts]


def test_there_is_enough_material_in_three_languages() -> None:
    assert sum(script.counts for script in SCRIPTS) >= 250
    assert sum(len(material.load(language).filler) for language in LANGUAGES) >= 600


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_kind_of_episode_is_planted_in_every_language(language: str) -> None:
    assert {script.kind for script in material.load(language).scripts if script.counts} == set(KINDS)


@pytest.mark.parametrize("relationship", CATEGORIES)
@pytest.mark.parametrize("language", ["english", "hinglish"])
def test_every_kind_that_a_category_reads_is_planted_between_its_people(
    relationship: Relationship, language: str
) -> None:
    asked = {
        kind
        for definition in read_definitions(relationship)
        for section in definition.sections
        for kind in (section.reading.kinds if section.reading else ())
    }
    scripts = [script for script in material.load(language).scripts if script.counts and relationship in script.suits]
    assert asked - {script.kind for script in scripts} == set()


def test_every_kind_is_also_planted_in_plain_words() -> None:
    plain = [script for script in SCRIPTS if script.counts and not script.obvious]
    assert {script.kind for script in plain} == set(KINDS)
    assert len(plain) * 2 >= sum(script.counts for script in SCRIPTS)


def test_distractors_have_every_tone_that_must_not_be_counted() -> None:
    tones = {script.tone for script in SCRIPTS if not script.counts}
    assert tones == {Tone.IRONIC, Tone.QUOTED, Tone.ABOUT_OTHERS, NEGATED}


@pytest.mark.parametrize("relationship", CATEGORIES)
@pytest.mark.parametrize(("language", "number"), [("english", 60), ("hinglish", 20), ("spanish", 7)])
def test_every_relationship_has_conversations(relationship: Relationship, language: str, number: int) -> None:
    scripts = [script for script in material.load(language).scripts if script.counts]
    assert sum(relationship in script.suits for script in scripts) >= number


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_repeated(language: str) -> None:
    source = material.load(language)
    texts = [material.normalize(text) for script in source.scripts for _, text in script.lines]
    texts += map(material.normalize, source.filler)
    # Answers of one word, such as "ok", occur in several conversations.
    assert [text for text, count in Counter(texts).items() if count > 1 and " " in text] == []


def test_plain_words_contain_no_phrase_that_the_sections_of_their_kind_list() -> None:
    phrases: dict[tuple[str, Relationship], set[tuple[str, ...]]] = {}
    for relationship in CATEGORIES:
        for definition in read_definitions(relationship):
            for section in definition.sections:
                for kind in section.reading.kinds if section.reading else ():
                    terms = {tuple(split_words(term)) for term in section.terms}
                    phrases.setdefault((kind, relationship), set()).update(terms)
    found = [
        (script.key, " ".join(phrase))
        for script in SCRIPTS
        if script.counts and not script.obvious
        for _, text in script.lines
        for relationship in script.suits
        for phrase in phrases.get((script.kind, relationship), ())
        if f" {' '.join(phrase)} " in f" {' '.join(split_words(text))} "
    ]
    assert found == []
