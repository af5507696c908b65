"""The sentences that planted chats are made of, read from the TOML files of this directory."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from insights.episodes import KINDS, ROLES, TOPICS, Relationship, Tone

DIRECTORY = Path(__file__).parent
LANGUAGES = ("english", "hinglish", "spanish")
SPEAKERS = "ABC"
#: The tone of a distractor that says the opposite. A reader finds nothing in it, so `Tone` has no such member.
NEGATED = "negated"

_KEYS = frozenset({"looks_like", "topic", "subject", "roles", "strength", "tone", "obvious", "suits", "lines"})
_NO_WORD = re.compile(r"\W+")


@dataclass(frozen=True, slots=True)
class Script:
    """A conversation to plant: what it is an example of, and its lines by the index of the speaker.

    A script that does not count is a distractor: it looks like `kind` and is ironic, quoted, about others or negated.
    """

    key: str
    kind: str
    counts: bool
    topic: str
    subject: str
    roles: Mapping[int, tuple[str, ...]]
    strength: int
    tone: str
    obvious: bool
    suits: frozenset[Relationship]
    lines: tuple[tuple[int, str], ...]

    @property
    def speakers(self) -> int:
        """The number of people whom it needs."""
        return 1 + max(speaker for speaker, _ in self.lines)


@dataclass(frozen=True, slots=True)
class Material:
    """The scripts and the everyday lines of one language."""

    scripts: tuple[Script, ...]
    filler: tuple[str, ...]


@cache
def load(language: str) -> Material:
    """Return the material of one of LANGUAGES. Raise ValueError if an entry is not valid."""
    data = tomllib.loads((DIRECTORY / f"{language}.toml").read_text(encoding="utf-8"))
    filler = tuple(data.pop("filler").strip().split("\n"))
    scripts = [
        _make_script(f"{language}/{name}/{number}", name, entry)
        for name, entries in data.items()
        for number, entry in enumerate(entries, start=1)
    ]
    spoken = {normalize(text) for script in scripts for _, text in script.lines}
    return Material(tuple(scripts), tuple(line for line in filler if normalize(line) not in spoken))


def normalize(text: str) -> str:
    """Return the words of a text in lower case, to compare texts that differ in case, signs and spaces."""
    return _NO_WORD.sub(" ", text.casefold()).strip()


def _make_script(key: str, name: str, entry: Mapping[str, Any]) -> Script:
    if unknown := entry.keys() - _KEYS:
        raise ValueError(f"{key}: unknown keys {sorted(unknown)}")
    is_distractor = name == "distractor"
    kind = entry["looks_like"] if is_distractor else name
    roles: dict[int, tuple[str, ...]] = {}
    for part in entry.get("roles", "A does").split(","):
        speaker, *names = part.split()
        roles[SPEAKERS.index(speaker)] = tuple(names)
    # Sarcasm is the one kind whose examples are ironic by nature.
    tone = entry.get("tone", "ironic" if kind == "sarcasm" else "sincere")
    topic, strength = entry.get("topic", "other"), entry.get("strength", 2)
    lines = tuple(
        (SPEAKERS.index(line[0]), line[1:].removeprefix(":").strip()) for line in entry["lines"].strip().split("\n")
    )
    if (
        kind not in KINDS
        or topic not in TOPICS
        or tone not in {*Tone, NEGATED}
        or strength not in {1, 2, 3}
        or not {role for names in roles.values() for role in names} <= ROLES.keys()
        or not 2 <= len(lines) <= 6
    ):
        raise ValueError(f"{key}: a value is not a member of its list, or the number of lines is not from 2 to 6")
    return Script(
        key=key,
        kind=kind,
        counts=not is_distractor,
        topic=topic,
        subject=entry.get("subject", KINDS[kind].title.lower()),
        roles=roles,
        strength=strength,
        tone=tone,
        obvious=entry.get("obvious", is_distractor),
        suits=frozenset(map(Relationship, entry.get("suits", "couple").split())),
        lines=lines,
    )
