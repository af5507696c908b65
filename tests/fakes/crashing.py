"""Processes that die in the middle of an unlock: `python -m tests.fakes.crashing`.

Reads lines of JSON {"point", "user", "chat", "types"} and forks a process for each,
which unlocks these types and writes their insights, until it comes to its crash
point and exits by `os._exit`: no `finally`, no rollback, no goodbye to the
database. A point is `module.function:before` or `…:after`; the fork is given it in
CRASH_AT. Answers each line with the exit status.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from typing import Any

CRASHED = 42


def arm(point: str) -> None:
    """Let this process die when it comes to the point."""
    path, moment = point.split(":")
    module_name, name = path.rsplit(".", 1)
    module = importlib.import_module(module_name)
    function = getattr(module, name)

    def doomed(*args: Any, **kwargs: Any) -> Any:
        if moment == "after":
            function(*args, **kwargs)
        os._exit(CRASHED)

    setattr(module, name, doomed)


def unlock_and_write(*, user: str, chat: str, types: list[str]) -> None:
    from chats.models import Chat
    from insights import generation, unlocking
    from relivchats.accounts.models import User

    owner = User.objects.get(pk=user)
    unlocked = unlocking.unlock(user=owner, chat=Chat.objects.get(pk=chat), type_ids=types)
    for insight in unlocked.insights:
        generation.run(insight.pk)


def main() -> None:
    import django

    django.setup()
    for line in sys.stdin:
        asked = json.loads(line)
        os.environ["CRASH_AT"] = asked.pop("point")
        child = os.fork()
        if not child:
            arm(os.environ["CRASH_AT"])
            unlock_and_write(**asked)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
