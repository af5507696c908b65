"""The word index: words of any script, phrases, and their positions."""

from __future__ import annotations

import random
import re

import pytest

from chats.word_index import WordIndex, split_words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello, WORLD!", ["hello", "world"]),
        ("don't stop_now", ["don", "t", "stop", "now"]),
        ("don\u2019t \u201cquote\u201d a\u2026b", ["don", "t", "quote", "a", "b"]),
        ("नमस्ते। कैसे हो?", ["नमस्ते", "कैसे", "हो"]),
        ("क\u093c क़", ["क़", "क़"]),
        ("é e\u0301 STRASSE straße", ["é", "é", "strasse", "strasse"]),
        ("love😂😂❤️you", ["love", "😂", "😂", "❤", "you"]),
        ("👍🏽👍", ["👍", "👍"]),
        ("👩‍❤️‍👨", ["👩", "❤", "👨"]),
        ("a\0b c\td", ["a", "b", "c", "d"]),
        ("100₹ 5,000", ["100", "₹", "5", "000"]),
        ("\ud83d half", ["half"]),
        ("", []),
        ("...", []),
    ],
)
def test_a_text_is_split_into_words(text: str, expected: list[str]) -> None:
    assert (
        split_words(text)
        == [word for part in expected for word in split_words(part)]
        == split_words(" ".join(expected))
    )
    assert len(split_words(text)) == len(expected)


def find(texts: list[str], term: str) -> list[int]:
    positions: list[int] = WordIndex([texts]).find(split_words(term)).tolist()
    return positions


def test_a_word_is_found_only_as_a_whole_word() -> None:
    assert find(["I love you", "lovely", "glove", "LOVE!", "(love)", "love-love"], "Love") == [0, 3, 4, 5, 5]


def test_a_vowel_sign_belongs_to_its_word() -> None:
    assert find(["की", "क", "की।", "किताब"], "क") == [1]
    assert find(["की", "क", "की।", "किताब"], "की") == [0, 2]


def test_the_words_of_a_phrase_are_found_in_order_and_within_one_text() -> None:
    texts = ["miss you", "you miss", "I MISS  you, too", "miss", "you", "miss me you", "miss\nyou miss you"]
    assert find(texts, "miss you") == [0, 2, 6, 6]


def test_an_emoji_is_found_next_to_letters_and_in_its_variants() -> None:
    assert find(["haha😂😂", "😂", "❤️", "❤", "no"], "😂") == [0, 0, 1]
    assert find(["haha😂😂", "😂", "❤️", "❤", "no"], "❤️") == [2, 3]


@pytest.mark.parametrize("term", ["", "!!!", "nobody said this", "love nobody"])
def test_a_term_that_no_text_contains_is_not_found(term: str) -> None:
    assert find(["love", "", "said this"], term) == []


def test_an_empty_index_finds_nothing() -> None:
    assert WordIndex([]).find(["a"]).tolist() == []
    assert WordIndex([[], [""], []]).text_count == 1


def test_positions_of_texts_do_not_depend_on_their_groups() -> None:
    texts = ["a b", "", "b", "\0", "c b", "😂b"]
    grouped = WordIndex([texts[:1], [], texts[1:4], texts[4:]])
    assert grouped.text_count == 6
    assert grouped.find(["b"]).tolist() == [0, 2, 4, 5]
    assert grouped.lengths.tolist() == [2, 0, 1, 0, 2, 2]


def test_the_index_finds_what_a_simple_search_finds() -> None:
    generator = random.Random(7)
    vocabulary = ["a", "ab", "b", "the", "The", "a,b", "b.", "x_y", "c\u2019d"]
    texts = [" ".join(generator.choices(vocabulary, k=generator.randrange(8))) for _ in range(500)]
    index = WordIndex([texts[:100], texts[100:]])
    for term in ("a", "b", "the", "a b", "the a", "b b", "c d"):
        plain = [" ".join(re.findall(r"[a-z0-9]+", text.lower())) for text in texts]
        expected = [at for at, text in enumerate(plain) if f" {term} " in f" {text} "]
        assert sorted(set(index.find(split_words(term)).tolist())) == expected, term


def test_occurrences_within_a_longer_phrase_can_be_left_out() -> None:
    index = WordIndex([["let's not fight", "we fight", "let's not fight, but we fight", "let's", "not fight"]])
    longer = [split_words("let's not fight")]
    assert index.find(["fight"], unless=longer).tolist() == [1, 2, 4]
    assert index.find(split_words("let's not fight"), unless=longer).tolist() == [0, 2]


def test_words_within_limits_and_their_uses_are_listed() -> None:
    index = WordIndex([["a b b", "c"], ["b a"]])
    assert index.list_words(min_uses=2, max_uses=2) == ["a"]
    word, text = index.find_uses(["b", "c"])
    assert (word.tolist(), text.tolist()) == ([0, 0, 1, 0], [0, 0, 1, 2])


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("love you", "I don't love you any more"),
        ("love you", "I don\u2019t think I love you"),
        ("love you", "I never really love you"),
        ("miss you", "I am not going to miss you"),
        ("love you", "he said that he does love you"),
        ("love you", "Mom says to love you"),
        ("gussa", "gussa nahi hu"),
        ("gussa", "mat gussa karo"),
        ("प्यार", "प्यार नहीं है"),
        ("angry", "wasn't angry"),
    ],
)
def test_what_is_negated_or_reported_is_not_meant(term: str, text: str) -> None:
    index = WordIndex([["unrelated, not said", text], ["nothing"]])
    assert index.find(split_words(term)).tolist() == [1]
    assert index.find(split_words(term), only_meant=True).tolist() == []


@pytest.mark.parametrize(
    ("term", "text"),
    [
        ("love you", "I love you, I never said goodbye"),
        ("love you", "no, I love you"),
        ("love you", "not today, maybe tomorrow, because of the rain, and I love you"),
        ("love you", "he said no but I love you"),
        ("can't wait", "I can't wait"),
        ("never listen", "you never listen"),
        ("gussa", "gussa hu, samajh nahi aata"),
    ],
)
def test_what_stands_for_itself_is_meant(term: str, text: str) -> None:
    # The text before ends with a negation, which must not reach into the next one.
    index = WordIndex([["I do not", text]])
    assert index.find(split_words(term), only_meant=True).tolist() == [1]


def test_only_the_words_around_an_occurrence_decide_whether_it_is_meant() -> None:
    # Of the whole text, this many checks would take minutes.
    index = WordIndex([["not " + "love " * 30_000]])
    assert len(index.find(["love"], only_meant=True)) == 30_000 - 4
