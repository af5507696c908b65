"""Signs that somebody may be in danger. An insight of such a chat gives no score and points to help.

The wordings are in danger.toml. `nominates` is broad: a model judges what it finds. `mentions_danger` is precise, for
the engine that only counts: the wordings of signs, outside of longer harmless phrases ("don't want to live in a bus"),
and not in a sentence about a film, a game, the news or something long past, nor in a message that laughs. The lists
find words and do not judge people, so the texts about a match are neutral.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from chats.romanization import fold, make_key
from chats.statistics.languages import STOP_WORDS
from insights.translation import Language, mark

_FILE: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("danger.toml").read_text(encoding="utf-8"))
_CHOICES: Mapping[str, Sequence[str]] = _FILE["words"]

HELP = mark(
    "In India, Tele-MANAS (14416) listens free of charge, day and night, and 112 is the emergency number; "
    "elsewhere, please use your local emergency number."
)
SIGNS = mark(
    "Some messages may speak of someone being hurt, pressed or in despair. If anyone is in danger or needs to talk, "
    "help is near."
)
#: If only the question speaks of danger: the chat is not blamed for it.
QUESTION_SIGNS = mark(
    "Your question may speak of someone being hurt, pressed or in despair. If anyone is in danger or needs to talk, "
    "help is near."
)
WITHHELD = mark("Questions that touch on this are not rated here, and this insight costs nothing.")
FINDING = mark("This is not rated here; the summary says why. What was counted stands as it is.")
RECOMMENDATION = {
    "title": mark("Reach out for help if it is needed"),
    "suggestion": mark(
        "If anyone is in danger or in despair, talk to somebody who can help: the summary says whom to call."
    ),
    "why": mark("Nobody has to carry such things alone, and trained people are there at any hour."),
    "example": mark("I am worried and I do not want to be alone with this. Could you stay with me while I call?"),
}

Tokens = tuple[str, ...]


def write_notice(wording: Language, *, signs: str = SIGNS) -> str:
    """Return the sentences that point to help, in this language. `signs` says where danger was found."""
    return f"{wording.say(signs)} {wording.say(HELP)}"


# A word with its apostrophes in any script, or a sign. For `re`, vowel signs of Devanagari are not word characters.
_WORD = r"[\w'\u0900-\u0963]+"
_TOKEN = re.compile(rf"{_WORD}|[^\w\s]")
_ELEMENT = re.compile(r"!?\[[^\]]*\]|\{\w+\}|\*\d+|\S+")
_END_OF_SENTENCE = re.compile(r"(?<= )[.!?।;…] ")


def nominates(text: str) -> bool:
    """Return whether a model should judge if a text speaks of danger."""
    tokens = _tokenize(text)
    # Only the wordings with a word of the text: one pattern of all wordings takes ten times as long.
    patterns = {pattern for token in tokens for pattern in _find_patterns(token)}
    joined = _join(tokens) if patterns else ""
    return any(pattern.search(joined) for pattern in patterns)


def find_concerns(text: str) -> set[str]:
    """Return the kinds of danger that a text may speak of.

    Within a phrase only spaces are allowed: "I don't want to live, there is no point" does not contain the harmless
    "live there".
    """
    joined = _join(_tokenize(text))
    # Most texts have no sign, and need no look at their sentences.
    if not _compile_once(_CONCERN_WORDINGS).search(joined) or _HARMLESS_MESSAGE.search(joined):
        return set()
    kinds: set[str] = set()
    for sentence in _END_OF_SENTENCE.split(joined):
        padded = f" {sentence.strip()} "
        if not _HARMLESS_SENTENCE.search(padded):
            kinds |= _find_in_sentence(tuple(padded.split()))
    return kinds


def may_have_concerns(text: str) -> bool:
    """Return whether `find_concerns` may find something. It only looks for single words, and is ten times as fast."""
    return any(map(_is_concerning, _TOKEN.findall(text.casefold().replace("\u2019", "'"))))


@lru_cache(maxsize=50_000)
def _is_concerning(word: str) -> bool:
    key = _normalize(word)
    return key in _CONCERNS_BY_WORD or any(map(key.startswith, _CONCERNS_BY_START))


def mentions_danger(text: str) -> bool:
    """Return whether a text may speak of danger."""
    return bool(find_concerns(text))


def is_searched(word: str) -> bool:
    """Return whether a text with this word is worth reading: every wording of danger has such a word."""
    key = _normalize(word)
    return key in _WORDINGS_BY_WORD or any(map(key.startswith, _WORDINGS_BY_START))


@lru_cache(maxsize=50_000)
def _find_patterns(token: str) -> tuple[re.Pattern[str], ...]:
    """Return the patterns of the wordings that are searched by a word."""
    words = [word for word in _WORDINGS_BY_START if token.startswith(word)]
    patterns = [_compile_once(_WORDINGS_BY_START[word]) for word in words]
    return (*patterns, _compile_once(_WORDINGS_BY_WORD[token])) if token in _WORDINGS_BY_WORD else tuple(patterns)


# When they are used: compiling all of them takes a tenth of a second, and most processes search no text.
@cache
def _compile_once(wordings: tuple[str, ...]) -> re.Pattern[str]:
    return _compile(wordings)


def _find_in_sentence(tokens: Tokens) -> set[str]:
    """Return the kinds of the phrases and wordings in a sentence, without those in longer harmless phrases."""
    index, kinds, rest = 0, set(), list(tokens)
    while index < len(tokens):
        phrases = _PHRASES_BY_FIRST_WORD.get(tokens[index], ())
        longest = next((phrase for phrase in phrases if tokens[index : index + len(phrase)] == phrase), ())
        if longest in _KINDS:
            kinds.add(_KINDS[longest])
        elif longest:
            # A sign within a harmless phrase must not be found on its own.
            rest[index : index + len(longest)] = "|" * len(longest)
        index += len(longest) or 1
    text = _join(rest)
    return kinds | {kind for kind, wordings in _FILE["signs"].items() if _compile_once(tuple(wordings)).search(text)}


@lru_cache(maxsize=50_000)
def _normalize(word: str) -> str:
    """Return a word as it is compared: without accents, and for Latin letters with one spelling of long vowels."""
    # Both signs of a nasal vowel are written.
    return make_key(word) if word[0] < "\u0900" else fold(word).replace("ँ", "ं")


def _tokenize(text: str) -> Tokens:
    # Phones write the typographic apostrophe, keyboards the straight one.
    return tuple(_normalize(token) for token in _TOKEN.findall(text.casefold().replace("\u2019", "'")))


def _join(tokens: Iterable[str]) -> str:
    return f" {' '.join(tokens)} "


def _split(wording: str) -> list[list[str]]:
    """Return the elements of a wording: each is a list of choices, or a gap as `*3`."""
    elements = []
    for found in _ELEMENT.findall(wording):
        element = found.lstrip("!")
        choices = element[1:-1].split("|") if element[0] == "[" else [element]
        elements.append([each for choice in choices for each in _resolve(choice)])
    while elements and elements[-1][0].startswith("*"):
        elements.pop()
    return elements


def _resolve(choice: str) -> list[str]:
    """Return a choice with the words of the lists that it names in braces."""
    parts = [_CHOICES[part[1:-1]] if part[0] == "{" else [part] for part in choice.split()]
    return [" ".join(each) for each in product(*parts)]


def _list_phrases(wordings: Sequence[str]) -> tuple[str, ...]:
    return tuple(" ".join(choice) for wording in wordings for choice in product(*_split(wording)))


def _compile(wordings: Iterable[str]) -> re.Pattern[str]:
    """Return the pattern that finds the wordings in joined tokens."""
    return re.compile(f"(?<= )(?:{'|'.join(dict.fromkeys(map(_make_pattern, wordings)))})")


def _make_pattern(wording: str) -> str:
    parts = []
    for choices in _split(wording):
        if choices[0].startswith("*"):
            parts.append(f"(?:{_WORD} ){{0,{choices[0][1:]}}}")
            continue
        forms = [
            " ".join(_escape(token) for token in re.findall(rf"{_WORD}~?|[^\w\s]", choice.casefold()))
            for choice in choices
        ]
        parts.append(f"(?:{'|'.join(dict.fromkeys(forms))}) ")
    return "".join(parts)


def _escape(word: str) -> str:
    return (
        f"{re.escape(_normalize(word[:-1]))}[\\w\u0900-\u0963]*" if word.endswith("~") else re.escape(_normalize(word))
    )


def _list_searched(wordings: Iterable[str]) -> Iterator[str]:
    """Yield the words by which each wording is searched: of the element that is in the fewest messages."""
    for wording in wordings:
        marked = wording[wording.index("!") :] if "!" in wording else wording
        elements = [choices for choices in _split(marked) if not choices[0].startswith("*")]
        rarest = [[min(choice.split(), key=_estimate_uses) for choice in choices] for choices in elements]
        yield from rarest[0] if "!" in wording else min(rarest, key=lambda words: sum(map(_estimate_uses, words)))


def _estimate_uses(word: str) -> int:
    """Return about how often a word is used, as a rank."""
    if word.casefold() in STOP_WORDS or word in _FREQUENT or len(word) < 3:
        return 2_000
    return 200 if len(word) < 4 else 20


#: The phrases of each kind of danger. Each alone is a sign.
CONCERNS: Mapping[str, tuple[str, ...]] = {kind: _list_phrases(each) for kind, each in _FILE["phrases"].items()}
CONCERN_KINDS = frozenset(CONCERNS)
PHRASES = tuple(phrase for phrases in CONCERNS.values() for phrase in phrases)
#: Longer phrases that contain one of the above and are harmless.
HARMLESS = _list_phrases(_FILE["harmless"]["phrases"])

_FREQUENT = frozenset(_FILE["frequent"]["words"].split())
_KINDS: Mapping[Tokens, str] = {_tokenize(phrase): kind for kind, phrases in CONCERNS.items() for phrase in phrases}
_CONCERN_WORDINGS = tuple(
    wording for table in ("phrases", "signs") for wordings in _FILE[table].values() for wording in wordings
)
_HARMLESS_SENTENCE = _compile(_FILE["context"]["sentence"])
_HARMLESS_MESSAGE = _compile(_FILE["context"]["message"])
_ALL_WORDINGS = tuple(
    wording for table in ("phrases", "signs", "nominated") for wordings in _FILE[table].values() for wording in wordings
)


def _index(wordings: Iterable[str]) -> tuple[Mapping[str, tuple[str, ...]], Mapping[str, tuple[str, ...]]]:
    """Return the wordings by each word that they are searched by, and by each start of words, which ends in `~`."""
    by_word: dict[str, tuple[str, ...]] = {}
    by_start: dict[str, tuple[str, ...]] = {}
    for wording in wordings:
        for word in dict.fromkeys(_list_searched([wording])):
            index, key = (by_start, word[:-1]) if word.endswith("~") else (by_word, word)
            index[_normalize(key)] = (*index.get(_normalize(key), ()), wording)
    return by_word, by_start


_WORDINGS_BY_WORD, _WORDINGS_BY_START = _index(_ALL_WORDINGS)
_CONCERNS_BY_WORD, _CONCERNS_BY_START = _index(_CONCERN_WORDINGS)


#: All phrases by their first word, the longest first.
_PHRASES_BY_FIRST_WORD: dict[str, list[Tokens]] = {}
for _phrase in sorted({*_KINDS, *map(_tokenize, HARMLESS)}, key=len, reverse=True):
    _PHRASES_BY_FIRST_WORD.setdefault(_phrase[0], []).append(_phrase)
