"""Containers for tests: processes in namespaces of their own, on Linux as root. tests/fakes/compose.py starts them.

A container has its own processes, host name and network, and the files of this machine with a layer of its own above
them. The repository is at /app, as in the image. One process on this machine, `python -m tests.fakes.containers keep`,
starts each container, and starts it again as its restart policy says.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from relivchats.embedded import REPOSITORY
from relivchats.supervisor import die_with_parent, write_atomically

#: The variable with the process without which nothing here runs.
OWNER = "RELIVCHATS_TEST_RUN"
#: Runs as the first process of a container, with the directory of the layer, a file of host names, the name, and pairs
#: of a directory and its place. What follows `--` is the command.
_SETUP = """
set -e
root=$1/root hosts=$2 name=$3
shift 3
mkdir -p "$root"
mount -t tmpfs tmpfs "$root"
mkdir "$root/upper" "$root/work" "$root/all"
mount -t overlay overlay -o "lowerdir=/,upperdir=$root/upper,workdir=$root/work" "$root/all"
root=$root/all
while [ "$1" != -- ]; do
    mkdir -p "$root$2"
    mount --rbind "$1" "$root$2"
    shift 2
done
shift
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount --bind "$hosts" "$root/etc/hosts"
# A name that is not there does not exist: no name server is asked.
echo "hosts: files" > "$root/etc/nsswitch.conf"
hostname "$name"
cd "$root"
mkdir before sockets
chmod 777 sockets
pivot_root . before
umount --lazy /before
cd /app
exec "$@"
"""
#: What `init: true` starts: it passes SIGTERM on, and ends with its child.
_INIT = """
trap 'kill -TERM $child 2>/dev/null' TERM
"$@" &
child=$!
while :; do
    wait $child && status=0 || status=$?
    kill -0 $child 2>/dev/null || exit $status
done
"""
_FIRST_DELAY_SECONDS, _LAST_DELAY_SECONDS = 0.1, 60.0
#: A container that ran for so long is started again without a delay.
_STEADY_SECONDS = 10.0


@dataclass(frozen=True)
class Settings:
    """What a container is made of. `volumes` are pairs of a directory of this machine and its place."""

    service: str
    command: Sequence[str]
    environment: Mapping[str, str]
    volumes: Sequence[tuple[str, str]] = ()
    restarts: bool = False
    has_init: bool = False
    stop_signal: int = signal.SIGTERM
    grace_seconds: float = 10.0


@dataclass(frozen=True)
class Container:
    """A container by the directory of its state, whose name is the name of the container."""

    directory: Path

    @property
    def name(self) -> str:
        return self.directory.name

    @property
    def id(self) -> str:
        return (self.directory / "id").read_text()

    @property
    def settings(self) -> Settings:
        return Settings(**json.loads((self.directory / "settings").read_text()))

    @property
    def log(self) -> Path:
        return self.directory / "log"

    @property
    def exit_status(self) -> int | None:
        """The status with which its process ended last, if it has."""
        path = self.directory / "status"
        return int(path.read_text()) if path.exists() else None

    @property
    def exists(self) -> bool:
        return (self.directory / "settings").exists()

    @property
    def first(self) -> psutil.Process | None:
        """The first process of the container, or None while none runs."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            outside = psutil.Process(int((self.directory / "pid").read_text()))
            return next((child for child in outside.children() if child.status() != psutil.STATUS_ZOMBIE), None)
        return None

    @property
    def is_kept(self) -> bool:
        """Whether the container runs, or is started again."""
        with contextlib.suppress(OSError, ValueError, psutil.Error):
            keeper = psutil.Process(int((self.directory / "keeper").read_text()))
            return str(self.directory) in keeper.cmdline() and keeper.status() != psutil.STATUS_ZOMBIE
        return False

    def create(self, settings: Settings) -> None:
        """Write its state. It has a new id."""
        self.directory.mkdir(parents=True)
        write_atomically(self.directory / "id", os.urandom(6).hex())
        write_atomically(self.directory / "settings", json.dumps(asdict(settings)))

    def remove(self) -> None:
        shutil.rmtree(self.directory)

    def start(self) -> None:
        """Start it, and what starts it again."""
        for name in ("stopped", "status", "pid"):
            (self.directory / name).unlink(missing_ok=True)
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.containers", "keep", str(self.directory)],
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self.log.open("ab"),
            start_new_session=True,
        )
        write_atomically(self.directory / "keeper", str(keeper.pid))
        _wait(lambda: self.first is not None or keeper.poll() is not None)

    def stop(self, *, grace_seconds: float | None = None, number: int | None = None) -> None:
        """Stop it as `docker stop`: with its signal, and by force after the grace period. It is not started again."""
        (self.directory / "stopped").touch()
        settings = self.settings
        if first := self.first:
            with contextlib.suppress(psutil.NoSuchProcess):
                first.send_signal(number or settings.stop_signal)
                try:
                    first.wait(settings.grace_seconds if grace_seconds is None else grace_seconds)
                except psutil.TimeoutExpired:
                    first.kill()
        _wait(lambda: not self.is_kept)

    def enter(self, command: Sequence[str], *, environment: Mapping[str, str]) -> list[str]:
        """Return the command that runs another one in the container."""
        first = self.first
        if not first:
            raise SystemExit(f"container {self.name} is not running")
        words = ["nsenter", f"--target={first.pid}", "--mount", "--uts", "--ipc", "--net", "--pid"]
        values = {**self.settings.environment, **environment}
        given = [f"{name}={value}" for name, value in values.items()]
        return [*words, "env", "-i", *given, "sh", "-c", 'cd /app && exec "$@"', "sh", *command]

    def command(self, state: Path) -> list[str]:
        """Return the command that runs it."""
        settings = self.settings
        given = [f"{name}={value}" for name, value in settings.environment.items()]
        volumes = [word for volume in (*settings.volumes, (str(REPOSITORY), "/app")) for word in volume]
        network = (state / "network").read_text()
        return [
            *("nsenter", f"--target={network}", "--net"),
            *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--propagation", "private"),
            *("sh", "-c", _SETUP, "sh", str(self.directory), str(state / "hosts"), self.id, *volumes, "--"),
            *("env", "-i", *given),
            *(("sh", "-c", _INIT, "init") if settings.has_init else ()),
            *settings.command,
        ]


def state_of(directory: Path) -> Path:
    """Return the directory of the state of a project: its network, its host names and its containers."""
    return directory / ".containers"


def containers(state: Path) -> list[Container]:
    return [Container(path.parent) for path in sorted(state.glob("all/*/settings"))]


def write_hosts(state: Path) -> None:
    """Write the host names: a service has one while a container of it runs, and a container its id."""
    running = [each for each in containers(state) if not (each.directory / "stopped").exists()]
    names = [name for each in running for name in (each.settings.service, each.id)]
    # In place, because the file is mounted.
    (state / "hosts").write_text(f"127.0.0.1 localhost {' '.join(dict.fromkeys(names))}\n")


def keep(container: Container) -> int:
    """Run a container, and run it again when it ends, unless it was stopped. Return the last status."""
    state, delay = container.directory.parent.parent, _FIRST_DELAY_SECONDS
    while True:
        started = time.monotonic()
        with container.log.open("ab") as log:
            process = subprocess.Popen(
                container.command(state),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # The container ends when this process dies in any way.
                preexec_fn=die_with_parent,  # noqa: PLW1509
            )
        write_atomically(container.directory / "pid", str(process.pid))
        write_hosts(state)
        status = _wait_for(process)
        write_atomically(container.directory / "status", str(status if status >= 0 else 128 - status))
        if (container.directory / "stopped").exists() or not container.settings.restarts:
            (container.directory / "stopped").touch()
            write_hosts(state)
            return status
        time.sleep(delay)
        is_steady = time.monotonic() - started > _STEADY_SECONDS
        delay = _FIRST_DELAY_SECONDS if is_steady else min(2 * delay, _LAST_DELAY_SECONDS)


def _wait_for(process: subprocess.Popen[bytes]) -> int:
    """Wait until the process ends, and return its status. It is killed when the test run is."""
    owner = int(os.environ.get(OWNER, "1"))
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return process.wait(1)
        if not psutil.pid_exists(owner):
            process.kill()


def _wait(is_done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_done():
        if time.monotonic() > deadline:
            raise SystemExit("a container did not start or stop in time")
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(keep(Container(Path(sys.argv[2]))))
