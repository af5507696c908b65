"""Generated chats for the table, by category: couples, two friends, families of four and teams of five.

The chats of a category are far apart in what happens between the people.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from insights.episodes import Relationship
from tests.truth.couples import generate_couples
from tests.truth.generator import PlantedChat, generate

#: The category of insights for the people of each relationship.
CATEGORIES: Mapping[Relationship, str] = {
    Relationship.COUPLE: "romantic",
    Relationship.FRIENDS: "friendship",
    Relationship.FAMILY: "family",
    Relationship.COLLEAGUES: "workplace",
}
PEOPLE: Mapping[Relationship, int] = {
    Relationship.COUPLE: 2,
    Relationship.FRIENDS: 2,
    Relationship.FAMILY: 4,
    Relationship.COLLEAGUES: 5,
}


class Circle(NamedTuple):
    """A chat to generate: the levels of the kinds, and the kinds that the first person leads."""

    name: str
    relationship: Relationship
    language: str
    traits: Mapping[str, int]
    led_by_first: tuple[str, ...] = ()


def _levels(much: Sequence[str], little: Sequence[str]) -> dict[str, int]:
    return {**dict.fromkeys(much, 3), **dict.fromkeys(little, 1)}


_TRUST = ("promise_kept", "showing_up", "secret_kept", "loyalty", "support", "cheering_up", "check_in", "advice")
_DEPTH = (
    "deep_talk", "hard_feelings", "ask_for_help", "gratitude", "catch_up", "celebration", "excitement", "inside_joke",
    "memory",
)  # fmt: skip
_GAPS = ("promise_broken", "let_down", "secret_broken", "unanswered_need")
_LIGHT = ("joke", "silliness", "story", "fun_activity", "plan", "request", "small_update", "dream")

_ROOM = ("own_choice", "speaking_up", "decision")
_FAMILY_WARMTH = (
    "affection", "blessing", "praise", "gratitude", "support", "celebration", "cheering_up", "hard_feelings", "worry",
    "deep_talk", "check_in", "act_of_service",
)  # fmt: skip
_SETTLING = ("repair", "fair_talk", "apology", "mediation")
_STRAIN = ("control", "expectation", "unfairness", "avoidance", "unanswered_need", "put_down")

_FLOW = (
    "status_update", "coordination", "understanding", "decision", "feedback", "ownership", "promise_kept", "blocker",
    "request", "admission", "speaking_up", "ask_for_help", "gratitude", "praise", "support", "celebration", "joke",
    "story", "memory",
)  # fmt: skip
_FRICTION = (
    "status_request", "unclear", "waiting", "no_owner", "promise_broken", "hidden_problem", "pressure", "put_down",
    "conflict", "stress", "secret_broken",
)  # fmt: skip

_FRIENDS, _FAMILY, _TEAM = Relationship.FRIENDS, Relationship.FAMILY, Relationship.COLLEAGUES
_QUARRELS = {"conflict": 3}
_NO_BANTER = dict.fromkeys(("tease", "fun_activity", "inside_joke", "check_in", "silliness"), 0)
CIRCLES: Sequence[Circle] = (
    Circle("close friends", _FRIENDS, "english", _levels((*_TRUST, *_DEPTH), (*_GAPS, *_LIGHT))),
    Circle("drifting apart", _FRIENDS, "english", _levels((*_GAPS, *_LIGHT), (*_TRUST, *_DEPTH)), ("support",)),
    Circle("close friends in Hinglish", _FRIENDS, "hinglish", _levels((*_TRUST, *_DEPTH), (*_GAPS, *_LIGHT))),
    Circle("drifting apart in Hinglish", _FRIENDS, "hinglish", _levels((*_GAPS, *_LIGHT), (*_TRUST, *_DEPTH))),
    Circle(
        "open family", _FAMILY, "english", _levels((*_ROOM, *_FAMILY_WARMTH, *_SETTLING), _STRAIN) | {"conflict": 2}
    ),
    Circle(
        "strict family",
        _FAMILY,
        "english",
        _levels(_STRAIN, (*_ROOM, *_FAMILY_WARMTH, *_SETTLING)) | _QUARRELS,
        ("control", "decision"),
    ),
    Circle("quarrels that settle", _FAMILY, "english", _levels((*_STRAIN, *_SETTLING), _FAMILY_WARMTH) | _QUARRELS),
    Circle("open family in Hinglish", _FAMILY, "hinglish", _levels((*_ROOM, *_FAMILY_WARMTH), _STRAIN)),
    Circle("strict family in Hinglish", _FAMILY, "hinglish", _levels(_STRAIN, (*_ROOM, *_FAMILY_WARMTH)) | _QUARRELS),
    Circle("team in flow", _TEAM, "english", _levels(_FLOW, _FRICTION)),
    Circle("team under strain", _TEAM, "english", _levels(_FRICTION, _FLOW) | _NO_BANTER, ("pressure", "decision")),
    Circle("team in flow in Hinglish", _TEAM, "hinglish", _levels(_FLOW, _FRICTION)),
    Circle("team under strain in Hinglish", _TEAM, "hinglish", _levels(_FRICTION, _FLOW) | _NO_BANTER),
)


def generate_chats(
    category: str, seed: int, *, messages: int = 2000, extra_lines: tuple[str, ...] = ()
) -> list[PlantedChat]:
    """Return the chats of a category, or of all categories for `all`."""
    chats: list[PlantedChat] = []
    if category in ("romantic", "all"):
        chats += generate_couples(seed, messages=messages, extra_lines=extra_lines)
    chats += [
        generate_circle(circle, seed + number, messages=messages, extra_lines=extra_lines)
        for number, circle in enumerate(CIRCLES)
        if category in (CATEGORIES[circle.relationship], "all")
    ]
    return chats


def generate_circle(
    circle: Circle, seed: int, *, messages: int = 2000, extra_lines: tuple[str, ...] = ()
) -> PlantedChat:
    """Return the chat of one circle."""
    return generate(
        seed,
        relationship=circle.relationship,
        language=circle.language,
        traits=circle.traits,
        led_by_first=circle.led_by_first,
        people=PEOPLE[circle.relationship],
        messages=messages,
        extra_lines=extra_lines,
        name=circle.name.replace(" ", "-"),
    )
