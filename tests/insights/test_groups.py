"""Groups of up to fifty people: figures of those who wrote most, and of the others together."""

from __future__ import annotations

from collections import Counter

import pytest

from chats.pseudonyms import Pseudonyms
from insights import briefs, document
from insights.engines.answers import reading_schema, writing_schema
from insights.engines.local.engine import LocalInsightEngine
from insights.figures import MAX_PEOPLE
from insights.prompting import render_insight
from insights.rating import rate_section
from insights.scales import NOT_ENOUGH_DATA
from tests.insights.briefs import PROVENANCE, Line, get_definition, make_brief, read_definitions
from tests.insights.test_model_engine import make_read_brief

NAMES = tuple(f"{first} {last}" for first in ("Asha", "Ravi", "Meena", "Imran", "Noor") for last in (
    "Rao", "Iyer", "Khan", "Gill", "Sen", "Das", "Bose", "Nair", "Jain", "Shah",
))  # fmt: skip
GROUP_TYPES = [name for name in read_definitions() if name.startswith(("family", "workplace", "communication"))]


def make_lines() -> list[Line]:
    """Return a chat in which the first of fifty people write most, and each at least four messages."""
    texts = ["thank you, well done", "i'll take this, i'm on it", "please check", "love you all", "have you eaten"]
    turns = [person for person in range(len(NAMES)) for _ in range(4 + max(0, 12 - person) * 3)]
    return [Line(person, texts[number % len(texts)]) for number, person in enumerate(turns)]


@pytest.mark.parametrize("name", GROUP_TYPES)
def test_an_insight_of_fifty_people_has_figures_of_those_who_wrote_most_and_of_the_others(name: str) -> None:
    brief = make_brief(make_lines(), definition=get_definition(name), people=NAMES)
    finished = document.build_document(brief=brief, draft=LocalInsightEngine().write(brief), provenance=PROVENANCE)
    for section in finished["sections"]:
        assert len(section["people"]) <= MAX_PEOPLE
        by_label = Counter(fact["label"] for fact in section["facts"] if fact["person"] is not None)
        assert max(by_label.values(), default=0) <= MAX_PEOPLE
    assert all(len(advice["for"]) <= MAX_PEOPLE for advice in finished["recommendations"])


def test_the_figures_of_the_others_add_up_to_all() -> None:
    lines = make_lines()
    brief = make_brief(lines, definition=get_definition("communication_basics"), people=NAMES)
    entry = next(entry for entry in brief.sections if entry.section.key == "message_contribution")
    facts = {(fact.name, fact.person): fact for fact in entry.facts}
    own = sum(fact.value for (name, person), fact in facts.items() if name == "messages" and person is not None)
    assert own + facts["others.messages", None].value == len(lines) == facts["messages", None].value
    assert facts["others.messages", None].label == "Messages, 42 others"
    # The averages of several people have no sum.
    assert ("others.words_per_message", None) not in facts


def test_few_people_have_no_others() -> None:
    lines = [line for line in make_lines() if line.person < MAX_PEOPLE]
    brief = make_brief(lines, definition=get_definition("family_dynamics"), people=NAMES[:MAX_PEOPLE])
    assert not [fact for entry in brief.sections for fact in entry.facts if fact.name.startswith("others.")]


def test_episodes_of_everybody_count_for_the_messages_of_everybody() -> None:
    """Otherwise a group of fifty would seem warm because only the messages of eight are counted."""
    conversations = [
        ("praise", [(person, "You did that alone in one night, I saw the light.")]) for person in range(50)
    ]
    brief = make_read_brief("family_emotional_climate", conversations, people=NAMES)
    entry = next(entry for entry in brief.sections if entry.section.key == "overall_warmth")
    assert entry.total == 50
    assert sum(brief.message_counts) == 150
    rating = rate_section(brief, entry)
    assert rating.rating == "very_warm"
    diluted = briefs.count_episodes(brief, brief.reading.episodes[:3] if brief.reading else ())
    few = next(entry for entry in diluted.sections if entry.section.key == "overall_warmth")
    assert rate_section(diluted, few).rating not in ("cool", NOT_ENOUGH_DATA)


def test_counting_episodes_again_replaces_the_figures_of_the_others() -> None:
    conversations = [
        ("praise", [(person, "You did that alone in one night, I saw the light.")]) for person in range(50)
    ]
    brief = make_read_brief("workplace_relationship_health", conversations, people=NAMES)
    again = briefs.count_episodes(brief, brief.reading.episodes if brief.reading else ())
    assert [entry.facts for entry in again.sections] == [entry.facts for entry in brief.sections]


@pytest.mark.parametrize("name", GROUP_TYPES)
def test_the_prompt_and_the_schemas_name_fifty_people_within_limits(name: str) -> None:
    conversations = [("decision", [(person, "Then we take the blue one, I have signed.")]) for person in range(50)]
    brief = make_read_brief(name, conversations, people=NAMES)
    ratings = {entry.section.key: rate_section(brief, entry) for entry in brief.sections}
    prompt = render_insight(brief, ratings, pseudonyms=Pseudonyms(NAMES))
    assert "P50" in prompt.content
    assert not [person for person in NAMES if person in prompt.content]
    assert "P31" not in str(writing_schema(get_definition(name), len(NAMES)))
    assert "P31" not in str(reading_schema(len(NAMES)))
