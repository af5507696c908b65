"""The words of the languages of insights that are no names: those of our translations, stop words and lists. Pure.

English is known well enough by the vocabulary of a tokenizer (chats/common_words.py). For the other languages we have
none, so what is not listed may be a name, and a sentence with it is dropped: a false one would cost more.
"""

from __future__ import annotations

import io
import re
import tomllib
import unicodedata
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from chats.common_words import is_lower_case_word
from chats.romanization import WORD, make_key
from chats.statistics.languages import STOP_WORDS_BY_LANGUAGE
from insights import stated_figures
from insights.translation import DIRECTORY

_LISTS: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("evidence_words.toml").read_text(encoding="utf-8"))
_STOP_WORDS = {"hi": "hindi", "es": "spanish", "pt": "portuguese", "de": "german"}
#: Languages in which a capital can make a name.
LATIN_LANGUAGES = frozenset({"de", "es", "pt"})
_GERMAN_ENDINGS = ("", "s", "es", "e", "n", "en", "er", "ern", "nen", "in", "innen")
_GERMAN_NOUN_ENDINGS = tuple(_LISTS["de"]["endings"].split())
_GERMAN_LETTERS = str.maketrans({"ä": "a", "ö": "o", "ü": "u", "ß": "ss"})
#: A shorter noun is also the end of names: Wolfgang, Hermann, Oswald, Wilhelm.
_MIN_COMPOUNDED = 5
_MIN_STEM = 3
#: "Seine Frau" is a wife, and "Frau Lange" a lady.
_OWN = ("mein", "dein", "sein", "ihr", "unser", "ein", "kein", "die", "der", "jed", "dies")
#: The last vowel before the ending of a plural, which changes it: Volk, Völker.
_UNCHANGED_VOWEL = re.compile("(?<![aeiouäöü])(?:a|o|u|au)[bcdfghjklmnpqrstvwxzß]+$")
#: Endings of places.
_GERMAN_PLACE_ENDINGS = (
    "stadt", "stadts",
    "berg", "burg", "dorf", "feld", "felde", "hof", "heim", "bach", "wald", "stein", "hausen", "land",
    "lands", "ingen", "strand", "see", "insel", "hafen", "brück", "brücken", "kirchen", "furt", "werder", "rode",
    "büttel",
)  # fmt: skip
#: So many words of English, and none that is only of the language, make a sentence English.
_MIN_ENGLISH_WORDS = 2
_MAX_SHORT_WORDS = 5
_MIN_WITH_ENDING = 7
#: The names of placeholders are English words.
_PLACEHOLDER = re.compile(r"\{\w+\}")
_DEVANAGARI = re.compile("[\u0900-\u0963]+")
_DEVANAGARI_OR_LATIN = re.compile("[\u0900-\u0963]+|[A-Za-z]+")
#: Endings of nouns, adjectives and verbs. A verb's are those of a form that agrees with somebody.
_HINDI_ENDINGS = re.compile(
    "(?:ियों|ियां|ाओं|ाएं|ाते|ाता|ाती|ाना|ाने|ाकर|ाया|ायी|ाई|ाए|ेंगे|ेगा|ेगी|कर|ता|ते|ती|ना|ने|नी|ओं|यों|ए|ई|ों|ें|ीं|ां|े|ी|ा|ो)$"
)


@cache
def _load_names(language: str, key: str = "names") -> frozenset[str]:
    return frozenset(map(fold, _LISTS[language][key].split()))


def is_known(word: str, language: str) -> bool:
    """Return whether a word is a word of the language that is not only a name."""
    folded = fold(word)
    if folded in _load_names(language):
        return False
    if language == "hi":
        return not _stem(folded).isdisjoint(_load_stems())
    return folded in _load_words(language) or (language == "de" and _is_german(folded))


def has_most_words_of(language: str, words: Collection[str]) -> bool:
    """Return whether no other language of ours in Latin letters knows more of the words.

    Short sentences of Spanish and Portuguese often have no word that identifies one of them.
    """
    if language not in {"en", *LATIN_LANGUAGES}:
        # "Asha apologises." is not Hindi.
        return not words or any(map(_DEVANAGARI.search, words))
    folded = [fold(word) for word in words]
    # Without words such as "in", "no" and "April", which are also English.
    distinct = [word for word in folded if word not in _load_common_english()]
    if language == "en":
        return all(
            sum(word in own for word in distinct) <= sum(_is_english(word) and word not in own for word in folded)
            for own in map(_load_common_words, LATIN_LANGUAGES)
        )
    counts = {name: sum(word in _load_words(name) for word in folded) for name in LATIN_LANGUAGES}
    if counts[language] < max(counts.values()):
        return False
    own = _load_words(language)
    n_english = sum(_is_english(word) and word not in own for word in folded)
    # A short sentence of another language has few words that are known, and some without any.
    if len(folded) <= _MAX_SHORT_WORDS and n_english and n_english >= sum(word in own for word in distinct):
        return False
    is_any_known = not folded or any(is_known(word, language) for word in folded)
    return is_any_known and (n_english < _MIN_ENGLISH_WORDS or any(word in own for word in distinct))


def _is_english(word: str) -> bool:
    return word in _load_common_english() or is_lower_case_word(word)


@cache
def _load_common_english() -> frozenset[str]:
    return STOP_WORDS_BY_LANGUAGE["english"].union(stated_figures.list_words("english"))


def may_be_name(word: str, language: str, *, is_opening: bool) -> bool:
    """Return whether a capitalised word can be a name, at the start of a sentence or within it.

    Within a sentence, German capitalises its nouns, and Spanish and Portuguese only names.
    """
    if not is_known(word, language) or (language != "de" and not is_opening):
        return True
    # "Frau Lange": a German word that is no noun has a capital at the start of a sentence only.
    folded = fold(word)
    is_stop_word = not is_opening and folded in STOP_WORDS_BY_LANGUAGE["german"]
    return is_stop_word and folded not in _load_names("de", "polite") and not _is_german(folded)


def is_after_name_word(before: str, word: str, language: str) -> bool:
    """Return whether a German word, after this text, is a name because of the word before it: Frau Lange, in Essen."""
    words = before.split()[-2:]
    if language != "de" or not words or not before.endswith(" "):
        return False
    last, earlier = words[-1].casefold(), words[0].casefold() if len(words) > 1 else ""
    is_title = last in {"herr", "herrn", "dr.", "onkel", "tante"} or (last == "frau" and not earlier.startswith(_OWN))
    return is_title or (last in {"in", "nach", "aus", "bei", "von"} and fold(word) in _load_names("de", "places"))


def has_no_unknown_hindi(text: str, *, language: str, texts: Collection[str]) -> bool:
    """Return whether every word in Devanagari is known, or is in the texts, in either script: आशा for Asha."""
    unknown = {make_key(word) for word in list_unknown_hindi(text)} if language == "hi" else set()
    return not unknown or {make_key(word) for each in texts for word in WORD.findall(each)}.issuperset(unknown)


def list_unknown_hindi(text: str) -> Iterator[str]:
    """Yield the words in Devanagari that can be names, as they are written."""
    for match in _DEVANAGARI.finditer(text):
        # The start of a sentence and the words after it say whether an everyday word is a name.
        is_opening = text[: match.start()].rstrip()[-1:] in {"", *".!?…।"}
        following = _DEVANAGARI_OR_LATIN.findall(text, match.end())[:4]
        # "राज़" is a secret, and "राज" a name.
        is_everyday = unicodedata.normalize("NFC", match[0]) in _LISTS["hi"]["everyday"].split()
        is_ordinary_name = not is_everyday and fold(match[0]) in _load_names("hi", "ordinary_names")
        is_name = is_ordinary_name and _stands_as_name(fold(match[0]), following, is_opening=is_opening)
        if is_name or not is_known(match[0], "hi"):
            yield match[0]


def _stands_as_name(word: str, following: Sequence[str], *, is_opening: bool) -> bool:
    """Return whether a word that is also a name is one: before most postpositions, and as the subject of a sentence.

    "शांति से" and "विश्वास के साथ" say how something is done, unless a verb such as "to meet" follows.
    """
    following = [fold(each) for each in following]
    after = following[0] if following else ""
    if after in {"से", "के"} and word in _load_names("hi", "manners"):
        verbs = _load_names("hi", "verbs_with_people")
        return (after == "के" and following[1:2] != ["साथ"]) or any(_stem(each) & verbs for each in following)
    is_subject = is_opening and len(following) > 0 and not _stem(after) & _load_names("hi", "verbs_to_be")
    return is_subject or after in _load_names("hi", "postpositions")


def fold(word: str) -> str:
    """Return a word in one spelling: in lower case, and in Hindi without nukta and with anusvara."""
    folded = unicodedata.normalize("NFC", word.casefold())
    return folded.replace("\u093c", "").replace("\u0901", "\u0902")


def _is_german(word: str) -> bool:
    """Return whether a word is a form of a known noun, a compound that ends in one, or has an ending of nouns."""
    if len(word) >= _MIN_WITH_ENDING and word.endswith(_GERMAN_NOUN_ENDINGS):
        return True
    nouns = _load_german_nouns()
    plain = word.translate(_GERMAN_LETTERS)
    for ending in _GERMAN_ENDINGS:
        stem = plain.removesuffix(ending)
        if not plain.endswith(ending) or len(stem) < _MIN_STEM:
            continue
        # Of "Volk", the plural is "Völker"; "Volker" is a name.
        if ending in {"er", "ern"} and _UNCHANGED_VOWEL.search(word.removesuffix(ending)):
            continue
        if stem in nouns:
            return True
        # "Geburtstagsfeier" ends in "feier", and "Ingolstadt" is no compound.
        if word.endswith(_GERMAN_PLACE_ENDINGS):
            continue
        if any(stem[start:] in nouns for start in range(_MIN_STEM, len(stem) - _MIN_COMPOUNDED + 1)):
            return True
    return False


@cache
def _load_german_nouns() -> frozenset[str]:
    listed = {word.translate(_GERMAN_LETTERS) for word in _LISTS["de"]["words"].split()}
    # A translation also capitalises the first word of a sentence.
    capitalised = {fold(word) for word in _list_translated("de") if word[0].isupper()}
    translated = {word.translate(_GERMAN_LETTERS) for word in capitalised - STOP_WORDS_BY_LANGUAGE["german"]}
    return frozenset(word for word in listed | translated if len(word) >= _MIN_STEM)


@cache
def _load_words(language: str) -> frozenset[str]:
    return _load_common_words(language).union(map(fold, _list_translated(language)))


@cache
def _load_common_words(language: str) -> frozenset[str]:
    """Return the words of a language without those of its translations, which take long to read."""
    listed = _LISTS[language]["words"].split()
    # Figures and dates are checked as such.
    figures = stated_figures.list_words(_STOP_WORDS[language])
    listed += _LISTS[language].get("ordinary_names", "").split()
    return frozenset(map(fold, [*listed, *figures, *STOP_WORDS_BY_LANGUAGE[_STOP_WORDS[language]]]))


@cache
def _load_stems() -> frozenset[str]:
    """Return the stems of the words of Hindi, also those that the catalogue's terms have."""
    directory = Path(__file__).parent
    files = [*sorted((directory / "catalogue").glob("*.toml")), directory / "danger.toml"]
    listed = [word for path in files for word in _DEVANAGARI.findall(path.read_text(encoding="utf-8"))]
    return frozenset(stem for word in [*map(fold, listed), *_load_words("hi")] for stem in _stem(word))


def _stem(word: str) -> set[str]:
    """Return a word of Hindi and what remains of it without an ending."""
    stem = _HINDI_ENDINGS.sub("", word)
    return {word, stem} if len(stem) > 1 else {word}


def _list_translated(language: str) -> Iterator[str]:
    """Yield the words of a language's translations; within a sentence, German alone capitalises words of its own."""
    from babel.messages.pofile import read_po

    for path in sorted((DIRECTORY / language).glob("*.po")):
        for message in read_po(io.BytesIO(path.read_bytes())):
            forms = [message.string or ""] if isinstance(message.string, str | None) else message.string
            # An example of advice can have a name: "The contract is with you now, Neha."
            is_example = any(comment.endswith(": advice: example") for comment in message.auto_comments)
            for written in forms if message.id and not is_example else ():
                form = _PLACEHOLDER.sub(lambda match: "-" * len(match[0]), written)
                for match in WORD.finditer(form):
                    before = form[: match.start()].rstrip(" „“¿¡")[-1:]
                    if not match[0][0].isupper() or language == "de" or not before or before in ".!?…:":
                        yield match[0]
