"""The ground truth of a planted chat: which messages are an example of what. README.md documents the JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted conversation. `lines` has its messages by number, each with the index of its sender and its text.

    `first` and `last` are message numbers as the import assigns them. `roles` has the roles by the index of the person.
    One that does not count is a distractor that looks like `kind`. `shows` are the messages that show it best.
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
    lines: Mapping[int, tuple[int, str]]
    shows: tuple[int, ...]

    @property
    def first(self) -> int:
        """The number of its first message."""
        return min(self.lines)

    @property
    def last(self) -> int:
        """The number of its last message."""
        return max(self.lines)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What is planted in a chat. `people` are the names that roles and lines refer to by index.

    `traits` has the level of each kind, from 0 (absent) to 3 (frequent). `levels` may have the level of a section, as
    `type.section`, where it does not follow from the traits.
    """

    name: str
    relationship: str
    language: str
    people: tuple[str, ...]
    messages: int
    planted: tuple[Planted, ...]
    traits: Mapping[str, int] = field(default_factory=dict)
    levels: Mapping[str, int] = field(default_factory=dict)

    def examples(self) -> tuple[Planted, ...]:
        """Return the planted conversations that count."""
        return tuple(planted for planted in self.planted if planted.counts)

    def distractors(self) -> tuple[Planted, ...]:
        """Return the planted conversations that must neither be counted nor quoted."""
        return tuple(planted for planted in self.planted if not planted.counts)


def to_json(truth: GroundTruth) -> dict[str, Any]:
    """Return the ground truth as JSON values."""
    return {
        "format": FORMAT_VERSION,
        "name": truth.name,
        "relationship": truth.relationship,
        "language": truth.language,
        "people": list(truth.people),
        "messages": truth.messages,
        "traits": dict(truth.traits),
        "levels": dict(truth.levels),
        "planted": [
            {
                "key": planted.key,
                "kind": planted.kind,
                "counts": planted.counts,
                "topic": planted.topic,
                "subject": planted.subject,
                "roles": {truth.people[person]: list(roles) for person, roles in planted.roles.items()},
                "strength": planted.strength,
                "tone": planted.tone,
                "obvious": planted.obvious,
                "shows": list(planted.shows),
                "messages": [
                    {"number": number, "sender": truth.people[person], "text": text}
                    for number, (person, text) in sorted(planted.lines.items())
                ],
            }
            for planted in truth.planted
        ],
    }


def from_json(data: Mapping[str, Any]) -> GroundTruth:
    """Return the ground truth of JSON values. Raise KeyError or ValueError if they have another shape."""
    if data.get("format", FORMAT_VERSION) != FORMAT_VERSION:
        raise ValueError(f"unknown format {data['format']!r} of a ground truth")
    people = tuple(data["people"])
    return GroundTruth(
        name=data["name"],
        relationship=data.get("relationship", "couple"),
        language=data.get("language", ""),
        people=people,
        messages=data.get("messages", 0),
        traits=data.get("traits", {}),
        levels=data.get("levels", {}),
        planted=tuple(_planted_from_json(index, entry, people) for index, entry in enumerate(data["planted"], start=1)),
    )


def _planted_from_json(index: int, entry: Mapping[str, Any], people: tuple[str, ...]) -> Planted:
    lines = {row["number"]: (people.index(row["sender"]), row["text"]) for row in entry["messages"]}
    return Planted(
        key=entry.get("key", str(index)),
        kind=entry["kind"],
        counts=entry.get("counts", True),
        topic=entry.get("topic", "other"),
        subject=entry.get("subject", entry["kind"]),
        roles={people.index(name): tuple(roles) for name, roles in entry.get("roles", {}).items()},
        strength=entry.get("strength", 2),
        tone=entry.get("tone", "sincere"),
        obvious=entry.get("obvious", True),
        lines=lines,
        shows=tuple(entry.get("shows") or sorted(lines)[:3]),
    )


def write(truth: GroundTruth, path: Path) -> None:
    """Write the ground truth to a JSON file."""
    path.write_text(json.dumps(to_json(truth), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def read(path: Path) -> GroundTruth:
    """Return the ground truth of a JSON file."""
    return from_json(json.loads(path.read_text(encoding="utf-8")))
