"""Episodes: what a language model finds when it reads a chat. Pure.

A window is a part of a chat that is read in one call. The answer is checked against the window before it is used: an
episode lies within the window, its kind, topic, tone and roles are members of closed lists, its people are people of
the chat, and the messages that show it were shown. Entries that are not are dropped and counted.
"""

from __future__ import annotations

import math
import tomllib
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from insights.engines.base import ShownMessage

#: Raise it when a kind, a role or the reading prompt changes its meaning: chats are then read again when unlocked.
READING_VERSION = 3
MAX_SUBJECT_LENGTH = 80
MAX_SHOWN = 3

_FILE: Mapping[str, Any] = tomllib.loads(Path(__file__).with_name("episode_kinds.toml").read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class EpisodeKind:
    """A kind of episode: `title` for people, `description` for the prompt."""

    key: str
    title: str
    description: str


KINDS: Mapping[str, EpisodeKind] = {key: EpisodeKind(key, **values) for key, values in _FILE["kinds"].items()}
#: What a person can do in an episode, and what it is about, each with its description.
ROLES: Mapping[str, str] = _FILE["roles"]
TOPICS: Mapping[str, str] = _FILE["topics"]


class Tone(StrEnum):
    """How the words of an episode are meant."""

    SINCERE = "sincere"
    IRONIC = "ironic"
    #: repeats or forwards somebody else's words
    QUOTED = "quoted"
    #: speaks of people outside of the chat
    ABOUT_OTHERS = "about_others"


class Relationship(StrEnum):
    """What the people of a chat appear to be to each other."""

    COUPLE = "couple"
    FRIENDS = "friends"
    FAMILY = "family"
    COLLEAGUES = "colleagues"
    OTHER = "other"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class Episode:
    """One thing that happens in a chat, from message `first` to message `last`.

    `roles` has the roles of each person, by their index in the chat's people. `strength` is from 1 (slight) to 3
    (strong). `shows` are the one to three messages that show it best. Times are wall-clock times of the two messages.
    `subject` has the names that the chat shows; in the result of a window, it has labels such as `P1` in their place.
    """

    kind: str
    topic: str
    first: int
    last: int
    roles: Mapping[int, tuple[str, ...]]
    strength: int
    tone: Tone
    subject: str
    shows: tuple[int, ...]
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Danger:
    """Messages that speak seriously of violence, coercion or self-harm (the kinds of insights/safety.py).

    `person` is the index of the person who is in danger, or None for somebody outside of the chat. `current` is false
    for something that is long past.

    A danger that `is_listed` was found by the lists of insights/safety.py in a message that no model read. Nobody
    judged who is in danger, or when: its `person` is None because it is unknown, and it is taken for current.
    """

    kind: str
    numbers: tuple[int, ...]
    person: int | None
    current: bool
    is_listed: bool = False

    @property
    def withholds(self) -> bool:
        """Whether it may happen now to somebody in the chat, so that ratings are withheld and help is named."""
        return self.is_listed or (self.current and self.person is not None)


@dataclass(frozen=True, slots=True)
class Window:
    """The messages of one call, whole conversations where possible.

    `forwarded` are the numbers of forwarded messages. `candidates` are the numbers of messages with a phrase of danger,
    which the model is asked to judge.
    """

    messages: tuple[ShownMessage, ...]
    forwarded: frozenset[int] = frozenset()
    candidates: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class WindowReading:
    """What a model found in a window. `dropped` counts entries of the answer that were invalid."""

    episodes: tuple[Episode, ...]
    dangers: tuple[Danger, ...]
    relationship: Relationship
    languages: tuple[str, ...]
    dropped: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    #: the model as the provider names it
    model: str = ""


@dataclass(frozen=True, slots=True)
class MonthRead:
    """Text messages of a month that the model was shown, and all of them."""

    read: int
    total: int


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that a model found in a chat.

    Episodes are in the order of the chat, each once. People are indexes of `Chat.participants`. `months` are by
    `YYYY-MM`, for the whole time of the chat. Messages are text messages. `up_to_message` is the last message number
    that was considered. `dropped` counts the invalid entries of all answers.

    Of a chat that is read in part, `sample` are the message numbers, as spans in order, that were read whatever they
    contain, and `sample_messages` counts their text messages. Rates of the chat are those of the sample: the rest was
    read because a search found it. Both are None if rates are those of everything that was read.
    """

    episodes: tuple[Episode, ...]
    dangers: tuple[Danger, ...]
    relationship: Relationship
    languages: tuple[str, ...]
    months: Mapping[str, MonthRead]
    messages_read: int
    messages_total: int
    windows_read: int
    windows_failed: int
    tokens_in: int
    tokens_out: int
    dropped: int
    engine: str
    model: str
    version: int
    up_to_message: int
    sample: tuple[tuple[int, int], ...] | None = None
    sample_messages: int | None = None

    @property
    def sample_share(self) -> float:
        """The share of the chat's messages on which rates are based."""
        messages = self.messages_read if self.sample_messages is None else self.sample_messages
        return messages / self.messages_total if self.messages_total else 0.0

    def is_in_sample(self, episode: Episode) -> bool:
        """Return whether an episode counts in rates of the chat."""
        if self.sample is None:
            return True
        position = bisect_right(self.sample, (episode.first, math.inf)) - 1
        return position >= 0 and episode.first <= self.sample[position][1]
