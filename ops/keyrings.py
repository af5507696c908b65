"""Whether web, worker and beat run with the ENCRYPTION_KEYS of this process, by what their heartbeats say."""

from __future__ import annotations

import os
from collections.abc import Iterable

import psutil

from chats import keys
from ops.models import Heartbeat
from ops.workers import KINDS, MAX_LISTED, Process, list_processes
from relivchats import installation, roles
from relivchats.staff.reports import Level, Line


def compare(sample: keys.Sample) -> Line | None:
    """Return a line about the processes that have another keyring than this one, or None if there are none.

    `sample` says whether the keyring of this process opens the chats, and so which of them is wrong. It is critical if
    the processes open none of the chats that this one opens, or the reverse.
    """
    own = keys.ids()
    # Those of the release before say nothing.
    others = [
        each
        for kind in KINDS
        for each in list_processes(kind)
        if each.state == "alive" and each.key_ids not in ((), own)
    ]
    if not others:
        return None
    role = roles.current()
    this = "this command" if role == "command" else f"this {role} process"
    names = ", ".join(each.name for each in others[:MAX_LISTED])
    data = {"other_keyring": [each.name for each in others[:MAX_LISTED]], "sampled": sample.size}
    if sample.unreadable:
        text = f"{this} has another ENCRYPTION_KEYS than {names}: it does not open {len(sample.unreadable)} of"
        text += f" {sample.size} chats, such as {sample.unreadable[0]}"
        if role != "command" or installation.kind() is installation.Kind.COMPOSE:
            remedy = installation.correct_keyring()
        elif os.environ.get("ENCRYPTION_KEYS") and installation.is_up() and not _is_set_for_up():
            remedy = "env -u ENCRYPTION_KEYS manage.py health  # the processes have the keyring of the file"
        else:
            remedy = "set ENCRYPTION_KEYS as the processes have it, then manage.py health"
        return Line("keys", Level.CRITICAL, text, remedy, data)
    text = f"{names} {'runs' if len(others) == 1 else 'run'} with another ENCRYPTION_KEYS than {this}"
    level = Level.WARNING
    if sample.size and any(set(own).isdisjoint(each.key_ids) for each in others):
        text += f", which opens all {sample.size} sampled chats; they open none"
        text += ", so uploads get 503" * any(each.kind == Heartbeat.Kind.WEB for each in others)
        level = Level.CRITICAL
    return Line("keys", level, text, _restart(others), data)


def _restart(others: Iterable[Process]) -> str:
    """Return the remedy that starts these processes again, with the keyring of this one."""
    kinds = dict.fromkeys(each.kind for each in others)
    match installation.kind():
        case installation.Kind.COMPOSE:
            return "docker-compose up -d  # it starts again what has another ENCRYPTION_KEYS than .env"
        case installation.Kind.DEV if up := installation.supervisors().get("up"):
            if not os.environ.get("ENCRYPTION_KEYS") and not _is_set_for_up():
                return " && ".join(installation.restart(kind) for kind in kinds)
            end = f"kill {up}; while kill -0 {up} 2>/dev/null; do sleep 1; done"
            return f"{end}; {installation.start_all()}  # with the ENCRYPTION_KEYS of this command"
    return (
        f"restart {', '.join(installation.SERVICES[kind] for kind in kinds)} with the ENCRYPTION_KEYS of this command"
    )


def _is_set_for_up() -> bool:
    """Return whether `./dev up` was started with ENCRYPTION_KEYS: then its processes do not read the keyring's file."""
    try:
        return "ENCRYPTION_KEYS" in psutil.Process(installation.supervisors()["up"]).environ()
    except (KeyError, psutil.Error):
        return False
