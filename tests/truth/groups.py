"""Planted chats of groups whose people are easy to confuse: names that resemble each other, a telephone number in place
of a name, and one who only forwards. As exports of Telegram, because WhatsApp does not mark what is forwarded.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from insights.episodes import Relationship
from tests.truth.generator import PlantedChat, generate

#: What the last person of every group forwards. Each looks like something that a section asks for.
FORWARDS = (
    "forwarded as received: I am sorry for every wrong word this year, please forgive me and stay my people",
    "thank you for standing by me in the hardest times. send this to ten friends who never let you down",
    "I promise to keep every promise from today. share if you do the same",
    "breaking: every bank stays closed for nine days from monday, tell your parents at once",
    "you are the reason I smile, says the poet, and I love you more than the sea",
    "a team that admits mistakes together wins together. share with your boss if you dare",
)
_LINE = re.compile(r"^(\d\d)/(\d\d)/(\d{4}), (\d\d:\d\d) - ([^:]+): (.*)$", re.MULTILINE)


class Group(NamedTuple):
    """A group to generate: the kinds of which much and little is planted, and the types that it is eligible for."""

    name: str
    relationship: Relationship
    people: tuple[str, ...]
    much: tuple[str, ...]
    little: tuple[str, ...]
    type_ids: tuple[str, ...]
    messages: int = 320


_FAMILY_TYPES = ("family_dynamics", "family_emotional_climate", "family_conflict_patterns")
_TEAM_TYPES = ("workplace_communication", "workplace_collaboration", "workplace_relationship_health")
_WARMTH = ("own_choice", "blessing", "worry", "support", "mediation", "fair_talk", "conflict")
_WORK = ("status_update", "coordination", "feedback", "ownership", "admission", "praise", "speaking_up")
_FIRST_NAMES = "Ana Anna Annika Anja Hanna Johanna Jo Joan Joana Marta Martha Mart Max Maxim Maxine Will Mark"
_LAST_NAMES = "Rao Raos Roa"
#: Fifty people: 48 who share first names by threes and last names by seventeens, a number, and the one who forwards.
_FIFTY = (
    *[f"{first} {last}" for last in _LAST_NAMES.split() for first in _FIRST_NAMES.split()][:48],
    "+49 170 5550123",
    "Tips",
)

GROUPS: Mapping[str, Group] = {
    group.name: group
    for group in (
        Group(
            "family of five",
            Relationship.FAMILY,
            ("Ravi Kumar", "Ravi", "Ravina Kumar", "+91 98765 43210", "Chacha"),
            _WARMTH,
            ("control", "avoidance", "expectation"),
            _FAMILY_TYPES,
        ),
        Group(
            "friends of eight",
            Relationship.FRIENDS,
            ("Anna", "Ana", "Anna Meyer", "Annette", "Joanna", "Jo", "+34 612 345 678", "Will"),
            ("support", "joke", "story", "celebration", "memory", "fun_activity", "check_in"),
            ("let_down", "plan", "hard_feelings"),
            # The types of friendship are about two people.
            ("communication_basics",),
        ),
        Group(
            "team of twelve",
            Relationship.COLLEAGUES,
            (
                "Mark", "Marc", "Marko Lind", "Marko Linde", "Sam Day", "Sam May", "Samira", "April", "Jonas", "Jona",
                "+44 7700 900123", "News",
            ),
            _WORK,
            ("unclear", "status_request", "no_owner", "pressure"),
            _TEAM_TYPES,
        ),
        Group(
            "club of fifty",
            Relationship.COLLEAGUES,
            _FIFTY,
            _WORK,
            ("unclear", "pressure"),
            _TEAM_TYPES,
            messages=420,
        ),
    )
}  # fmt: skip


def generate_group(group: Group, seed: int = 1, *, extra_lines: Sequence[str] = ()) -> PlantedChat:
    """Return the chat of a group, as an export of Telegram."""
    planted_chat = generate(
        seed,
        relationship=group.relationship,
        traits={**dict.fromkeys(group.much, 3), **dict.fromkeys(group.little, 1)},
        default_level=0,
        messages=group.messages,
        names=group.people,
        forwards=FORWARDS,
        extra_lines=extra_lines,
        months=3,
        name=group.name.replace(" ", "-"),
    )
    return replace(planted_chat, export=_convert(planted_chat.export, group.people))


def _convert(export: str, people: Sequence[str]) -> str:
    """Return an export of WhatsApp as one of Telegram in which all messages of the last person are forwarded."""
    messages = []
    for number, (day, month, year, time, sender, text) in enumerate(_LINE.findall(export), start=1):
        person = people.index(sender)
        messages.append(
            {
                "id": number,
                "type": "message",
                "date": f"{year}-{month}-{day}T{time}:00",
                "from": sender,
                "from_id": f"user{person + 1}",
                "text": text,
                **({"forwarded_from": "Daily Wisdom"} if person == len(people) - 1 else {}),
            }
        )
    group = {"name": "Group", "type": "private_group", "id": 1, "messages": messages}
    return json.dumps(group, ensure_ascii=False)
