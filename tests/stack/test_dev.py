"""./dev and manage.py before they start anything."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import manage
from tests.processes import REPOSITORY
from tests.stack import terminal

OLD_PYTHON = """#!/bin/sh
[ "$1" = --version ] && echo "Python 3.9.2"
[ "$1" = --version ]
"""


def dev(*words: str, script: Path = REPOSITORY / "dev", cwd: Path | None = None, **more: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [str(script), *words],
        cwd=cwd,
        env={**os.environ, **more},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_dev_without_a_command_lists_the_commands() -> None:
    status, output, _ = dev()
    assert status == 0
    assert all(
        f"  {command} " in output
        for command in ("demo", "up", "manage", "env", "test", "lint", "licences", "sbom", "lock")
    )


def test_an_unknown_command_lists_the_commands_and_fails() -> None:
    status, output, errors = dev("deploy")
    assert (status, output) == (2, "")
    assert errors == dev()[1]


def test_an_old_python_is_named_and_nothing_is_created(tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    clone.mkdir()
    for name in ("dev", "requirements.txt"):
        shutil.copy(REPOSITORY / name, clone)
    old = tmp_path / "python3"
    old.write_text(OLD_PYTHON)
    old.chmod(0o755)
    status, _, errors = dev("up", script=clone / "dev", cwd=tmp_path, PYTHON=str(old))
    assert status == 1
    assert errors == (
        f"RelivChats needs Python 3.11 or newer; found: Python 3.9.2 ({old}). "
        "Install one, or name it: PYTHON=/path/to/python3 ./dev ...\n"
    )
    assert not (clone / ".venv").exists()


def test_a_missing_python_is_reported(tmp_path: Path) -> None:
    for name in ("dev", "requirements.txt"):
        shutil.copy(REPOSITORY / name, tmp_path)
    _, _, errors = dev("up", script=tmp_path / "dev", PYTHON="no-such-python")
    assert errors.startswith("RelivChats needs Python 3.11 or newer; found: none. ")


@pytest.mark.parametrize("arguments", [[], ["help"], ["migrate", "--help"], ["--version"], ["check"], ["parse_export"]])
def test_a_command_that_needs_no_database_starts_none(arguments: list[str]) -> None:
    assert not manage.needs_servers(arguments)


@pytest.mark.parametrize("arguments", [["migrate"], ["shell"], ["jobs", "--json"], ["check", "--database", "default"]])
def test_a_command_that_needs_the_database_starts_it(arguments: list[str]) -> None:
    assert manage.needs_servers(arguments)


def test_help_explains_every_command_of_ours_in_a_line_before_the_names_of_djangos(
    capsys: pytest.CaptureFixture[str],
) -> None:
    manage.print_own_commands()
    lines = capsys.readouterr().out.splitlines()
    listed = {words[0] for line in lines if (words := line.split()) and line.startswith("  ") and len(words) > 2}
    ours = {path.stem for path in REPOSITORY.glob("*/management/commands/[a-z]*.py")}
    assert ours - {"demo"} <= listed
    assert "flush" not in listed


def test_manage_without_up_starts_its_servers_and_stops_them(tmp_path: Path) -> None:
    query = "from django.db import connection as c; print(c.cursor().execute('SELECT 41 + 1').fetchone()[0])"
    done = terminal.manage(tmp_path / "data", "shell", "--no-imports", "-c", query)
    assert (done.returncode, done.stdout) == (0, "42\n"), done.stderr
    assert not list((tmp_path / "data" / "run").glob("*.pid"))


def test_the_first_command_of_a_new_installation_finds_its_tables(tmp_path: Path) -> None:
    done = terminal.manage(tmp_path / "data", "token", "newcomer@example.org")
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"rc_\S+\n", done.stdout), "the token alone"


def test_env_prints_the_addresses_for_a_shell(tmp_path: Path) -> None:
    done = terminal.run(tmp_path / "data", "env")
    names = [line.split("=")[0] for line in done.stdout.splitlines()]
    assert (done.returncode, names) == (0, ["DATABASE_URL", "REDIS_URL"])
