"""Figures, dates and times of day that a sentence states, in digits and in words. Pure.

Words are of the languages of insights, and Hindi is read in both scripts (stated_figures.toml). A date or a time of day
is supported if a message was sent then, or if the sources name it; every other figure must be in the sources. One pass
over the sentence and one over the sources.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cache, lru_cache
from itertools import zip_longest
from math import nan
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from chats.common_words import is_lower_case_word
from chats.romanization import make_key
from chats.statistics.languages import LABELS, STOP_WORDS_BY_LANGUAGE, classify_word
from chats.word_index import split_words
from insights import german_numbers

_FILE: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("stated_figures.toml").read_text(encoding="utf-8"))
_LANGUAGES = ("english", "spanish", "portuguese", "german", "hindi", "hinglish")
#: The lists that are read in a sentence of each language. A word in two of them has the meaning of the first.
_LISTS = {
    "en": ("english", "hindi", "spanish"),
    "es": ("spanish", "english", "hindi"),
    "hi": ("hindi", "hinglish", "english", "spanish"),
    "pt": ("portuguese", "english"),
    "de": ("german", "english"),
}
#: The lists that are read in a message of each language. English numbers are in messages of every language.
_SOURCE_LISTS = {
    "english": ("english",),
    "spanish": ("spanish",),
    "portuguese": ("portuguese",),
    "german": ("german",),
    "hindi": ("hindi",),
    "hinglish": ("hinglish", "hindi"),
}
_LANGUAGE_OF_CODE = {"en": "english", "es": "spanish", "pt": "portuguese", "de": "german", "hi": "hindi"}
#: From here on, the spellings of Hindi words in Latin letters are too many to list, except for round numbers.
_MIN_BY_SOUND = 11

#: What is between thousands. In Spanish it is a point or a comma, by country.
_THOUSANDS = {"pt": ".", "portuguese": ".", "de": ".", "german": ".", "es": ".,", "spanish": ".,"}
_TOKEN = re.compile(
    r"(?P<iso>\b\d{4}-\d{2}-\d{2}\b)"
    r"|(?P<date>\b\d{1,2}(?P<joint>[./-])\d{1,2}(?P=joint)(?:\d{4}|\d{2})\b)"
    r"|(?P<half>\b\d{1,2}(?:[:.]\d{2})?\s?[ap]\.?\s?m\b)"
    r"|(?P<clock>\b\d{1,2}(?:[:.]|\s?h)\d{2}\b(?![.,:]?\d))"
    r"|(?P<number>\d+(?:[.,]\d+)*(?:(?:st|nd|rd|th)\b|[ºª])?)"
    r"|(?P<word>(?:segunda|ter[cç]a|quarta|quinta|sexta)s?-feiras?\b|[^\W\d_][\w\u0300-\u036f\u0900-\u0963]*)"
    r"|(?P<sign>[^\w\s])",
    re.IGNORECASE,
)
#: Phrases that say how often something happens, without a figure. A source must have the same one.
_HOW_OFTEN = re.compile(
    r"\bevery (?:other|second) (?:day|week|month|year|night|evening|morning|time)s?\b"
    r"|\balternate (?:days|weeks|nights)\b"
    r"|\b(?:d[ií]a|semana|mes|mês|noche|noite) s[ií]m?,? (?:[ye] )?"
    r"(?:otr[oa]|outr[oa]|d[ií]a|semana|mes|mês|noche|noite) n[ãoó]o?\b"
    r"|\bd[ií]a por medio\b|\bun d[ií]a de cada\b|\bein ums andere mal\b"
)
_DIGITS = re.compile(r"\d+")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")
#: Thousands in groups of three digits, in India of two and then three: 1,00,000.
_GROUPED = re.compile(r"\d{1,3}(?:([.,])\d{3})(?:\1\d{3})*|\d{1,2}(?:,\d{2})+,\d{3}")

Kind = Literal["iso", "date", "half", "clock", "number", "ordinary", "month", "weekday", "word", "sign"]
_WORDS = frozenset({"word", "sign"})


class _Token(NamedTuple):
    """A part of a text. `value` is a number, a month from 1, or a weekday from 0."""

    kind: Kind
    key: str
    value: float = 0


@dataclass(slots=True)
class _Allowed:
    """What may be stated. Days are (month, day). The year of a month is None where none is named.

    `counts` are the figures that say how often something happens: three deadlines are no quarrel three times.
    `hours` are (hour, minute) of 24 hours, without a minute where none is named; `clocks` are written without am or pm.
    """

    figures: set[float] = field(default_factory=set)
    counts: set[float] = field(default_factory=set)
    dates: set[str] = field(default_factory=set)
    days: set[tuple[int, int]] = field(default_factory=set)
    months: set[tuple[int | None, int]] = field(default_factory=set)
    weekdays: set[int] = field(default_factory=set)
    years: set[int] = field(default_factory=set)
    hours: set[tuple[int, int | None]] = field(default_factory=set)
    clocks: set[tuple[int, int]] = field(default_factory=set)

    def copy(self) -> _Allowed:
        """Return an equal value with sets of its own."""
        return _Allowed(*(set(getattr(self, each.name)) for each in fields(self)))


def states_only(
    text: str, *, sources: Sequence[str], numbers: Collection[float], times: Collection[datetime], language: str
) -> bool:
    """Return whether every figure, date and time of day of a text is one of the sources, the numbers or the times.

    A year of `times` may be given as a year and is no figure. In a language without words of its own, those of English
    are read.
    """
    said = {match[0] for match in _HOW_OFTEN.finditer(text.casefold())}
    if not all(any(phrase in source.casefold() for source in sources) for phrase in said):
        return False
    tokens = _merge_numbers(_tokenize(text, language))
    if all(
        token.kind in _WORDS or (token.kind == "ordinary" and not _counts(tokens, i)) for i, token in enumerate(tokens)
    ):
        return True
    allowed = _allow_sources(tuple(sources), language).copy()
    _allow_times(allowed, times)
    given = {float(number) for number in numbers if number not in allowed.years}
    allowed.figures |= given
    allowed.counts |= given
    index = 0
    while index < len(tokens):
        width = _match_time(tokens, index, allowed) or int(_is_known(tokens, index, allowed))
        if not width:
            return False
        index += width
    return True


def _is_known(tokens: Sequence[_Token], index: int, allowed: _Allowed) -> bool:
    """Return whether a token that begins no date states nothing, or a figure that is allowed."""
    token = tokens[index]
    if token.kind == "clock":
        return "." in token.key and float(token.key) in allowed.figures
    if _counts_times(tokens, index):
        return token.value in allowed.counts
    if token.kind in {"number", "ordinary"}:
        return token.value in allowed.figures or (token.kind == "ordinary" and not _counts(tokens, index))
    return token.kind in _WORDS


def _match_time(tokens: Sequence[_Token], index: int, allowed: _Allowed) -> int:
    """Return the number of tokens of the allowed date or time of day that begins here, or 0."""
    token = tokens[index]
    if token.kind == "iso":
        return int(token.key in allowed.dates)
    if token.kind == "date":
        day, month, year = map(int, _DIGITS.findall(token.key))
        return int(f"{year if year > 99 else 2000 + year:04}-{month:02}-{day:02}" in allowed.dates)
    if token.kind == "half":
        return int(_read_half(token.key) in allowed.hours)
    if token.kind == "clock":
        return int(bool(allowed.clocks & _read_clocks(tokens, index)))
    if token.kind == "weekday":
        return int(token.value in allowed.weekdays)
    if token.kind == "month":
        return _match_month(tokens, index, allowed)
    if token.kind in {"number", "ordinary"}:
        if _is_hour(tokens, index) and (int(token.value), None) in allowed.hours | {
            ((hour - 12) % 24, None) for hour, _ in allowed.hours if hour > 12
        }:
            return 1
        return _match_day(tokens, index, allowed) or _match_year(tokens, index, allowed)
    return 0


def _is_hour(tokens: Sequence[_Token], index: int) -> bool:
    """Return whether a number is a full hour: at two o'clock, a las dos, um 21 Uhr."""
    after = tokens[index + 1] if index + 1 < len(tokens) else _Token("sign", "")
    before = [token.key for token in tokens[max(0, index - 2) : index]]
    # "Las dos" are two people, and "a las dos" is an hour.
    is_after = before[-1:] == ["às"] or (before[-1:] in (["las"], ["la"], ["à"]) and before[0] in _GRAMMAR["hours"])
    is_hour = after.key in _GRAMMAR["clock"] or (is_after and not _is_unit(tokens, index + 1))
    return is_hour and tokens[index].value in range(25) and after.kind != "number"


def _read_clocks(tokens: Sequence[_Token], index: int) -> set[tuple[int, int]]:
    """Return the times of day that a clock can mean: 9:47 in the evening is 21:47."""
    hour, minute = _read_clock(tokens[index].key)
    near = {token.key for token in (*tokens[max(0, index - 1) : index], *tokens[index + 1 : index + 5])}
    if hour <= 12 and near & _GRAMMAR["afternoon"]:
        return {(hour % 12 + 12, minute)} | ({(0, minute)} if hour == 12 else set())
    return {(hour, minute)}


def _match_month(tokens: Sequence[_Token], index: int, allowed: _Allowed) -> int:
    """Return the number of tokens of an allowed month with the day or the year after it, or 0."""
    month = int(tokens[index].value)
    end = index + 1
    after = _skip(tokens, end, {"."})
    if _is_day(tokens, after) and not _is_unit(tokens, after + 1) and (month, int(tokens[after].value)) in allowed.days:
        end = after + 1
    elif month not in {own for _, own in allowed.months}:
        return 0
    after = _skip(tokens, end, _GRAMMAR["joins"])
    if not _is_year(tokens, after):
        return end - index
    year = int(tokens[after].value)
    is_allowed = (year, month) in allowed.months or ((None, month) in allowed.months and year in allowed.figures)
    return after + 1 - index if is_allowed else 0


def _match_day(tokens: Sequence[_Token], index: int, allowed: _Allowed) -> int:
    """Return the number of tokens of an allowed day with its month (14 March 2024), or "the 14th" by itself, or 0."""
    if not _is_day(tokens, index):
        return 0
    day = int(tokens[index].value)
    after = _skip(tokens, index + 1, _GRAMMAR["joins"])
    if after < len(tokens) and tokens[after].kind == "month":
        if (int(tokens[after].value), day) not in allowed.days:
            return 0
        width = _match_month(tokens, after, allowed)
        return after - index + width if width else 0
    words = [token.key for token in tokens[max(0, index - 2) : index]]
    is_alone = index + 1 == len(tokens) or (tokens[index + 1].kind == "sign" and tokens[index + 1].key in ",.;:)")
    is_day = words == ["on", "the"] and is_alone and day in {own for _, own in allowed.days}
    return int(is_day)


def _match_year(tokens: Sequence[_Token], index: int, allowed: _Allowed) -> int:
    """Return 1 if the number is an allowed year and stands where a year does: "in 2024", but not "2024 times"."""
    if tokens[index].value not in allowed.years or not _is_year(tokens, index) or _is_unit(tokens, index + 1):
        return 0
    before = tokens[index - 1].key if index else ""
    after = tokens[index + 1].key if index + 1 < len(tokens) else ""
    return int(before in _GRAMMAR["before_year"] or after in _GRAMMAR["after_year"])


def _is_day(tokens: Sequence[_Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].kind in {"number", "ordinary"} and tokens[index].value in range(1, 32)


def _is_year(tokens: Sequence[_Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].kind == "number" and tokens[index].value in range(1900, 2100)


def _is_unit(tokens: Sequence[_Token], index: int) -> bool:
    return index < len(tokens) and tokens[index].key in (_GRAMMAR["times"] | _GRAMMAR["units"])


def _skip(tokens: Sequence[_Token], index: int, keys: Collection[str]) -> int:
    """Return the index after the token if it is one of these, else the index."""
    return index + 1 if index < len(tokens) and tokens[index].key in keys else index


def _counts(tokens: Sequence[_Token], index: int) -> bool:
    """Return whether a word such as `two` or `half` gives a count: two days, for the first time, half of them."""
    token = tokens[index]
    after = tokens[index + 1].key if index + 1 < len(tokens) else ""
    before = tokens[index - 1].key if index else ""
    if before in _GRAMMAR["limits"] and token.key in _GRAMMAR["once"]:
        return True
    if token.key in _GRAMMAR["middle"] and before in _GRAMMAR["in_middle"]:
        return False
    if token.value < 1 or token.key in _GRAMMAR["multiples"]:
        # "An hour and a half", "una hora y media".
        earlier = {each.key for each in tokens[max(0, index - 3) : index]}
        is_rest = not (earlier.isdisjoint(_GRAMMAR["units"]) or earlier.isdisjoint(_GRAMMAR["connectors"]))
        return is_rest or after in _GRAMMAR["parts"] or _is_before_unit(tokens, index)
    if _is_hour(tokens, index):
        return True
    return _is_before_times(tokens, index) or (token.value > 1 and _is_before_unit(tokens, index))


def _is_before_unit(tokens: Sequence[_Token], index: int) -> bool:
    """Return whether a unit follows a number, after at most one other word: two long days."""
    after = index + 1
    while after < len(tokens) and tokens[after].key in _GRAMMAR["between"]:
        after += 1
    is_next = after < len(tokens) and tokens[after].key in _GRAMMAR["units"]
    # "The two talk day by day", "los dos días".
    is_people = index > 0 and tokens[index - 1].key in _GRAMMAR["definite"]
    is_word = after < len(tokens) and tokens[after].kind == "word"
    return is_next or (is_word and not is_people and _is_unit(tokens, after + 1))


def _is_before_times(tokens: Sequence[_Token], index: int) -> bool:
    """Return whether `times` is next, or `time` of more than the general sense of "una vez más"."""
    at = index + 1
    while at < len(tokens) and tokens[at].key in _GRAMMAR["between"]:
        at += 1
    after, following = (tokens[i].key if i < len(tokens) else "" for i in (at, at + 1))
    # "um mal-entendido" is a misunderstanding.
    if after not in _GRAMMAR["times"] or (after == "mal" and following == "-"):
        return False
    before = tokens[index - 1].key if index else ""
    return tokens[index].value != 1 or at > index + 1 or _GRAMMAR["again"].isdisjoint({before, following})


def _counts_times(tokens: Sequence[_Token], index: int) -> bool:
    """Return whether a number says how often something happens: three times, for the third time, thrice."""
    token = tokens[index]
    return token.kind in {"number", "ordinary"} and (
        token.key in _GRAMMAR["how_often"]
        or _is_before_times(tokens, index)
        or (token.value >= german_numbers.MIN and german_numbers.counts_times(token.key))
    )


def _allow_times(allowed: _Allowed, times: Iterable[datetime]) -> None:
    for at in times:
        allowed.dates.add(f"{at:%Y-%m-%d}")
        allowed.days.add((at.month, at.day))
        allowed.months.add((at.year, at.month))
        allowed.weekdays.add(at.weekday())
        allowed.years.add(at.year)
        allowed.clocks.add((at.hour, at.minute))
        allowed.hours |= {(at.hour, at.minute), (at.hour, None)}


# A section's sentences have the same sources; reading 800 messages takes 0.2 s.
@lru_cache(maxsize=16)
def _allow_sources(sources: tuple[str, ...], code: str) -> _Allowed:
    """Return all that the sources name, each read in its own language, for a sentence in the language of the code.

    A source without a word that identifies its language is read in that of the others, else in that of the sentence.
    "Once" is eleven in Spanish alone, and "das" is ten in Hindi alone.
    """
    votes = [_count_languages(source) for source in sources]
    usual = _choose_languages(sum(votes, Counter())) or {_LANGUAGE_OF_CODE.get(code, "english")}
    groups: dict[frozenset[str], list[str]] = defaultdict(list)
    for source, counts in zip(sources, votes, strict=True):
        groups[frozenset(_choose_languages(counts))].append(source)
    allowed = _Allowed()
    for own, texts in groups.items():
        languages = own or usual
        # Devanagari is Hindi in every message.
        for language in sorted(languages | {"english", "hindi"}):
            rivals = (own or frozenset(_SOURCE_LISTS)) - {language}
            tokens = _tokenize("\n".join(texts), language, lists=_SOURCE_LISTS[language], rivals=rivals)
            _allow_tokens(allowed, _merge_numbers(tokens), has_own_digits=language in languages)
    return allowed


def _count_languages(text: str) -> Counter[str]:
    """Return the numbers of words that identify a language whose lists we have. A figure's word does not."""
    words = [word for word in split_words(text) if word[0].isalpha() and _fold(word) not in _figure_words()]
    labels = Counter(LABELS[classify_word(word)] for word in words)
    return Counter({name: n for name, n in labels.items() if name in _SOURCE_LISTS})


def _choose_languages(votes: Counter[str]) -> set[str]:
    top = max(votes.values(), default=0)
    return {name for name, n in votes.items() if n == top}


@cache
def _figure_words() -> frozenset[str]:
    return frozenset(
        key
        for lists in _SOURCE_LISTS.values()
        for key, (kind, _) in _load_words(lists).tokens.items()
        if kind in {"number", "ordinary"}
    )


@cache
def _is_usual(key: str, language: str, rivals: frozenset[str]) -> bool:
    """Return whether a figure's word of a language is a usual word of a rival, or has another value in it."""
    own = _load_words(_SOURCE_LISTS[language]).read(key, is_date=False, is_capital=False)
    for rival in rivals:
        read = _load_words(_SOURCE_LISTS[rival]).read(key, is_date=False, is_capital=False)
        # English lists few stop words. Its tokenizer also knows those of the other languages, but few of Hindi.
        is_word = key in STOP_WORDS_BY_LANGUAGE.get(rival, ()) or key in _GRAMMAR["usual"]
        is_word = is_word or ((rival, language) == ("english", "hinglish") and is_lower_case_word(key))
        if read.value != own.value and (is_word or read.kind not in _WORDS):
            return True
    return False


def _allow_tokens(allowed: _Allowed, tokens: Sequence[_Token], *, has_own_digits: bool) -> None:
    """Add what the tokens of sources name. Digits with a separator are read in the sources' own language alone."""
    for index, token in enumerate(tokens):
        before, after = tokens[max(0, index - 2) : index], tokens[index + 1 : index + 3]
        if token.kind in {"number", "ordinary"}:
            is_given = has_own_digits or not (token.key[0].isdigit() and re.search("[.,]", token.key))
            # "Wait a second" and "bata do" are no two.
            if not is_given or (token.key in _GRAMMAR["weak"] and not _counts(tokens, index)):
                continue
            allowed.figures.add(token.value)
            if _counts_times(tokens, index):
                allowed.counts.add(token.value)
            if token.value in range(1, 13):
                hour = int(token.value) % 12
                allowed.hours |= {(hour, None), (hour + 12, None)}
        elif token.kind == "weekday":
            allowed.weekdays.add(int(token.value))
        elif token.kind == "month":
            month = int(token.value)
            allowed.months.add((None, month))
            near = [int(each.value) for each in (*before, *after) if each.kind in {"number", "ordinary"}]
            allowed.days |= {(month, day) for day in near}
            allowed.months |= {(year, month) for year in near}
        elif token.kind in {"iso", "date", "half", "clock"}:
            _allow_digits(allowed, token)


def _allow_digits(allowed: _Allowed, token: _Token) -> None:
    allowed.figures |= {float(part) for part in _DIGITS.findall(token.key)}
    if token.kind == "half":
        allowed.hours.add(_read_half(token.key))
    elif token.kind == "iso":
        allowed.dates.add(token.key)
    elif token.kind == "date":
        day, month, year = map(int, _DIGITS.findall(token.key))
        allowed.dates.add(f"{year if year > 99 else 2000 + year:04}-{month:02}-{day:02}")
    else:
        hour, minute = _read_clock(token.key)
        allowed.clocks.add((hour, minute))
        allowed.figures |= {float(token.key)} if "." in token.key else set()
        either = {hour} if hour > 12 else {hour % 12, hour % 12 + 12}
        allowed.hours |= {(each, known) for each in either for known in (minute, None)}


def _read_number(text: str, thousands: str) -> float:
    """Return the number of digits with points or commas, or NaN for a list without spaces: 1,2,3.

    `thousands` are the signs between thousands; before decimals, every language reads the other one too.
    """
    signs = re.sub(r"\d", "", text)
    if not signs:
        return float(text)
    if _GROUPED.fullmatch(text) and (signs[0] in thousands or len(signs) > 1):
        return float(text.replace(signs[0], ""))
    others = set(signs[:-1])
    if len(others) > 1 or signs[-1] in others:
        return nan
    before, _, after = text.rpartition(signs[-1])
    return float(re.sub(r"\D", "", before) + "." + after)


def _read_clock(text: str) -> tuple[int, int]:
    hour, minute = map(int, _DIGITS.findall(text))
    return hour, minute


def _read_half(text: str) -> tuple[int, int | None]:
    """Return the hour of 24 and the minute, if it has one, of a time such as `9:05 pm`."""
    hour, *minutes = map(int, _DIGITS.findall(text))
    is_afternoon = "p" in text.casefold()
    return hour % 12 + 12 * is_afternoon if hour <= 12 else hour, minutes[0] if minutes else None


def _tokenize(
    text: str, language: str, *, lists: tuple[str, ...] = (), rivals: frozenset[str] = frozenset()
) -> list[_Token]:
    """Return the tokens of a text, one for each word. Usual words of rival languages state nothing."""
    words = _load_words(lists or _LISTS.get(language, _LISTS["en"]))
    tokens: list[_Token] = []
    known: dict[tuple[str, bool, bool], _Token] = {}
    starts = True
    thousands = _THOUSANDS.get(language, ",")
    matches = list(_TOKEN.finditer(unicodedata.normalize("NFC", text)))
    for match, following in zip_longest(matches, matches[1:]):
        # The last group that ended; the one within a date ends before it.
        kind = cast(Kind, match.lastgroup)
        key = match[0].casefold()
        token = _Token(kind, key)
        if kind == "number":
            digits = _NUMBER.match(key)
            assert digits is not None
            token = _Token(kind, key, _read_number(digits[0], thousands))
        elif kind == "word":
            key = _fold(key)
            is_capital = match[0][0].isupper() and not starts
            is_opening_weekday = (
                starts and language == "pt" and not (following and following[0].casefold() in _GRAMMAR["times"])
            )
            is_date = (
                is_capital
                or is_opening_weekday
                or (bool(tokens) and (tokens[-1].key in _GRAMMAR["before_date"] or tokens[-1].kind == "number"))
                or (following is not None and following[0].casefold() in _GRAMMAR["after_date"])
            )
            if (key, is_date, is_capital) not in known:
                is_read = not rivals or not _is_usual(key, language, rivals)
                known[key, is_date, is_capital] = (
                    words.read(key, is_date=is_date, is_capital=is_capital) if is_read else _Token("word", key)
                )
            token = known[key, is_date, is_capital]
        if tokens and tokens[-1].kind == "weekday" and token.key in _GRAMMAR["times"]:
            # "Segunda" is Monday and the second.
            tokens[-1] = words.read(tokens[-1].key, is_date=False, is_capital=False)
        if token.key in _GRAMMAR["ordinals"] and (not tokens or tokens[-1].key not in _GRAMMAR["determiners"]):
            token = _Token("word", token.key)
        tokens.append(token)
        starts = kind == "sign" and key in '.!?…:।"“'
    return tokens


def _merge_numbers(tokens: Sequence[_Token]) -> list[_Token]:
    """Return the tokens with one for each number that is written in several words."""
    merged: list[_Token] = []
    index = 0
    while index < len(tokens):
        token = tokens[index]
        index += 1
        if token.kind not in {"number", "ordinary"} or token.key[0].isdigit():
            merged.append(token)
            continue
        total, current = (token.value, 0.0) if token.value >= 1000 else (0.0, token.value)
        kind = token.kind
        while True:
            after = _skip(tokens, index, _GRAMMAR["connectors"])
            part = tokens[after] if after < len(tokens) else token
            if part is token or part.kind not in {"number", "ordinary"} or part.key[0].isdigit():
                break
            value = part.value
            if value >= 1000 and current:
                total, current = total + current * value, 0.0
            elif value == 100 and current < 10:
                current = max(current, 1.0) * 100
            elif value < 1000 and (
                (current % 100 == 0 and value < 100) or not current or (_is_tens(current) and value < 10)
            ):
                current += value
            else:
                break
            kind, index = "number", after + 1
        merged.append(_Token(kind, token.key, total + current))
    return merged


def _is_tens(value: float) -> bool:
    """Return whether the last part of a number is twenty, thirty and so on, so that a digit may follow."""
    return value % 10 == 0 and value % 100 >= 20


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of figures and dates by their keys. `short` are dates only where their place or a capital says so.

    `capital` are dates only with a capital, and `starts` begin a date in German: Sonntagabend.
    """

    tokens: Mapping[str, tuple[Kind, float]]
    short: Mapping[str, tuple[Kind, float]]
    capital: Mapping[str, tuple[Kind, float]]
    by_sound: Mapping[str, float]
    is_german: bool

    def read(self, key: str, *, is_date: bool, is_capital: bool) -> _Token:
        """Return the token of a folded word."""
        if is_capital and key in self.capital:
            return _Token(self.capital[key][0], key, self.capital[key][1])
        if is_date and key in self.short:
            return _Token(self.short[key][0], key, self.short[key][1])
        if key in self.tokens:
            return _Token(self.tokens[key][0], key, self.tokens[key][1])
        if self.is_german:
            if (number := german_numbers.parse_number(key)) is not None:
                return _Token("number", key, number)
            if (date := find_german_date(key)) is not None:
                return _Token(date[0], key, date[1])
        if self.by_sound and key.isascii() and (value := self.by_sound.get(make_key(key))) is not None:
            return _Token("number", key, value)
        return _Token("word", key)


@cache
def _load_words(names: tuple[str, ...]) -> _Words:
    tokens: dict[str, tuple[Kind, float]] = {}
    short: dict[str, tuple[Kind, float]] = {}
    capital: dict[str, tuple[Kind, float]] = {}
    by_sound: dict[str, float] = {}
    for name in names:
        lists = _FILE[name]
        found: dict[str, tuple[Kind, float]] = {}
        for value, spellings in enumerate(lists["from_three"].split(), start=3):
            found |= {_fold(word): ("number", value) for word in spellings.split("/")}
            if name == "hindi" and "hinglish" in names and value >= _MIN_BY_SOUND and value % 10:
                by_sound |= {make_key(word): value for word in spellings.split("/")}
        given = (("number", lists["numbers"]), ("number", lists.get("fractions", "")), ("ordinary", lists["ordinary"]))
        for kind, listed in given:
            for entry in listed.split():
                word, _, number = entry.partition("=")
                found[_fold(word)] = cast(Kind, kind), float(number)
        found |= _read_calendar(lists["months"], "month", first=1)
        found |= _read_calendar(lists["weekdays"], "weekday", first=0)
        short |= _read_calendar(lists.get("months_short", ""), "month", first=1)
        short |= _read_calendar(lists.get("weekdays_short", ""), "weekday", first=0)
        capital |= _read_calendar(lists.get("months_capital", ""), "month", first=1)
        capital |= _read_calendar(lists.get("weekdays_capital", ""), "weekday", first=0)
        tokens = found | tokens
    for word in _FILE["english"]["also_words"].split():
        if word in tokens:
            short.setdefault(word, tokens.pop(word))
    return _Words(tokens, short, capital, by_sound, is_german="german" in names)


def _read_calendar(listed: str, kind: Kind, *, first: int) -> dict[str, tuple[Kind, float]]:
    return {
        _fold(word): (kind, value)
        for value, spellings in enumerate(listed.split(), start=first)
        for word in spellings.split("/")
    }


def _fold(word: str) -> str:
    """Return a word in one spelling: in lower case, and in Hindi without nukta and with anusvara."""
    return unicodedata.normalize("NFC", word.casefold()).replace("\u093c", "").replace("\u0901", "\u0902")


_GRAMMAR = {name: frozenset(map(_fold, text.split())) for name, text in _FILE["grammar"].items()}
#: Months and weekdays that begin longer words, and no other words.
_MIN_START = 6


@cache
def find_german_date(word: str) -> tuple[Kind, float] | None:
    """Return the month or weekday that a German word in lower case begins with: Sonntagabend, montags."""
    dates = _read_calendar(_FILE["german"]["weekdays"], "weekday", first=0)
    dates |= _read_calendar(_FILE["german"]["months"], "month", first=1)
    starts = (date for name, date in dates.items() if word.startswith(name) and len(name) >= _MIN_START)
    return next(starts, None)


@cache
def list_words(name: str) -> frozenset[str]:
    """Return the words of figures and dates of one list, such as `hindi`, in lower case."""
    texts = " ".join(text for text in _FILE[name].values())
    return frozenset(_fold(word) for word in re.split(r"[\s/]+|=[\d.]+", texts) if word)


@cache
def calendar_words() -> frozenset[str]:
    """Return the names of months and weekdays in lower case, with their short forms."""
    return frozenset(
        word
        for name in _LANGUAGES
        for key in ("months", "weekdays", "months_short", "weekdays_short", "months_capital", "weekdays_capital")
        for word in _FILE[name].get(key, "").replace("/", " ").split()
    )
