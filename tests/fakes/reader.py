"""An engine that reads chats without a model: it records what it is shown, and finds one episode in each window."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, Literal

from insights.engines.base import Brief, Draft, EngineUnavailable
from insights.episodes import Danger, Episode, Relationship, Tone, Window, WindowReading


def find_one_episode(window: Window) -> WindowReading:
    """Return a reading with one episode over the whole window, shown by its first message."""
    first, last = window.messages[0], window.messages[-1]
    episode = Episode(
        kind="conflict",
        topic="chores",
        first=first.number,
        last=last.number,
        roles={first.person: ("starts",)},
        strength=2,
        tone=Tone.SINCERE,
        subject=f"about {first.text[:60]}",
        shows=(first.number,),
        started_at=first.sent_at,
        ended_at=last.sent_at,
    )
    dangers = tuple(Danger("self_harm", (number,), 0, current=True) for number in window.candidates)
    return WindowReading(
        (episode,), dangers, Relationship.COUPLE, ("English",), dropped=1, tokens_in=100, tokens_out=10, model="fake-1"
    )


class FakeReader:
    """A reading engine. `windows` are those that it was shown, in the order of the calls.

    `answers` is called with each window instead of `find_one_episode`, and may raise.
    """

    name = "fake"
    model = "fake-writer"
    reading_model = "fake-reader"
    prompt_version = "1"
    languages = ("en",)
    method: Literal["counted", "read"] = "read"
    chat_languages = None
    write_tokens = 24_000

    def __init__(self, *, window_tokens: int = 2_000, parallel_windows: int = 3) -> None:
        self.window_tokens = window_tokens
        self.parallel_windows = parallel_windows
        self.windows: list[Window] = []
        self.answers: Callable[[Window], WindowReading] = find_one_episode
        self._lock = threading.Lock()

    def read(self, window: Window, *, people: Sequence[str], **_: Any) -> WindowReading:
        """Record the window, and return what `answers` finds in it."""
        with self._lock:
            self.windows.append(window)
        return self.answers(window)

    def write(self, brief: Brief) -> Draft:
        """Raise EngineUnavailable: it only reads."""
        raise EngineUnavailable

    @property
    def numbers(self) -> list[int]:
        """The numbers of all messages that were shown, in order, with repetitions."""
        return sorted(message.number for window in self.windows for message in window.messages)
