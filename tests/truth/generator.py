"""Generate chats with planted conversations. The same arguments give the same chat."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path

from insights.episodes import KINDS, Relationship
from tests.truth import ground_truth, material
from tests.truth.ground_truth import GroundTruth, Planted
from tests.truth.material import Script

START = datetime.fromisoformat("2023-09-04T07:30")
#: The number of planted conversations of a kind for each level. Level 3 takes all that the material has, up to this.
COUNTS = (0, 1, 3, 12)
#: Between two conversations. The chat's chunks and windows begin a new conversation after three hours.
MIN_PAUSE = timedelta(hours=3, minutes=20)
#: How many planted conversations stand between pauses of their own; the others are part of everyday conversations.
SEPARATE_SHARE = 0.3
#: A conversation of this kind follows one of the other where both are planted.
FOLLOWS = {"repair": "conflict", "apology": "conflict"}

NAMES: Mapping[str, tuple[str, ...]] = {
    "english": ("Nadia Petrov", "Oliver Quist", "Imogen Vale", "Tobias Lindqvist", "Marguerite Okafor"),
    "hinglish": ("Meenakshi Rao", "Farhan Qureshi", "Jaspreet Gill", "Devika Nambiar", "Rustom Irani"),
    "spanish": ("Beatriz Lozano", "Joaquín Ferrer", "Itziar Mendieta", "Gonzalo Urrutia", "Remedios Cabrera"),
}


@dataclass(frozen=True, slots=True)
class PlantedChat:
    """An export of WhatsApp, and what is planted in it."""

    export: str
    truth: GroundTruth

    def write(self, directory: Path) -> Path:
        """Write NAME.txt and NAME.truth.json. Return the path of the export."""
        path = directory / f"{self.truth.name}.txt"
        path.write_text(self.export, encoding="utf-8")
        ground_truth.write(self.truth, directory / f"{self.truth.name}.truth.json")
        return path


@dataclass(slots=True)
class _Conversation:
    """Messages without a long pause: the person, the text, and the planted script that each belongs to."""

    messages: list[tuple[int, str, int | None]] = field(default_factory=list)


def generate(
    seed: int,
    *,
    relationship: Relationship = Relationship.COUPLE,
    language: str = "english",
    messages: int = 2000,
    traits: Mapping[str, int] | None = None,
    default_level: int = 1,
    led_by_first: Sequence[str] = (),
    distractors: int = 8,
    months: int = 12,
    people: int = 2,
    names: Sequence[str] = (),
    forwards: Sequence[str] = (),
    extra_lines: Sequence[str] = (),
    only_plain: bool = False,
    name: str = "",
) -> PlantedChat:
    """Return a chat with planted conversations between everyday messages.

    `traits` has levels from 0 (absent) to 3 (frequent) by kind; other kinds have the `default_level`. In the kinds of
    `led_by_first`, the first person always takes the first part of a script; otherwise the parts change in turn.
    `names` are in place of those of NAMES. The last person sends the `forwards`, if there are any, and nothing else.
    `extra_lines` are sent somewhere among the everyday messages. With `only_plain`, no planted conversation that counts
    has an obvious word. Raise ValueError if the planted conversations do not leave room for as many everyday messages.
    """
    chance = random.Random(f"{seed} {language} {relationship}")
    levels = dict.fromkeys(KINDS, default_level) | dict(traits or {})
    source = material.load(language)
    names = names or NAMES[language][:people]
    people = len(names) - bool(forwards)
    suitable = [
        script
        for script in source.scripts
        if relationship in script.suits
        and script.speakers <= people
        and not (only_plain and script.obvious and script.counts)
    ]
    scripts = _choose(chance, suitable, levels=levels, distractors=distractors)
    n_planted = sum(len(script.lines) for script in scripts)
    if n_planted * 2 > messages:
        raise ValueError(f"{n_planted} planted messages do not leave enough room in a chat of {messages}")
    parts = _assign_parts(chance, scripts, led_by_first=led_by_first, people=people)
    filler = _everyday_lines(chance, source.filler)
    conversations = [_Conversation() for _ in range(max(1, (messages - n_planted) // 14))]
    n_filler = messages - n_planted - len(extra_lines) - len(forwards)
    for text in islice(filler, n_filler):
        # A few conversations are long and many are short.
        chosen = conversations[int(len(conversations) * chance.random() ** 1.6)]
        chosen.messages.append((chance.randrange(people), text, None))
    for text in (*extra_lines, *forwards):
        messages_of_one = chance.choice(conversations).messages
        sender = people if text in forwards else chance.randrange(people)
        messages_of_one.insert(chance.randint(0, len(messages_of_one)), (sender, text, None))
    conversations = [conversation for conversation in conversations if conversation.messages]
    chance.shuffle(conversations)
    _plant(chance, conversations, scripts, parts)
    return _write_down(
        chance,
        conversations,
        scripts,
        parts,
        truth=GroundTruth(
            name=name or f"{relationship}-{language}-{seed}",
            relationship=relationship,
            language=language,
            people=tuple(names),
            messages=messages,
            planted=(),
            traits=levels,
        ),
        months=months,
    )


def _choose(
    chance: random.Random, suitable: Sequence[Script], *, levels: Mapping[str, int], distractors: int
) -> list[Script]:
    by_kind: dict[str, list[Script]] = defaultdict(list)
    for script in suitable:
        if script.counts:
            by_kind[script.kind].append(script)
    chosen = []
    for kind in KINDS:
        candidates = by_kind[kind]
        chosen += chance.sample(candidates, min(len(candidates), COUNTS[levels[kind]]))
    lookalikes = [script for script in suitable if not script.counts]
    return [*chosen, *chance.sample(lookalikes, min(len(lookalikes), distractors))]


def _assign_parts(
    chance: random.Random, scripts: Sequence[Script], *, led_by_first: Sequence[str], people: int
) -> list[tuple[int, ...]]:
    """Return, for each script, the person who takes the part of each speaker."""
    turns: dict[str, int] = {}
    parts = []
    for script in scripts:
        turn = turns.get(script.kind, chance.randrange(people))
        turns[script.kind] = (turn + 1) % people
        first = 0 if script.kind in led_by_first else turn
        parts.append(tuple((first + speaker) % people for speaker in range(people)))
    return parts


def _everyday_lines(chance: random.Random, filler: Sequence[str]) -> Iterator[str]:
    """Yield filler lines for ever, each as often as the others."""
    while True:
        yield from chance.sample(filler, len(filler))


def _plant(
    chance: random.Random,
    conversations: list[_Conversation],
    scripts: Sequence[Script],
    parts: Sequence[tuple[int, ...]],
) -> None:
    """Add the scripts to the conversations: as conversations of their own, or within everyday ones."""
    waiting = {
        kind: [index for index, script in enumerate(scripts) if script.kind == kind and script.counts]
        for kind in FOLLOWS
    }
    followed = {index for indexes in waiting.values() for index in indexes}
    for index, script in enumerate(scripts):
        if index in followed:
            continue
        own = [index]
        for kind, before in FOLLOWS.items():
            if script.kind == before and script.counts and waiting[kind]:
                own.append(waiting[kind].pop())
        place = chance.randint(0, len(conversations))
        for step, each in enumerate(own):
            _insert(chance, conversations, min(place + step, len(conversations)), each, scripts[each], parts[each])
    for indexes in waiting.values():
        for index in indexes:
            place = chance.randint(0, len(conversations))
            _insert(chance, conversations, place, index, scripts[index], parts[index])


def _insert(
    chance: random.Random,
    conversations: list[_Conversation],
    place: int,
    index: int,
    script: Script,
    part: tuple[int, ...],
) -> None:
    lines: list[tuple[int, str, int | None]] = [(part[speaker], text, index) for speaker, text in script.lines]
    if place == len(conversations) or chance.random() < SEPARATE_SHARE:
        conversations.insert(place, _Conversation(lines))
        return
    messages = conversations[place].messages
    # Not within another planted conversation.
    places = [
        at
        for at in range(len(messages) + 1)
        if not 0 < at < len(messages) or messages[at - 1][2] is None or messages[at - 1][2] != messages[at][2]
    ]
    at = chance.choice(places)
    messages[at:at] = lines


def _write_down(
    chance: random.Random,
    conversations: Sequence[_Conversation],
    scripts: Sequence[Script],
    parts: Sequence[tuple[int, ...]],
    *,
    truth: GroundTruth,
    months: int,
) -> PlantedChat:
    """Return the export, with the message numbers of what is planted."""
    waits = [
        [timedelta(seconds=5 + round(chance.expovariate(1 / 70))) for _ in conversation.messages[1:]]
        for conversation in conversations
    ]
    busy = sum((sum(of_one, timedelta()) + MIN_PAUSE for of_one in waits), timedelta())
    idle = max(timedelta(days=30 * months) - busy, timedelta(hours=len(conversations)))
    cuts = sorted(chance.random() for _ in conversations)
    at, lines, number = START, [], 0
    planted_lines: dict[int, dict[int, tuple[int, str]]] = defaultdict(dict)
    before = 0.0
    for conversation, of_one, cut in zip(conversations, waits, cuts, strict=True):
        at += MIN_PAUSE + idle * (cut - before)
        before = cut
        for wait, (person, text, script) in zip([timedelta(), *of_one], conversation.messages, strict=True):
            at += wait
            number += 1
            lines.append(f"{at:%d/%m/%Y, %H:%M} - {truth.people[person]}: {text}\n")
            if script is not None:
                planted_lines[script][number] = (person, text)
    planted = [
        Planted(
            key=script.key,
            kind=script.kind,
            counts=script.counts,
            topic=script.topic,
            subject=script.subject,
            roles={parts[index][speaker]: roles for speaker, roles in script.roles.items()},
            strength=script.strength,
            tone=script.tone,
            obvious=script.obvious,
            lines=planted_lines[index],
            shows=_find_best(planted_lines[index]),
        )
        for index, script in enumerate(scripts)
    ]
    planted.sort(key=lambda each: each.first)
    return PlantedChat(
        "".join(lines),
        GroundTruth(
            name=truth.name,
            relationship=truth.relationship,
            language=truth.language,
            people=truth.people,
            messages=number,
            planted=tuple(planted),
            traits=truth.traits,
        ),
    )


def _find_best(lines: Mapping[int, tuple[int, str]]) -> tuple[int, ...]:
    """Return the up to three longest messages, in order: a short answer shows little."""
    longest = sorted(lines, key=lambda number: (-len(lines[number][1]), number))[:3]
    return tuple(sorted(longest))
