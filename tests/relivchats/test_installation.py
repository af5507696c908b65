"""A remedy is printed as it is typed in this kind of installation."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from relivchats import embedded, installation
from tests.processes import REPOSITORY

SERVICES = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]


@pytest.fixture
def compose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELIVCHATS_INSTALLATION", "compose")


@pytest.fixture
def dev(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    for name in ("RELIVCHATS_INSTALLATION", "DATABASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RELIVCHATS_DATA", str(tmp_path / "the data"))
    return tmp_path / "the data"


@pytest.mark.usefixtures("compose")
def test_compose_restarts_its_own_services_within_seconds_also_frozen_ones() -> None:
    assert installation.restart("worker") == "docker-compose restart -t 10 celery_worker"
    assert installation.start("beat") == "docker-compose up -d celery_beat"
    assert installation.stop("beat@0a1b2c3d4e5f:7") == "docker stop 0a1b2c3d4e5f"
    assert set(installation.SERVICES.values()) <= set(SERVICES)
    command = installation.as_typed("manage.py jobs --recover")
    assert command == "docker-compose exec relivchats-api python manage.py jobs --recover"


def test_the_compose_file_says_that_it_is_compose() -> None:
    ours = [name for name, service in SERVICES.items() if service["image"] == "relivchats"]
    assert {SERVICES[name]["environment"]["RELIVCHATS_INSTALLATION"] for name in ours} == {"compose"}


def test_dev_names_the_data_directory_that_is_not_the_default(dev: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = f"RELIVCHATS_DATA='{dev}' ./dev"
    assert installation.as_typed("manage.py health") == f"{chosen} manage health"
    assert installation.as_typed("./dev up") == f"{chosen} up"
    monkeypatch.setenv("RELIVCHATS_DATA", str(embedded.REPOSITORY / "var"))
    assert installation.as_typed("manage.py health") == "./dev manage health"


def test_dev_starts_everything_where_nothing_runs(dev: Path) -> None:
    assert installation.start("worker") == "./dev up"
    assert installation.restart("postgres") == "manage.py workers --restart postgres"
    assert installation.is_nothing_running()


def test_elsewhere_the_remedy_names_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:secret@db.internal/relivchats")
    assert installation.restart("worker") == "restart celery_worker with what started it"
    assert installation.as_typed("manage.py health") == "python manage.py health"
    assert not installation.is_nothing_running()


def test_elsewhere_a_process_of_another_host_is_never_stopped_by_its_number_on_this_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://app:secret@db.internal/relivchats")
    assert installation.stop("beat@another-host:41") == "ssh another-host kill 41"
    assert installation.stop(f"beat@{socket.gethostname()[:120]}:41") == "kill 41"
