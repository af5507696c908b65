"""The private texts of the soak test. Each kind contains a word of its own that must be found in no other place."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from tests.canary import unique

_FIRST_NAMES = ("Asha", "Ravi", "Meera", "Kabir", "Tara", "Neel")
_SENTENCES = (
    "did you eat lunch today",
    "call me after the meeting please",
    "we should book the tickets this week",
    "sorry that I shouted at you yesterday",
    "thanks for helping me with the move",
    "I miss you and I love you",
    "you never listen when I talk about money",
    "let us have dinner with your sister on Sunday",
    "great work on the report, I am proud of you",
    "why did you not answer my message",
)
_START = datetime.fromisoformat("2023-01-02T08:00")


@dataclass(frozen=True)
class Canaries:
    """Words that occur in one kind of private text only."""

    name: str = field(default_factory=lambda: unique("Name"))
    message: str = field(default_factory=lambda: unique("message"))
    title: str = field(default_factory=lambda: unique("title"))
    file_name: str = field(default_factory=lambda: unique("file"))
    question: str = field(default_factory=lambda: unique("question"))

    def all(self) -> tuple[str, ...]:
        """Return all of them."""
        return self.name, self.message, self.title, self.file_name, self.question


def write_export(canaries: Canaries, *, seed: str, messages: int, people: int) -> bytes:
    """Return an export. More messages of the same seed continue the same chat."""
    chance = random.Random(seed)
    names = [f"{first} {canaries.name}" for first in chance.sample(_FIRST_NAMES, people)]
    at = _START + timedelta(days=chance.randrange(300), minutes=chance.randrange(600))
    lines = []
    for number in range(messages):
        at += timedelta(minutes=chance.choice((1, 1, 2, 3, 5, 40, 900)))
        text = chance.choice(_SENTENCES)
        if number % 7 == 3:
            text += f" {canaries.message}"
        lines.append(f"{at:%d/%m/%Y, %H:%M} - {chance.choice(names)}: {text} {number}")
    return "\n".join(lines).encode()
