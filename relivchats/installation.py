"""Which kind of installation this is, and how an operator types a remedy in it. No Django.

A remedy is written once, such as `manage.py jobs --recover` or `restart("worker")`, and printed as it is typed here.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import time
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import psutil

from relivchats import embedded, roles
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


def is_run_by_dev(part: str) -> bool:
    """Return whether `./dev up` runs this part of this installation."""
    return kind() is Kind.DEV and part in PARTS and not (part == "valkey" and os.environ.get("REDIS_URL"))


def restart(part: str) -> str:
    """Return the remedy that replaces a process of this part, also one that is frozen."""
    if kind() is Kind.COMPOSE:
        # A frozen process does not react to SIGTERM, and the worker's grace period is two minutes.
        return f"docker-compose restart -t 10 {SERVICES[part]}"
    if is_run_by_dev(part):
        return f"manage.py workers --restart {part}"
    return f"restart {SERVICES[part]} with what started it"


def start(part: str) -> str:
    """Return the remedy that starts a part of which no process runs."""
    if kind() is Kind.COMPOSE:
        return f"docker-compose up -d {SERVICES[part]}"
    if is_run_by_dev(part):
        # While `up` runs, it starts what died by itself; what is still missing is then stuck.
        return restart(part) if is_up() else start_all()
    return f"start {SERVICES[part]} with what started it before"


def bring_back(part: str) -> str:
    """Return the remedy for a part whose process is silent: killed, frozen, stopped, or removed with its container."""
    if kind() is Kind.COMPOSE:
        # The first leaves a container that was removed, and the second one whose process is frozen.
        return f"{restart(part)}; {start(part)}"
    return start(part) if is_run_by_dev(part) else restart(part)


def has_container(name: str) -> bool | None:
    """Return whether the container of a process runs, by the name of its heartbeat; None if that is not known.

    The host name of a container is its id. Docker's name server has it on the networks of the project while the
    container runs, also while its process is frozen.
    """
    host = name.partition("@")[2].rpartition(":")[0]
    if kind() is not Kind.COMPOSE or not re.fullmatch("[0-9a-f]{12}", host):
        return None
    try:
        socket.getaddrinfo(host, None)
    except socket.gaierror as error:
        # Any other error is one of the name server.
        return False if error.errno in (socket.EAI_NONAME, socket.EAI_NODATA) else None
    return True


def start_all() -> str:
    """Return the command that starts this installation of `./dev`, on the port that it had before."""
    port = _read("port")
    return f"./dev up --port {port}" if port else "./dev up"


def ended_because() -> str:
    """Return why `./dev up` ended by itself, or an empty string."""
    return _read("ended")


def nothing_runs() -> str:
    """Return that nothing is running, and why, if `./dev up` ended by itself."""
    why = ended_because()
    return f"nothing is running here: {why}" if why else "nothing is running here"


def give_broker_memory(size_bytes: int) -> str:
    """Return the remedy for a broker that has reached its limit of memory: a limit of so many bytes."""
    if kind() is Kind.COMPOSE:
        return f"docker-compose exec redis redis-cli CONFIG SET maxmemory {size_bytes}"
    if is_run_by_dev("valkey"):
        # Its configuration has no limit, so somebody set one while it ran.
        return restart("valkey")
    return f'redis-cli -u "$REDIS_URL" CONFIG SET maxmemory {size_bytes}'


def list_files_by_size(directory: Path) -> str:
    """Return the command that lists what takes the space of the disk with this directory."""
    if kind() is Kind.COMPOSE:
        # The disk is that of the host, with the images, logs and volumes of all containers.
        return "docker system df -v"
    return f"du -axh {shlex.quote(str(directory))} | sort -h | tail -n 20"


def stop(name: str) -> str:
    """Return the remedy that stops one process, by the name of its heartbeat: `beat@host:41`."""
    host, _, pid = name.partition("@")[2].rpartition(":")
    match kind():
        case Kind.COMPOSE:
            # The host name of a container is its id.
            return f"docker stop {host}"
        case Kind.DEV:
            return f"manage.py workers --stop {shlex.quote(name)}"
    # The same number is another process elsewhere.
    return f"kill {pid}" if host == socket.gethostname()[:120] else f"ssh {shlex.quote(host)} kill {pid}"


def correct_keyring(parts: Sequence[str] = ("web", "worker", "beat")) -> str:
    """Return the remedy that adds a missing key to the keyring, and restarts the parts that run without it."""
    match kind():
        case Kind.COMPOSE:
            # It starts the services again whose environment has changed.
            return "${EDITOR:-vi} .env && docker-compose up -d  # the missing key belongs into ENCRYPTION_KEYS"
        case Kind.DEV if not os.environ.get("ENCRYPTION_KEYS"):
            steps = [f"${{EDITOR:-vi}} {shlex.quote(str(embedded.keyring_file()))}", *map(restart, parts)]
            return f"{' && '.join(steps)}  # the missing key belongs into this file"
    return "manage.py keys  # then add the missing key to ENCRYPTION_KEYS, and restart"


def logs(part: str) -> str:
    """Return the command that shows the last lines of a part's log."""
    match kind():
        case Kind.COMPOSE:
            return f"docker-compose logs --tail=50 {SERVICES[part]}"
        case Kind.DEV if part in PARTS:
            return f"manage.py logs {part} --lines 50"
    return f"see the log of {SERVICES[part]}"


#: How a remedy begins that is a command, with what `as_typed` makes of it. Any other remedy is a sentence.
_COMMAND = re.compile(
    r"[A-Z_]+=\S|(\$\{EDITOR:-vi\}|manage\.py|python|\./dev|docker|docker-compose|kill|ssh|export|cp|du|truncate"
    r"|timedatectl|certbot|redis-cli)( |$)"
)


def is_command(remedy: str) -> bool:
    """Return whether a remedy can be pasted into a shell. Otherwise only a setting, a decision or a page helps."""
    return _COMMAND.match(remedy) is not None


def log_of_request(request_id: str) -> str:
    """Return the command that shows the lines of a request in the log of web. Raise ValueError for what is no id."""
    if not re.fullmatch(r"[A-Za-z0-9._-]+", request_id):
        raise ValueError("a request id has only letters, digits, dots, underscores and hyphens")
    match kind():
        case Kind.COMPOSE:
            return f"docker-compose logs {SERVICES['web']} | grep -F -e {request_id}"
        case Kind.DEV:
            return f"manage.py logs web --grep={request_id}"
    return f"search the log of {SERVICES['web']} for {request_id}"


def as_typed(remedy: str) -> str:
    """Return the remedy with `manage.py` and `./dev` as they are typed here, so that the line can be pasted."""
    directory = embedded.data_directory()
    chosen = "" if directory == embedded.REPOSITORY / "var" else f"RELIVCHATS_DATA={shlex.quote(str(directory))} "
    manage = migrate = "python manage.py"
    if kind() is Kind.COMPOSE:
        manage = "docker-compose exec relivchats-api python manage.py"
        # Only this service knows the owner of the tables.
        migrate = "docker-compose run --rm migrate python manage.py"
    elif kind() is Kind.DEV:
        remedy = re.sub(r"(?<!\S)\./dev\b", lambda _: f"{chosen}./dev", remedy)
        manage = migrate = f"{chosen}./dev manage"
    return re.sub(
        r"(?<![\w./])manage\.py( migrate)?\b", lambda found: f"{migrate}{found[1]}" if found[1] else manage, remedy
    )


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
    text = _read(f"{part}.pid")
    if text.isdecimal():
        return int(text)
    # On a full disk there is no such file. The process is a child of what supervises it: of `up`, which has several, or
    # of a keeper.
    has_role = part in ("web", "worker", "beat")
    supervisor = supervisors().get("up" if has_role else part)
    for child in psutil.Process(supervisor).children() if supervisor else ():
        # It may have ended meanwhile.
        with contextlib.suppress(psutil.Error):
            if not has_role or child.environ().get(roles.ROLE_VARIABLE) == part:
                return int(child.pid)
    return None


def supervisors() -> dict[str, int]:
    """Return the process ids of what starts again what dies: `up`, and the keepers of the embedded servers."""
    if kind() is not Kind.DEV:
        return {}
    found = {"up": int(_read("up"))} if is_up() and _read("up").isdecimal() else {}
    for server in embedded.needed():
        pid, _ = server.keeper_state()
        if pid and server.has_keeper():
            found[server.name] = pid
    return found


def deaths(part: str, *, within_seconds: float) -> list[float]:
    """Return how many seconds ago a part that `./dev up` runs has died within this time, the latest first."""
    ages = (time.time() - float(line) for line in _read(f"{part}.deaths").splitlines())
    return sorted(age for age in ages if age < within_seconds)


def announce_replacement(part: str) -> None:
    """Tell what supervises a part that an operator ends it. Its earlier deaths still count."""
    # On a full disk, the replacement counts as a death.
    with contextlib.suppress(OSError):
        (embedded.data_directory() / "run" / f"{part}.replaced").touch()


def _read(name: str) -> str:
    """Return the text of a file of `./dev up`, or an empty string."""
    try:
        return (embedded.data_directory() / "run" / name).read_text().strip()
    except OSError:
        return ""
