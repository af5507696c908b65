"""Every remedy is a command that exists, as it is printed, in each kind of installation."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import CommandError, get_commands, load_command_class

from ops import checks, database
from relivchats import installation
from relivchats.installation import Kind
from tests.processes import REPOSITORY

COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())["services"]
PACKAGES = ("relivchats", "chats", "billing", "insights", "ops")
#: What the running program puts into the text of a remedy, where that matters.
VALUES = {"verb": "--cancel", "keys": "", "note": "", "part": "worker", "wallet_id": "0" * 32}
#: Remedies that no command can do: a setting, a file, a decision, or processes that something unknown started.
PROSE = ("set ", "put ", "correct ", "run qdrant/", "start ", "restart ", "see the log of ", "approve ", "refuse ")
MANAGE = {
    Kind.DEV: r"(RELIVCHATS_DATA=\S+ )?\./dev manage",
    Kind.COMPOSE: r"docker-compose (exec relivchats-api|run --rm (-v \S+ )*(relivchats-api|migrate)) python (\./)?"
    r"manage\.py",
    Kind.OTHER: r"python manage\.py",
}
STATES = ("active", "idle in transaction")
_SERVICE = f"({'|'.join(COMPOSE)})"
OTHER_COMMANDS = {
    Kind.DEV: [r"(RELIVCHATS_DATA=\S+ )?\./dev up( --port \d+)?"],
    Kind.COMPOSE: [
        rf"docker-compose (restart -t 10|up -d|logs --tail=50) {_SERVICE}",
        r"docker-compose exec redis redis-cli CONFIG SET maxmemory \d+",
        r'docker-compose exec postgres psql -U relivchats -c "SELECT coalesce[^"]+, count\(pg_term[^"]+ GROUP BY 1"',
        r'docker-compose exec postgres psql -U relivchats -c "SELECT pg_(cancel|terminate)_backend\(\d+\)"',
        r"docker stop \w+",
        r"docker system df -v",
    ],
    Kind.OTHER: [r"(ssh \S+ )?kill \d+"],
}
#: Of the machine, in each kind.
MACHINE = [
    r"du -axh \S.* \| sort -h \| tail -n 20",
    r"truncate -s 0 \S+",
    r"timedatectl set-ntp true",
    r"certbot renew",
    r'redis-cli -u "\$REDIS_URL" CONFIG SET maxmemory \d+',
    r"kill -CONT [\d ]+",
]


@pytest.fixture(params=Kind)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Kind:
    chosen = Kind(request.param)
    monkeypatch.setattr(installation, "kind", lambda: chosen)
    monkeypatch.setattr(installation, "is_up", lambda: False)
    return chosen


def written() -> Iterator[str]:
    """Yield each text of the code that starts with `manage.py`, with a value in place of each expression."""
    for path in sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py")):
        tree = ast.parse(path.read_text())
        skipped = {id(value) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for value in node.values}
        # Docstrings are the only expressions that are a statement and a text.
        skipped |= {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = ""
            if isinstance(node, ast.JoinedStr):
                for value in node.values:
                    if isinstance(value, ast.FormattedValue):
                        text += VALUES.get(ast.unparse(value.value), "1")
                    else:
                        text += ast.literal_eval(value)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
                text = node.value
            if text.startswith("manage.py "):
                yield text


@cache
def parse(words: tuple[str, ...]) -> None:
    """Fail unless manage.py has this command with these options."""
    name, *arguments = words
    assert name in get_commands(), words
    command = load_command_class(get_commands()[name], name)
    try:
        command.create_parser("manage.py", name).parse_args(arguments)
    except CommandError as error:
        raise AssertionError((words, error)) from error
    except SystemExit as ended:
        # `--help` exits with 0.
        if ended.code:
            raise


def check(remedy: str, kind: Kind) -> None:
    """Fail unless this remedy, as it is printed, is a command that exists in this kind of installation."""
    is_sentence = remedy.startswith(PROSE)
    for shown in (remedy, installation.as_typed(remedy)):
        assert installation.is_command(shown) is not is_sentence, "the console copies commands, and only these"
    if is_sentence:
        # The command in it, if any, ends the sentence.
        _, found, rest = remedy.partition("manage.py ")
        remedy = found + rest
    typed = installation.as_typed(remedy).partition("  # ")[0]
    for command in typed.split("; ") if typed else ():
        if manage := re.match(MANAGE[kind] + " ", command):
            words = shlex.split(command[manage.end() :])
            # Only the service of the migrations knows the owner of the tables.
            assert kind is not Kind.COMPOSE or (words[0] == "migrate") == (" migrate " in manage[0])
            parse(tuple(words))
        else:
            assert any(re.fullmatch(known, command) for known in (*OTHER_COMMANDS[kind], *MACHINE)), command


@pytest.mark.parametrize("remedy", sorted(set(written())), ids=str)
def test_a_remedy_is_a_command_whose_options_exist(kind: Kind, remedy: str) -> None:
    check(remedy, kind)


def test_enough_remedies_are_found_in_the_code() -> None:
    assert len(set(written())) > 50


@pytest.mark.parametrize("part", installation.SERVICES)
def test_the_remedies_of_a_part_name_a_service_or_a_part_that_exists(kind: Kind, part: str) -> None:
    for remedy in (
        installation.restart(part),
        installation.start(part),
        installation.bring_back(part),
        installation.logs(part),
        installation.stop(f"{part}@3f2a:41"),
        installation.give_broker_memory(1 << 20),
        installation.list_files_by_size(Path("/a directory")),
        database.limit_remedy([database.Source(f"relivchats {part}", 9, 9)]),
        database.limit_remedy([database.Source("a report", 9, 9)]),
        database.limit_remedy(()),
        *(
            database.Session(41, "psql", state, 9, 9, 9, (), (), "", ours).remedy
            for state in STATES
            for ours in (False, True)
        ),
    ):
        check(remedy, kind)


@pytest.mark.parametrize("kind", [Kind.COMPOSE, Kind.OTHER, Kind.DEV], indirect=True)
def test_a_check_without_an_answer_has_a_remedy_of_its_installation(kind: Kind) -> None:
    """The remedies of checks are made when their modules are imported, so by another process."""
    url = {} if kind is Kind.DEV else {"DATABASE_URL": "postgresql://somebody@elsewhere/relivchats"}
    known = {name: value for name, value in os.environ.items() if name not in ("DATABASE_URL", "REDIS_URL")}
    code = (
        "import django, json; django.setup(); from ops import checks;"
        "print(json.dumps({each.name: each.remedy for each in (*checks.ALL, *checks.VERBOSE)}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**known, **url, "RELIVCHATS_INSTALLATION": kind, "DJANGO_SETTINGS_MODULE": "relivchats.settings"},
        capture_output=True,
        text=True,
        check=True,
    )
    remedies = json.loads(done.stdout)
    assert remedies.keys() == {each.name for each in (*checks.ALL, *checks.VERBOSE)}
    for remedy in remedies.values():
        assert remedy
        check(remedy, kind)
