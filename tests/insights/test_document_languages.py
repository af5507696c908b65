"""A document is in one language: no sentence, title or month of ours is in English, whatever wrote it."""

from __future__ import annotations

import calendar
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from insights import claims, document
from insights.claims import Claim
from insights.engines.base import Brief
from insights.engines.local.engine import LocalInsightEngine
from insights.translation import LANGUAGES, get_language, show_member
from tests.insights.briefs import PROVENANCE, Line, get_definition, make_brief
from tests.insights.document_texts import find_english, list_texts
from tests.insights.test_local_engine import COLD, LOPSIDED, MATES, PLANS, QUARREL, TYPES, WARM
from tests.insights.test_model_engine import CONFLICT, SUPPORT, make_read_brief
from tests.insights.test_timeline import entries_of, episode

TRANSLATED = sorted(LANGUAGES.keys() - {"en"})
CHOSEN = (WARM, COLD, LOPSIDED, QUARREL, PLANS, MATES)
EDGES = ([*WARM, Line(0, "he hit me again last night and I am scared he will kill me")], COLD[:3])
#: A claim as a model could write it, about messages in which somebody waits with the food.
CLAIMS = {
    "hi": "Asha घर पर इंतज़ार करती है, और खाना ठंडा हो जाता है।",
    "es": "Asha espera en casa y la comida se enfría.",
    "pt": "Asha espera em casa e a comida esfria.",
    "de": "Asha wartet zu Hause, und das Essen wird kalt.",
}
_MONTHS = calendar.month_name[1:]
_PLACEHOLDER = re.compile(r"\{\w+\}")
#: Parts of a sentence between placeholders that are too short to be English alone: "de", " und ".
_MIN_LETTERS = 9


def assert_is_in(language: str, written: dict[str, Any]) -> None:
    assert written["language"] == language
    assert find_english(list_texts(written), language) == []
    ratings = [
        written["overall"],
        *written["sections"],
        *(row for each in written["sections"] for row in each["people"]),
    ]
    for row in ratings:
        expected = None if row["rating"] is None else get_language(language).show_rating(row["rating"])
        assert row["rating_label"] == expected


def write_local(lines: Sequence[Line], name: str, language: str) -> dict[str, Any]:
    brief = make_brief(lines, definition=get_definition(name), language=language)
    return document.build_document(brief=brief, draft=LocalInsightEngine().write(brief), provenance=PROVENANCE)


#: Each type in each language, with the chats that it is written about: a different one in each language, and one that
#: speaks of danger or is very short. All chats in all languages would take ten times as long.
COUNTED = [
    pytest.param(
        name, language, (CHOSEN[(row + column) % len(CHOSEN)], EDGES[(row + column) % 2]), id=f"{name}-{language}"
    )
    for row, name in enumerate(TYPES)
    for column, language in enumerate(TRANSLATED)
]
#: Each type is written about what was read in one language. Together they have every kind of episode.
READ = [
    pytest.param(name, TRANSLATED[row % len(TRANSLATED)], id=f"{name}-{TRANSLATED[row % len(TRANSLATED)]}")
    for row, name in enumerate(TYPES)
]


@pytest.mark.parametrize(("name", "language", "chats"), COUNTED)
def test_a_counted_document_of_every_type_is_in_its_language(
    name: str, language: str, chats: Sequence[Sequence[Line]]
) -> None:
    for lines in chats:
        assert_is_in(language, write_local(lines, name, language))


@pytest.mark.parametrize(("name", "language"), READ)
def test_a_read_document_of_every_type_is_in_its_language(name: str, language: str) -> None:
    kinds = [kind for section in get_definition(name).sections if section.reading for kind in section.reading.kinds]
    found = [(kind, CONFLICT if position % 2 else SUPPORT) for position, kind in enumerate(dict.fromkeys(kinds))]
    much = make_read_brief(name, found, times=3, language=language)
    little = make_read_brief(name, [("none", SUPPORT)], language=language)
    assert much.reading is not None
    part_read = replace(much, messages_total=5_000, reading=replace(much.reading, messages_read=4_000))
    for each in (much, little, part_read):
        kept = claims.check_claims(each, make_claims(each, language))
        verified = claims.Verified((*kept, *claims.list_examples(each, kept)))
        draft = claims.build_draft(each, verified)
        assert_is_in(language, document.build_document(brief=each, draft=draft, provenance=PROVENANCE))


def make_claims(brief: Brief, language: str) -> list[Claim]:
    return [
        Claim(entry.section.key, CLAIMS[language], "", tuple(message.number for message in part.messages[:1]))
        for entry in brief.sections
        for part in entry.conversations
        if part.messages[0].text == CONFLICT[0][1]
    ]


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_claim_is_kept_in_the_language_that_was_requested_and_in_no_other(language: str) -> None:
    brief = make_read_brief("conflict_resolution", [("conflict", CONFLICT)], times=4, language=language)

    assert claims.check_claims(brief, make_claims(brief, language))
    for other in TRANSLATED:
        if other != language:
            assert claims.check_claims(brief, make_claims(brief, other)) == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_what_a_model_reads_is_no_text_of_a_document_in_another_language(language: str) -> None:
    brief = make_read_brief("conflict_resolution", [("conflict", CONFLICT)], times=4, language=language)
    examples = claims.list_examples(brief, [])

    assert examples
    assert not any("an evening" in claim.context for claim in examples)


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_timeline_is_in_its_language(language: str) -> None:
    listed = [episode(kind, day * 24) for day, kind in enumerate(LISTED)]
    entries = entries_of(*listed, wording=get_language(language))

    assert len(entries) >= len(LISTED) - 1
    for entry in entries:
        texts = [entry.title, entry.sentence, *(figure.label for figure in entry.figures)]
        assert find_english(texts, language) == []
        assert not any("{" in text for text in texts)


LISTED = (
    "conflict",
    "repair",
    "plan",
    "promise_kept",
    "affection",
    "gift",
    "support",
    "celebration",
    "memory",
    "dream",
)


#: Members of scales that another language writes as English does.
SAME_IN_ENGLISH = {"normal", "formal", "moderate", "neutral", "minimal", "warm", "cordial"}


def test_every_member_of_a_scale_has_a_label_in_every_language() -> None:
    members = {
        member
        for name in TYPES
        for scale in (get_definition(name).overall.scale, *(section.scale for section in get_definition(name).sections))
        for member in scale
    }
    for language in TRANSLATED:
        shown = {member: get_language(language).show_rating(member) for member in members}
        assert {member for member in members if shown[member] == show_member(member)} <= SAME_IN_ENGLISH
