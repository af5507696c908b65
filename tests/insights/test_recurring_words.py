"""Words and names that recur between people, without common words."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import pytest

from chats import indexing
from chats.common_words import is_common
from chats.importing import import_chat
from chats.models import Chat
from chats.search import Searcher, WordUses
from insights import briefs, document, recurring_words
from insights.engines.local.engine import LocalInsightEngine
from insights.models import Insight, InsightType
from relivchats.accounts.models import User
from tests.insights.briefs import PROVENANCE

START = datetime.fromisoformat("2024-01-01T09:00")
LINES = [
    (0, 0, "Then Ramesh came to the window again"),
    (0, 1, "who is Ramesh?"),
    (1, 1, "From today you are Captain Bhindi"),
    (9, 0, "khana khaya kya?"),
    (9, 1, "haan khana khaya"),
    (20, 1, "did Ramesh pay his rent for the window ledge?"),
    (20, 0, "Captain Bhindi cooks tonight"),
    (40, 0, "khana ready, Ramesh is watching"),
    (40, 1, "khana time, salute to Captain Bhindi"),
    (70, 1, "how is Ramesh and the family?"),
    (70, 0, "Captain Bhindi has burnt it, khana from outside"),
    (71, 0, "the zorblax of one day, zorblax zorblax"),
    (71, 1, "zorblax indeed"),
]


def make_uses(*rows: tuple[str, int, int]) -> WordUses:
    """Return uses given as (word, sender, day), in the order of the chat."""
    words = list(dict.fromkeys(word for word, _, _ in rows))
    return WordUses(
        words,
        np.array([words.index(word) for word, _, _ in rows], np.int64),
        np.arange(1, len(rows) + 1),
        np.array([sender for _, sender, _ in rows], np.int64),
        np.array([day for _, _, day in rows], np.int64),
    )


def find(rows: Sequence[tuple[str, int, int]]) -> list[str]:
    return [candidate.word for candidate in recurring_words.find_candidates(make_uses(*rows))]


def test_a_word_that_both_use_on_many_days_over_months_recurs() -> None:
    rows = [("ramesh", day % 2, day) for day in (0, 11, 30, 61)]
    (candidate,) = recurring_words.find_candidates(make_uses(*rows))
    assert (candidate.word, candidate.days, candidate.numbers) == ("ramesh", 4, (1, 2, 3, 4))


@pytest.mark.parametrize(
    "rows",
    [
        [("alone", 0, day) for day in (0, 11, 30, 61)],
        [("guest", day == 61, day) for day in (0, 11, 30, 61)],
        [("week", day % 2, day) for day in (0, 1, 2, 3)],
        [("twice", day % 2, day) for day in (0, 61)] * 4,
        [],
    ],
)
def test_a_word_of_one_person_or_one_week_or_two_days_does_not_recur(rows: list[tuple[str, int, int]]) -> None:
    assert find(rows) == []


def test_common_words_in_three_languages_and_laughter_are_known() -> None:
    for word in ("window", "planning", "tomorrow", "khana", "ghar", "hahaha", "sooooo", "घर", "2bhk", "aai"):
        assert is_common(word), word
    for word in ("ramesh", "bhindi", "zorblax", "hampi"):
        assert not is_common(word), word


@pytest.fixture
def chat(person: User) -> Chat:
    records = [
        f"{START + timedelta(days=day, minutes=number):%d/%m/%Y, %H:%M} - {('Asha', 'Ravi')[sender]}: {text}\n"
        for number, (day, sender, text) in enumerate(LINES)
    ]
    chat = import_chat(owner=person, upload="".join(records).encode())
    indexing.request(chat)
    indexing.index_chat(chat.pk)
    chat.refresh_from_db()
    return chat


def test_recurring_words_are_returned_as_people_write_them(chat: Chat) -> None:
    words = {word.word: word for word in recurring_words.find_recurring_words(Searcher(chat), people=chat.participants)}
    assert set(words) == {"Ramesh", "Captain Bhindi"}
    ramesh = words["Ramesh"]
    assert (ramesh.days, ramesh.first, ramesh.first_at.date(), ramesh.last_at.date()) == (
        4,
        1,
        START.date(),
        (START + timedelta(days=70)).date(),
    )
    assert ramesh.later > 5


def test_a_participants_name_does_not_recur(chat: Chat) -> None:
    words = recurring_words.find_recurring_words(Searcher(chat), people=[*chat.participants, "Ramesh Kumar"])
    assert [word.word for word in words] == ["Captain Bhindi"]


def test_a_recurring_word_is_quoted_with_its_first_and_a_later_message(chat: Chat) -> None:
    insight_type = InsightType.objects.get(pk="playfulness_romance")
    version = insight_type.versions.latest("version")
    brief = briefs.build_brief(Insight(chat=chat, insight_type=insight_type, type_version=version))
    finished = document.build_document(brief=brief, draft=LocalInsightEngine().write(brief), provenance=PROVENANCE)
    jokes = next(section for section in finished["sections"] if section["key"] == "inside_jokes")
    assert jokes["rating"] == "some"
    assert "Ramesh (on 4 days, January to March 2024)" in jokes["finding"]
    first = jokes["evidence"][0]
    assert first["context"].startswith("“Captain Bhindi”: first on 2 January 2024, and again on ")
    texts = [message["text"] for message in first["messages"]]
    assert texts[0] == "From today you are Captain Bhindi"
    assert len(texts) == 2
    assert "Captain Bhindi" in texts[1]
    assert {"label": "Days with “Ramesh”", "person": None, "value": 4, "unit": "days", "source": "counted"} in jokes[
        "facts"
    ]
