"""docker-compose.yml and the Dockerfile, as far as they can be tested without a container engine."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from django.db import connection

from relivchats.servers import NO_TEXT_IN_LOG, SHORT_WAL, free_port
from relivchats.supervisor import Child, tail
from tests.processes import PATIENCE_SECONDS, REPOSITORY, database_url, eventually, owner_database_url

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())
SERVICES: dict[str, Any] = COMPOSE["services"]
OURS = [name for name, service in SERVICES.items() if service["image"] == "relivchats"]
SERVING = [name for name in OURS if "healthcheck" in SERVICES[name]]


def test_the_file_follows_the_specification() -> None:
    schema = json.loads((REPOSITORY / "tests" / "data" / "compose.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(COMPOSE)


def test_the_services_are_those_that_operators_know() -> None:
    known = {"relivchats-api", "celery_worker", "celery_beat", "redis", "qdrant", "postgres"}
    assert set(SERVICES) - {"migrate"} == known
    assert all(SERVICES[name]["container_name"] == name for name in known)


def test_qdrant_has_the_minor_version_of_its_client() -> None:
    image = SERVICES["qdrant"]["image"].rpartition(":v")[2]
    assert image.split(".")[:2] == version("qdrant-client").split(".")[:2]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_depends_only_on_conditions_that_can_be_met(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        needs = {"service_healthy": "healthcheck" in SERVICES[other], "service_completed_successfully": True}
        assert needs[how["condition"]]
        if how["condition"] == "service_completed_successfully":
            assert SERVICES[other]["restart"] == "no"


@pytest.mark.parametrize("name", SERVICES)
def test_the_data_of_a_service_is_in_a_named_volume(name: str) -> None:
    for volume in SERVICES[name].get("volumes", []):
        assert volume.split(":")[0] in COMPOSE["volumes"]


def test_all_our_processes_use_the_key_store_in_a_volume_that_their_user_may_write_to() -> None:
    parent = Path(SERVICES["relivchats-api"]["environment"]["KEY_STORE_DIR"]).parent
    for name in OURS:
        assert SERVICES[name]["environment"]["KEY_STORE_DIR"] == f"{parent}/store"
        assert f"keys:{parent}" in SERVICES[name]["volumes"]
    assert re.search(rf"install -d -o 10001 -g 10001 -m 0700 .*{parent}\b", (REPOSITORY / "Dockerfile").read_text())


def test_the_file_contains_no_secret() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    for line in re.findall(r"^.*PASSWORD.*$|^.*_AUTH:.*$|^.*_URL:.*$", text, re.MULTILINE):
        assert line.startswith("#") or "${" in line or line.endswith(': ""')


def test_only_the_migration_knows_the_owner_of_the_tables() -> None:
    for name in OURS:
        environment = SERVICES[name]["environment"]
        assert ("DATABASE_OWNER_URL" in environment) == (name == "migrate")
        assert environment["DATABASE_URL"].startswith("postgresql://relivchats_app:")
        assert environment["POSTGRES_PASSWORD"] == "", "the file .env would hand it to every service"


def test_postgres_logs_and_keeps_as_little_in_a_container_as_embedded() -> None:
    words = SERVICES["postgres"]["command"]
    assert words[0] == "postgres"
    assert dict(word.split("=") for word in words[2::2]) == NO_TEXT_IN_LOG | SHORT_WAL
    assert set(words[1::2]) == {"-c"}


def test_the_image_serves_what_the_file_serves() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    api = SERVICES["relivchats-api"]
    assert f"\nCMD {json.dumps(api['command'])}\n" in dockerfile
    assert f"    CMD {json.dumps(api['healthcheck']['test'][1:])}\n" in dockerfile


def test_the_image_is_pinned_and_runs_as_a_numeric_user_with_a_group_of_its_own() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text()
    assert re.match(r"FROM python:3\.11\.\d+-slim-bookworm\n", dockerfile)
    assert "groupadd --system --gid 10001 relivchats" in dockerfile
    assert "\nUSER 10001:10001\n" in dockerfile


def test_the_image_installs_only_packages_whose_hash_is_known() -> None:
    assert "\nRUN pip install --require-hashes -r requirements.txt\n" in (REPOSITORY / "Dockerfile").read_text()
    lines = (REPOSITORY / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    requirements = [line for line in lines if "==" in line and not line.startswith("#")]
    assert len(requirements) > 20
    assert all("--hash=sha256:" in requirement for requirement in requirements)


def test_every_command_line_of_our_processes_is_defined_once() -> None:
    for name in SERVING:
        assert SERVICES[name]["command"][:3] == ["python", "-m", "relivchats.serve"]
    assert "granian" not in (REPOSITORY / "docker-compose.yml").read_text()


@pytest.fixture
def port() -> str:
    return str(free_port())


@pytest.fixture
def outside(tmp_path: Path, port: str) -> Iterator[Any]:
    """Run a command of the file outside a container, with another volume and port."""
    children: list[Child] = []
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

    def start(service: str, words: list[str], log: str) -> Child:
        given = SERVICES[service]["environment"]
        extra = {key: value.replace("/keys", str(tmp_path)) for key, value in given.items() if not key.endswith("_URL")}
        if "DATABASE_OWNER_URL" in given:
            extra["DATABASE_OWNER_URL"] = owner_database_url(_database())
        child = Child(
            name=log,
            command=[re.sub(r"\b8000\b", port, word).replace("/data", str(tmp_path)) for word in words],
            run=tmp_path,
            log=tmp_path / f"{log}.log",
            environment={**os.environ, **extra, "PATH": path, "DATABASE_URL": database_url(_database())},
            cwd=REPOSITORY,
            stop_signals=[(signal.SIGTERM, PATIENCE_SECONDS)],
        )
        children.append(child)
        child.start()
        return child

    yield start
    for child in children:
        child.stop()


def _database() -> str:
    return str(connection.settings_dict["NAME"])


def _status(child: Child) -> int:
    assert child.process
    return child.process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize("service", SERVING)
def test_a_service_becomes_healthy_by_its_own_check(service: str, outside: Any, transactional_db: None) -> None:
    checks = iter(range(1000))
    kind, *check = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD"

    def healthy() -> bool:
        return _status(outside(service, check, f"check-{next(checks)}")) == 0

    assert not healthy()
    running = outside(service, SERVICES[service]["command"], "service")
    eventually(lambda: healthy() or not running.alive, because=lambda: tail(running.log, lines=30))
    assert running.alive, tail(running.log, lines=30)
    running.stop()
    assert running.process.returncode == 0, tail(running.log, lines=30)


def test_migrate_succeeds(outside: Any, transactional_db: None) -> None:
    done = outside("migrate", SERVICES["migrate"]["command"], "migrate")
    assert _status(done) == 0, tail(done.log, lines=30)


def test_the_shell_commands_of_the_other_services_are_valid() -> None:
    scripts = [
        word.replace("$$", "$")
        for service in SERVICES.values()
        for words in (service.get("command", []), service.get("healthcheck", {}).get("test", []))
        for word in words[-1:]
        if {"sh", "bash", "CMD-SHELL"} & set(words)
    ]
    assert len(scripts) == 3
    for script in scripts:
        subprocess.run(["bash", "-n", "-c", script], check=True)
