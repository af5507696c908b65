"""No more calls run at the same time than there are slots, and groups that wait get them in turns."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from relivchats.language_models.slots import CallSlots
from tests.processes import PATIENCE_SECONDS, eventually


class Call:
    """A call in a thread of its own that holds its slot until it is ended."""

    def __init__(self, slots: CallSlots, group: str, begun: list[str], *, fails: bool = False) -> None:
        self._may_end = threading.Event()
        self._slots, self._group, self._begun, self._fails = slots, group, begun, fails
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            with self._slots.hold(self._group):
                self._begun.append(self._group)
                assert self._may_end.wait(PATIENCE_SECONDS)
                if self._fails:
                    raise ConnectionError
        except ConnectionError:
            pass

    def end(self) -> None:
        self._may_end.set()
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()


@pytest.fixture
def begun() -> list[str]:
    """The groups of the calls that got a slot, in order."""
    return []


def waiting(slots: CallSlots, n: int) -> Callable[[], bool]:
    return lambda: sum(map(len, slots._waiting.values())) == n


def test_of_many_calls_only_as_many_run_as_there_are_slots(begun: list[str]) -> None:
    slots = CallSlots(2)
    calls = [Call(slots, "a chat", begun) for _ in range(5)]
    eventually(waiting(slots, 3))
    assert len(begun) == 2
    for call in calls:
        call._may_end.set()
    for call in calls:
        call.end()
    assert (len(begun), slots._free) == (5, 2)


def test_the_only_call_of_a_chat_waits_for_one_call_of_another_chat_and_not_for_all(begun: list[str]) -> None:
    slots = CallSlots(1)
    first = Call(slots, "large", begun)
    eventually(lambda: begun == ["large"])
    calls = []
    for n, group in enumerate(["large", "large", "large", "small"], start=1):
        calls.append(Call(slots, group, begun))
        eventually(waiting(slots, n))
    first.end()
    eventually(lambda: len(begun) == 2)
    calls[0].end()
    eventually(lambda: begun == ["large", "large", "small"])
    for call in reversed(calls):
        call._may_end.set()
    for call in calls:
        call.end()
    assert begun == ["large", "large", "small", "large", "large"]


def test_a_call_that_fails_frees_its_slot(begun: list[str]) -> None:
    slots = CallSlots(1)
    Call(slots, "a chat", begun, fails=True).end()
    Call(slots, "a chat", begun).end()
    assert begun == ["a chat", "a chat"]
