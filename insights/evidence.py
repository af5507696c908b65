"""Checks citations and quotations of a draft: only what is in the messages that the engine was shown is kept."""

from __future__ import annotations

import calendar
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from chats.common_words import is_lower_case_word
from chats.statistics.languages import LABELS, classify_word
from chats.word_index import split_words
from insights.engines.base import CitedExchange, ShownMessage

#: A longer exchange is cut; a quotation is an example and not an excerpt.
MAX_MESSAGES = 6
#: Replaces a quotation that is in none of the cited messages.
DROPPED = "[…]"

# Straight, English, German and French quotation marks; single ones only where they are no apostrophe.
_QUOTATION = re.compile(r"\"([^\"]*)\"|“([^”]*)”|„([^“”]*)[“”]|«([^»]*)»|(?<!\w)‘([^’]*)’(?!\w)")
_LINK = re.compile(r"https?:|www\.|\w@\w|\b[\w-]+\.(?:com|net|org|io|ru|in|app|link)\b", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+|\d+(?:\.\d+)?")
_WORD = re.compile(r"[^\W\d_]+")
_CAPITALISED_WITHIN = re.compile(r"(?<=[\w,;] )[A-Z][^\W\d_]{2,}\b")
_CAPITALISED = re.compile(r"\b[A-Z][^\W\d_]{2,}\b")
#: Smaller ones are too common in other meanings: one day, the two of them.
_NUMBER_WORDS = {
    "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10, "eleven": 11,
    "twelve": 12, "thirteen": 13, "fourteen": 14, "fifteen": 15, "sixteen": 16, "seventeen": 17, "eighteen": 18,
    "nineteen": 19, "twenty": 20, "thirty": 30, "forty": 40, "fifty": 50, "sixty": 60,
    "seventy": 70, "eighty": 80, "ninety": 90, "hundred": 100, "hundreds": 100,
    "dozen": 12, "dozens": 12, "thousand": 1000, "thousands": 1000,
}  # fmt: skip
_COMPOUND = re.compile(
    r"\b(twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety)-(one|two|three|four|five|six|seven|eight|nine)\b",
    re.IGNORECASE,
)
_CALENDAR = frozenset(
    word.casefold()
    for word in [*calendar.month_name, *calendar.month_abbr, *calendar.day_name, *calendar.day_abbr]
    if word
)
_SPACES = re.compile(r"\s+")
#: The languages of a sentence's words, by the language that was requested. Hindi is written in two scripts and mixed.
_WRITTEN_LANGUAGES = {
    "en": frozenset({"english"}),
    "es": frozenset({"spanish"}),
    "hi": frozenset({"hindi", "hinglish", "english"}),
}
_NEUTRAL_SCRIPTS = {"en": frozenset({"latin"}), "es": frozenset({"latin"}), "hi": frozenset({"latin", "devanagari"})}


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
    cited: Iterable[CitedExchange], *, shown: Mapping[int, ShownMessage], max_exchanges: int
) -> CheckedCitations:
    """Keep the cited messages that were shown, in the first `max_exchanges` different exchanges that have any."""
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
        context = strip_unsupported_quotes(exchange.context, quotable=[message.text for message in messages])
        exchanges.append(Exchange(context, messages))
    return CheckedCitations(tuple(exchanges), given=given, kept=kept)


def is_supported(
    text: str,
    *,
    quotable: Collection[str],
    numbers: Collection[float],
    names: Collection[str],
    language: str = "en",
    times: Collection[datetime] = (),
) -> bool:
    """Return whether a model's sentence, in this language, claims nothing that its sources lack.

    `quotable` are the texts that it may quote, `numbers` the figures that it may give besides those of the texts,
    `names` the people whom it may name, and `times` the dates and times of day that it may give. A sentence with
    another figure, a quotation of something else, a link, or a name that is not in its sources is not supported: a
    capitalised word that English does not write in lower case. In other languages, only words within a sentence are
    checked. A sentence in another language than this one is not supported either.
    """
    if _LINK.search(text) or strip_unsupported_quotes(text, quotable=quotable) != text:
        return False
    if not is_written_in(language, text, names=names):
        return False
    for at in times:
        text = _remove_time(text, at)
    sources = " ".join([*quotable, *names])
    allowed = {float(number) for number in numbers} | _read_numbers(sources)
    if any(number not in allowed for number in _read_numbers(text)):
        return False
    known = {word.casefold() for word in _WORD.findall(sources)} | _CALENDAR
    capitalised = _CAPITALISED if language == "en" else _CAPITALISED_WITHIN
    return all(word.casefold() in known or is_lower_case_word(word) for word in capitalised.findall(text))


def is_written_in(language: str, text: str, *, names: Collection[str] = ()) -> bool:
    """Return whether no other language identifies more words of the text. Names and quotations do not count."""
    expected = _WRITTEN_LANGUAGES.get(language)
    if expected is None:
        return True
    name_words = {word for name in names for word in split_words(name)}
    labels = Counter(
        LABELS[classify_word(word)]
        for word in split_words(_QUOTATION.sub(" ", text))
        if word not in name_words and any(map(str.isalpha, word))
    )
    n_expected = sum(labels[name] for name in expected)
    others = labels.keys() - expected - _NEUTRAL_SCRIPTS[language]
    return max((labels[name] for name in others), default=0) <= n_expected


def _remove_time(text: str, at: datetime) -> str:
    """Return the text without this date and time of day. A bare number stays: "47 times" is no time, even at 21:47."""
    month = f"(?:{calendar.month_name[at.month]}|{calendar.month_abbr[at.month]})"
    day = rf"0?{at.day}(?:st|nd|rd|th)?"
    hour = at.hour % 12 or 12
    patterns = (
        f"{at:%Y-%m-%d}",
        rf"{day}(?: of)? {month}",
        rf"{month}\.? {day}",
        rf"{day} de [^\W\d_]+",
        rf"0?{at.hour}[:.]{at.minute:02}",
        rf"0?{hour}(?:[:.]{at.minute:02})? ?[ap]\.?m\b",
    )
    return re.sub(rf"(?<![\w.,])(?:{'|'.join(patterns)})(?!\w)", " ", text, flags=re.IGNORECASE)


def _read_numbers(text: str) -> set[float]:
    """Return the numbers in a text, in digits or in English words from three on, without thousands separators."""
    found = {float(match.replace(",", "")) for match in _NUMBER.findall(text)}
    found |= {float(_NUMBER_WORDS[word]) for word in map(str.casefold, _WORD.findall(text)) if word in _NUMBER_WORDS}
    small = {"one": 1, "two": 2} | _NUMBER_WORDS
    return found | {
        float(_NUMBER_WORDS[tens.casefold()] + small[ones.casefold()]) for tens, ones in _COMPOUND.findall(text)
    }


def strip_unsupported_quotes(text: str, *, quotable: Collection[str]) -> str:
    """Return the text with DROPPED in place of each quotation that none of the quotable texts contains."""
    sources = [_normalize(source) for source in quotable]

    def keep_or_drop(match: re.Match[str]) -> str:
        # A sentence adds its own punctuation within the quotation marks.
        quoted = _normalize(next(part for part in match.groups() if part is not None)).rstrip(".,!?…")
        return match[0] if quoted and any(quoted in source for source in sources) else DROPPED

    return _QUOTATION.sub(keep_or_drop, text)


def _normalize(text: str) -> str:
    """Return the text without case and with single spaces, so that a quotation may differ from its source in both."""
    return _SPACES.sub(" ", text).strip().casefold()
