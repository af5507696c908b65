"""German numbers in words, which are written as one word: siebenundvierzig, zweihundertfünf, dreimal. Pure."""

from __future__ import annotations

import re
from functools import lru_cache

_FROM_NULL = """
null ein/eins zwei drei vier fünf/fuenf sechs sieben acht neun zehn elf zwölf/zwoelf dreizehn vierzehn
fünfzehn/fuenfzehn sechzehn siebzehn achtzehn neunzehn
"""
_FROM_TWENTY = "zwanzig dreißig/dreissig vierzig fünfzig/fuenfzig sechzig siebzig achtzig neunzig"
_SMALL = {word: value for value, words in enumerate(_FROM_NULL.split()) for word in words.split("/")}
_TENS = {word: 10 * ten for ten, words in enumerate(_FROM_TWENTY.split(), start=2) for word in words.split("/")}
_HALVES = {
    "halb": 0.5, "viertel": 0.25, "dreiviertel": 0.75, "anderthalb": 1.5, "eineinhalb": 1.5, "zweieinhalb": 2.5,
    "dreieinhalb": 3.5,
}  # fmt: skip
#: Endings of what is counted or ordered: dreimal, dreimalige, dreifach, vierte, zwanzigster, ein Zwanzigstel.
_ENDINGS = tuple(
    re.compile(f"{ending}$")
    for ending in ("mal", "te[rsnm]?", "ste[rsnm]?", "tel", "stel", "ern?", "erlei", "prozent", "facht(?:e[rsnmt]?)?")
)
_INFLECTED = "(?:e[rsnm]?)?"
_MULTIPLE = re.compile(f"(?:fach|malig){_INFLECTED}$")
#: Adjectives and nouns of a measure: zehnjährig, dreitägiges, fünfköpfige, halbstündlich, die Zehnjährige.
_MEASURE = re.compile(
    "(?:jähr|jaehr|tägl?|taegl?|stünd|stuend|minüt|minuet|sekünd|sekuend|monat|wöch|woech|prozent|köpf|koepf|stell|seit"
    "|teil|gäng|grad|stöck|silb|zeil|stimm|tür|bänd|nächt|naecht|semestr)"
    f"(?:ig|lich|isch){_INFLECTED}$|wöchentlich{_INFLECTED}$"
)
#: Times that are written with their number as one word: Viertelstunde, Halbjahr, Zweitagesreise.
_UNIT = re.compile(
    "(?:stunden?|jahren?|jahre?s?|tagen?|tages?|tage|wochen?|monate?n?|minuten?|stündchen)(?:[a-zäöüß]{4,})?$"
)
#: Ordinary words that are formed like a multiple or a measure of one.
_USUAL = re.compile("ein(?:fach|malig|stimm|seit|stell|prozent|tag)|halb(?:tags|zeit)")
#: One and two are read from a list, because they are often no counts.
MIN = 3


@lru_cache(maxsize=10_000)
def parse_number(word: str) -> float | None:
    """Return the number that a word in lower case states, or None. Those below 3 are read in compounds only."""
    word = word.removeprefix("ver") if word.startswith("ver") and "facht" in word else word
    for stem in [word, *(ending.sub("", word) for ending in _ENDINGS)]:
        value = _parse(stem)
        if value is not None and value >= MIN:
            return value
    if not _USUAL.match(word):
        for ending in (_MULTIPLE, _MEASURE, _UNIT):
            stem = ending.sub("", word)
            if stem != word and (known := _HALVES.get(stem, _parse(stem))) is not None:
                return known
    return _HALVES.get(word) if word.endswith("einhalb") else None


def counts_times(word: str) -> bool:
    """Return whether a number's word in lower case says how often something happens: dreimal."""
    return word.endswith("mal") or "malig" in word


def _parse(word: str) -> int | None:
    if word in _SMALL or word in _TENS:
        return _SMALL.get(word, _TENS.get(word))
    for name, size in (("tausend", 1000), ("hundert", 100)):
        before, found, after = word.partition(name)
        if found:
            many = _parse(before) if before else 1
            rest = _parse(after.removeprefix("und")) if after else 0
            return None if many is None or rest is None else many * size + rest
    unit, found, tens = word.partition("und")
    return _SMALL[unit] + _TENS[tens] if found and unit in _SMALL and tens in _TENS else None
