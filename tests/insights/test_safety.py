"""Phrases of danger count as signs; harmless sentences that contain them do not."""

from __future__ import annotations

import pytest

from insights import safety


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
    assert safety.count_concerns(texts) == {"violence": 1, "self_harm": 2}
