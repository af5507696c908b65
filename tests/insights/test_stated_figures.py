"""A figure or a date of a sentence must be in its sources, each of which is read in its own language."""

from __future__ import annotations

import pytest

from insights.stated_figures import states_only


def states(text: str, *sources: str, language: str) -> bool:
    return states_only(text, sources=sources, numbers=[], times=[], language=language)


@pytest.mark.parametrize(
    ("language", "text", "source"),
    [
        ("en", "Asha waits 11 days.", "We only met once in Pune"),
        ("es", "Asha espera 11 días.", "We only met once in Pune"),
        ("en", "They travel for 20 days.", "Bis morgen, das wird gut"),
        ("de", "Sie reisen zehn Tage.", "Bis morgen, das wird gut"),
        ("en", "They travel for two days.", "what do you want"),
        ("en", "They travel for two days.", "bata do mujhe kya chahiye"),
        ("en", "They travel for two days.", "wait a second for me"),
        ("hi", "दोनों दो दिन घूमते हैं।", "मुझे दो ना"),
        ("en", "They travel for 60 days.", "main tere saath hoon"),
        ("en", "They travel for four days.", "I will char the corn"),
        ("en", "Asha has three children.", "the tin is empty"),
        ("de", "Sie reisen 8 Tage.", "Achte auf dich, bitte"),
        ("en", "They meet on Monday.", "Ask Mo about the keys"),
        ("de", "Am Montag reden sie.", "Ask Mo about the keys"),
        ("en", "It costs 1500 rupees.", "the parcel is 1.500 kg"),
        ("pt", "São 11 dias.", "ten people once met there"),
        ("es", "Son 10 días.", "Ten cuidado, te quiero"),
    ],
)
def test_a_usual_word_of_one_language_is_no_figure_of_another(language: str, text: str, source: str) -> None:
    assert not states(text, source, language=language)


@pytest.mark.parametrize(
    ("language", "text", "source"),
    [
        ("en", "Asha waits 11 days.", "Te espero once días, mi amor"),
        ("en", "They travel for 20 days.", "bees din baad milte hain yaar"),
        ("en", "They travel for 10 days.", "das din baad milte hain yaar"),
        ("en", "They travel for two days.", "bas do din aur ruk jao yaar"),
        ("en", "They travel for 8 days.", "Wir fahren acht Tage, ich freue mich"),
        ("en", "It is the 8th day.", "Das ist schon der achte Tag, ich weiß"),
        ("en", "They meet on Monday.", "Wir sehen uns am Mo, ich freue mich"),
        ("en", "It costs 1500 rupees.", "Das kostet 1.500 Rupien, ich weiß"),
        ("de", "Es kostet 1.500 Rupien.", "it costs 1500 rupees"),
        ("hi", "दोनों बारह दिन घूमते हैं।", "we will travel for twelve days"),
        ("hi", "दोनों 12 दिन घूमते हैं।", "bus बारह days"),
        ("es", "Esperan 1,5 horas.", "espera 1,5 horas por favor, mi amor"),
        ("es", "Cuesta 1.200 pesos.", "cuesta 1,200 pesos, mi amor"),
        ("es", "Cuesta 1.200 pesos.", "it costs 1200"),
        ("en", "It costs 1,00,000 rupees.", "it costs 100000 rupees"),
        ("en", "It costs 1,234.50.", "it costs 1234.5 rupees"),
    ],
)
def test_a_figure_of_a_message_is_read_in_the_language_of_the_message(language: str, text: str, source: str) -> None:
    assert states(text, source, language=language)
    assert not states(text, "see you", language=language)


def test_a_message_of_no_language_is_read_in_that_of_the_others() -> None:
    others = ["te quiero mucho, mi amor", "hablamos mañana por favor"]
    assert states("They wait for 12 days.", "doce", *others, language="en")
    assert not states("They wait for 11 days.", "once", *others, language="en")


@pytest.mark.parametrize(
    ("language", "text", "source"),
    [
        ("es", "Hablan 1,5 horas.", "call me at 5, 1 minute"),
        ("es", "Hablan 1.5 horas.", "call me at 5, 1 minute"),
        ("en", "They talk for 1,5 hours.", "call me at 5, 1 minute"),
        ("en", "They talk for 1,2,5 hours.", "numbers 1 2 5"),
        ("es", "Cuesta 1.200 pesos.", "it costs 1.2 or 200"),
    ],
)
def test_a_number_with_a_separator_is_one_number(language: str, text: str, source: str) -> None:
    assert not states(text, source, language=language)


FALSE = {
    "en": [
        "They talk for two long days.",
        "They meet at two o'clock.",
        "Asha writes half as often.",
        "They call every other day.",
        "They talk a couple of times.",
        "They make up a single time.",
        "A quarter of the messages are angry.",
        "Asha has two children.",
        "They quarrel two nights.",
        "Two thirds of it is praise.",
        "They argue for a decade.",
    ],
    "de": [
        "Ihre zehnjährige Ehe endet.",
        "Nach dreitägigem Schweigen reden sie.",
        "Die fünfköpfige Familie reist.",
        "Ravi ist hundertprozentig sicher.",
        "Nach zweitägigem Streit reden sie.",
        "Nach einer halbstündigen Pause reden sie.",
        "Nach einer Viertelstunde reden sie.",
        "Asha schreibt halb so oft.",
        "Sie reden zwei ganze Tage.",
        "Um zwei Uhr reden sie.",
        "Sie streiten ein einziges Mal.",
        "Der Streit wird zweifacher Ärger.",
        "Die Zahl verdreifacht sich.",
        "Jeden zweiten Tag reden sie.",
        "Sie reisen zu dritt.",
    ],
    "es": [
        "Hay decenas de mensajes.",
        "Hay una veintena de mensajes.",
        "Hablan una quincena.",
        "Una cuarta parte son quejas.",
        "Es su undécimo viaje.",
        "Es su vigésimo viaje.",
        "Es su trigésima pelea.",
        "Discuten una sola vez.",
        "Discuten una única vez.",
        "Discuten un par de veces.",
        "Asha duplica los mensajes.",
        "Asha triplica los mensajes.",
        "Pasan dos largas semanas.",
        "A las dos hablan.",
        "Se llaman un día sí y otro no.",
        "Dos quintos son quejas.",
    ],
    "pt": [
        "Um quarto das mensagens são queixas.",
        "Dois quintos são queixas.",
        "Há dezenas de mensagens.",
        "Falam uma hora e meia.",
        "Discutem às segundas.",
        "Segunda os dois discutem.",
        "Os dois discutem segunda à noite.",
        "Combinam para sexta.",
        "Passam dois longos dias.",
        "Às duas conversam.",
        "Falam dia sim, dia não.",
        "Discutem uma única vez.",
        "Asha duplica as mensagens.",
    ],
    "hi": [
        "दोनों दो रात बात करते हैं।",
        "दोनों में दो झगड़ा होता है।",
        "Asha दो गुना लिखती है।",
        "दोनों एक ही बार झगड़ते हैं।",
        "दो बजे दोनों बात करते हैं।",
        "दोनों दो लंबे दिन बात करते हैं।",
        "हर दूसरे दिन दोनों झगड़ते हैं।",
    ],
}
TRUE = {
    "en": ["The two talk about work all day.", "One day the two of them laugh.", "They laugh once again."],
    "de": ["Achtet Ravi auf sie, lachen beide.", "Eines Tages lachen die zwei.", "Das ist ganz einfach und einmalig."],
    "es": [
        "Los dos hablan de trabajo.",
        "Un día se ríen.",
        "Según Asha, todo está bien.",
        "En medio de la pelea, Ravi calla.",
    ],
    "pt": [
        "Os dois falam de trabalho.",
        "Um dia eles riem.",
        "Segundo ela, tudo está bem.",
        "No meio da briga, Ravi se cala.",
    ],
    "hi": ["दोनों एक दिन हँसते हैं।", "Asha कहती है कि मुझे समय दो।", "दोनों एक साथ रहते हैं।"],
}


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in FALSE.items() for text in texts])
def test_a_figure_or_a_time_in_words_is_refused(language: str, text: str) -> None:
    assert not states(text, "see you soon, I miss you", language=language)


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in TRUE.items() for text in texts])
def test_a_word_of_another_meaning_is_no_figure(language: str, text: str) -> None:
    assert states(text, "see you soon, I miss you", language=language)


@pytest.mark.parametrize(
    ("language", "text", "source"),
    [
        ("pt", "Combinam para sexta.", "see you on Friday"),
        ("pt", "Discutem às segundas.", "see you on Monday"),
        ("en", "They meet at two o'clock.", "see you at 2"),
        ("es", "A las dos hablan.", "see you at 2 pm"),
        ("hi", "दो बजे दोनों बात करते हैं।", "see you at 2"),
        ("en", "They call every other day.", "you call me every other day"),
        ("de", "Ihre zehnjährige Ehe endet.", "we were married for ten years"),
    ],
)
def test_a_time_or_figure_of_a_message_may_be_stated_in_words(language: str, text: str, source: str) -> None:
    assert states(text, source, language=language)
