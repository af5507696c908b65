"""Generated chats for the table: couples far apart in what happens between them, in three languages."""

from __future__ import annotations

from collections.abc import Mapping

from tests.truth.generator import PlantedChat, generate

_CARE = ("affection", "touch", "support", "cheering_up", "check_in", "gratitude", "praise", "gift", "act_of_service")
_REPAIR = ("repair", "fair_talk", "apology")
_WARM = dict.fromkeys((*_CARE, *_REPAIR, "quality_time", "hard_feelings", "romance", "flirt"), 3)
_PLAYFUL = dict.fromkeys(("joke", "silliness", "tease", "sarcasm", "inside_joke", "surprise", "fun_activity"), 3)
_FUTURE = dict.fromkeys(("plan", "dream", "excitement"), 3)
_STORMY = {**dict.fromkeys(_WARM, 1), "conflict": 3, "put_down": 3, "unanswered_need": 3, "stress": 3}
_LITTLE_FUN = dict.fromkeys(_PLAYFUL, 1)
_LITTLE_FUTURE = dict.fromkeys(_FUTURE, 1)

#: Eight couples: the language, the levels of the kinds, and the kinds that the first person leads.
COUPLES: Mapping[str, tuple[str, Mapping[str, int], tuple[str, ...]]] = {
    "warm": ("english", {**_WARM, **_PLAYFUL, **_LITTLE_FUTURE, "conflict": 2, "stress": 2, "put_down": 0}, ()),
    "stormy": ("english", {**_STORMY, **_LITTLE_FUN, **_FUTURE}, ("support", "gratitude", "praise")),
    "dreaming": (
        "english",
        {**_WARM, **_LITTLE_FUN, **_FUTURE, "plan": 1, "conflict": 0, "repair": 0, "stress": 2, "support": 1,
         "cheering_up": 1},
        (),
    ),
    "quarrels that are made up": (
        "english",
        {**_STORMY, **_PLAYFUL, **_LITTLE_FUTURE, "repair": 3, "apology": 3, "fair_talk": 3, "affection": 3,
         "touch": 3},
        ("tease",),
    ),
    "warm in Hinglish": ("hinglish", {**_WARM, **_PLAYFUL, **_FUTURE, "conflict": 2, "stress": 2, "put_down": 0}, ()),
    "stormy in Hinglish": ("hinglish", {**_STORMY, **_LITTLE_FUN, **_LITTLE_FUTURE}, ()),
    "warm in Spanish": ("spanish", {**_WARM, **_PLAYFUL, **_FUTURE, "conflict": 1, "stress": 2, "put_down": 0}, ()),
    "stormy in Spanish": ("spanish", {**_STORMY, **_LITTLE_FUN, **_LITTLE_FUTURE}, ()),
}  # fmt: skip


def generate_couples(seed: int, *, messages: int = 2000, extra_lines: tuple[str, ...] = ()) -> list[PlantedChat]:
    """Return the chats of COUPLES."""
    return [
        generate(
            seed + number,
            language=language,
            traits=traits,
            led_by_first=led_by_first,
            messages=messages,
            extra_lines=extra_lines,
            name=name.replace(" ", "-"),
        )
        for number, (name, (language, traits, led_by_first)) in enumerate(COUPLES.items())
    ]
