"""In every language, a sentence that says what its messages lack is refused: figures, dates, names, other languages."""

from __future__ import annotations

from datetime import datetime

import pytest

from insights import german_numbers, known_words
from insights.evidence import is_supported, is_written_in
from insights.stated_figures import states_only
from insights.translation import LANGUAGES

AT = datetime.fromisoformat("2024-03-14T21:47")
QUOTABLE = ["I was so hurt on Friday when you forgot Diwali", "Sorry jaan, 5 baje pakka, see café Olé"]

TRUE = {
    "de": [
        "Asha wartet am Abend auf Ravi, und das Essen wird kalt; er entschuldigt sich später.",
        "Am 14. März 2024, einem Donnerstagabend, streiten beide und lachen dann noch einmal.",
        "Im März 2024 planen sie eine Reise und reden zwölfmal über das Budget.",
        "Um 21:47 Uhr schreibt Asha „so hurt“, und eines Tages versöhnen sie sich.",
        "Nach dem Streit tut Ravi den ersten Schritt, noch vor Diwali.",
    ],
    "es": [
        "Asha espera a Ravi por la noche y la comida se enfría; él se disculpa más tarde.",
        "El 14 de marzo de 2024, un jueves, los dos discuten; una vez más, Ravi cede.",
        "Los dos discuten doce veces, y un día se ríen de todo.",
        "Juntos sueñan con una casa pequeña, y Ravi da el primer paso.",
    ],
    "pt": [
        "Asha espera por Ravi à noite e a comida esfria; ele pede desculpas mais tarde.",
        "Em 14 de março de 2024, uma quinta-feira, os dois discutem; mais uma vez, Ravi cede.",
        "Os dois discutem doze vezes, e um dia riem de tudo.",
        "Juntos, eles sonham com uma casa, depois de um mal-entendido.",
    ],
    "hi": [
        "Asha रात को Ravi का इंतज़ार करती है और खाना ठंडा हो जाता है; वह बाद में माफ़ी माँगता है।",
        "14 मार्च 2024 को, गुरुवार के दिन, दोनों झगड़ते हैं और एक बार फिर हँसते हैं।",
        "2024 में दोनों बारह बार झगड़ते हैं।",
        "आशा ने रवि को माफ़ कर दिया।",
        "मिलकर सुलझाना: Asha, Ravi",
    ],
}
FALSE = {
    "de": [
        "Sie streiten siebenundvierzigmal.",
        "Sie streiten zweihundertfünf Mal.",
        "Sie streiten zum ersten Mal.",
        "Sie streiten nur einmal.",
        "Nach zwei Tagen reden sie wieder.",
        "Die Hälfte der Nachrichten ist liebevoll.",
        "Asha schreibt doppelt so oft.",
        "Am Sonntagabend streiten sie.",
        "Montags streiten sie.",
        "Am Sa streiten sie.",
        "Sie streiten im Dezember.",
        "Sie streiten am 15. März.",
        "Im Jahr 2023 streiten sie.",
        "Es sind 1.200 Nachrichten.",
        "Um 21:48 Uhr schreibt Asha.",
        "Priya trifft Asha.",
        "Dann trifft Asha Annegret am Abend.",
        "Asha freut sich auf Wolfgang.",
        "Ravi liebt Rose, und sie liebt ihn.",
        "Asha schreibt „ich liebe dich nicht“.",
    ],
    "es": [
        "Los dos discuten cuarenta y siete veces.",
        "Los dos discuten solo una vez.",
        "La mitad de los mensajes son cariñosos.",
        "Media hora después se ríen.",
        "Asha escribe el doble.",
        "Discuten por primera vez.",
        "Los dos discuten el domingo.",
        "Los dos discuten en diciembre.",
        "Priya espera a Asha.",
        "Rosa espera a Asha.",
        "Entonces Asha ve a Priya.",
        "Asha escribe «no te quiero».",
    ],
    "pt": [
        "Os dois discutem quarenta e sete vezes.",
        "Os dois discutem só uma vez.",
        "Metade das mensagens é carinhosa.",
        "Asha escreve o dobro.",
        "Discutem pela segunda vez.",
        "Depois de dois dias eles riem.",
        "Na quarta os dois discutem.",
        "Na segunda-feira os dois discutem.",
        "Os dois discutem no domingo.",
        "Os dois discutem em dezembro.",
        "São 1.200 mensagens.",
        "Priya espera por Asha.",
        "Clara espera por Asha.",
        "Então Asha vê Priya.",
    ],
    "hi": [
        "दोनों सैंतालीस बार झगड़ते हैं।",
        "दोनों सिर्फ़ एक बार झगड़ते हैं।",
        "दोनों पहली बार झगड़ते हैं।",
        "आधे संदेश प्यार के हैं।",
        "Asha दोगुना लिखती है।",
        "ढाई घंटे बाद दोनों हँसते हैं।",
        "दोनों रविवार को झगड़ते हैं।",
        "दोनों दिसंबर में झगड़ते हैं।",
        "प्रिया Asha से मिलती है।",
        "फिर Asha ज़ायरा से मिलती है।",
        "सपना ने Asha को बुलाया।",
        "Asha फिर Priya से मिलती है।",
        "Asha ने लिखा: «मुझे तुमसे नफ़रत है»।",
    ],
}
OTHER_LANGUAGES = {
    "en": "They talk about the food because nobody else has the time.",
    "hi": "दोनों खाने के बारे में बात करते हैं क्योंकि और किसी के पास समय नहीं है।",
    "es": "Los dos hablan de la comida porque nadie más tiene tiempo.",
    "pt": "Os dois falam da comida porque mais ninguém tem tempo.",
    "de": "Beide reden über das Essen, weil sonst niemand Zeit hat.",
}


def supports(text: str, language: str) -> bool:
    return is_supported(text, quotable=QUOTABLE, names=("Asha", "Ravi"), numbers=[12.0], times=[AT], language=language)


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in TRUE.items() for text in texts])
def test_a_sentence_that_says_what_its_sources_have_is_supported_in_every_language(language: str, text: str) -> None:
    assert supports(text, language)


@pytest.mark.parametrize(("language", "text"), [(code, text) for code, texts in FALSE.items() for text in texts])
def test_a_figure_a_date_or_a_name_that_the_sources_lack_is_refused_in_every_language(language: str, text: str) -> None:
    assert not supports(text, language)
    # It is not refused for its language.
    assert is_written_in(language, text, names=["Asha", "Ravi"])


@pytest.mark.parametrize("written", LANGUAGES)
@pytest.mark.parametrize("requested", LANGUAGES)
def test_a_sentence_is_supported_only_in_the_language_that_was_requested(requested: str, written: str) -> None:
    assert is_written_in(requested, OTHER_LANGUAGES[written]) == (requested == written)
    assert supports(OTHER_LANGUAGES[written], requested) == (requested == written)


def test_hindi_in_latin_letters_is_not_the_hindi_of_a_document() -> None:
    assert not supports("Dono roz ladte hain aur koi sorry nahi bolta.", "hi")
    assert supports("दोनों रोज़ लड़ते हैं और कोई sorry नहीं बोलता।", "hi")


@pytest.mark.parametrize(
    ("word", "number"),
    [
        ("drei", 3),
        ("siebenundvierzig", 47),
        ("zweihundertfünf", 205),
        ("tausendzweihundertdreiunddreißig", 1233),
        ("hunderttausend", 100_000),
        ("dreimal", 3),
        ("zwanzigster", 20),
        ("sechste", 6),
        ("vierfach", 4),
        ("zwanzigstel", 20),
        ("zwei", None),
        ("hund", None),
        ("wunder", None),
        ("tausendsassa", None),
    ],
)
def test_german_numbers_are_read_as_one_word(word: str, number: int | None) -> None:
    assert german_numbers.parse_number(word) == number


@pytest.mark.parametrize("number", ["1.200", "1200", "tausendzweihundert"])
def test_a_point_is_between_thousands_in_german(number: str) -> None:
    assert states_only(f"Es sind {number}.", sources=["1200 rupees"], numbers=[], times=[], language="de")
    assert not states_only(f"Es sind {number}.", sources=["1.2 km"], numbers=[], times=[], language="de")


@pytest.mark.parametrize("language", ["de", "es", "pt", "hi"])
def test_common_names_are_no_words_of_any_language(language: str) -> None:
    latin = """
    Hans Klaus Wolfgang Helmut Dieter Stefan Markus Sebastian Tobias Lukas Jonas Leon Sabine Petra Katharina Sophie
    Gretchen Liesel Annemarie Lieselotte Elfriede Priya Neha Pooja Amit Rohan Arjun Meera Zoya Fatima Mohammed Yusuf
    Fernanda Carlos José Pedro Lucía Sofía Mateo Diego Camila João Tiago Rafael Beatriz Thiago Renata Vanessa Kevin
    Nele Nadia Nádia Emily John Mary Rose Grace Mark Frank Schmidt Müller Weber Vogel Berger García Silva Santos Costa
    Sharma Gupta
    """
    devanagari = """
    प्रिया नेहा अंजलि सुनीता रितु स्वाति दीपा मीना गीता सीता राधा मीरा अनीता सोनिया काजल दीपिका राहुल रोहन अमित अजय संजय
    राजेश सुरेश रमेश मोहन रवि अनिल सुनील विनोद विकास करण अर्जुन इमरान सलमान फ़ातिमा आयशा जॉन पीटर मैरी एमिली डेविड
    """
    names = (devanagari if language == "hi" else latin).split()
    assert [name for name in names if known_words.is_known(name, language)] == []


NEUTRAL = ["see you soon, I miss you", "kal milte hain"]


def check_names(text: str, language: str) -> bool:
    """Return whether a sentence is supported by two messages that name nobody."""
    assert states_only(text, sources=NEUTRAL, numbers=[], times=[], language=language)
    assert is_written_in(language, text, names=["Asha", "Ravi"])
    return is_supported(text, quotable=NEUTRAL, names=("Asha", "Ravi"), language=language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("hi", "Asha कविता के साथ बाहर जाती है।"),
        ("hi", "Asha कविता को फ़ोन करती है।"),
        ("hi", "खुशी Asha से मिलती है।"),
        ("hi", "Asha शांति से मिलती है।"),
        ("hi", "Asha पूजा की बात मानती है।"),
        ("de", "Asha wohnt in Wien."),
        ("de", "Asha trifft Volker am Abend."),
        ("de", "Asha trifft Walder am Abend."),
        ("de", "Asha trifft Frau Lange am Abend."),
        ("de", "Asha trifft Lange am Abend."),
        ("de", "Asha reist am Abend nach Ingolstadt."),
        ("de", "Asha lebt mit Ravi in Darmstadt."),
        ("de", "Asha ist am Abend in Essen."),
        ("de", "Beide reisen nach Indien."),
    ],
)
def test_a_name_that_is_like_a_usual_word_is_refused_as_a_name(language: str, text: str) -> None:
    assert not check_names(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("hi", "Asha प्रेम से जवाब देती है।"),
        ("hi", "दोनों विश्वास के साथ आगे बढ़ते हैं।"),
        ("hi", "Asha को खुशी होती है।"),
        ("hi", "Ravi राज़ की बात मानता है।"),
        ("de", "Nach dem Essen reden beide."),
        ("de", "Asha reist mit ihrer Frau nach Hause."),
        ("de", "Die Kinder und die Arbeiter lachen."),
        ("de", "Das Gute bleibt, und beide danken Ihnen."),
    ],
)
def test_a_usual_word_that_is_like_a_name_is_supported(language: str, text: str) -> None:
    assert check_names(text, language)


def test_names_and_figures_are_words_of_no_other_language() -> None:
    assert is_written_in("hi", "मिलकर सुलझाना (Oliver Quist, Nadia Petrov)।", names=["Oliver Quist", "Nadia Petrov"])
    assert is_written_in("hi", "दोनों अगले तीन साल की तीन-तीन ख्वाहिशें लिखिए।")


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Los dos discuten."),
        ("en", "Ravi entschuldigt sich."),
        ("en", "Asha llora mucho."),
        ("en", "Ravi pede desculpas."),
        ("de", "Asha apologises to Ravi."),
        ("de", "Asha hugs Ravi."),
        ("de", "Los dos discuten."),
        ("es", "Asha apologises to Ravi."),
        ("es", "Os dois brigam muito."),
        ("es", "Ravi entschuldigt sich."),
        ("pt", "Ravi se disculpa."),
        ("pt", "Los dos hablan mucho."),
        ("pt", "They talk again."),
        ("hi", "Asha apologises."),
        ("hi", "Los dos discuten."),
    ],
)
def test_a_short_sentence_of_another_language_is_refused_for_its_language(language: str, text: str) -> None:
    assert not is_written_in(language, text, names=["Asha", "Ravi"])
    assert not supports(text, language)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Asha apologises."),
        ("en", "They laugh."),
        ("en", "Asha hugs Ravi tightly."),
        ("de", "Ashas Entschuldigung hilft."),
        ("de", "Ravis Bitte bleibt unbeantwortet."),
        ("de", "Trotz allem lachen beide."),
        ("de", "Ihr Tonfall wird sanft."),
        ("es", "Echa de menos a Asha."),
        ("es", "Ravi se disculpa."),
        ("pt", "Reage com calma."),
        ("pt", "Ravi pede desculpas."),
        ("hi", "Asha चिंतित है।"),
        ("hi", "इसके बावजूद दोनों हँसते हैं।"),
    ],
)
def test_a_short_sentence_of_its_own_language_is_supported(language: str, text: str) -> None:
    assert supports(text, language)


@pytest.mark.parametrize(
    ("language", "true", "false"),
    [
        ("de", "Am 14.3.2024 streiten beide.", "Am 15.3.2024 streiten beide."),
        ("de", "Am 14.03.24 streiten beide.", "Am 14.03.23 streiten beide."),
        ("es", "A las 9:47 de la noche escribe Asha.", "A las 9:47 de la mañana escribe Asha."),
        ("pt", "Às 21h47 Asha escreve.", "Às 21h48 Asha escreve."),
        ("hi", "रात 9:47 बजे Asha लिखती है।", "सुबह 9:47 बजे Asha लिखती है।"),
    ],
)
def test_a_date_or_a_time_as_people_write_it_must_be_that_of_a_message(language: str, true: str, false: str) -> None:
    assert states_only(true, sources=NEUTRAL, numbers=[], times=[AT], language=language)
    assert supports(true, language)
    assert not states_only(false, sources=NEUTRAL, numbers=[], times=[AT], language=language)
