"""Checks citations and quotations of a draft: only what is in the messages that the engine was shown is kept."""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

from chats.common_words import is_lower_case_word, is_ordinary
from chats.statistics.languages import LABELS, STOP_WORDS_BY_LANGUAGE, classify_word
from chats.word_index import split_words
from insights import known_words, stated_figures
from insights.engines.base import CitedExchange, ShownMessage

#: A longer exchange is cut; a quotation is an example and not an excerpt.
MAX_MESSAGES = 6
#: Replaces a quotation that is in none of the cited messages.
DROPPED = "[…]"
#: Up to this many words, an English phrase may consist of Hindi words: "Ghar shifting plans".
MAX_PHRASE_WORDS = 5
#: So many words of another language make a sentence one of that language; a single one is a loan.
MIN_FOREIGN_WORDS = 2

_DOUBLE_MARKS = '"“”„‟«»″＂「」『』〝〞'
_SINGLE_MARKS = "'‘’‚‛‹›`´′＇"
#: Single marks that are also written as an apostrophe.
_APOSTROPHES = "'’´`′＇"
_MARK = re.compile(f"[{_DOUBLE_MARKS}{_SINGLE_MARKS}]")
_LINK = re.compile(r"https?:|www\.|\w@\w|\b[\w-]+\.(?:com|net|org|io|ru|in|app|link)\b", re.IGNORECASE)
_WORD = re.compile(r"[^\W\d_]+")
#: A word with a capital and at least three letters.
_CAPITALISED = re.compile(r"(?<!\w)[^\W\d_]{3,}(?!\w)")
_SPACES = re.compile(r"\s+")
_SENTENCE_ENDS = frozenset(".!?…:।")
#: A name in digits alone is a figure unless it is a telephone number.
_MIN_NAME_DIGITS = 5
_ONE_SPELLING = str.maketrans({**dict.fromkeys("‘’´`′＇", "'"), "…": "..."})
#: The language of a sentence's words, by the language that was requested, and the script that says nothing more. Hindi
#: in Latin letters is not the Hindi of a document.
_WRITTEN_LANGUAGES = {"en": "english", "hi": "hindi", "es": "spanish", "pt": "portuguese", "de": "german"}
#: The ending of a name in the genitive, without an apostrophe: Ashas Bitte.
_GENITIVES = {"de": "s?"}
_SCRIPTS = {"en": "latin", "hi": "devanagari", "es": "latin", "pt": "latin", "de": "latin"}

_FILE: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("evidence_words.toml").read_text(encoding="utf-8"))
_NAMES = frozenset(_FILE["names"].split())
_ORDINARY_NAMES = frozenset(_FILE["ordinary_names"].split())
_OPENING_WORDS = frozenset(_FILE["words"].split())
_ENDINGS = tuple(_FILE["endings"].split())
_MIN_ENDING_LENGTH = 7


@dataclass(frozen=True, slots=True)
class Exchange:
    """Messages that are quoted together, in the order of the chat."""

    context: str
    messages: tuple[ShownMessage, ...]


@dataclass(frozen=True, slots=True)
class CheckedCitations:
    """A section's exchanges after the check. `given` and `kept` count cited messages."""

    exchanges: tuple[Exchange, ...]
    given: int
    kept: int


def check_citations(
    cited: Iterable[CitedExchange],
    *,
    shown: Mapping[int, ShownMessage],
    max_exchanges: int,
    names: Collection[str] = (),
) -> CheckedCitations:
    """Keep the cited messages that were shown, in the first `max_exchanges` different exchanges that have any.

    Quotation marks in `names` are part of the name.
    """
    exchanges: list[Exchange] = []
    seen: set[tuple[int, ...]] = set()
    given = kept = 0
    for exchange in cited:
        numbers = sorted(set(exchange.numbers))
        # A forwarded message was shown for its context; its words are somebody else's.
        valid = tuple(n for n in numbers if n in shown and not shown[n].forwarded)[:MAX_MESSAGES]
        given += len(numbers)
        if not valid or valid in seen or len(exchanges) == max_exchanges:
            continue
        seen.add(valid)
        kept += len(valid)
        messages = tuple(shown[number] for number in valid)
        quotable = [message.text for message in messages]
        context = strip_unsupported_quotes(exchange.context, quotable=quotable, names=names)
        exchanges.append(Exchange(context, messages))
    return CheckedCitations(tuple(exchanges), given=given, kept=kept)


def is_supported(
    text: str,
    *,
    quotable: Collection[str],
    names: Collection[str],
    numbers: Collection[float] = (),
    language: str = "en",
    times: Collection[datetime] = (),
    context: Collection[str] = (),
) -> bool:
    """Return whether a model's sentence, in this language, claims nothing that its sources lack.

    `quotable` are the texts that it may quote, `names` the people whom it may name, `numbers` the figures that it may
    give besides those of the texts, `times` the dates and times of day that it may give, and `context` are texts whose
    proper nouns it may use. A sentence with another figure, date or time of day, a quotation of something else, an
    unpaired quotation mark, a link, or a name that is not in its sources is not supported. A name is a capitalised word
    that the language does not write in lower case. In German every noun has a capital, and Devanagari has none: there,
    every noun, or every word, that we do not know (insights/known_words.py) may be a name. A sentence in another
    language than this one is not supported either.
    """
    masked = _mask_names(text, names, ending=_GENITIVES.get(language, ""))
    spans, is_paired = _find_quotations(masked)
    sources = [_normalize(source) for source in quotable] if spans else []
    if not is_paired or not all(_is_quoted(text[start:end], sources) for start, end in spans):
        return False
    said = _SPACES.sub(" ", _blank(masked, spans))
    if _LINK.search(said) or not _is_written_in(language, said, names):
        return False
    if not stated_figures.states_only(said, sources=[*quotable], numbers=numbers, times=times, language=language):
        return False
    texts = (*quotable, *names, *context)
    unknown = set(_find_capitalised(said, language=language))
    return _list_words(texts).issuperset(unknown) and known_words.has_no_unknown_hindi(
        said, language=language, texts=texts
    )


# A section's sentences have the same sources.
@lru_cache(maxsize=16)
def _list_words(texts: tuple[str, ...]) -> frozenset[str]:
    return frozenset(word.casefold() for text in texts for word in _WORD.findall(text))


def is_written_in(language: str, text: str, *, names: Collection[str] = ()) -> bool:
    """Return whether no other language identifies more words of the text. Names and quotations do not count."""
    masked = _mask_names(text, names)
    return _is_written_in(language, _blank(masked, _find_quotations(masked)[0]), names)


def _is_written_in(language: str, text: str, names: Collection[str]) -> bool:
    if language not in _WRITTEN_LANGUAGES:
        return True
    expected = {_WRITTEN_LANGUAGES[language]}
    name_words = {word for name in names for word in split_words(name)}
    # The word for three is the same in Hindi and Marathi.
    written = _WRITTEN_LANGUAGES[language]
    name_words |= stated_figures.list_words(written).difference(STOP_WORDS_BY_LANGUAGE[written])
    words = [word for word in split_words(text) if len(word) > 1 and any(map(str.isalpha, word))]
    if language == "en" and len(words) <= MAX_PHRASE_WORDS:
        expected |= {"hinglish"}
    # A masked name is a word of one letter, repeated.
    words = [word for word in words if word not in name_words and set(word) != {"x"}]
    labels = Counter(LABELS[classify_word(word)] for word in words)
    n_expected = sum(labels[name] for name in expected)
    for name in labels.keys() - expected - {_SCRIPTS[language]}:
        # Many stop words are of several languages, and identify none of them.
        own = STOP_WORDS_BY_LANGUAGE.get(name, frozenset()).difference(
            *map(STOP_WORDS_BY_LANGUAGE.__getitem__, expected)
        )
        n_words = sum(LABELS[classify_word(word)] == name or word in own for word in words)
        if labels[name] > n_expected and n_words >= MIN_FOREIGN_WORDS:
            return False
    return known_words.has_most_words_of(language, words)


def _find_capitalised(text: str, *, language: str) -> Iterator[str]:
    """Yield the capitalised words, in lower case, that can be names. Months and weekdays are checked as dates.

    Words in Latin letters in a Hindi sentence are read as English.
    """
    for match in _CAPITALISED.finditer(text):
        word = match[0].casefold()
        if not match[0][0].isupper() or word in stated_figures.calendar_words():
            continue
        before = text[max(0, match.start() - 2) : match.start()].strip()[-1:]
        is_opening = not before or before in _SENTENCE_ENDS
        is_after_name_word = known_words.is_after_name_word(text[: match.start()], word, language)
        if is_after_name_word or _may_be_name(match[0], language, is_opening=is_opening):
            yield word


def _may_be_name(word: str, language: str, *, is_opening: bool) -> bool:
    """Return whether a capitalised word can be a name, at the start of a sentence or within it."""
    if language in known_words.LATIN_LANGUAGES:
        return known_words.may_be_name(word, language, is_opening=is_opening)
    word = word.casefold()
    is_name = word in _NAMES or (word in _ORDINARY_NAMES and not is_opening)
    return is_name or not (is_lower_case_word(word) or (is_opening and _is_english(word)))


def _is_english(word: str) -> bool:
    """Return whether a word that the tokenizer lacks is an everyday word by a list, or English by its ending."""
    return word in _OPENING_WORDS or is_ordinary(word) or (len(word) >= _MIN_ENDING_LENGTH and word.endswith(_ENDINGS))


def _mask_names(text: str, names: Collection[str], *, ending: str = "") -> str:
    """Return the text, in its length, with letters in place of the names: they can contain marks, digits and dots.

    A name may have an ending of this pattern.
    """
    # Most texts contain few of the names, and the pattern is compiled for those.
    parts = {name for name in names if _can_mask(name) and name in text}
    if not parts:
        return text
    longest_first = sorted(parts, key=len, reverse=True)
    pattern = rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))}){ending}(?!\w)"
    return re.sub(pattern, lambda match: "x" * len(match[0]), text)


def _can_mask(name: str) -> bool:
    return any(map(str.isalpha, name)) or sum(map(str.isdigit, name)) >= _MIN_NAME_DIGITS


def strip_unsupported_quotes(text: str, *, quotable: Collection[str], names: Collection[str] = ()) -> str:
    """Return the text with DROPPED in place of each quotation that none of the quotable texts contains.

    Quotation marks in `names` are part of the name. After a mark without a pair, everything is a quotation.
    """
    masked = _mask_names(text, names)
    spans, is_paired = _find_quotations(masked)
    sources = [_normalize(source) for source in quotable]
    parts, end = [], 0
    for first, last in spans:
        is_kept = (is_paired or (first, last) != spans[-1]) and _is_quoted(text[first:last], sources)
        parts += [text[end:first], text[first:last] if is_kept else DROPPED]
        end = last
    return "".join([*parts, text[end:]])


def _find_quotations(text: str) -> tuple[list[tuple[int, int]], bool]:
    """Return the spans of the quotations, with their marks, and whether the last one is closed.

    Any double mark closes a double one, and any single mark a single one: models mix them. A single mark between
    letters, or after the s of a possessive, is an apostrophe.
    """
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    for match in _MARK.finditer(text):
        at = match.start()
        if opened is None:
            if not _is_apostrophe(text, at) and not _is_possessive(text, at):
                opened = at
        elif (text[opened] in _DOUBLE_MARKS) == (text[at] in _DOUBLE_MARKS) and not _is_apostrophe(text, at):
            spans.append((opened, at + 1))
            opened = None
    return ([*spans, (opened, len(text))], False) if opened is not None else (spans, True)


def _is_apostrophe(text: str, at: int) -> bool:
    """Return whether the mark is between letters: isn't."""
    return text[at] in _APOSTROPHES and text[at - 1 : at].isalpha() and text[at + 1 : at + 2].isalpha()


def _is_possessive(text: str, at: int) -> bool:
    """Return whether the mark follows the s of a possessive: the parents' house. Names are masked with x."""
    return text[at] in _APOSTROPHES and text[at - 1 : at] in {"s", "x"}


def _is_quoted(quotation: str, sources: Iterable[str]) -> bool:
    """Return whether a source, as `_normalize` returns it, has the words between the quotation's marks."""
    # A sentence adds its own punctuation within the quotation marks.
    quoted = _normalize(quotation[1:-1]).rstrip(".,!?").strip()
    return bool(quoted) and any(_has_words(source, quoted) for source in sources)


def _has_words(source: str, quoted: str) -> bool:
    """Return whether a text contains the quoted one and continues no word of it."""
    at = source.find(quoted)
    while at >= 0:
        around = source[max(0, at - 1) : at] + source[at + len(quoted) : at + len(quoted) + 1]
        if not any(map(_is_in_word, around)):
            return True
        at = source.find(quoted, at + 1)
    return False


def _is_in_word(char: str) -> bool:
    # Vowel signs of Hindi are marks.
    return unicodedata.category(char)[0] in "LMN"


def _blank(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return the text without the spans."""
    parts, end = [], 0
    for first, last in spans:
        parts.append(text[end:first])
        end = last
    return " ".join([*parts, text[end:]])


@lru_cache(maxsize=1024)
def _normalize(text: str) -> str:
    """Return a text so that a quotation may differ from its source in case, spaces and the shape of apostrophes."""
    return _SPACES.sub(" ", text).strip().casefold().translate(_ONE_SPELLING)
