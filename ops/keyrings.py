"""Whether web, worker and beat run with the ENCRYPTION_KEYS of this process, by what their heartbeats say."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

import psutil

from chats import keys
from ops.models import Heartbeat
from ops.workers import KINDS, MAX_LISTED, Process, describe, list_processes
from relivchats import embedded, installation, roles
from relivchats.errors import Conflict
from relivchats.staff.reports import Level, Line


def compare(sample: keys.Sample) -> Line | None:
    """Return a line about the processes that have another keyring than this one, or None if there are none.

    `sample` says whether the keyring of this process opens the chats, and so which of them is wrong. It is critical if
    the processes open none of the chats that this one opens, or the reverse.
    """
    own, alive = keys.ids(), _list_running("alive")
    others = [each for each in alive if each.key_ids != own]
    if not others:
        return None
    role = roles.current()
    this = "this command" if role == "command" else f"this {role} process"
    names = _names(others)
    data = {"other_keyring": [each.name for each in others[:MAX_LISTED]], "sampled": sample.size}
    if sample.unreadable:
        closed = f"it does not open {len(sample.unreadable)} of {sample.size} chats, such as {sample.unreadable[0]}"
        text = f"{this} has another ENCRYPTION_KEYS than {names}: {closed}"
        # Those that started since, or this process itself.
        like_this = [kind for kind in KINDS if kind == role or any(e.kind == kind and e.key_ids == own for e in alive)]
        if role == "command" and not like_this and _is_from_file():
            text = f"{embedded.keyring_file()} was changed: {closed}; {names} still have the keys that it had"
        if role != "command" or installation.kind() is installation.Kind.COMPOSE or _is_from_file():
            remedy = installation.correct_keyring(like_this)
        else:
            remedy = _correct_shell(others)
        return Line("keys", Level.CRITICAL, text, remedy, data)
    text = f"{names} {'runs' if len(others) == 1 else 'run'} with another ENCRYPTION_KEYS than {this}"
    level = Level.WARNING
    if sample.size and any(set(own).isdisjoint(each.key_ids) for each in others):
        text += f", which opens all {sample.size} sampled chats; they open none"
        text += ", so uploads get 503" * any(each.kind == Heartbeat.Kind.WEB for each in others)
        level = Level.CRITICAL
    return Line("keys", level, text, _restart(others), data)


def require_current_key() -> None:
    """Raise Conflict if a process that runs, or may be frozen, does not have the current key of this keyring.

    It could not open the chats whose keys a rotation wraps by that key. A silent process on another machine may be
    frozen, so it counts until its row is pruned after an hour, unless its container does not run any more.
    """
    current = keys.ids()[0]
    without = [
        each
        for each in _list_running("alive", "frozen", "hangs", "silent")
        if current not in each.key_ids
        and not (each.state == "silent" and installation.has_container(each.name) is False)
    ]
    if without:
        silent = [each for each in without if each.state == "silent"]
        hint = f" {describe(silent)}. If none of these runs any more, --ignore-processes is safe." if silent else ""
        raise Conflict(
            f"{_names(without)} {'does' if len(without) == 1 else 'do'} not have the key {current.split()[0]} and could"
            f" not open the chats that it wraps. Nothing was rotated.{hint} Add --ignore-processes to rotate"
            f" nevertheless, or start them again first: {installation.as_typed(_restart(without))}"
        )


def _list_running(*states: str) -> list[Process]:
    """Return the processes in these states that say which keys they have. Those of the release before do not."""
    return [each for kind in KINDS for each in list_processes(kind) if each.state in states and each.key_ids]


def _names(processes: Sequence[Process]) -> str:
    return ", ".join(each.name for each in processes[:MAX_LISTED])


def _is_from_file() -> bool:
    """Return whether this command and the processes of `./dev` have the keyring of its file."""
    return (
        installation.kind() is installation.Kind.DEV and not os.environ.get("ENCRYPTION_KEYS") and not _is_set_for_up()
    )


def _correct_shell(others: Sequence[Process]) -> str:
    """Return the remedy for a command whose shell has the wrong ENCRYPTION_KEYS."""
    if installation.kind() is installation.Kind.DEV and installation.is_up() and not _is_set_for_up():
        return "env -u ENCRYPTION_KEYS manage.py health  # the processes have the keyring of the file"
    for each in others:
        host, _, pid = each.name.partition("@")[2].rpartition(":")
        path = Path(f"/proc/{pid}/environ")
        try:
            is_set = host == socket.gethostname()[:120] and b"\0ENCRYPTION_KEYS=" in b"\0" + path.read_bytes()
        except OSError:
            continue
        if is_set:
            # The keys are in no line that a shell remembers or that `ps` shows.
            value = f"$(tr '\\0' '\\n' <{path} | sed -n s/^ENCRYPTION_KEYS=//p)"
            return f'export ENCRYPTION_KEYS="{value}" && manage.py health  # with that of {each.name}'
    return f"manage.py health  # with the ENCRYPTION_KEYS that {others[0].name} has"


def _restart(others: Iterable[Process]) -> str:
    """Return the remedy that starts these processes again, with the keyring of this one."""
    kinds = dict.fromkeys(each.kind for each in others)
    match installation.kind():
        case installation.Kind.COMPOSE:
            return "docker-compose up -d  # it starts again what has another ENCRYPTION_KEYS than .env"
        case installation.Kind.DEV if up := installation.supervisors().get("up"):
            if _is_from_file():
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
