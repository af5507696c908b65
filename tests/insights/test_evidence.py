"""Only what is in the transcript is quoted."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest

from insights.engines.base import CitedExchange, ShownMessage
from insights.evidence import DROPPED, check_citations, is_supported, is_written_in, strip_unsupported_quotes

AT = datetime.fromisoformat("2024-03-14T21:05")
SHOWN = {
    number: ShownMessage(number, AT, number % 2, text)
    for number, text in [(3, "Kab miloge?"), (4, "Sunday, I promise"), (7, "Love you ❤️")]
}


def test_a_citation_that_was_not_shown_is_dropped_and_counted() -> None:
    checked = check_citations([CitedExchange("A plan", (3, 4, 5))], shown=SHOWN, max_exchanges=3)
    assert [message.number for message in checked.exchanges[0].messages] == [3, 4]
    assert (checked.given, checked.kept) == (3, 2)


def test_an_exchange_of_which_no_message_was_shown_is_dropped() -> None:
    checked = check_citations([CitedExchange("", (5, 6)), CitedExchange("", (7,))], shown=SHOWN, max_exchanges=3)
    assert [[message.number for message in exchange.messages] for exchange in checked.exchanges] == [[7]]
    assert (checked.given, checked.kept) == (3, 1)


def test_messages_are_in_the_order_of_the_transcript_and_not_repeated() -> None:
    checked = check_citations([CitedExchange("", (4, 3, 4))], shown=SHOWN, max_exchanges=3)
    assert [message.number for message in checked.exchanges[0].messages] == [3, 4]
    assert (checked.given, checked.kept) == (2, 2)


def test_a_section_has_no_more_exchanges_than_its_maximum_and_none_twice() -> None:
    cited = [CitedExchange("", (3,)), CitedExchange("again", (3,)), CitedExchange("", (4,)), CitedExchange("", (7,))]
    checked = check_citations(cited, shown=SHOWN, max_exchanges=2)
    assert [exchange.messages[0].number for exchange in checked.exchanges] == [3, 4]


def test_an_exchange_is_cut_after_six_messages_and_the_rest_counts_as_not_kept() -> None:
    shown = {number: ShownMessage(number, AT, 0, "text") for number in range(1, 9)}
    checked = check_citations([CitedExchange("", tuple(shown))], shown=shown, max_exchanges=1)
    assert [message.number for message in checked.exchanges[0].messages] == [1, 2, 3, 4, 5, 6]
    assert (checked.given, checked.kept) == (8, 6)


def test_a_context_quotes_only_its_own_messages() -> None:
    cited = [CitedExchange('Asks "Kab miloge" and reads "never"', (3,))]
    (exchange,) = check_citations(cited, shown=SHOWN, max_exchanges=1).exchanges
    assert exchange.context == f'Asks "Kab miloge" and reads {DROPPED}'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('Ravi says "I promise".', 'Ravi says "I promise".'),
        ("Ravi says “i  PROMISE!”", "Ravi says “i  PROMISE!”"),
        ('Ravi says "I swear it".', f"Ravi says {DROPPED}."),
        ("He wrote «never again» and “Sunday”", f"He wrote {DROPPED} and “Sunday”"),
        ("It's Asha's turn, isn't it", "It's Asha's turn, isn't it"),
        ("They say ‘forever’ often", f"They say {DROPPED} often"),
        ('An empty "" quotation', f"An empty {DROPPED} quotation"),
    ],
)
def test_a_quotation_that_nobody_wrote_is_dropped(text: str, expected: str) -> None:
    assert strip_unsupported_quotes(text, quotable=["Sunday, I promise", "Kab miloge?"]) == expected


def supports(text: str, *, language: str = "en") -> bool:
    """Return whether a sentence is supported by two messages, the figure 12, and two people."""
    return is_supported(
        text,
        quotable=["I was so hurt on Friday when you forgot Diwali", "Sorry jaan, 5 baje pakka, see café Olé"],
        numbers=[12.0, 2024],
        names=["Asha", "Ravi Kumar"],
        language=language,
        times=[AT.replace(minute=47)],
    )


@pytest.mark.parametrize(
    "text",
    [
        "Asha says that she was hurt, and Ravi apologises.",
        "In March 2024, Ravi forgets something on a Friday. Both make up at 5.",
        "It happens 12 times, and Asha writes “so hurt”.",
        "It happens twelve times. Planning helps them; one day, the two of them laugh.",
        "Eventually Kumar calms down, before Diwali.",
        "At 21:47 on 14 March 2024, Asha is hurt.",
        "On March 14th at 9:47 pm they make up.",
    ],
)
def test_a_sentence_that_says_what_its_sources_have_is_supported(text: str) -> None:
    assert supports(text)


@pytest.mark.parametrize(
    "text",
    [
        "They quarrel 47 times.",
        "They quarrel 14 times, the last time at 22:47.",
        "They quarrel 1,200 times.",
        "They quarrel 4.5 times a day.",
        "They quarrel seven times, or dozens of times.",
        "They quarrel seventy-two times.",
        "They quarrel hundreds of times.",
        "Asha writes “you are useless”.",
        "See https://example.test for more.",
        "Write to help@example",
        "All is explained at secrets.com today.",
        "John calls her names.",
        "Then Asha meets Priya.",
        "They celebrate Holi together.",
    ],
)
def test_a_sentence_with_a_figure_a_quote_a_link_or_a_name_of_its_own_is_not_supported(text: str) -> None:
    assert not supports(text)


def test_only_words_within_a_sentence_are_names_in_other_languages() -> None:
    assert supports("Discuten mucho. Lloran Asha y Ravi.", language="es")
    assert not supports("Entonces Asha ve a Priya.", language="es")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Los dos discuten mucho porque nadie cede."),
        ("en", "दोनों छोटी बातों पर झगड़ते हैं।"),
        ("en", "Dono roz ladte hain aur koi nahi maanta."),
        ("es", "They quarrel a lot because nobody gives in."),
        ("hi", "Ils se disputent parce que personne ne cède."),
    ],
)
def test_a_sentence_in_another_language_is_not_supported(language: str, text: str) -> None:
    assert not supports(text, language=language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Asha writes “Sorry jaan, 5 baje pakka”."),
        ("es", "Los dos discuten mucho porque nadie cede."),
        ("hi", "दोनों छोटी बातों पर झगड़ते हैं।"),
        ("hi", "Dono roz ladte hain aur koi sorry nahi bolta."),
    ],
)
def test_a_sentence_in_the_requested_language_is_supported(language: str, text: str) -> None:
    assert supports(text, language=language)


def test_a_forwarded_message_is_never_cited() -> None:
    shown = {3: replace(SHOWN[3], forwarded=True), 4: SHOWN[4]}
    checked = check_citations([CitedExchange("", (3, 4))], shown=shown, max_exchanges=3)
    assert [message.number for message in checked.exchanges[0].messages] == [4]


def test_names_are_of_no_language_and_an_unknown_language_is_not_checked() -> None:
    assert is_written_in("en", "Noche Buena apologises.", names=["Noche Buena"])
    assert not is_written_in("en", "Noche Buena apologises.")
    assert is_written_in("fr", "Toda la noche y todo el día")
