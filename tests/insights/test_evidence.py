"""Only what is in the transcript is quoted."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

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
    cited = [CitedExchange('To Asha "Ashu" Rao', (3,))]
    (exchange,) = check_citations(cited, shown=SHOWN, max_exchanges=1, names=['Asha "Ashu" Rao']).exchanges
    assert exchange.context == 'To Asha "Ashu" Rao'


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
        ("He writes 'I promise' and 'I swear'", f"He writes 'I promise' and {DROPPED}"),
        ("He writes `I swear` and ‹I swear›", f"He writes {DROPPED} and {DROPPED}"),
        ("He writes “I swear\" and ‘I swear'", f"He writes {DROPPED} and {DROPPED}"),
        ('He writes "I promise" and "I promise', f'He writes "I promise" and {DROPPED}'),
        ("She says “ab milo”", f"She says {DROPPED}"),
        ("She says “kab milo”", f"She says {DROPPED}"),
        ("She says “kab miloge”", "She says “kab miloge”"),
        ("The parents' house isn't theirs", "The parents' house isn't theirs"),
    ],
)
def test_a_quotation_that_nobody_wrote_is_dropped(text: str, expected: str) -> None:
    assert strip_unsupported_quotes(text, quotable=["Sunday, I promise", "Kab miloge?"]) == expected


def supports(text: str, *, language: str = "en", names: Sequence[str] = ("Asha", "Ravi Kumar")) -> bool:
    """Return whether a sentence is supported by two messages of 14 March 2024, 21:47, the figure 12, and two people."""
    return is_supported(
        text,
        quotable=["I was so hurt on Friday when you forgot Diwali", "Sorry jaan, 5 baje pakka, see café Olé"],
        numbers=[12.0, 2024],
        names=names,
        language=language,
        times=[AT.replace(minute=47)],
        context=["Goa with Fernanda and Jack in August, 99 times, on a Monday"],
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
        "On 2024-03-14, a Thursday, Ravi takes the first step, and both calm down.",
        "On the 14th, Asha is hurt; the fourteenth of March ends well at 9 pm.",
        "Once they have calmed down, each may give the second word to the other.",
        "Asha's hurt isn't forgotten: the parents' house is quiet.",
        "Fernanda comes up when they plan Goa.",
        "Quiet Evening Walks",
        "Asha writes “forgot Diwali” and 'I was so hurt'.",
    ],
)
def test_a_sentence_that_says_what_its_sources_have_is_supported(text: str) -> None:
    assert supports(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ravi writes 'I never loved you'.",
        "Ravi writes: 'I never loved you",
        'Ravi writes "I never loved you',
        'Ravi writes “I never loved you".',
        "Ravi writes ‘I never loved you”.",
        "Ravi writes `I never loved you`.",
        "Ravi writes ‹I never loved you›.",
        "Ravi writes ″I never loved you″.",
        "Ravi writes „I never loved you.",
        'Asha writes “so hurt” and "never loved you.',
        "Ravi writes‹I never loved you›then.",
        "Ravi says‹ I never loved you›.",
        "Ravi says‹ I kiss the boys›.",
        "Ravi writes \"so 'I never loved you' hurt\".",
        "Asha writes “so hurt.",
        "Ravi wrote' I never loved you'.",
        "Asha writes “so hur”.",
        "Asha writes “o hurt”.",
    ],
)
def test_a_sentence_with_words_that_nobody_wrote_between_any_marks_is_not_supported(text: str) -> None:
    assert not supports(text)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "They quarrel in December 2024."),
        ("en", "They quarrel in March 2023."),
        ("en", "They quarrel 47 times, and Asha writes “so hurt” on a Friday."),
        ("en", "They quarrel in August."),
        ("en", "They quarrel on 15 March."),
        ("en", "They quarrel on the 15th."),
        ("en", "They quarrel in May."),
        ("en", "On Sunday Ravi shouts."),
        ("en", "On Sat Ravi shouts."),
        ("en", "On 2024-03-15 Ravi shouts."),
        ("en", "At 9:47 am Ravi shouts."),
        ("en", "At 10 pm Ravi shouts."),
        ("en", "At 21:48 Ravi shouts."),
        ("en", "Asha quarrels with Ravi 2024 times."),
        ("en", "In 2024 quarrels Ravi shouts."),
        ("en", "They quarrel for the hundredth time."),
        ("en", "They quarrel a million times."),
        ("en", "They quarrel thrice a day."),
        ("en", "They quarrel twice."),
        ("en", "They quarrel two times."),
        ("en", "They make up two days later."),
        ("en", "They quarrel for the second time."),
        ("en", "They make up for the first time."),
        ("en", "They make up only once."),
        ("en", "They quarrel one hundred and twelve times."),
        ("en", "They quarrel forty seven times."),
        ("es", "Los dos discuten cuarenta y siete veces."),
        ("es", "Los dos discuten dos veces."),
        ("es", "Los dos tienen 14 de esas peleas."),
        ("es", "Los dos discuten el 14 de diciembre."),
        ("es", "Los dos discuten el domingo."),
        ("es", "Discuten por primera vez."),
        ("hi", "दोनों सैंतालीस बार झगड़ते हैं।"),
        ("hi", "दोनों दो बार झगड़ते हैं।"),
        ("hi", "दोनों दिसंबर में झगड़ते हैं।"),
        ("hi", "Dono saintaalees baar ladte hain."),
        ("hi", "Dono saat baar ladte hain."),
    ],
)
def test_a_sentence_with_another_date_or_count_is_not_supported(language: str, text: str) -> None:
    assert not supports(text, language=language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("es", "El 14 de marzo de 2024 los dos discuten; una vez más, Ravi cede."),
        ("es", "Los dos discuten doce veces."),
        ("es", "Ravi le pide perdón a Asha y ella lo acepta."),
        ("hi", "14 मार्च 2024 को दोनों झगड़ते हैं।"),
        ("hi", "2024 में दोनों बारह बार झगड़ते हैं।"),
        ("hi", "दोनों बारह बार झगड़ते हैं, फिर एक साथ हँसते हैं।"),
    ],
)
def test_dates_and_counts_of_the_sources_are_supported_in_other_languages(language: str, text: str) -> None:
    assert supports(text, language=language)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("see you on Sunday in december", "They plan December and a Sunday."),
        ("born in may 1990", "One of them was born in May 1990."),
        ("call me at 7 pm", "They plan a call at 7 pm."),
        ("call me at 9", "They plan a call at 9 am."),
        ("call me at 10:30", "They plan a call at 10:30 pm."),
        ("around 09.45 o'clock", "They plan a call at 09.45."),
        ("I said it forty-seven times", "It is said 47 times."),
        ("for the 2nd time, on 2024-05-06", "It is the second time since 2024-05-06."),
        ("two hundred and five rupees", "It costs 205."),
        ("cien mil veces", "It is said 100,000 times."),
        ("15 may ko milte hain", "They meet on May 15."),
        ("may mein band kar diya tha", "It closed in May."),
        ("somvaar ko file de dunga", "The file is due on Monday."),
    ],
)
def test_a_date_or_a_count_of_a_message_may_be_written_in_another_way(source: str, text: str) -> None:
    assert is_supported(text, quotable=[source], names=[], times=[AT])
    assert not is_supported(text, quotable=["see you"], names=[], times=[AT])


@pytest.mark.parametrize("count", ["thrice", "three times", "3 times", "for the third time"])
def test_a_number_of_something_else_is_no_count_of_times(count: str) -> None:
    sentence = f"It is said {count}."
    assert not is_supported(sentence, quotable=["three deadlines this week"], names=[], times=[AT])
    assert is_supported(sentence, quotable=["you said that 3 times"], names=[], times=[AT])


def test_a_part_of_a_number_of_a_message_is_no_figure_of_its_own() -> None:
    assert not is_supported("It is said a hundred times.", quotable=["five hundred rupees"], names=[], times=[AT])


def test_a_time_with_am_of_a_message_is_not_one_with_pm() -> None:
    assert not is_supported("They plan a call at 9 am.", quotable=["call me at 9 pm"], names=[], times=[AT])


@pytest.mark.parametrize(
    "name", ['Asha "Ashu" Rao', "priya.in", "Asha 47", "5'4\" Ravi", "Noche del Mar", "+91 98765 43210"]
)
def test_a_name_of_any_kind_is_no_quotation_no_link_and_no_figure(name: str) -> None:
    assert supports(f"{name} thanks Ravi, and {name}'s answer follows.", names=[name, "Ravi"])
    sentence = f"{name} writes “so hurt”."
    assert strip_unsupported_quotes(sentence, quotable=["so hurt"], names=[name]) == sentence
    assert not supports(f"{name} quarrels 4321 times.", names=[name, "Ravi"])


def test_a_name_in_digits_does_not_hide_a_figure() -> None:
    assert not supports("They quarrel 47 times.", names=["47", "Asha 47"])


def test_an_apostrophe_within_single_quotation_marks_does_not_close_them() -> None:
    sentence = "Asha writes 'I don't mind it' today."
    assert is_supported(sentence, quotable=["Well, I don’t mind it"], names=["Asha"])
    assert strip_unsupported_quotes(sentence, quotable=["I do mind"]) == f"Asha writes {DROPPED} today."


@pytest.mark.parametrize(
    "opening",
    [
        "Playfully",
        "Reassuringly",
        "Teasing",
        "Banter",
        "Midway",
        "Overwhelmed",
        "Apologises",
        "Chai",
        "Shortly",
        "Overcompensating",
    ],
)
def test_an_english_word_may_open_a_sentence(opening: str) -> None:
    assert supports(f"{opening} follows.")


@pytest.mark.parametrize(
    "name", ["Gwendolyn", "Rupert", "Rahul", "Jack", "Tony", "Irving", "Mohammed", "Ángel", "Tring"]
)
def test_a_name_of_nobody_in_the_chat_is_not_supported_anywhere(name: str) -> None:
    quotable = ["I was so hurt"]
    assert not is_supported(f"{name} follows.", quotable=quotable, names=["Asha"])
    assert not is_supported(f"Asha meets {name}.", quotable=quotable, names=["Asha"])


@pytest.mark.parametrize("name", ["Mark", "Will", "Grace"])
def test_an_everyday_word_is_a_name_within_a_sentence(name: str) -> None:
    assert not supports(f"Asha kisses {name}.")
    assert supports(f"{name} follows.")


def test_an_unknown_word_with_a_capital_is_a_name_within_a_sentence_whatever_its_ending() -> None:
    assert supports("Overcompensating follows.")
    assert not supports("Asha kisses Overcompensating.")


def test_proper_nouns_of_the_context_may_be_named_but_its_figures_and_dates_may_not() -> None:
    assert supports("They plan Goa with Fernanda and Jack.")
    assert not supports("They plan it 99 times.")
    assert not supports("They plan it in August.")
    assert not supports("They plan it on Monday.")
    assert not supports("They write “Goa with Fernanda”.")


@pytest.mark.parametrize("text", ["Shaadi shopping", "Ghar shifting plans", "Papa ka birthday", "Chai and samosa"])
def test_a_short_english_phrase_may_have_hindi_words(text: str) -> None:
    assert supports(text)


def test_a_short_phrase_may_have_hindi_words_in_no_other_language() -> None:
    assert not is_written_in("es", "Ghar ka khana")
    assert not is_written_in("en", "Dono roz ladte hain aur koi nahi maanta")


def test_stop_words_of_several_languages_count_with_one_that_identifies_its_language() -> None:
    assert not is_written_in("en", "discuten por todo porque sí")
    assert is_written_in("en", "Asha misses nadie")


def test_words_of_another_language_are_no_language_among_more_of_the_own() -> None:
    assert is_written_in("en", "Asha and the others say porque nadie to each other")


def test_one_word_of_another_language_is_a_loan() -> None:
    assert is_written_in("en", "Asha asks how it went with the zapatos, tired of everything else")
    assert is_written_in("es", "Ravi le da las gracias a Asha")


def test_words_of_one_letter_are_of_no_language() -> None:
    assert is_written_in("es", "Ravi grita a Asha a solas a diario", names=["Ravi", "Asha"])


def test_a_sentence_is_checked_against_thousands_of_messages_in_linear_time() -> None:
    times = [AT + timedelta(minutes=37 * n) for n in range(3_000)]
    started = time.process_time()
    for _ in range(20):
        assert not is_supported(
            "Ravi asks 47 times how her day was.", quotable=["see you at 5"] * 3_000, names=["Ravi"], times=times
        )
        assert is_supported("Ravi asks how her day was.", quotable=["hi"] * 3_000, names=["Ravi"], times=times)
    assert time.process_time() - started < 5


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


def test_a_word_that_opens_a_spanish_sentence_is_a_name_unless_it_is_known() -> None:
    assert supports("Discuten mucho. Asha y Ravi lloran.", language="es")
    assert not supports("Discuten mucho. Priya y Ravi lloran.", language="es")
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
        ("hi", "दोनों रोज़ लड़ते हैं और कोई sorry नहीं बोलता।"),
    ],
)
def test_a_sentence_in_the_requested_language_is_supported(language: str, text: str) -> None:
    assert supports(text, language=language)


def test_a_forwarded_message_is_never_cited() -> None:
    shown = {3: replace(SHOWN[3], forwarded=True), 4: SHOWN[4]}
    checked = check_citations([CitedExchange("", (3, 4))], shown=shown, max_exchanges=3)
    assert [message.number for message in checked.exchanges[0].messages] == [4]


def test_names_are_of_no_language_and_an_unknown_language_is_not_checked() -> None:
    sentence = "Toda Noche Muy Buena apologises."
    assert is_written_in("en", sentence, names=["Toda Noche Muy Buena"])
    assert is_written_in("en", "Noche, Toda and Buena: Muy apologises.", names=["Toda Noche Muy Buena"])
    assert not is_written_in("en", sentence)
    assert is_written_in("fr", "Toda la noche y todo el día")
