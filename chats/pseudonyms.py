"""Replaces the names of a chat's people by P1, P2 … and contact details by placeholders, and restores the names. Pure.

Before a text leaves the machine, `mask` replaces every form of the people's names: whole names, parts, nicknames,
inflected and misspelled forms, in any case and in other scripts. In doubt, a word is replaced. It cannot know the names
of people outside of the chat, so those stay. What else stays is listed in docs/insights.md.

Each different word is compared with the names once; a text costs a lookup per word.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from chats.common_words import is_ordinary
from chats.contact_details import has_details, make_phone_key, mask_details, read_digits
from chats.romanization import (
    UNSPACED,
    WORD,
    fold,
    is_consonantal,
    make_key,
    make_loose_key,
    make_skeletons,
    make_vowelless_key,
)
from chats.statistics.languages import STOP_WORDS

_FILE: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("names.toml").read_text(encoding="utf-8"))
_TITLES = frozenset(_FILE["titles"].split())
_EVERYDAY = frozenset(_FILE["ordinary"].split()) | STOP_WORDS
_SHORT_WORDS = frozenset(_FILE["short_words"].split()) | STOP_WORDS
_GREETINGS = frozenset(_FILE["greetings"].split())
_ATTACHED, _INFLECTED, _NICKNAMES = (
    frozenset(map(make_key, _FILE[name].split())) for name in ("attached", "inflected", "nicknames")
)
_SHORT_FORMS: Mapping[str, Sequence[str]] = {
    make_key(name): forms.split() for name, forms in _FILE["short_forms"].items()
}
_PREFIXES = tuple(word for words in _FILE["prefixes"].values() for word in words.split())

#: A word stands for somebody of the chat, but several people have this name.
_SOMEBODY = -1
_SOMEBODY_LABEL = "[name]"
#: The shortest part of a name that is looked for within longer words, such as hashtags.
_MIN_CONTAINED = 5
_MIN_STEM = 3
_MAX_KNOWN_WORDS = 200_000
#: The longest name is this many words; longer ones are recognised by their parts.
_MAX_NAME_WORDS = 6

_LABEL = re.compile(r"(?<![A-Za-z0-9_])P(-?)([0-9]+)(?=s?(?![A-Za-z0-9_]))")
_LABEL_LIKE = re.compile(r"(?<![^\W_])P(?=[0-9])")
#: Placeholders are kept out of the search for names by two characters that no text may contain.
_OPEN, _CLOSE = "\ue000", "\ue001"
_PROTECTED = re.compile(f"{_OPEN}([^{_CLOSE}]*){_CLOSE}")
_TOKEN = re.compile(f"{_PROTECTED.pattern}|{WORD.pattern}")
_REPEATED_LABEL = re.compile(r"(?<![A-Za-z0-9_])(P[0-9]+|\[name\])(?:[ .\-_'’\u2066-\u2069]{1,3}\1(?![A-Za-z0-9_]))+")
_JOINER = re.compile(r"[\s.\-_'’·\u2066-\u2069]{0,3}")
_PUNCTUATION = re.compile(r"\s*(?:[^\w\s]|\n|$)")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])")
_SYMBOLS = re.compile(r"[^\w\s]{2,}")


class _When(Enum):
    """When a word is replaced."""

    ALWAYS = 0
    #: if it addresses somebody: an everyday word in lower case
    ADDRESSING = 1
    #: unless it begins a sentence: an everyday word with a capital
    NOT_FIRST = 2
    #: never by itself, but it can begin a name of several words
    NEVER = 3


class _Known(NamedTuple):
    """What is known of a word: whose name it is, and when it is replaced."""

    person: int
    when: _When
    #: whether a name of several words can begin with it
    begins_name: bool = False


class _Part(NamedTuple):
    """A part of a name by its key. Nicknames are derived from first names only."""

    key: str
    person: int
    is_first: bool


class Pseudonyms:
    """The pseudonyms of one chat. All threads may share an instance."""

    def __init__(
        self, people: Sequence[str], other_names: Sequence[str] | Mapping[str, int] = (), *, enabled: bool = True
    ) -> None:
        """Prepare the names of a chat's people; a label's number is the person's index plus one.

        If it is not enabled, `mask` leaves names and contact details as they are.

        `other_names` are further names: as a mapping, each with its person's index. Without one, a name that shares a
        part with one person is that person's, and any other becomes `[name]`.
        """
        self.enabled = enabled
        self._people = tuple(people)
        self._exact: dict[str, int] = {}
        self._by_key: dict[str, int] = {}
        self._by_loose_key: dict[str, int] = {}
        self._by_vowelless_key: dict[str, int] = {}
        self._by_skeleton: dict[str, int] = {}
        self._by_skeleton_of_consonantal: dict[str, int] = {}
        self._by_ending: dict[str, int] = {}
        self._parts_by_start: dict[str, list[_Part]] = {}
        self._parts_by_gram: dict[str, list[_Part]] = {}
        self._names_by_first_word: dict[str, list[tuple[tuple[str, ...], int]]] = {}
        self._unspaced: dict[str, int] = {}
        self._phones: dict[str, int] = {}
        self._known: dict[str, _Known | None] = {}
        for person, name in enumerate(people):
            self._add_name(name, person)
        owners = other_names if isinstance(other_names, Mapping) else dict.fromkeys(other_names, None)
        for name, owner in owners.items():
            if name not in people:
                self._add_name(name, self._guess_person(name) if owner is None else owner)
        forms = sorted(self._unspaced, key=len, reverse=True)
        self._unspaced_pattern = re.compile("|".join(map(re.escape, forms))) if forms else None
        longest_first = "|".join(map(re.escape, sorted(filter(None, people), key=len, reverse=True)))
        self._whole_name = re.compile(rf"{_PROTECTED.pattern}|(?<!\w)(?P<name>{longest_first})(?!\w)")

    def label(self, person: int) -> str:
        """Return the label of a person, such as `P1` for index 0."""
        return _SOMEBODY_LABEL if person == _SOMEBODY else f"P{person + 1}"

    def mask(self, text: str) -> str:
        """Return a message's text without names and contact details. Apply it once: `P1` in a text becomes `P-1`."""
        return self._mask(text)

    def mask_restored(self, text: str) -> str:
        """Return a text that `restore` returned as `mask` does, with the labels that its whole names had before.

        To `mask`, "Ravi" is a name of several people if there are a Ravi and a Ravi Kumar.
        """
        return self._mask(text, is_restored=True)

    def _mask(self, text: str, *, is_restored: bool = False) -> str:
        if not self.enabled:
            return _LABEL_LIKE.sub("P-", text)
        if _OPEN in text or _CLOSE in text:
            text = text.replace(_OPEN, " ").replace(_CLOSE, " ")
        if has_details(text):
            text = mask_details(
                _LABEL_LIKE.sub("P-", text),
                find_label=self._find_label,
                find_phone_label=self._find_phone_label,
                protect=_protect,
            )
        if is_restored and self._people:
            text = self._whole_name.sub(
                lambda match: _protect(self.label(self._people.index(match["name"]))) if match["name"] else match[0],
                text,
            )
        if self._unspaced_pattern:
            text = self._unspaced_pattern.sub(lambda match: _protect(self.label(self._unspaced[match[0]])), text)
        known = self._known
        for word in WORD.findall(text):
            if (known[word] if word in known else self._learn(word)) is not None:
                text = self._mask_names(text)
                break
        if _OPEN not in text:
            return text
        n_found = text.count(_OPEN)
        text = _separate(text)
        return _REPEATED_LABEL.sub(r"\1", text) if n_found > 1 else text

    def restore(self, text: str) -> str:
        """Return a model's text with names for labels. Unknown labels stay; `P-1` becomes the `P1` of the chat."""
        return restore_labels(text, self._people)

    def unknown_labels(self, text: str) -> set[str]:
        """Return the labels in a model's text that no person of the chat has."""
        known = len(self._people)
        return {match[0] for match in _LABEL.finditer(text) if not match[1] and not _is_label(match[2], known)}

    # Preparing names

    def _add_name(self, name: str, person: int) -> None:
        digits = read_digits(name)
        if phone := make_phone_key(digits):
            _claim(self._phones, phone, person)
        # The domain of an address is nobody's name.
        name = re.sub(r"(?<=\w)[@＠]\S+", " ", name)
        self._add_unspaced_forms(name, person)
        words = WORD.findall(name)
        if not words:
            # A name of signs only, such as emoji. A single sign is in too many messages.
            for symbols in _SYMBOLS.findall(name if not digits else ""):
                _claim(self._unspaced, symbols, person)
            return
        folded = tuple(map(fold, words))
        if 1 < len(folded) <= _MAX_NAME_WORDS:
            self._names_by_first_word.setdefault(folded[0], []).append((folded, person))
            self._names_by_first_word[folded[0]].sort(key=lambda entry: -len(entry[0]))
            # Written together: "jeanluc", "delacruz", and the whole name.
            for start in range(len(folded) - 1):
                for end in range(start + 2, len(folded) + 1):
                    if sum(map(len, folded[start:end])) >= _MIN_CONTAINED:
                        self._add_part("".join(folded[start:end]), person, is_first=False)
        parts = [word for word in folded if word not in _TITLES and len(word) > 1] or list(folded)
        for index, part in enumerate(parts):
            self._add_part(part, person, is_first=index == 0)
            for form in _SHORT_FORMS.get(make_key(part), ()):
                self._add_part(form, person, is_first=False)

    def _add_part(self, part: str, person: int, *, is_first: bool) -> None:
        """Remember a folded word of a name, or a short form of one."""
        _claim(self._exact, part, person)
        key = make_key(part)
        if len(key) >= _MIN_STEM:
            _claim(self._by_key, key, person)
            self._parts_by_start.setdefault(key[:_MIN_STEM], []).append(_Part(key, person, is_first))
        if len(loose_key := make_loose_key(key)) > _MIN_STEM:
            _claim(self._by_loose_key, loose_key, person)
        if len(vowelless_key := make_vowelless_key(key)) >= _MIN_STEM:
            _claim(self._by_vowelless_key, vowelless_key, person)
        for skeleton in make_skeletons(key):
            if len(skeleton) >= _MIN_STEM:
                _claim(self._by_skeleton, skeleton, person)
                if is_consonantal(part):
                    _claim(self._by_skeleton_of_consonantal, skeleton, person)
        if is_first:
            for start in range(1, len(key) - _MIN_STEM):
                _claim(self._by_ending, key[start:], person)
        if len(key) >= _MIN_CONTAINED:
            self._parts_by_gram.setdefault(key[:_MIN_CONTAINED], []).append(_Part(key, person, is_first))

    def _add_unspaced_forms(self, name: str, person: int) -> None:
        """Remember a name in a script without spaces, and the parts of it that people use."""
        for run in re.findall(f"[{UNSPACED}]+", name):
            is_han = re.fullmatch("[\u3400-\u4dbf\u4e00-\u9fff\U00020000-\U0003ffff]+", run)
            is_hangul = re.fullmatch("[\uac00-\ud7af]+", run)
            forms = [run] if len(run) > 1 else []
            if (is_han or is_hangul) and len(run) in {3, 4}:
                # A family name of one or two characters is followed by a given name.
                forms += [run[-2:], run[:2]] if len(run) == 4 else [run[-2:]]
            if is_han and len(run) in {2, 3}:
                before, after = _FILE["chinese"]["before"], _FILE["chinese"]["after"]
                forms += [sign + char for sign in before for char in {run[0], run[-1]}]
                forms += [char + sign for sign in after for char in {run[0], run[-1]}]
                forms.append(run[-1] * 2)
            for form in forms:
                _claim(self._unspaced, form, person)

    def _guess_person(self, name: str) -> int:
        """Return the only person who shares a part of a name."""
        forms = [fold(word) for word in WORD.findall(name)]
        owners = {self._exact[form] for form in forms if form not in _TITLES and form in self._exact}
        phone = make_phone_key(read_digits(name))
        owners |= {self._phones[phone]} if phone in self._phones else set()
        return owners.pop() if len(owners) == 1 else _SOMEBODY

    # Recognising words

    def _learn(self, word: str) -> _Known | None:
        """Return what is known of a word, and remember it."""
        if len(self._known) >= _MAX_KNOWN_WORDS:
            self._known.clear()
        known = self._recognize(word)
        if fold(word) in self._names_by_first_word:
            known = (known or _Known(_SOMEBODY, _When.NEVER))._replace(begins_name=True)
        self._known[word] = known
        return known

    def _recognize(self, word: str) -> _Known | None:
        """Return whose name a word is. Everyday words that are forms of names only count in some places."""
        folded = fold(word)
        if (person := self._find_exact(word, folded)) is not None:
            is_everyday = folded in _EVERYDAY or len(folded) < 2
            return _Known(
                person, _When.ADDRESSING if is_everyday and word == word.lower() != word.upper() else _When.ALWAYS
            )
        if (person := self._find_derived(word, folded)) is not None:
            if not _is_word(folded) and not _is_word(make_key(word)):
                return _Known(person, _When.ALWAYS)
            return _Known(person, _When.NOT_FIRST) if word[0].isupper() and not word.isupper() else None
        for part in _CAMEL.split(word)[:_MAX_NAME_WORDS] if _CAMEL.search(word) else ():
            if (person := self._find_exact(part, fold(part))) is not None:
                return _Known(person, _When.ALWAYS)
        return None

    def _find_exact(self, word: str, folded: str) -> int | None:
        """Return the person with this name or short form: as it is, with repeated letters, or in another script."""
        if (person := self._exact.get(folded)) is not None:
            return person
        key = make_key(word)
        # A short key loses too much with a repeated letter: "Lee" and "le".
        is_stretched = len(folded) > len(key) and re.search(r"(.)\1\1", folded)
        if (len(key) > _MIN_STEM or not word.isascii() or is_stretched) and key in self._by_key:
            return self._by_key[key]
        if is_stretched:
            return self._exact.get(key)
        return None

    def _find_derived(self, word: str, folded: str) -> int | None:
        """Return the person from one of whose names a word is derived."""
        key = make_key(word)
        if (person := self._find_similar(word, key)) is not None:
            return person
        if is_consonantal(word) and (person := self._find_prefixed(folded)) is not None:
            return person
        if (person := self._by_ending.get(key)) is not None:
            return person
        parts = [part for part in self._parts_by_start.get(key[:_MIN_STEM], ()) if _is_derived(key, part)]
        owners = {part.person for part in parts or self._find_contained(key)}
        if not owners:
            return None
        return owners.pop() if len(owners) == 1 else _SOMEBODY

    def _find_similar(self, word: str, key: str) -> int | None:
        """Return the person with a name of the same sounds, in any script."""
        if (person := self._by_loose_key.get(make_loose_key(key))) is not None:
            return person
        vowelless_key = make_vowelless_key(key)
        # Short words of one script are too similar to each other.
        if len(vowelless_key) >= _MIN_CONTAINED or not word.isascii():
            person = self._by_vowelless_key.get(vowelless_key)
        if person is None and not is_consonantal(word):
            skeletons = make_skeletons(key) if self._by_skeleton_of_consonantal else ()
            found = [self._by_skeleton_of_consonantal.get(each) for each in skeletons]
            person = next((each for each in found if each is not None), None)
        return person

    def _find_prefixed(self, folded: str) -> int | None:
        """Return the person whose name a word in Arabic or Hebrew script is, perhaps after a preposition or article."""
        for prefix in ("", *_PREFIXES):
            if not folded.startswith(prefix):
                continue
            bare = folded.removeprefix(prefix)
            found = [self._exact.get(bare), *map(self._by_skeleton.get, make_skeletons(make_key(bare)))]
            if (person := next((each for each in found if each is not None), None)) is not None:
                return person
        return None

    def _find_contained(self, key: str) -> list[_Part]:
        """Return the longer parts of names that a key contains, as in "happybirthdaypriya"."""
        return [
            part
            for start in range(len(key) - _MIN_CONTAINED + 1)
            for part in self._parts_by_gram.get(key[start : start + _MIN_CONTAINED], ())
            if key.startswith(part.key, start)
        ]

    def _find_label(self, text: str) -> str:
        """Return the label of a person whose name a text contains in any form, or an empty string."""
        for word in WORD.findall(text):
            known = self._recognize(word)
            if known is not None:
                return self.label(known.person)
        if self._unspaced_pattern and (match := self._unspaced_pattern.search(text)):
            return self.label(self._unspaced[match[0]])
        return ""

    def _find_phone_label(self, digits: str) -> str:
        person = self._phones.get(make_phone_key(digits))
        return "" if person is None else self.label(person)

    # Replacing words

    def _mask_names(self, text: str) -> str:
        """Return a text with protected labels for its names."""
        masked, end = [], 0
        for start, stop, person in self._find_names(text):
            masked += [text[end:start], _protect(self.label(person))]
            end = stop
        return "".join([*masked, text[end:]])

    def _find_names(self, text: str) -> Iterator[tuple[int, int, int]]:
        """Yield the start, the end and the person of each name in a text."""
        words = [match for match in _TOKEN.finditer(text) if match[0][0] != _OPEN]
        index = 0
        while index < len(words):
            word = words[index][0]
            known = self._known[word] if word in self._known else self._learn(word)
            if known is None:
                index += 1
                continue
            if known.begins_name and (whole := self._match_name(text, words, index)):
                n_words, person = whole
                yield words[index].start(), words[index + n_words - 1].end(), person
                index += n_words
                continue
            if self._is_replaced(known, text, words, index):
                yield words[index].start(), words[index].end(), known.person
            index += 1

    def _match_name(self, text: str, words: Sequence[re.Match[str]], index: int) -> tuple[int, int] | None:
        """Return the number of words and the person of a name of several words that begins here."""
        for name, person in self._names_by_first_word.get(fold(words[index][0]), ()):
            found = words[index : index + len(name)]
            is_same = tuple(fold(match[0]) for match in found) == name
            if is_same and all(_JOINER.fullmatch(text, left.end(), right.start()) for left, right in pairwise(found)):
                return len(name), person
        return None

    def _is_replaced(self, known: _Known, text: str, words: Sequence[re.Match[str]], index: int) -> bool:
        word = words[index]
        # Not the whole text before it, which would take quadratic time.
        before = text[max(0, word.start() - 8) : word.start()].rstrip(" ")
        match known.when:
            case _When.ALWAYS:
                return True
            case _When.NOT_FIRST:
                return bool(before) and before[-1] not in ".!?…\n:"
            case _When.ADDRESSING:
                greeted = index > 0 and fold(words[index - 1][0]) in _GREETINGS
                after_sign = not before or not (before[-1].isalnum() or before[-1] == "_")
                return (greeted or after_sign) and bool(_PUNCTUATION.match(text, word.end()))
        return False


def restore_labels(text: str, names: Sequence[str]) -> str:
    """Return a text with names for labels: `P1` becomes the first. Unknown labels stay; `P-1` becomes `P1`."""

    def restore(match: re.Match[str]) -> str:
        if match[1]:
            return f"P{match[2]}"
        return names[int(match[2]) - 1] if _is_label(match[2], len(names)) else match[0]

    return _LABEL.sub(restore, text)


def renumber_labels(text: str, renumber: Callable[[int], int], *, n_people: int) -> str:
    """Return a text whose labels stand for other indexes: `renumber` returns that for a person's. Unknown ones stay."""

    def replace(match: re.Match[str]) -> str:
        is_known = not match[1] and _is_label(match[2], n_people)
        return f"P{renumber(int(match[2]) - 1) + 1}" if is_known else match[0]

    return _LABEL.sub(replace, text)


def _is_label(number: str, n_people: int) -> bool:
    return number[0] != "0" and len(number) < 7 and int(number) <= n_people


def _is_word(key: str) -> bool:
    # The list of ordinary words has many parts of words among its shortest.
    return key in _SHORT_WORDS if len(key) == _MIN_STEM else is_ordinary(key)


def _protect(placeholder: str) -> str:
    return f"{_OPEN}{placeholder}{_CLOSE}"


def _separate(text: str) -> str:
    """Return a text with its placeholders, each set off from letters and digits."""

    def place(match: re.Match[str]) -> str:
        before, after = text[max(0, match.start() - 1) : match.start()], text[match.end() : match.end() + 1]
        left = " " if before.isalnum() or before in {"_", _CLOSE} else ""
        right = " " if after.isalnum() or after == "_" else ""
        return f"{left}{match[1]}{right}"

    return _PROTECTED.sub(place, text)


def _claim(owners: dict[str, int], form: str, person: int) -> None:
    """Record whose form this is. A form of several people is nobody's in particular."""
    owners[form] = person if owners.get(form, person) == person else _SOMEBODY


def _is_derived(key: str, part: _Part) -> bool:
    """Return whether a key is an inflected form of a part of a name, or a nickname."""
    common = 0
    for left, right in zip(key, part.key, strict=False):
        if left != right:
            break
        common += 1
    ending, lost = key[common:], len(part.key) - common
    if common < _MIN_STEM:
        return False
    if not lost:
        return not ending or ending in _ATTACHED or ending in _INFLECTED
    if lost <= 2 and ending in _INFLECTED:
        return True
    enough = _MIN_STEM if part.is_first else _MIN_STEM + 1
    return common >= enough and (not ending or ending in _NICKNAMES)
