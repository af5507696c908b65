"""Which kind of installation this is, and how an operator types a remedy in it. No Django.

A remedy is written once, such as `manage.py jobs --recover` or `restart("worker")`, and printed as it is typed here.
"""

from __future__ import annotations

import os
import re
import shlex
from enum import StrEnum
from pathlib import Path

from relivchats import embedded
from relivchats.supervisor import locked

#: The services of docker-compose.yml, by part.
SERVICES = {
    "web": "relivchats-api",
    "worker": "celery_worker",
    "beat": "celery_beat",
    "postgres": "postgres",
    "valkey": "redis",
    "qdrant": "qdrant",
}
#: What `./dev up` runs.
PARTS = ("web", "worker", "beat", "postgres", "valkey")


class Kind(StrEnum):
    """How the processes are started: by `./dev`, by docker-compose, or by something that we do not know."""

    DEV = "dev"
    COMPOSE = "compose"
    OTHER = "other"


def kind() -> Kind:
    """Return the kind of this installation."""
    # docker-compose.yml sets it.
    if os.environ.get("RELIVCHATS_INSTALLATION") == Kind.COMPOSE:
        return Kind.COMPOSE
    url = os.environ.get("DATABASE_URL")
    return Kind.DEV if not url or embedded.is_embedded(url) else Kind.OTHER


def restart(part: str) -> str:
    """Return the remedy that replaces a process of this part, also one that is frozen."""
    match kind():
        case Kind.COMPOSE:
            # A frozen process does not react to SIGTERM, and the worker's grace period is two minutes.
            return f"docker-compose restart -t 10 {SERVICES[part]}"
        case Kind.DEV if part in PARTS:
            return f"manage.py workers --restart {part}"
    return f"restart {SERVICES[part]} with what started it"


def start(part: str) -> str:
    """Return the remedy that starts a part of which no process runs."""
    match kind():
        case Kind.COMPOSE:
            return f"docker-compose up -d {SERVICES[part]}"
        case Kind.DEV if part in PARTS:
            # While `up` runs, it starts what died by itself; what is still missing is then stuck.
            return restart(part) if is_up() else "./dev up"
    return f"start {SERVICES[part]} with what started it before"


def stop(name: str) -> str:
    """Return the remedy that stops one process, by the name of its heartbeat: `beat@host:41`."""
    host, _, pid = name.partition("@")[2].rpartition(":")
    match kind():
        case Kind.COMPOSE:
            # The host name of a container is its id.
            return f"docker stop {host}"
        case Kind.DEV:
            return f"manage.py workers --stop {name}"
    return f"on {host}: kill {pid}"


def correct_keyring() -> str:
    """Return the remedy that adds a missing key to the keyring, and restarts what reads it."""
    match kind():
        case Kind.COMPOSE:
            # It starts the services again whose environment has changed.
            return "${EDITOR:-vi} .env && docker-compose up -d  # the missing key belongs into ENCRYPTION_KEYS"
        case Kind.DEV if not os.environ.get("ENCRYPTION_KEYS"):
            edit = f"${{EDITOR:-vi}} {shlex.quote(str(embedded.keyring_file()))}"
            return f"{edit} && {restart('web')} && {restart('worker')}  # the missing key belongs into this file"
    return "manage.py keys  # then add the missing key to ENCRYPTION_KEYS, and restart"


def logs(part: str) -> str:
    """Return the command that shows the last lines of a part's log."""
    match kind():
        case Kind.COMPOSE:
            return f"docker-compose logs --tail=50 {SERVICES[part]}"
        case Kind.DEV if part in PARTS:
            return f"tail -n 50 {shlex.quote(str(embedded.data_directory() / 'logs' / f'{part}.log'))}"
    return f"see the log of {SERVICES[part]}"


def as_typed(remedy: str) -> str:
    """Return the remedy with `manage.py` and `./dev` as they are typed here, so that the line can be pasted."""
    directory = embedded.data_directory()
    chosen = "" if directory == embedded.REPOSITORY / "var" else f"RELIVCHATS_DATA={shlex.quote(str(directory))} "
    match kind():
        case Kind.COMPOSE:
            manage = "docker-compose exec relivchats-api python manage.py"
        case Kind.DEV:
            remedy = re.sub(r"(?<!\S)\./dev\b", lambda _: f"{chosen}./dev", remedy)
            manage = f"{chosen}./dev manage"
        case _:
            manage = "python manage.py"
    return re.sub(r"(?<![\w./])manage\.py\b", lambda _: manage, remedy)


def is_up() -> bool:
    """Return whether `./dev up` or `./dev demo` runs on the data of this installation."""
    path = embedded.data_directory() / "run" / "up"
    if not path.exists():
        return False
    with locked(path, wait=False) as free:
        return not free


def is_nothing_running() -> bool:
    """Return whether `./dev` runs this installation, and neither its servers nor anything else of it run."""
    if kind() is not Kind.DEV or os.environ.get("DATABASE_URL"):
        return False
    return not (is_up() or embedded.postgres().has_keeper() or embedded.valkey().has_keeper())


def pid_of(part: str) -> int | None:
    """Return the process id of a part that `./dev` runs, or None."""
    try:
        return int(_run_file(f"{part}.pid").read_text())
    except (OSError, ValueError):
        return None


def _run_file(name: str) -> Path:
    return embedded.data_directory() / "run" / name
