"""Crash processes in the middle of an unlock: `python -m tests.fakes.crashing`.

Reads lines of JSON {"point", "user", "chat", "types"} and forks a process for each. The process unlocks these types and
generates their insights until it reaches its crash point. With "reads", its engine reads the chat first. With "asks",
it asks a question and answers it instead. At the point it exits by `os._exit`, without `finally` blocks, a rollback or
a closed connection. A point is `module.function:before` or `module.function:after`. Prints the exit status of the
process for each line.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

CRASHED = 42


def arm(point: str) -> None:
    """Make this process exit when it reaches the crash point."""
    path, moment = point.split(":")
    module_name, name = path.rsplit(".", 1)
    module = importlib.import_module(module_name)
    function = getattr(module, name)

    def exit_here(*args: Any, **kwargs: Any) -> Any:
        if moment == "after":
            function(*args, **kwargs)
        os._exit(CRASHED)

    setattr(module, name, exit_here)


def unlock_and_generate(*, user: str, chat: str, types: list[str], reads: bool = False) -> None:
    from chats.models import Chat
    from insights import engines, generation, unlocking
    from insights.models import ChatReading
    from insights.reading import stage
    from relivchats.accounts.models import User
    from tests.fakes.reader import FakeReader

    if reads:
        reader = FakeReader(parallel_windows=1)
        engines.get_engine = lambda: reader  # type: ignore[assignment]
    owner = User.objects.get(pk=user)
    unlocked = unlocking.unlock(user=owner, chat=Chat.objects.get(pk=chat), type_ids=types)
    for reading in ChatReading.objects.filter(chat=unlocked.job.chat):
        stage.run(reading.pk)
    for insight in unlocked.insights:
        generation.run(insight.pk)


def answer_at_once(*_: Any, **__: Any) -> Any:
    """Return an answer that is charged, in place of `insights.asking.answer_question`."""
    from insights.asking import Answer

    return Answer({"outcome": "answered", "claims": []}, messages_read=1)


def ask_and_answer(*, user: str, chat: str, key: str = "one", **_: Any) -> None:
    """Ask under an Idempotency-Key, and answer it as a worker does."""
    from chats.models import Chat
    from insights import answering, questions
    from relivchats.accounts.models import User

    owner, asked = User.objects.get(pk=user), Chat.objects.get(pk=chat)
    answering.run(questions.ask(user=owner, chat=asked, text="when", idempotency_key=key).pk)


def main() -> None:
    import django

    django.setup()
    from insights import asking

    for line in sys.stdin:
        request = json.loads(line)
        point = request.pop("point")
        child = os.fork()
        if not child:
            asks = request.pop("asks", False)
            if asks:
                asking.answer_question = answer_at_once
            arm(point)
            (ask_and_answer if asks else unlock_and_generate)(**request)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
