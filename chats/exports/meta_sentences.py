"""Recognise the texts that Messenger and Instagram write themselves, in the languages of meta_sentences.toml."""

from __future__ import annotations

import re
import tomllib
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import NamedTuple

#: The sentences are shorter, so longer texts skip the patterns.
SENTENCE_LIMIT_CHARS = 300
NOTE_LIMIT_CHARS = 30
#: Sentences are looked up by their first characters; a pattern is compiled when a text begins like its sentences.
HEAD_CHARS = 4

_FULL_STOPS = " .!。।"
_QUESTION_MARKS = ("?", "？", "؟", ";")
_PLACEHOLDERS = {
    "{}": ".+",
    "{n}": r"\d{1,4}",
    # An emoji contains no letter. That separates `Reacted ❤ to your message` from `Reacted badly to your message`.
    "{emoji}": r"[\W\d_]{1,40}",
    "{name}": "(.+?)",
    "(": "(?:",
}
_NOT_LITERAL = re.compile(r"\{\w*\}|\\.|[(.+*$^\[\]]")
_AT_HEAD = re.compile(r"[({\\]|.\?", re.DOTALL)
_CHOICE = re.compile(r"\\.|[(|)]")


def regex_of(template: str) -> str:
    """Return a sentence of the file as a regular expression."""

    def replaced(match: re.Match[str]) -> str:
        found = match[0]
        return _PLACEHOLDERS.get(found) or (found if found[0] == "\\" else re.escape(found))

    return _NOT_LITERAL.sub(replaced, template)


def heads_of(template: str) -> set[str]:
    """Return how the texts of a sentence begin: HEAD_CHARS characters, or fewer if a placeholder follows them."""
    heads, open_templates = set(), [template]
    while open_templates:
        template = open_templates.pop()
        special = _AT_HEAD.search(template[: HEAD_CHARS + 1])
        if special is None or special.start() >= HEAD_CHARS or template[special.start()] == "{":
            heads.add(template[: special.start() if special else HEAD_CHARS][:HEAD_CHARS])
            continue
        before, at = template[: special.start()], special.start()
        if template[at] == "\\":
            # An escaped bracket is as good as any other character.
            open_templates.append(before + template[at + 1].translate(_BRACKETS) + template[at + 2 :])
            continue
        branches, end = [template[at]], at + 1
        if template[at] == "(":
            branches, end = branches_of(template, at)
        if template[end : end + 1] == "?":
            branches, end = [*branches, ""], end + 1
        open_templates += [before + branch + template[end:] for branch in branches]
    return {head.translate(_UNESCAPED) for head in heads}


#: Brackets while they are not part of the grammar.
_BRACKETS = {ord("("): "\ue000", ord(")"): "\ue001"}
_UNESCAPED = {0xE000: "(", 0xE001: ")"}


def branches_of(template: str, start: int) -> tuple[list[str], int]:
    """Return the branches of the choice at `start`, and the position after it."""
    branches, depth, at = [], 0, start + 1
    for token in _CHOICE.finditer(template, start):
        depth += {"(": 1, ")": -1}.get(token[0], 0)
        if (depth == 1 and token[0] == "|") or depth == 0:
            branches.append(template[at : token.start()])
            at = token.end()
            if depth == 0:
                return branches, at
    raise ValueError(f"unbalanced: {template}")


class _Kind(NamedTuple):
    field: str
    addresses_owner: bool = False


class _Sentences:
    """Sentences that begin alike. They are compiled when they are first needed."""

    def __init__(self) -> None:
        self._regexes: dict[_Kind, list[str]] = defaultdict(list)
        self._compiled: list[tuple[_Kind, re.Pattern[str]]] | None = None

    def add(self, kind: _Kind, regex: str) -> None:
        self._regexes[kind].append(regex)

    def match(self, text: str, at: int) -> list[tuple[_Kind, re.Match[str]]]:
        """Return each kind of sentence that matches the text from the position on."""
        if self._compiled is None:
            # A name in the middle is a group of its own, so such a sentence is not joined with others.
            self._compiled = [
                (kind, re.compile(regex, re.DOTALL))
                for kind, regexes in self._regexes.items()
                for regex in (
                    *(regex for regex in regexes if _PLACEHOLDERS["{name}"] in regex),
                    "|".join(regex for regex in regexes if _PLACEHOLDERS["{name}"] not in regex) or "(?!)",
                )
            ]
        found = ((kind, pattern.fullmatch(text, at)) for kind, pattern in self._compiled)
        return [(kind, match) for kind, match in found if match]


class Owner:
    """Decides who of a chat is the account's owner: the sender whom most sentences of Meta address."""

    def __init__(self) -> None:
        self._times: Counter[str] = Counter()
        self._most = 1

    def address(self, name: str) -> None:
        """Count a sentence that certainly addresses the sender of this name."""
        self._times[name] += 1
        self._most = max(self._most, self._times[name])

    def is_named(self, name: str) -> bool:
        """Return whether sentences address the sender of this name, and nobody more often."""
        return self._times[name] == self._most


class Sender(NamedTuple):
    """A person as sentences name the sender of a message: the name, the first name, and `you`."""

    names: tuple[str, ...]
    #: Shared by the senders of a chat.
    owner: Owner


class MetaSentences:
    """The sentences of all languages: an export does not name its language."""

    def __init__(self, languages: dict[str, dict[str, list[str]]]) -> None:
        self._edited = {word for phrases in languages.values() for word in phrases.get("edited", ())}
        self._you = tuple(word for phrases in languages.values() for word in phrases.get("you", ()))
        self._starts: dict[str, _Sentences] = defaultdict(_Sentences)
        #: After the sender's name, and after a name or `you`.
        self._after_sender: dict[str, _Sentences] = defaultdict(_Sentences)
        self._after_name: dict[str, _Sentences] = defaultdict(_Sentences)
        for phrases in languages.values():
            for field, templates in phrases.items():
                if field not in ("you", "edited"):
                    for template in templates:
                        self._add(field, template)

    def _add(self, field: str, template: str) -> None:
        for lead, places in (
            ("{name}", (self._after_name, self._after_sender)),
            ("{sender}", (self._after_sender,)),
            ("{you}", (self._starts,)),
            ("", (self._starts,)),
        ):
            if not template.startswith(lead):
                continue
            rest = template.removeprefix(lead)
            heads, regex = heads_of(rest), regex_of(rest)
            for place in places:
                for head in heads | {head.replace("'", "’") for head in heads}:
                    place[head].add(_Kind(field, lead == "{you}"), regex)
            return

    def sender(self, name: str, owner: Owner) -> Sender:
        """Return the sender of this name."""
        return Sender((name, name.partition(" ")[0], *self._you), owner)

    def field_of(self, text: str, sender: Sender, *, has_other_members: bool) -> str | None:
        """Return the field of the sentence that a text is, None if a person wrote it.

        `has_other_members` is whether the message has a file, a link or the like, to which such a sentence belongs.
        """
        names = sender.names
        if (self._starts.get(text[:HEAD_CHARS]) is None and not text.startswith(names)) or (
            len(text) > SENTENCE_LIMIT_CHARS
        ):
            return None
        said = text.rstrip()
        kind = self._kind_of(said.rstrip(_FULL_STOPS).replace("’", "'"), names)
        if kind is None:
            return None
        field, addresses_owner = kind
        # A friend types `You set the emoji to what?`. Polls end with the question.
        if field == "poll" and (": " in said or "：" in said):
            return field
        if said.endswith(_QUESTION_MARKS) and (addresses_owner or not said.startswith(names[:2])):
            return None
        # People rarely type exactly these words.
        if not addresses_owner or field in ("unsent", "reaction"):
            return field
        # Meta ends these sentences with a full stop, which people leave out.
        is_certain = has_other_members or said[-1] in ".。।"
        if field == "call":
            # `You missed a call from Asha` is a message of Asha.
            return field if is_certain or said.endswith(names[:2]) else None
        if is_certain:
            sender.owner.address(names[0])
        return field if sender.owner.is_named(names[0]) else None

    def _kind_of(self, text: str, names: tuple[str, ...]) -> _Kind | None:
        group = self._starts.get(text[:HEAD_CHARS])
        for kind, match in group.match(text, 0) if group else ():
            if match.re.groups == 0 or match[1] in names:
                return kind
        for position, name in enumerate(names):
            if text.startswith(name):
                place = self._after_sender if position < 2 else self._after_name
                for length in range(HEAD_CHARS, 0, -1):
                    group = place.get(text[len(name) : len(name) + length])
                    for kind, _ in group.match(text, len(name)) if group else ():
                        return _Kind(kind.field, position >= 2)
        return None

    def split_edited_note(self, text: str) -> tuple[str, bool]:
        """Return the text before a note such as ` (edited)`, and whether the note is known.

        The text is returned as it is if nothing in parentheses follows it.
        """
        if not text.endswith(")"):
            return text, False
        before, _, note = text[:-1].rpartition(" (")
        if note.casefold() in self._edited:
            while before.endswith(f" ({note})"):
                before = before.removesuffix(f" ({note})")
            return before, bool(before)
        is_words = len(note) <= NOTE_LIMIT_CHARS and note.replace(" ", "").isalpha()
        return (before, False) if before and is_words else (text, False)


@cache
def meta_sentences() -> MetaSentences:
    """Return the sentences of meta_sentences.toml, which is read when a chat of Meta is first parsed."""
    path = Path(__file__).with_name("meta_sentences.toml")
    return MetaSentences(tomllib.loads(path.read_text(encoding="utf-8")))
