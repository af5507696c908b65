"""Phrases of danger count as signs; harmless sentences that contain them do not."""

from __future__ import annotations

import tomllib
from collections import Counter
from pathlib import Path

import pytest

from chats.word_index import split_words
from insights import safety
from tests.truth import material

_SENTENCES = tomllib.loads(Path(__file__).parents[1].joinpath("data", "danger.toml").read_text(encoding="utf-8"))
SERIOUS = [
    (kind, sentence)
    for kinds in _SENTENCES["serious"].values()
    for kind, sentences in kinds.items()
    for sentence in sentences
]
#: Sentences that were written without sight of the lists, by set, gravity and language.
_HELD_OUT = tomllib.loads(
    Path(__file__).parents[1].joinpath("data", "danger_held_out.toml").read_text(encoding="utf-8")
)
HARMLESS = [sentence for sentences in _SENTENCES["harmless"].values() for sentence in sentences]


@pytest.mark.parametrize(
    "text",
    [
        "I don't want to live in a bus",
        "i dont want to live with your mother",
        "Don’t want to live in Delhi, too hot",
        "I don't want to live there any more, the landlord is rude",
        "we have no reason to live in Pune now",
        "I don't want to die before seeing Goa",
        "I want to die laughing 😂",
        "hass hass ke mar jaungi 😂",
        "itna kaam, mar jaungi main",
        "I hurt myself while cutting onions",
        "mummy forced me to eat three rotis",
        "he forced himself to wake up at five",
        "he hit me up after years",
        "this song hits me different",
        "emotional blackmail mat karo 😂",
        "won't let me leave without dessert",
        "maar peet wali movie nahi dekhni",
    ],
)
def test_a_harmless_sentence_that_contains_a_phrase_of_danger_is_not_a_sign(text: str) -> None:
    assert safety.find_concerns(text) == set()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("I don't want to live like this", "self_harm"),
        ("I don’t want to live anymore", "self_harm"),
        ("dont want to live", "self_harm"),
        ("I don't want to live, there is no point", "self_harm"),
        ("I do not want to live with this pain", "self_harm"),
        ("I don't want to live in this world", "self_harm"),
        ("I don't want to die alone, but I want to die", "self_harm"),
        ("I hurt myself again", "self_harm"),
        ("kabhi kabhi lagta hai jeena nahi chahti", "self_harm"),
        ("mujhe mar jana chahiye", "self_harm"),
        ("he forced me to sleep with him", "coercion"),
        ("he will BLACKMAIL me", "coercion"),
        ("he hit me up against the wall and he hit me again", "violence"),
        ("usne mujhe maara", "violence"),
        ("उसने मुझे मारा", "violence"),
    ],
)
def test_a_sign_of_danger_is_found_with_its_kind(text: str, kind: str) -> None:
    assert safety.find_concerns(text) == {kind}
    assert safety.mentions_danger(text)


def test_every_phrase_alone_is_a_sign() -> None:
    assert [phrase for phrase in safety.PHRASES if not safety.mentions_danger(f"Yes: {phrase}.")] == []


def test_every_harmless_phrase_alone_is_not_a_sign() -> None:
    assert [phrase for phrase in safety.HARMLESS if safety.mentions_danger(f"Yes: {phrase}.")] == []


def test_messages_are_counted_by_kind() -> None:
    texts = ["he hit me and I want to die", "I want to die", "good morning"]
    assert Counter(kind for text in texts for kind in safety.find_concerns(text)) == {"violence": 1, "self_harm": 2}


def test_the_test_set_has_52_serious_and_52_harmless_sentences_in_four_languages() -> None:
    assert len(dict(SERIOUS)) == len(safety.CONCERNS)
    assert (len(SERIOUS), len(HARMLESS)) == (52, 52)
    assert {*_SENTENCES["serious"]} == {*_SENTENCES["harmless"]} == {"english", "hinglish", "hindi", "spanish"}
    assert len({*HARMLESS, *(sentence for _, sentence in SERIOUS)}) == 104


def test_serious_sentences_are_nominated_for_a_model() -> None:
    assert [sentence for _, sentence in SERIOUS if not safety.nominates(sentence)] == []


def test_serious_sentences_are_found_with_their_kind_without_a_model() -> None:
    found = [sentence for kind, sentence in SERIOUS if kind in safety.find_concerns(sentence)]
    assert len(found) >= 50


def test_harmless_sentences_are_hardly_flagged_without_a_model() -> None:
    assert len([sentence for sentence in HARMLESS if safety.mentions_danger(sentence)]) <= 2


def test_every_nominated_text_is_found_by_one_of_its_words() -> None:
    texts = [sentence for _, sentence in SERIOUS] + [sentence for sentence in HARMLESS if safety.nominates(sentence)]
    texts += safety.PHRASES
    assert [text for text in texts if not any(map(safety.is_searched, split_words(text)))] == []


def test_exactly_the_texts_with_one_of_the_wordings_are_nominated() -> None:
    sentences = [sentence for _, sentence in SERIOUS] + [*HARMLESS, *safety.PHRASES, *safety.HARMLESS, "see you at six"]
    halves = [(sentence.split()[:4], sentence.split()[-4:]) for sentence in sentences]
    crossed = [" ".join(first + last) for (first, _), (_, last) in zip(halves, halves[7:] + halves[:7], strict=True)]
    texts = [*sentences, *crossed]
    wordings = safety._compile(safety._ALL_WORDINGS)
    contained = [text for text in texts if wordings.search(safety._join(safety._tokenize(text)))]
    assert [text for text in texts if safety.nominates(text)] == contained
    assert 0 < len(contained) < len(texts)


def test_every_text_with_a_concern_is_found_by_a_single_word() -> None:
    texts = [sentence for _, sentence in SERIOUS] + [f"Yes: {phrase}." for phrase in safety.PHRASES]
    texts += ["QUIERO MATARMÉ", "he’s hitting me again", "vo mujhe maaarta hai"]
    texts = [text for text in texts if safety.find_concerns(text)]
    assert [text for text in texts if not safety.may_have_concerns(text)] == []
    assert not safety.may_have_concerns("the bus is late again")


def test_most_other_messages_are_neither_nominated_nor_flagged() -> None:
    texts = [
        "kal milte hain, ghar jaldi aana",
        "The train is late, order food please",
        "te quiero mucho",
        "खाना खा लिया?",
    ]
    assert [text for text in texts if safety.nominates(text) and safety.mentions_danger(text)] == []


@pytest.mark.parametrize(
    "text",
    [
        "he hits me in the game every time",
        "I watched a movie in which he hit me, I mean the hero",
        "want to die 😂",
        "it was in the news that dad beats mom",
        "he never hit me",
    ],
)
def test_the_rest_of_the_sentence_can_make_a_sign_harmless(text: str) -> None:
    assert safety.nominates(text)
    assert not safety.mentions_danger(text)


def test_a_harmless_sentence_does_not_hide_the_next_one() -> None:
    assert safety.find_concerns("We watched a movie. Then he hit me again.") == {"violence"}


def test_spellings_and_accents_do_not_matter() -> None:
    assert safety.find_concerns("vo mujhe maaarta hai") == safety.find_concerns("wo mujhe marta hai") == {"violence"}
    assert safety.find_concerns("quiero matarme") == safety.find_concerns("QUIERO MATARMÉ") == {"self_harm"}


@pytest.mark.parametrize(
    ("name", "min_nominated", "min_found", "max_flagged"), [("tuned", 40, 40, 0), ("unseen", 15, 9, 3)]
)
def test_sentences_that_the_lists_were_not_made_for_are_found_as_often_as_documented(
    name: str, min_nominated: int, min_found: int, max_flagged: int
) -> None:
    """docs/insights.md has these figures. A wording for a sentence of `unseen` would make the set worthless."""
    serious = [sentence for sentences in _HELD_OUT[name]["serious"].values() for sentence in sentences]
    harmless = [sentence for sentences in _HELD_OUT[name]["harmless"].values() for sentence in sentences]
    assert len(serious) == len(harmless) >= 20
    assert sum(map(safety.nominates, serious)) >= min_nominated
    assert sum(map(safety.mentions_danger, serious)) >= min_found
    assert sum(map(safety.mentions_danger, harmless)) <= max_flagged


def test_no_line_of_the_planted_chats_is_taken_for_a_danger() -> None:
    flagged = [
        text
        for language in material.LANGUAGES
        for text in (
            *material.load(language).filler,
            *(text for script in material.load(language).scripts for _, text in script.lines),
        )
        if safety.mentions_danger(text)
    ]
    assert flagged == []
