"""A stand-in for `docker-compose` and `docker`: it runs docker-compose.yml with processes of this machine.

It has what operators type here, and behaves as Compose 2 does. tests/fakes/containers.py runs the containers, and
tests/fakes/images.py says what the images have.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from relivchats.durations import parse as seconds_of
from relivchats.embedded import REPOSITORY
from tests.fakes.containers import Container, Settings, containers, state_of, write_hosts
from tests.fakes.images import IMAGES

#: For a dependency to become healthy.
_PATIENCE_SECONDS = 110


class Project:
    """The project of the working directory: its docker-compose.yml, its .env and its containers."""

    def __init__(self, directory: Path) -> None:
        self.state = state_of(directory)
        self.variables = dict(_read_env(directory / ".env"))
        text = (directory / "docker-compose.yml").read_text()
        self.file = yaml.safe_load(text)
        self.services: dict[str, Any] = self.file["services"]
        self._ensured: set[str] = set()

    def service(self, name: str) -> dict[str, Any]:
        if name not in self.services:
            raise SystemExit(f"no such service: {name}")
        return dict(self._interpolate(self.services[name]))

    def containers(self, service: str) -> list[Container]:
        return [each for each in containers(self.state) if each.settings.service == service]

    def container(self, service: str) -> Container:
        """Return the container that `up` makes, which may not exist."""
        return Container(self.state / "all" / self.service(service).get("container_name", f"relivchats-{service}-1"))

    def settings(self, name: str, *, volumes: Sequence[str] = (), command: Sequence[str] = ()) -> Settings:
        service = self.service(name)
        image = IMAGES[service["image"].partition(":")[0]]
        environment = {**image.environment, **(self.variables if service.get("env_file") == ".env" else {})}
        for key, value in service.get("environment", {}).items():
            # One without a value has that of the shell or of .env.
            if value is not None or key in self.variables:
                environment[key] = str(self.variables[key] if value is None else value)
        named = [each.split(":") for each in service.get("volumes", [])]
        mounted = [(str(self.state / "volumes" / source), target) for source, target in named]
        mounted += [
            (str(Path(source).expanduser().resolve()), target)
            for source, target in (each.split(":") for each in volumes)
        ]
        for source, _ in mounted:
            Path(source).mkdir(parents=True, exist_ok=True)
            Path(source).chmod(0o777)
        return Settings(
            service=name,
            command=[*image.entrypoint, *(command or service.get("command", image.command))],
            environment=environment,
            volumes=mounted,
            restarts=service.get("restart") == "unless-stopped" and not command,
            has_init=service.get("init", False),
            stop_signal=image.stop_signal,
            grace_seconds=_seconds(service.get("stop_grace_period", "10s")),
        )

    def enabled(self, profile: str | None) -> list[str]:
        """Return the services without a profile, and those of this one."""
        return [name for name, each in self.services.items() if not each.get("profiles") or profile in each["profiles"]]

    def up(self, names: Sequence[str]) -> None:
        """Create and start services and what they depend on. One with other settings than before is created again."""
        for name in names:
            self.start_dependencies(name)
            self._ensure(name)

    def start_dependencies(self, name: str) -> None:
        for other, how in self.service(name).get("depends_on", {}).items():
            self.start_dependencies(other)
            self._ensure(other)
            self._wait_for(other, how["condition"])

    def _ensure(self, name: str) -> None:
        """Start a service, once in a command: the migration runs again in each one."""
        if name in self._ensured:
            return
        self._ensured.add(name)
        container, settings = self.container(name), self.settings(name)
        if container.exists and _digest(container.settings) != _digest(settings):
            container.stop()
            container.remove()
        if not container.exists:
            container.create(settings)
        if not container.is_kept:
            container.start()

    def _wait_for(self, name: str, condition: str) -> None:
        container, deadline = self.container(name), time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if condition == "service_healthy" and self.is_healthy(container):
                return
            if condition == "service_completed_successfully" and not container.is_kept:
                if container.exit_status:
                    raise SystemExit(f'service "{name}" didn\'t complete successfully: exit {container.exit_status}')
                return
            time.sleep(0.1)
        raise SystemExit(f"dependency failed to start: container {name} is unhealthy")

    def is_healthy(self, container: Container) -> bool:
        """Run the health check of the service, which the engine runs all the time."""
        check = self.service(container.settings.service)["healthcheck"]
        kind, *words = check["test"]
        command = words if kind == "CMD" else ["sh", "-c", *words]
        with contextlib.suppress(SystemExit, subprocess.TimeoutExpired):
            done = subprocess.run(
                container.enter(command, environment={}), timeout=_seconds(check["timeout"]), capture_output=True
            )
            return done.returncode == 0
        return False

    def describe(self, container: Container) -> str:
        """Return the state of a container as `docker-compose ps` shows it."""
        if not container.first:
            return f"Exited ({container.exit_status})"
        if "healthcheck" not in self.service(container.settings.service):
            return "Up"
        return f"Up ({'healthy' if self.is_healthy(container) else 'unhealthy'})"

    def _interpolate(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self._interpolate(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._interpolate(each) for each in value]
        return re.sub(r"\$(?:(\$)|\{(\w+)(?::\?([^}]*))?\})", self._replace, value) if isinstance(value, str) else value

    def _replace(self, found: re.Match[str]) -> str:
        if found[1]:
            return "$"
        if not (value := self.variables.get(found[2], "")) and found[3]:
            raise SystemExit(f"required variable {found[2]} is missing a value: {found[3]}")
        return value


def _read_env(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        name, found, value = line.partition("=")
        if found and not name.startswith("#"):
            yield name, value


def _digest(settings: Settings) -> str:
    return hashlib.sha256(json.dumps(asdict(settings), sort_keys=True).encode()).hexdigest()


def _seconds(text: str) -> float:
    return seconds_of(text).total_seconds()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="docker-compose")
    parser.add_argument("--profile")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("up").add_argument("-d", action="store_true", required=True)
    for name in ("restart", "stop", "down"):
        commands.add_parser(name).add_argument("-t", type=float)
    commands.choices["down"].add_argument("-v", action="store_true")
    commands.add_parser("kill").add_argument("-s", default="SIGKILL")
    commands.add_parser("logs").add_argument("--tail", type=int, default=1_000_000)
    commands.add_parser("ps")
    commands.add_parser("rm").add_argument("-sf", action="store_true", required=True)
    for each in commands.choices.values():
        each.add_argument("services", nargs="*")
    for name in ("exec", "run"):
        each = commands.add_parser(name)
        each.add_argument("-T", action="store_true")
        each.add_argument("-e", action="append", default=[])
        if name == "run":
            each.add_argument("-d", action="store_true")
            each.add_argument("--rm", action="store_true")
            each.add_argument("--no-deps", action="store_true")
            each.add_argument("-v", action="append", default=[])
        each.add_argument("service")
        each.add_argument("words", nargs=argparse.REMAINDER)
    return parser


def compose(words: Sequence[str]) -> int:
    """Run one command of docker-compose, and return its status."""
    options = _parser().parse_args(words)
    project = Project(Path.cwd())
    match options.command:
        case "up":
            _start_network(project)
            project.up(options.services or project.enabled(options.profile))
        case "exec":
            return _execute(project.container(options.service), options)
        case "run":
            return _run(project, options)
        case _:
            names = options.services or [each.settings.service for each in containers(project.state)]
            _act(project, options, list(dict.fromkeys(names)))
            if options.command == "down":
                _stop_network(project)
    return 0


def _act(project: Project, options: argparse.Namespace, names: Sequence[str]) -> None:
    """Do what a command does with each container of these services."""
    for name in names:
        project.service(name)
        for container in project.containers(name):
            match options.command:
                case "stop":
                    container.stop(grace_seconds=options.t)
                case "restart":
                    container.stop(grace_seconds=options.t)
                    container.start()
                case "kill" if options.s == "SIGKILL":
                    container.stop(grace_seconds=0)
                case "kill":
                    assert container.first
                    container.first.send_signal(signal.Signals[options.s])
                case "down" | "rm":
                    container.stop()
                    container.remove()
                case "logs":
                    lines = container.log.read_text(errors="replace").splitlines()[-options.tail :]
                    print("".join(f"{container.name}  | {line}\n" for line in lines), end="")
                case "ps":
                    print(f"{container.name}\t{name}\t{project.describe(container)}")
        if options.command in ("stop", "kill", "rm"):
            write_hosts(project.state)


def _execute(container: Container, options: argparse.Namespace) -> int:
    given = dict(each.split("=", 1) for each in options.e)
    return subprocess.run(container.enter(options.words, environment=given), check=False).returncode


def _run(project: Project, options: argparse.Namespace) -> int:
    """Run a command in a new container of a service, after what the service depends on."""
    if not options.no_deps:
        project.start_dependencies(options.service)
    settings = project.settings(options.service, volumes=options.v, command=options.words)
    given = {name: value or os.environ.get(name, "") for name, _, value in (each.partition("=") for each in options.e)}
    container = Container(project.state / "all" / f"relivchats-{options.service}-run-{secrets.token_hex(6)}")
    container.create(replace(settings, environment={**settings.environment, **given}, restarts=False))
    if options.d:
        container.start()
        print(container.id)
        return 0
    status = subprocess.run(container.command(project.state), check=False).returncode
    if options.rm:
        container.remove()
    return status


def _start_network(project: Project) -> None:
    """Start the network of the project, if there is none: a process in a namespace whose loopback interface is up."""
    path = project.state / "network"
    if path.exists():
        return
    (project.state / "all").mkdir(parents=True, exist_ok=True)
    write_hosts(project.state)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.fakes.network", os.environ.get("PUBLISHED_PORT", "0")],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert process.stdout
    assert process.stdout.readline()
    path.write_text(str(process.pid))


def _stop_network(project: Project) -> None:
    path = project.state / "network"
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        os.kill(int(path.read_text()), signal.SIGKILL)
    path.unlink(missing_ok=True)


def docker(words: Sequence[str]) -> int:
    """Run one command of docker, and return its status."""
    parser = argparse.ArgumentParser(prog="docker")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("stop").add_argument("names", nargs="+")
    options = parser.parse_args(words)
    project = Project(Path.cwd())
    for name in options.names:
        found = [each for each in containers(project.state) if name == each.name or each.id.startswith(name)]
        if not found:
            raise SystemExit(f"Error response from daemon: No such container: {name}")
        found[0].stop()
        print(name)
    write_hosts(project.state)
    return 0


if __name__ == "__main__":
    sys.exit({"docker-compose": compose, "docker": docker}[sys.argv[1]](sys.argv[2:]))
